/**
 * `deno task bench storage`: how many bytes a trade, a ticker and a book change take with other codecs and order keys, on
 * an embedded ClickHouse of its own with rows of the exchange simulator.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../embedded/clickhouse/start.ts";
import { freePort } from "../embedded/process/ports.ts";
import { rows } from "../lib/clickhouse/rows.ts";
import { tickerDecimals } from "../lib/feed/messages.ts";
import { createSimulation } from "../exchange/simulation.ts";
import { migrate } from "../lib/clickhouse/migrations.ts";
import { addRows, emptyRows } from "../lib/ingest/rows.ts";
import { openClickHouse } from "../lib/clickhouse/client.ts";
import { insertBlock } from "../lib/ingest/insert_block.ts";
import { engineVersion, type Measured, type Row } from "./results.ts";

const products = ["BTC-USD", "ETH-USD", "SOL-USD"];
/** Matches and tickers a second over all products: several times the real feed's. */
const rate = 200;
const start = Date.UTC(2026, 6, 7, 12) * 1000;

/** What is measured: a table, and what is changed in a copy of it. */
interface Variant {
  name: string;
  /** Column → what it is modified to. */
  columns?: Record<string, string>;
  orderBy?: string;
}

const times = (codec: string) =>
  Object.fromEntries(["time", "received_at", "ingested_at"].map((column) => [column, `CODEC(${codec})`]));
const each = (columns: readonly string[], codec: string) =>
  Object.fromEntries(columns.map((column) => [column, `CODEC(${codec})`]));

const orderIds = ["maker_order_id", "taker_order_id"];

const decimals = {
  trades: ["price", "size"],
  tickers: tickerDecimals,
  book_changes: ["price", "size"],
} as const;
const counters = {
  trades: ["trade_id", "sequence", "kafka_offset"],
  tickers: ["sequence", "kafka_offset"],
  book_changes: ["position", "kafka_offset"],
} as const;

/** Tables with the read that people do most, and the variants. */
const measured: { table: keyof typeof decimals; row: string; read: string; variants: Variant[] }[] = [
  {
    table: "trades",
    row: "trade",
    read: "SELECT toStartOfMinute(time) AS minute, sum(price * toFloat64(size)), count() FROM TABLE " +
      "WHERE product_id = 'BTC-USD' GROUP BY minute",
    variants: [
      ...common("trades"),
      {
        name: "order ids as text",
        columns: Object.fromEntries(orderIds.map((column) => [column, "Nullable(String) CODEC(ZSTD)"])),
      },
      {
        name: "without order ids, as after their days",
        columns: Object.fromEntries(orderIds.map((column) => [column, "TTL toDate(time) + 1"])),
      },
      { name: "ORDER BY (product_id, time, trade_id)", orderBy: "(product_id, time, trade_id)" },
    ],
  },
  {
    table: "tickers",
    row: "ticker",
    read:
      "SELECT toStartOfMinute(time) AS minute, avg(toFloat64(best_ask) - toFloat64(best_bid)) FROM TABLE " +
      "WHERE product_id = 'BTC-USD' GROUP BY minute",
    variants: [
      ...common("tickers"),
      { name: "trade_id Delta", columns: { trade_id: "CODEC(Delta, ZSTD)" } },
      { name: "ORDER BY (product_id, connection, time)", orderBy: "(product_id, connection, time)" },
    ],
  },
  {
    table: "book_changes",
    row: "book change",
    read: "SELECT side, price, argMax(size, kafka_offset * 1048576 + position) FROM TABLE " +
      "WHERE product_id = 'BTC-USD' AND time < '2026-07-07 12:01:00' GROUP BY side, price",
    variants: [
      ...common("book_changes"),
      { name: "ORDER BY (product_id, side, price, time)", orderBy: "(product_id, side, price, time)" },
      { name: "ORDER BY (product_id, time, side, price)", orderBy: "(product_id, time, side, price)" },
    ],
  },
];

