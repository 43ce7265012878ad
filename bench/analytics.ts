/**
 * `deno task bench analytics`: how long the views of candles and of the order book take, on tables of the size that a
 * year makes, in an embedded ClickHouse of its own.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../embedded/clickhouse/start.ts";
import { freePort } from "../embedded/process/ports.ts";
import { readConfig } from "../lib/process/config.ts";
import { migrate } from "../lib/clickhouse/migrations.ts";
import { clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";
import { engineVersion, type Measured, quantile, type Row } from "./results.ts";

/** A query that is timed. */
interface Case {
  what: string;
  query: string;
}

const runs = 21;
const year = "product='BTC-USD', interval='1m', from='2025-07-01 00:00:00', to='2026-07-01 00:00:00'";
const day = "product='BTC-USD', interval='1s', from='2026-07-07 00:00:00', to='2026-07-08 00:00:00'";
const ohlcv = "time, open, high, low, close, volume";

const candleCases: Case[] = [
  { what: "a year of 1m, OHLC and volume", query: `SELECT ${ohlcv} FROM candles(${year})` },
  { what: "a year of 1m, all columns with vwap", query: `SELECT * FROM candles(${year})` },
  { what: "a day of 1s, OHLC and volume", query: `SELECT ${ohlcv} FROM candles(${day})` },
  { what: "a day of 1s, all columns with vwap", query: `SELECT * FROM candles(${day})` },
];

const bookCases: Case[] = ["2026-07-07 12:05:05", "2026-07-08 13:25:55.5", "2026-07-09 01:59:59"].flatMap(
  (at) => [
    {
      what: `book_depth_at ${at}`,
      query: `SELECT * FROM book_depth_at(product='BTC-USD', at='${at}')`,
    },
    {
      what: `book_at ${at}, 20 levels`,
      query: `SELECT * FROM book_at(product='BTC-USD', at='${at}', depth=20)`,
    },
    {
      what: `market_order_cost ${at}`,
      query: `SELECT * FROM market_order_cost(product='BTC-USD', at='${at}', side='buy', size='10')`,
    },
  ],
);

/**
 * The median and the slowest of 21 runs of each query, in ms at the engine.
 *
 * @param changes rows of `book_changes`; the target of 200 ms is for 50 million
 */
export async function benchAnalytics(changes = 50_000_000): Promise<Measured> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const server = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const set: Record<string, string> = { ...server.env, CLICKHOUSE_DATABASE: "bench" };
  const config = readConfig(clickhouseVariables, (name) => set[name]);
  const clickhouse = openClickHouse(config);
  try {
    await migrate(config, () => {});
    await fillCandles(clickhouse, "1m", "2025-07-01 00:00:00", 60, 525_600);
    await fillCandles(clickhouse, "1s", "2026-07-07 00:00:00", 1, 86_400);
    const started = performance.now();
    await fillBook(clickhouse, changes);
    const seconds = (performance.now() - started) / 1000;
    console.log(`${changes} book changes and their states were inserted in ${seconds.toFixed(1)} s`);
    const candles = await timeAll(clickhouse, candleCases);
    const book = await timeAll(clickhouse, bookCases);
    return { versions: { ClickHouse: await engineVersion(clickhouse) }, tables: { candles, book } };
  } finally {
    await clickhouse.close();
    await server.stop();
    await Deno.remove(home, { recursive: true });
  }
}

async function timeAll(clickhouse: ClickHouseClient, cases: readonly Case[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { what, query } of cases) {
    const times: number[] = [];
    for (let run = 0; run < runs; run++) times.push(await timeOf(clickhouse, query));
    rows.push({
      query: what,
      "median, ms": Math.round(quantile(times, 0.5)),
      "slowest, ms": Math.round(Math.max(...times)),
    });
  }
  return rows;
}

/** The engine's own time in ms; the answer is thrown away, so sending it doesn't count. */
async function timeOf(clickhouse: ClickHouseClient, query: string): Promise<number> {
  const { summary } = await clickhouse.command({
    query: `${query} FORMAT Null`,
    clickhouse_settings: { wait_end_of_query: 1 },
  });
  return Number(summary?.elapsed_ns) / 1e6;
}

/** A state in each interval, as trades would have made it. */
async function fillCandles(
  clickhouse: ClickHouseClient,
  base: "1s" | "1m",
  from: string,
  seconds: number,
  intervals: number,
): Promise<void> {
  await clickhouse.command({
    query: `
      INSERT INTO candles_${base}_state
      WITH 60000 + number % 977 AS price
      SELECT
        'BTC-USD', toDateTime64('${from}', 6, 'UTC') + toIntervalSecond(number * ${seconds}),
        argMinState(toDecimal128(price, 18), number), max(toDecimal128(price + 3, 18)),
        min(toDecimal128(price - 3, 18)), argMaxState(toDecimal128(price + 1, 18), number),
        sum(toDecimal128(1.5, 18)), sum(CAST(toDecimal128(90000, 2) AS Decimal(76, 36))),
        sum(toDecimal128(1, 18)), sum(toDecimal128(0.5, 18)), sum(toUInt64(12))
      FROM numbers(${intervals})
      GROUP BY number`,
  });
}

/**
 * One epoch of fifty hours: a snapshot of 60 000 levels a side, then changes evenly in time, most of them near the mid
 * of 64 000, a third of them removals.
 */
async function fillBook(clickhouse: ClickHouseClient, changes: number): Promise<void> {
  const chunk = 500_000;
  const microseconds = Math.floor(50 * 3600 * 1e6 / changes);
  const start = "toDateTime64('2026-07-07 00:00:00', 6, 'UTC')";
  const insert = (select: string) =>
    clickhouse.command({
      query: `INSERT INTO book_changes
        (product_id, time, side, price, size, is_snapshot, position, received_at, source, connection,
         kafka_partition, kafka_offset) ${select}`,
      clickhouse_settings: { max_insert_block_size: "10000000", min_insert_block_size_rows: "10000000" },
    });
  await insert(`
    WITH number % 2 = 0 AS is_bid, intDiv(number, 2) * 5 + 5 AS cents
    SELECT 'BTC-USD', ${start}, if(is_bid, 'bid', 'ask'),
      CAST(toDecimal128(6400000 + if(is_bid, -cents, cents), 2) / 100 AS Decimal(38, 18)),
      toDecimal128(0.5, 18), true, number, ${start}, 'simulator', 'bench', 0, 1
    FROM numbers(120000)`);
  for (let done = 0; done < changes; done += chunk) {
    await insert(`
      WITH ${done} + number AS n, cityHash64(n) AS hash, bitAnd(hash, 4096) = 0 AS is_bid,
        toInt64(-ln(1 - (hash % 1000003) / 1000003) * 4000) + 1 AS cents,
        ${start} + toIntervalMicrosecond(1 + n * ${microseconds}) AS at
      SELECT 'BTC-USD', at, if(is_bid, 'bid', 'ask'),
        CAST(toDecimal128(6400000 + if(is_bid, -cents, cents), 2) / 100 AS Decimal(38, 18)),
        if(hash % 3 = 0, toDecimal128(0, 18), CAST(toDecimal128(hash % 100000 + 1, 4) / 10000 AS Decimal(38, 18))),
        false, 0, at, 'simulator', 'bench', 0, 2 + n
      FROM numbers(${Math.min(chunk, changes - done)})`);
  }
}
