/**
 * The states of candles against what they are made from; and mending that.
 *
 * @module
 */

import { restrictSource } from "../clickhouse/view_source.ts";
import {
  type Client,
  consistentRows,
  inSpans,
  productsOf,
  repairPrefix,
  view,
  type Views,
  type WholeSpan,
  widenTo,
} from "./mend_queries.ts";

export type Interval = "1s" | "1m" | "1h" | "1d";

/** Intervals that are compared and mended together. */
export interface Level {
  intervals: readonly Interval[];
  /** The length of the longest: spans are compared in whole ones. */
  seconds: number;
  /** The states as they should be, of the rows for which a condition holds. */
  made(views: Views, where: string): string;
}

/** Up to the hour from the trades; days from the hours, for nobody wants to read a day of trades to know three hours. */
export const levels: readonly Level[] = [
  {
    intervals: ["1s", "1m", "1h"],
    seconds: 3600,
    made: (views, where) =>
      `SELECT * FROM (${
        restrictSource(view(views, "candle_states_mv"), "trades", where)
      }) WHERE interval != '1d'`,
  },
  {
    intervals: ["1d"],
    seconds: 86_400,
    made: (_, where) =>
      `SELECT '1d' AS interval, product_id, toDateTime64(toStartOfDay(hours.time), 6, 'UTC') AS time,
         argMinMergeState(hours.open) AS open, max(hours.high) AS high, min(hours.low) AS low,
         argMaxMergeState(hours.close) AS close, sum(hours.volume) AS volume, sum(hours.quote_volume) AS quote_volume,
         sum(hours.buy_volume) AS buy_volume, sum(hours.sell_volume) AS sell_volume, sum(hours.trades) AS trades
       FROM (SELECT * FROM candle_states WHERE interval = '1h' AND ${where}) AS hours
       GROUP BY product_id, time`,
  },
];

/** A candle as one value, whole: equal states give equal candles. */
const candle =
  `(argMinMerge(states.open), max(states.high), min(states.low), argMaxMerge(states.close), sum(states.volume),
  sum(states.quote_volume), sum(states.buy_volume), sum(states.sell_volume), sum(states.trades))`;

/** The candles that aren't what their source makes: interval, product, time, and how many trades they have too many. */
export function wrongCandles(level: Level, views: Views, where: string): string {
  return `SELECT interval, product_id, time, sum(sign * toInt64(trades)) AS surplus
     FROM
     (
       SELECT interval, product_id, time, ${candle} AS candle, sum(states.trades) AS trades, -1 AS sign
       FROM (${level.made(views, where)}) AS states GROUP BY interval, product_id, time
       UNION ALL
       SELECT interval, product_id, time, ${candle} AS candle, sum(states.trades) AS trades, 1 AS sign
       FROM (SELECT * FROM candle_states WHERE ${isOf(level)} AND ${where}) AS states
       GROUP BY interval, product_id, time
     )
     GROUP BY interval, product_id, time
     HAVING count() != 2 OR uniqExact(candle) != 1`;
}

const isOf = ({ intervals }: Level) => `interval IN (${intervals.map((name) => `'${name}'`).join(", ")})`;

/** How many candles were wrong, by interval, and since when trades are known to be lost (µs). */
export interface MendedCandles {
  candles: Partial<Record<Interval, number>>;
  lostSince?: number;
}

/** Builds the wrong candles of a level once more from their source. */
export async function mendCandles(
  clickhouse: Client,
  span: WholeSpan,
  level: Level,
  views: Views,
): Promise<MendedCandles> {
  const wide = widenTo(level.seconds, span);
  const wrong = await consistentRows<
    { interval: Interval; candles: number; from: number; to: number; lost: number }
  >(
    clickhouse,
    `SELECT interval, count() AS candles, min(micros) AS from, max(micros) AS to, minIf(micros, surplus > 0) AS lost
     FROM (SELECT interval, toUnixTimestamp64Micro(time) AS micros, surplus
           FROM (${wrongCandles(level, views, inSpans([wide]))}))
     GROUP BY interval`,
    productsOf([wide]),
  );
  if (wrong.length === 0) return { candles: {} };
  await rebuild(clickhouse, level, views, {
    product: span.product,
    from: Math.min(...wrong.map(({ from }) => from)),
    to: Math.max(...wrong.map(({ to }) => to)) + 1,
  });
  const lost = wrong.find(({ interval }) => interval === "1s")?.lost ?? 0;
  return {
    candles: Object.fromEntries(wrong.map(({ interval, candles }) => [interval, candles])),
    ...(lost > 0 && { lostSince: lost }),
  };
}

/** Makes the states of a span anew, beside the table, and lets them take the place of the old ones. */
async function rebuild(clickhouse: Client, level: Level, views: Views, span: WholeSpan): Promise<void> {
  const whole = widenTo(level.seconds, span);
  const where = inSpans([whole]);
  const table = `${repairPrefix(span.product)}${crypto.randomUUID().slice(0, 8)}`;
  await clickhouse.command({ query: `CREATE TABLE ${table} AS candle_states` });
  try {
    await clickhouse.command({
      query: `INSERT INTO ${table} ${level.made(views, where)}`,
      query_params: productsOf([whole]),
      clickhouse_settings: { insert_deduplicate: 0, max_partitions_per_insert_block: "0" },
    });
    await clickhouse.command({
      query: `DELETE FROM candle_states WHERE ${isOf(level)} AND ${where}`,
      query_params: productsOf([whole]),
      clickhouse_settings: { lightweight_deletes_sync: "2" },
    });
    const partitions = await consistentRows<{ id: string }>(
      clickhouse,
      `SELECT DISTINCT _partition_id AS id FROM ${table}`,
      {},
    );
    for (const { id } of partitions) {
      await clickhouse.command({
        query: `ALTER TABLE candle_states ATTACH PARTITION ID '${id}' FROM ${table}`,
      });
    }
  } finally {
    await clickhouse.command({ query: `DROP TABLE IF EXISTS ${table} SYNC` });
  }
}