/** Each changes one kind of column, or all. */
function common(table: keyof typeof decimals): Variant[] {
  const all = (codec: string) => ({
    ...times(codec.replace("*", "Delta, ")),
    ...each(counters[table], codec.replace("*", "Delta, ")),
    ...each(decimals[table], codec.replace("*", "GCD, ")),
    ...(table === "trades" && each(orderIds, codec.replace("*", ""))),
  });
  return [
    { name: "as it is" },
    { name: "LZ4 everywhere", columns: all("*LZ4") },
    { name: "ZSTD(3) everywhere", columns: all("*ZSTD(3)") },
    { name: "ZSTD(6) everywhere", columns: all("*ZSTD(6)") },
    { name: "times DoubleDelta", columns: times("DoubleDelta, ZSTD") },
    { name: "times T64", columns: times("T64, ZSTD") },
    { name: "counters DoubleDelta", columns: each(counters[table], "DoubleDelta, ZSTD") },
    { name: "counters T64", columns: each(counters[table], "T64, ZSTD") },
    { name: "decimals without GCD", columns: each(decimals[table], "ZSTD") },
    { name: "decimals Delta(8)", columns: each(decimals[table], "Delta(8), ZSTD") },
    { name: "decimals T64", columns: each(decimals[table], "T64, ZSTD") },
  ];
}

/** What came of a variant. */
interface Measure {
  name: string;
  refused?: string;
  bytes: number;
  columns: Record<string, number>;
  insertSeconds: number;
  readMilliseconds: number;
}

/**
 * Bytes of each variant, and of each column as it is.
 *
 * @param seconds how long a market to simulate
 */
export async function benchStorage(seconds: number): Promise<Measured> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const server = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const config = { ...server.env, CLICKHOUSE_DATABASE: "measured" };
  const clickhouse = openClickHouse(config);
  try {
    await migrate(config, () => {});
    await load(clickhouse, seconds);
    const tables: Record<string, Row[]> = {};
    const present: { table: string; count: number; columns: Record<string, number> }[] = [];
    for (const { table, row, read, variants } of measured) {
      const [{ count = 0 } = {}] = await rows<{ count: number }>(
        clickhouse,
        `SELECT count() AS count FROM ${table}`,
      );
      console.log(`${table}: ${count} rows, in ${variants.length} forms`);
      const measures: Measure[] = [];
      for (const variant of variants) measures.push(await measure(clickhouse, table, variant, read));
      tables[table] = variantRows(row, count, measures);
      present.push({ table, count, columns: measures[0]?.columns ?? {} });
    }
    return {
      versions: { ClickHouse: await engineVersion(clickhouse) },
      tables: { ...tables, columns: columnRows(present) },
    };
  } finally {
    await clickhouse.close();
    await server.stop();
    await Deno.remove(home, { recursive: true });
  }
}

/** Stores what the simulator sends, ten seconds a batch. */
async function load(clickhouse: ClickHouseClient, length: number): Promise<void> {
  let now = start;
  const market = createSimulation({ products, rate, clock: () => now });
  const channels = ["level2_batch", "ticker", "matches"] as const;
  market.pull(() => false);
  let frames = products.flatMap((product) => market.opening("level2_batch", product));
  let offset = 0;
  let rows = emptyRows();
  for (let second = 1; second <= length; second++) {
    for (const { text } of frames) {
      const value = new TextEncoder().encode(text);
      // As over a network: 20 to 60 ms behind.
      const { time } = JSON.parse(text) as { time?: string };
      const sent = time === undefined ? now : Date.parse(time) * 1000;
      const receivedAt = sent + 20_000 + (offset * 7919) % 40_000;
      const stamp = { receivedAt, source: "feed", connection: "5f0c-1" };
      addRows(rows, { topic: "t", partition: 0, offset: offset++, value, ...stamp });
    }
    now += 1_000_000;
    frames = market.pull((channel) => channels.includes(channel as typeof channels[number]));
    if (second % 10 > 0 && second < length) continue;
    for (const table of ["trades", "tickers", "book_changes"] as const) {
      const own = table === "trades"
        ? rows.trades.map((trade) => [...trade, `clickhouse/t/0/${second}`])
        : rows[table];
      if (own.length > 0) await insertBlock(clickhouse, table, own, `${table}/${second}`);
    }
    rows = emptyRows();
  }
}

