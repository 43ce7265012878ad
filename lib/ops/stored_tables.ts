/**
 * Compares what ClickHouse stores with itself: trades with the runs of trade ids, and with the candles that were made of
 * them. One insert writes all of them; after a power cut, a damaged disk or a hand in the tables they may differ.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { tuples } from "../clickhouse/rows.ts";
import { sleep } from "../core/retry.ts";
import { createTradeIds, intersect, type Run, subtract } from "../core/id_ranges.ts";

/** A product's trades of a day (UTC). */
export interface DayOfTrades {
  productId: string;
  /** `2026-07-07` */
  day: string;
  rows: number;
  /** Different trade ids among them. */
  trades: number;
}

/** Ids of a product in which `trades` and `trade_runs` differ. */
export interface RunsDifference {
  productId: string;
  /** In `trades`, in no run: they would be fetched and stored again. */
  withoutRun: Run[];
  /** In a run, not in `trades`: they would never be fetched. */
  withoutTrade: Run[];
}

/** A candle that isn't what the trades make. */
export interface WrongCandle {
  /** `1m` */
  interval: string;
  productId: string;
  /** `2026-07-07 22:58:00.000000` */
  time: string;
}

/** Asks with a limit of its own: some of these read days of a large table. */
function ask<T extends unknown[]>(
  clickhouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown>,
  limitSeconds: number,
): Promise<T[]> {
  return tuples(clickhouse, query, params, {
    settings: { max_execution_time: Math.max(1, Math.ceil(limitSeconds)) },
  });
}

/** What was inserted last may be in one table and not yet in the next: what differs is looked at once more, after this. */
const againMs = 1500;
/** Bounds of a statement. */
const limitSeconds = 10;

/** All that is compared of one product's trades. */
export interface ComparedTrades {
  days: DayOfTrades[];
  differences: RunsDifference[];
}

/**
 * Counts the trades of the days since `since` and compares their ids with `trade_runs`.
 *
 * @param since midnight, `2026-07-07 00:00:00`, UTC
 */
export async function compareTrades(clickhouse: ClickHouseClient, since: string): Promise<ComparedTrades> {
  const products = await ask<[string]>(
    clickhouse,
    "SELECT DISTINCT product_id FROM trade_runs UNION DISTINCT SELECT DISTINCT product_id FROM trades",
    {},
    limitSeconds,
  );
  const days: DayOfTrades[] = [];
  const differences: RunsDifference[] = [];
  for (const [productId] of products.sort()) {
    const before = await lastIdBefore(clickhouse, productId, since);
    const counted = await countDays(clickhouse, productId, before);
    days.push(...counted);
    const inRuns = await readRuns(clickhouse, productId, before);
    const ids = inRuns.reduce((sum, { first, last }) => sum + last - first + 1, 0);
    // Equal numbers of different ids are no accident that happens.
    if (ids === counted.reduce((sum, { trades }) => sum + trades, 0)) continue;
    const difference = await differ(clickhouse, productId, before);
    if (difference.withoutRun.length + difference.withoutTrade.length === 0) continue;
    await sleep(againMs);
    const again = await differ(clickhouse, productId, before);
    const withoutRun = intersect(difference.withoutRun, again.withoutRun);
    const withoutTrade = intersect(difference.withoutTrade, again.withoutTrade);
    if (withoutRun.length + withoutTrade.length > 0) {
      differences.push({ productId, withoutRun, withoutTrade });
    }
  }
  return { days, differences };
}

/** The newest trade before the days that are compared; its successors are compared, whether they are there or not. */
async function lastIdBefore(clickhouse: ClickHouseClient, productId: string, since: string): Promise<number> {
  const [row] = await ask<[number]>(
    clickhouse,
    `SELECT trade_id FROM trades
     WHERE product_id = {productId:String} AND time < {since:DateTime64(6, 'UTC')}
     ORDER BY trade_id DESC LIMIT 1`,
    { productId, since },
    limitSeconds,
  );
  return row?.[0] ?? 0;
}

/** A bitmap of ids that follow one another is small, and as exact as uniqExact. */
async function countDays(
  clickhouse: ClickHouseClient,
  productId: string,
  before: number,
): Promise<DayOfTrades[]> {
  const rows = await ask<[string, number, number]>(
    clickhouse,
    `SELECT toString(toDate(time, 'UTC')) AS day, count(), groupBitmap(trade_id) FROM trades
     WHERE product_id = {productId:String} AND trade_id > {before:UInt64} GROUP BY day ORDER BY day`,
    { productId, before },
    limitSeconds,
  );
  return rows.map(([day, count, trades]) => ({ productId, day, rows: count, trades }));
}

/** The runs of `trade_runs` behind an id, joined. */
async function readRuns(clickhouse: ClickHouseClient, productId: string, before: number): Promise<Run[]> {
  const rows = await ask<[number, number]>(
    clickhouse,
    `SELECT greatest(first_trade_id, {before:UInt64} + 1), last_trade_id FROM trade_runs
     WHERE product_id = {productId:String} AND last_trade_id > {before:UInt64}`,
    { productId, before },
    limitSeconds,
  );
  return [...createTradeIds(rows.map(([first, last]) => ({ first, last }))).runs];
}

