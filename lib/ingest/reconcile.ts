/**
 * Holds `trades` against what is derived from it (`trade_runs`, the states of candles) and mends what
 * disagrees. They disagree when ClickHouse ended between a part of one and a part of the other: killed, or without power.
 * `trades` is right by definition: what it lacks is missing, and is read again from the topic or from REST.
 *
 * Only the product's consumer writes its rows, so nothing moves while it looks. All of it may be interrupted and repeated.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { quote } from "../clickhouse/quote.ts";
import { readsSource, restrictSource } from "../clickhouse/view_source.ts";
import { type Interval, levels, mendCandles, wrongCandles } from "./mend_candles.ts";
import { compareClaims, mendRuns, readClaims, removeDoubledTrades } from "./mend_runs.ts";
import {
  chunksOf,
  type Client,
  consistentRows,
  inSpans,
  productsOf,
  readViews,
  repairPrefix,
  type Span,
  type Views,
  type WholeSpan,
  widen,
  widenTo,
} from "./mend_queries.ts";

/** What was wrong with a product's trades, and is mended now. */
export interface Repair {
  product: string;
  /** Trades that stood twice. */
  doubled: number;
  /** Ids that `trade_runs` claimed and `trades` doesn't have, and the other way round. */
  claimed: number;
  unclaimed: number;
  /** Ids that `trade_runs` claimed more than once. */
  overlapping: number;
  /** Candles that weren't what the trades make, by interval. */
  candles: Partial<Record<Interval, number>>;
  /** The earliest trade that is known to be lost, in µs: its messages should be read again from there. */
  lostSince?: number;
}

/** The time of the newest trade of each product that has any, in µs: by `trades`, or by `trade_runs` if that knows more. */
export async function readNewestTrades(
  client: ClickHouseClient,
  products: readonly string[],
): Promise<Map<string, number>> {
  const newest = new Map<string, number>();
  for (const some of chunksOf(products)) {
    const each = some.map((_, at) =>
      `SELECT toUInt32(${at}) AS at, toUnixTimestamp64Micro(time) AS micros FROM
       (SELECT time FROM trades WHERE product_id = {product${at}:String} ORDER BY trade_id DESC LIMIT 1
        UNION ALL
        SELECT last_time AS time FROM trade_runs WHERE product_id = {product${at}:String}
        ORDER BY last_trade_id DESC LIMIT 1)`
    );
    const rows = await consistentRows<{ at: number; micros: number }>(
      client,
      each.join(" UNION ALL "),
      Object.fromEntries(some.map((product, at) => [`product${at}`, product])),
    );
    for (const { at, micros } of rows) {
      newest.set(some[at]!, Math.max(micros, newest.get(some[at]!) ?? micros));
    }
  }
  return newest;
}

/** How to reconcile. */
export interface ReconcileOptions {
  /** Told of each span that wasn't right, as soon as it is. */
  onRepair?: (repair: Repair) => void;
  /** Asked before each statement that writes whether the product is still ours; throws when it isn't. */
  assertOwned?: () => Promise<void>;
}

/**
 * Looks and mends.
 *
 * @param spans widened to whole hours, the candles of a day to whole days
 * @returns a repair for each span that wasn't right
 */