/** Copies a table in the variant's form, merges it to one part a partition, and looks at its columns. */
async function measure(
  clickhouse: ClickHouseClient,
  table: string,
  variant: Variant,
  read: string,
): Promise<Measure> {
  const copy = `${table}_variant`;
  const run = (query: string) => clickhouse.command({ query });
  await run(`DROP TABLE IF EXISTS ${copy} SYNC`);
  const [{ query = "" } = {}] = await rows<{ query: string }>(
    clickhouse,
    `SELECT create_table_query AS query FROM system.tables WHERE database = currentDatabase() AND name = '${table}'`,
  );
  const own = query
    .replace(`measured.${table}`, copy)
    .replace(
      /ORDER BY \(.*?\)/,
      (found) => variant.orderBy === undefined ? found : `ORDER BY ${variant.orderBy}`,
    )
    .concat(", min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0");
  const none = { name: variant.name, bytes: 0, columns: {}, insertSeconds: 0, readMilliseconds: 0 };
  try {
    await run(own);
    for (const [column, change] of Object.entries(variant.columns ?? {})) {
      await run(`ALTER TABLE ${copy} MODIFY COLUMN ${column} ${change}`);
    }
  } catch (error) {
    return { ...none, refused: (error as Error).message.split(/[.:\n]/)[0] ?? "" };
  }
  const began = performance.now();
  await run(`INSERT INTO ${copy} SELECT * FROM ${table}`);
  const insertSeconds = (performance.now() - began) / 1000;
  await run(`OPTIMIZE TABLE ${copy} FINAL`);
  const sizes = await rows<{ column: string; bytes: number }>(
    clickhouse,
    `SELECT column, toFloat64(sum(column_data_compressed_bytes)) AS bytes FROM system.parts_columns
     WHERE database = currentDatabase() AND table = '${copy}' AND active GROUP BY column ORDER BY column`,
  );
  const reads: number[] = [];
  for (let i = 0; i < 5; i++) {
    const before = performance.now();
    await rows(clickhouse, read.replace("TABLE", copy));
    reads.push(performance.now() - before);
  }
  return {
    ...none,
    bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
    columns: Object.fromEntries(sizes.map(({ column, bytes }) => [column, bytes])),
    insertSeconds,
    readMilliseconds: Math.min(...reads),
  };
}

/** A line a variant. */
function variantRows(row: string, count: number, measures: readonly Measure[]): Row[] {
  const present = measures[0]?.bytes ?? NaN;
  return measures.map(({ name, refused, bytes, insertSeconds, readMilliseconds }) =>
    refused !== undefined ? { [row]: name, "bytes a row": `refused: ${refused}` } : {
      [row]: name,
      "bytes a row": (bytes / count).toFixed(2),
      difference: `${(100 * bytes / present - 100).toFixed(1)} %`,
      "thousand rows inserted a second": Math.round(count / insertSeconds / 1000),
      "the read, ms": Math.round(readMilliseconds),
    }
  );
}

/** A line a column: the bytes that a row of each table takes in it, the largest first. */
function columnRows(
  tables: readonly { table: string; count: number; columns: Record<string, number> }[],
): Row[] {
  const names = [...new Set(tables.flatMap(({ columns }) => Object.keys(columns)))];
  const bytes = (name: string) => tables.map(({ columns, count }) => (columns[name] ?? 0) / count);
  return names.toSorted((a, b) => Math.max(...bytes(b)) - Math.max(...bytes(a))).map((name) => ({
    column: name,
    ...Object.fromEntries(tables.map(({ table, count, columns }) => {
      const own = columns[name];
      const shown = own === undefined ? "" : (own / count).toFixed(2);
      return [`${table}, ${count.toLocaleString("en-US")} rows`, shown];
    })),
  }));
}