async function differ(
  clickhouse: ClickHouseClient,
  productId: string,
  before: number,
): Promise<RunsDifference> {
  const [rows, inRuns] = [
    await ask<[number, number]>(
      clickhouse,
      `SELECT min(trade_id), max(trade_id) FROM
       (
         SELECT trade_id, trade_id - row_number() OVER (ORDER BY trade_id) AS run
         FROM
         (
           SELECT DISTINCT trade_id FROM trades
           WHERE product_id = {productId:String} AND trade_id > {before:UInt64}
         )
       )
       GROUP BY run`,
      { productId, before },
      limitSeconds,
    ),
    await readRuns(clickhouse, productId, before),
  ];
  const inTrades = createTradeIds(rows.map(([first, last]) => ({ first, last }))).runs;
  return { productId, withoutRun: subtract(inTrades, inRuns), withoutTrade: subtract(inRuns, inTrades) };
}

/** The intervals that candles are kept of, and where one of them starts. */
const starts = {
  "1s": "toStartOfSecond(trades.time)",
  "1m": "toDateTime64(toStartOfMinute(trades.time), 6, 'UTC')",
  "1h": "toDateTime64(toStartOfHour(trades.time), 6, 'UTC')",
  "1d": "toDateTime64(toStartOfDay(trades.time), 6, 'UTC')",
} as const;

/** What was compared of the candles. */
export interface ComparedCandles {
  /** Days of which every candle was compared. */
  days: number;
  /** Candles that were compared. */
  candles: number;
  wrong: WrongCandle[];
}

/**
 * Makes each candle of each interval anew from the trades, a day at a time, the newest first.
 *
 * @param days midnights, `2026-07-07 00:00:00`, UTC
 * @param budgetMs no other day is begun after so long
 */
export async function compareCandles(
  clickhouse: ClickHouseClient,
  days: readonly string[],
  budgetMs: number,
): Promise<ComparedCandles> {
  const startedAt = performance.now();
  const found: ComparedCandles = { days: 0, candles: 0, wrong: [] };
  for (const day of days) {
    if (found.days > 0 && performance.now() - startedAt > budgetMs) break;
    for (const interval of Object.keys(starts) as (keyof typeof starts)[]) {
      const first = await candlesOf(clickhouse, interval, day);
      found.candles += first.compared;
      if (first.wrong.length === 0) continue;
      await sleep(againMs);
      // One that is being made differs from what it was, too.
      const again = new Set((await candlesOf(clickhouse, interval, day)).wrong.map(({ text }) => text));
      const wrong = first.wrong.filter(({ text }) => again.has(text));
      found.wrong.push(...wrong.map(({ productId, time }) => ({ interval, productId, time })));
    }
    found.days++;
  }
  return found;
}

/** Candles of a day as the trades make them and as they are stored; `text` says both, and is the same while they are. */
async function candlesOf(clickhouse: ClickHouseClient, interval: keyof typeof starts, day: string) {
  const [row] = await ask<[number, [string, string, string][]]>(
    clickhouse,
    `WITH {day:DateTime64(6, 'UTC')} AS midnight
     SELECT count(), groupArrayIf(1000)((product_id, toString(start), toString(sides)), is_wrong) FROM
     (
       SELECT product_id, start, arraySort(groupArray((side, candle))) AS sides,
         length(sides) != 2 OR sides[1].2 != sides[2].2 AS is_wrong
       FROM
       (
         SELECT product_id, ${starts[interval]} AS start, 'made' AS side,
           (
             argMin(price, trade_id), max(price), min(price), argMax(price, trade_id), sum(size),
             sum(toDecimal256(price, 18) * toDecimal256(size, 18)),
             sumIf(size, taker_side = 'buy'), sumIf(size, taker_side = 'sell'), count()
           ) AS candle
         FROM trades
         WHERE trades.time >= midnight AND trades.time < midnight + INTERVAL 1 DAY
         GROUP BY product_id, start
         UNION ALL
         SELECT product_id, state.time AS start, 'stored' AS side,
           (
             argMinMerge(state.open), max(state.high), min(state.low), argMaxMerge(state.close),
             sum(state.volume), sum(state.quote_volume), sum(state.buy_volume), sum(state.sell_volume),
             sum(state.trades)
           ) AS candle
         FROM candle_states AS state
         WHERE state.interval = {interval:String}
           AND state.time >= midnight AND state.time < midnight + INTERVAL 1 DAY
         GROUP BY product_id, start
       )
       GROUP BY product_id, start
     )`,
    { day, interval },
    limitSeconds,
  );
  const [compared = 0, wrong = []] = row ?? [];
  return {
    compared,
    wrong: wrong.map(([productId, time, sides]) => ({
      productId,
      time,
      text: `${productId} ${time} ${sides}`,
    })),
  };
}