export async function reconcile(
  reader: ClickHouseClient,
  spans: readonly Span[],
  options: ReconcileOptions = {},
): Promise<Repair[]> {
  if (spans.length === 0) return [];
  const known = await readViews(reader);
  // Tables on several servers take neither a DELETE with a subquery nor another table's partitions.
  if (known === undefined) return [];
  const { views, leftovers } = known;
  const client = guarded(reader, options.assertOwned);
  // Repairs that were killed, of these products: only their consumer repairs them, and that is this one now. What such a
  // table holds may be missing where it belongs.
  const products = [...new Set(spans.map(({ product }) => product))];
  const interrupted: Span[] = [];
  const ours: string[] = [];
  for (const table of leftovers) {
    const product = products.find((product) => table.startsWith(repairPrefix(product)));
    if (product === undefined) continue;
    ours.push(table);
    const [held] = await consistentRows<{ rows: number; from: number; to: number }>(
      client,
      `SELECT count() AS rows, toUnixTimestamp64Micro(min(time)) AS from, toUnixTimestamp64Micro(max(time)) AS to FROM ${table}`,
      {},
    );
    if (held !== undefined && held.rows > 0) interrupted.push({ product, from: held.from, to: held.to });
  }
  const whole = [...interrupted, ...spans].map(widen);
  const doubtful = await findDoubtful(client, whole, views);
  const repairs: Repair[] = [];
  for (const span of whole) {
    const { product } = span;
    if (!doubtful.has(product)) continue;
    const doubled = await removeDoubledTrades(client, span);
    const { lostSince: lostRuns, ...claims } = await mendRuns(client, span, views);
    const repair: Repair = { product, doubled, ...claims, candles: {} };
    let lostSince = lostRuns;
    for (const level of levels) {
      const mended = await mendCandles(client, span, level, views);
      Object.assign(repair.candles, mended.candles);
      if (mended.lostSince !== undefined) lostSince = Math.min(lostSince ?? Infinity, mended.lostSince);
    }
    if (lostSince !== undefined) repair.lostSince = lostSince;
    const isConsistent = doubled + claims.claimed + claims.unclaimed + claims.overlapping === 0 &&
      Object.keys(repair.candles).length === 0;
    if (!isConsistent) {
      repairs.push(repair);
      options.onRepair?.(repair);
    }
  }
  for (const table of ours) await client.command({ query: `DROP TABLE IF EXISTS ${quote(table)} SYNC` });
  return repairs;
}

/**
 * Fills what is derived from messages once more, for these messages. Those tables keep the newest or the largest value, or
 * a loss that may be named twice, so filling twice changes nothing.
 *
 * @param where a condition on the table's rows
 */
export async function refillViews(
  client: ClickHouseClient,
  table: "book_changes" | "heartbeats" | "feed_events" | "rejected",
  where: string,
  parameters: Record<string, unknown>,
): Promise<void> {
  const known = await readViews(client);
  for (const { select, target } of known?.views.values() ?? []) {
    if (!readsSource(select, table)) continue;
    await client.command({
      query: `INSERT INTO ${target} ${restrictSource(select, table, where)}`,
      query_params: parameters,
      clickhouse_settings: { insert_deduplicate: 0, max_partitions_per_insert_block: "0" },
    });
  }
}

/** The same client, whose every command waits for a word first. */
function guarded(client: ClickHouseClient, assertOwned: (() => Promise<void>) | undefined): Client {
  return {
    query: client.query.bind(client) as ClickHouseClient["query"],
    async command(parameters) {
      await assertOwned?.();
      return await client.command(parameters);
    },
  };
}

/**
 * The products whose tables disagree somewhere in their spans. A few statements for all of them: at the first sight of
 * hundreds of products, after a takeover say, almost always everything is right.
 */
async function findDoubtful(
  client: Client,
  spans: readonly WholeSpan[],
  views: Views,
): Promise<Set<string>> {
  const doubtful = new Set<string>();
  for (const some of chunksOf(spans)) {
    const doubled = `SELECT product_id FROM trades WHERE ${inSpans(some)}
                     GROUP BY product_id HAVING count() != uniqExact(trade_id)`;
    const wrong = levels.map((level) => {
      const where = inSpans(some.map((span) => widenTo(level.seconds, span)));
      return `SELECT product_id FROM (${wrongCandles(level, views, where)})`;
    });
    const rows = await consistentRows<{ product: string }>(
      client,
      `SELECT DISTINCT product_id AS product FROM (${[doubled, ...wrong].join(" UNION ALL ")})`,
      productsOf(some),
    );
    for (const { product } of rows) doubtful.add(product);
    for (const [at, claims] of (await readClaims(client, some)).entries()) {
      const { claimed, unclaimed, overlapping } = compareClaims(claims);
      if (claimed + unclaimed + overlapping > 0) doubtful.add(some[at]!.product);
    }
  }
  return doubtful;
}
