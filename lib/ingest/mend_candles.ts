/**
 * The four tables of candle states against what they are made from; and mending that.
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

export interface Level {
  interval: Interval;
  seconds: number;
  source: string;
}

/** Each interval's candles are made from the one before. */
export const levels: Level[] = [
  { interval: "1s", seconds: 1, source: "trades" },
  { interval: "1m", seconds: 60, source: "candles_1s_state" },
  { interval: "1h", seconds: 3600, source: "candles_1m_state" },
  { interval: "1d", seconds: 86_400, source: "candles_1h_state" },
];

/** A candle as one value, whole: equal states give equal candles. */
const candle =
  `(argMinMerge(states.open), max(states.high), min(states.low), argMaxMerge(states.close), sum(states.volume),
  sum(states.quote_volume), sum(states.buy_volume), sum(states.sell_volume), sum(states.trades))`;

/** The candles that aren't what their source makes: product, time, and how many trades they have too many. */
export function wrongCandles({ interval, source }: Level, views: Views, where: string): string {
  const select = restrictSource(view(views, `candles_${interval}_mv`), source, where);
  return `SELECT product_id, time, sum(sign * toInt64(trades)) AS surplus
     FROM
     (
       SELECT product_id, time, ${candle} AS candle, sum(states.trades) AS trades, -1 AS sign
       FROM (${select}) AS states GROUP BY product_id, time
       UNION ALL
       SELECT product_id, time, ${candle} AS candle, sum(states.trades) AS trades, 1 AS sign
       FROM (SELECT * FROM candles_${interval}_state WHERE ${where}) AS states GROUP BY product_id, time
     )
     GROUP BY product_id, time
     HAVING count() != 2 OR uniqExact(candle) != 1`;
}

/** Builds the wrong candles of an interval once more from their source. */
export async function mendCandles(
  clickhouse: Client,
  span: WholeSpan,
  level: Level,
  views: Views,
): Promise<{ candles: number; lostSince?: number }> {
  const { interval, seconds, source } = level;
  const state = `candles_${interval}_state`;
  const wide = widenTo(seconds, span);
  const select = view(views, `candles_${interval}_mv`);
  const [wrong] = await consistentRows<{ candles: number; from: number; to: number; lost: number }>(
    clickhouse,
    `SELECT count() AS candles, min(micros) AS from, max(micros) AS to, minIf(micros, surplus > 0) AS lost
     FROM (SELECT toUnixTimestamp64Micro(time) AS micros, surplus
           FROM (${wrongCandles(level, views, inSpans([wide]))}))`,
    productsOf([wide]),
  );
  if (wrong === undefined || wrong.candles === 0) return { candles: 0 };

  const rebuilt = { product: span.product, from: wrong.from, to: wrong.to + seconds * 1e6 };
  const where = inSpans([rebuilt]);
  const table = `${repairPrefix(span.product)}${crypto.randomUUID().slice(0, 8)}`;
  await clickhouse.command({ query: `CREATE TABLE ${table} AS ${state}` });
  try {
    await clickhouse.command({
      query: `INSERT INTO ${table} ${restrictSource(select, source, where)}`,
      query_params: productsOf([rebuilt]),
      clickhouse_settings: { insert_deduplicate: 0, max_partitions_per_insert_block: "0" },
    });
    await clickhouse.command({
      query: `DELETE FROM ${state} WHERE ${where}`,
      query_params: productsOf([rebuilt]),
      clickhouse_settings: { lightweight_deletes_sync: "2" },
    });
    // Parts that are attached don't run through the view behind the table: the next interval is mended by itself.
    const partitions = await consistentRows<{ id: string }>(
      clickhouse,
      `SELECT DISTINCT _partition_id AS id FROM ${table}`,
      {},
    );
    for (const { id } of partitions) {
      await clickhouse.command({ query: `ALTER TABLE ${state} ATTACH PARTITION ID '${id}' FROM ${table}` });
    }
  } finally {
    await clickhouse.command({ query: `DROP TABLE IF EXISTS ${table} SYNC` });
  }
  return { candles: wrong.candles, ...(wrong.lost > 0 && { lostSince: wrong.lost }) };
}
