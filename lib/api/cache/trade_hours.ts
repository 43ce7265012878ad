/**
 * How many trades each hour of a product has, asked for all products that are being looked at by one small query.
 *
 * @module
 */

import { createSharedAnswer } from "../../core/shared_answer.ts";
import { formatMicros } from "../../core/time.ts";
import type { ReadClient } from "../read_client.ts";

export const hourMicros = 3_600_000_000;
/** Numbers of trades older than this are asked for anew, while the old ones still serve … */
const freshMs = 400;
/** … up to this age. */
export const staleMs = 2000;
/** Products that nobody asked for in this time are left out of the query. */
const watchedMs = 60_000;
/** These queries are small and many: more threads would only take the processors from what answers. */
export const small = "SETTINGS max_threads = 1";

/** Trades per hour of a product. */
export interface TradeHours {
  /** Hours since 1970 → trades. */
  trades: Map<number, number>;
  total: number;
  first: number;
  last: number;
  /** ms, when they were asked for. */
  askedAt: number;
}

/**
 * Gives the numbers of a product's trades, at most `staleMs` old.
 *
 * @param now ms of a monotonic clock
 */
export function createTradeHours(
  clickhouse: ReadClient,
  now: () => number,
): (product: string) => Promise<TradeHours> {
  const kept = new Map<string, TradeHours>();
  /** Product → when it was last asked for. */
  const watched = new Map<string, number>();

  const newest = createSharedAnswer(async (): Promise<ReadonlyMap<string, TradeHours>> => {
    const askedAt = now();
    for (const [product, at] of watched) if (askedAt - at > watchedMs) watched.delete(product);
    const products = [...watched.keys()];
    const recent = await readRecent(clickhouse, products);
    const hours = await Promise.all(products.map(async (product) => {
      const { total = 0, recent: numbers = [] } = recent.get(product) ?? {};
      const hours = kept.get(product) ?? noHours(askedAt);
      for (const [hour, trades] of numbers) setHour(hours, hour, trades);
      hours.askedAt = askedAt;
      // A trade of an older hour came, or everything was deleted.
      const right = hours.total === total ? hours : await readAll(clickhouse, product, now());
      kept.set(product, right);
      return [product, right] as const;
    }));
    return new Map(hours);
  }, { freshMs, staleMs, now });

  return async (product) => {
    watched.set(product, now());
    const hours = (await newest()).get(product);
    // Nobody had asked for this one: what is asked for from now on has it.
    return hours ?? (await newest(undefined, -1)).get(product) ?? noHours(-Infinity);
  };
}

/** All trades, and those of each of the last two hours. */
interface RecentTrades {
  total: number;
  recent: [hour: number, trades: number][];
}

async function readRecent(
  clickhouse: ReadClient,
  products: string[],
): Promise<ReadonlyMap<string, RecentTrades>> {
  const since = Math.floor(Date.now() / 3_600_000) - 1;
  const rows = await clickhouse.rows<RecentTrades & { product_id: string }>(
    `SELECT v.product_id AS product_id, sum(v.trades) AS total,
       groupArrayIf((intDiv(toUnixTimestamp(v.time), 3600), v.trades), v.time >= {since:DateTime64(6, 'UTC')}) AS recent
     FROM candles_1h AS v WHERE v.product_id IN {products:Array(String)} GROUP BY product_id
     ${small}`,
    { products, since: formatMicros(since * hourMicros) },
  );
  return new Map(rows.map((row) => [row.product_id, row]));
}

async function readAll(clickhouse: ReadClient, product: string, askedAt: number): Promise<TradeHours> {
  const hours = noHours(askedAt);
  const rows = await clickhouse.rows<{ hour: number; trades: number }>(
    `SELECT intDiv(toUnixTimestamp(v.time), 3600) AS hour, v.trades AS trades
     FROM candles_1h AS v WHERE v.product_id = {product:String} ${small}`,
    { product },
  );
  for (const { hour, trades } of rows) setHour(hours, hour, trades);
  return hours;
}

function noHours(askedAt: number): TradeHours {
  return { trades: new Map(), total: 0, first: Infinity, last: -Infinity, askedAt };
}

function setHour(hours: TradeHours, hour: number, trades: number): void {
  hours.total += trades - (hours.trades.get(hour) ?? 0);
  hours.trades.set(hour, trades);
  hours.first = Math.min(hours.first, hour);
  hours.last = Math.max(hours.last, hour);
}
