/**
 * What follows from other tables, made anew by their own materialized views: the runs of trades, the book, and the small
 * tables. The candles are made anew where they are compared (lib/archive/backup_proof.ts).
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { Moment } from "./backup_moment.ts";
import { dayParameters, digestOf, inDay } from "./day_rows.ts";
import { bulkRows } from "./statements.ts";
import { restrictSource } from "../clickhouse/view_source.ts";
import { FatalError } from "../core/errors.ts";

/** A database that was just restored and that nobody else uses yet; `clickhouse` is connected to it. */
export interface RestoredDatabase {
  clickhouse: ClickHouseClient;
  database: string;
  /** Undefined for a backup that was made without Kafka: nothing is removed then. */
  moment: Moment | undefined;
  /** Months (`YYYYMM`) of candles whose trades somebody had removed before the backup: they are left as they are. */
  candlesOnly: readonly string[];
  /** Told what is done, now and then. */
  onProgress: (what: string) => void;
}

/** Ids of trades whose runs are made by one statement. */
const idsAtOnce = 2_000_000;

/** The name of the batch of all runs of trades that a restore has made: no consumer's batch is called so. */
export const restoredBatch = "restored";

/** Numbers of book changes are `kafka_offset * 2^20 + position`. */
const changesPerOffset = 1_048_576;

/** One block may be as a former one, and may hold a day of every product. */
export const insertSettings = { insert_deduplicate: 0, max_partitions_per_insert_block: "0" } as const;

/** Makes `trade_runs` anew from the trades: candles, gaps, completeness and the consumer believe it. */
export async function rebuildTradeRuns(
  { clickhouse, database, candlesOnly, onProgress }: RestoredDatabase,
): Promise<void> {
  onProgress("making trade_runs anew from trades");
  const columns = "product_id, first_trade_id, last_trade_id, first_time, last_time, first_received_at, " +
    "last_received_at, source, batch";
  // Of trades that somebody has removed only their runs tell that they were stored.
  const kept = candlesOnly.length === 0 ? [] : await bulkRows<Record<string, string>>(
    clickhouse,
    `SELECT product_id, first_trade_id,
       if(stored.id = 0, runs.last_trade_id, least(runs.last_trade_id, toUInt64(stored.id - 1))) AS last_trade_id,
       first_time, last_time, first_received_at, last_received_at, source, 'trimmed' AS batch
     FROM trade_runs AS runs
     LEFT JOIN (SELECT product_id, min(trade_id) AS id FROM trades GROUP BY product_id) AS stored USING product_id
     WHERE (stored.id = 0 OR runs.first_trade_id < stored.id)
       AND toString(toYYYYMM(runs.first_time)) IN {months:Array(String)}`,
    { months: candlesOnly },
  );
  await empty(clickhouse, "trade_runs");
  if (kept.length > 0) await clickhouse.insert({ table: "trade_runs", values: kept, format: "JSONEachRow" });
  const chunks = await bulkRows<{ product: string; first: string }>(
    clickhouse,
    `SELECT product_id AS product, toString(intDiv(trade_id, ${idsAtOnce}) * ${idsAtOnce}) AS first
     FROM trades GROUP BY ALL ORDER BY ALL`,
  );
  for (const { product, first } of chunks) {
    onProgress(`making trade_runs anew from trades: ${product} from ${first}`);
    const select = await viewSelect(
      clickhouse,
      database,
      "trade_runs_mv",
      "trades",
      `product_id = {product:String} AND trade_id BETWEEN {first:UInt64} AND {first:UInt64} + ${
        idsAtOnce - 1
      }`,
    );
    await clickhouse.command({
      query: `INSERT INTO trade_runs (${columns})
              SELECT ${columns} FROM
              (
                SELECT * REPLACE ('${restoredBatch}' AS batch, splitByChar(' ', source)[1] AS source)
                FROM (${select})
              )`,
      query_params: { product, first },
      clickhouse_settings: insertSettings,
    });
  }
}

/** Makes a small table anew from all that its views read. */
export async function rebuildWhole(
  { clickhouse, database, onProgress }: RestoredDatabase,
  table: string,
): Promise<void> {
  onProgress(`making ${table} anew`);
  const views = await bulkRows<{ as_select: string }>(
    clickhouse,
    `SELECT as_select FROM system.tables
     WHERE database = {database:String} AND engine = 'MaterializedView'
       AND replaceAll(extract(create_table_query, ' TO (\\\\S+)'), '\`', '') = concat({database:String}, '.', {table:String})
     ORDER BY name`,
    { database, table },
  );
  if (views.length === 0) throw new Error(`No view fills ${table}.`);
  await empty(clickhouse, table);
  for (const { as_select } of views) {
    await clickhouse.command({
      query: `INSERT INTO ${table} ${as_select}`,
      clickhouse_settings: insertSettings,
    });
  }
}

/**
 * Makes what follows from the order book anew, as far back as a row of it may come from a change that was removed. Days whose
 * changes were dropped (`archive --drop`, CLICKHOUSE_BOOK_DAYS) are older than all that are stored, and stay as they are.
 *
 * @returns the days that were made anew, each equal to its changes now
 */
export async function rebuildBook(restored: RestoredDatabase): Promise<string[]> {
  const { clickhouse, database, moment, onProgress } = restored;
  const [{ oldest } = { oldest: "" }] = await bulkRows<{ oldest: string }>(
    clickhouse,
    "SELECT if(count() = 0, '', toString(toDate(min(time)))) AS oldest FROM book_changes",
  );
  // Without a change that is left, all days before the moment were dropped.
  const from = oldest || (moment?.at.slice(0, 10) ?? "2100-01-01");
  const query_params = {
    from: `${from} 00:00:00`,
    least: moment === undefined ? 0 : Math.min(Number.MAX_SAFE_INTEGER, ...moment.level2.offsets),
  };
  const since = "time >= {from:DateTime64(6, 'UTC')}";
  for (
    const [table, view] of [
      ["book_snapshots", "book_snapshots_mv"],
      ["book_connections_state", "book_connections_mv"],
    ] as const
  ) {
    onProgress(`making ${table} anew from book_changes`);
    const column = table === "book_snapshots" ? "time" : "last_time";
    await clickhouse.command({
      query: `DELETE FROM ${table} WHERE ${column} >= {from:DateTime64(6, 'UTC')}`,
      query_params,
    });
    await clickhouse.command({
      query: `INSERT INTO ${table} ${await viewSelect(clickhouse, database, view, "book_changes", since)}`,
      query_params,
      clickhouse_settings: insertSettings,
    });
  }
  const days = await bulkRows<{ day: string }>(
    clickhouse,
    `SELECT DISTINCT toString(toDate(time)) AS day FROM book_levels
     WHERE ${since} AND intDiv(change, ${changesPerOffset}) >= {least:UInt64} ORDER BY day`,
    query_params,
  );
  for (const { day } of days) await rebuildBookDay(restored, day);
  return days.map(({ day }) => day);
}

/** Makes the levels of a day's book anew, and compares them: up to the hour with the changes, and the day with its hours. */
async function rebuildBookDay(
  { clickhouse, database, onProgress }: RestoredDatabase,
  day: string,
): Promise<void> {
  const hours = await readHours(clickhouse, day);
  await clickhouse.command({
    query: `DELETE FROM book_levels WHERE ${inDay}`,
    query_params: dayParameters(day),
  });
  const select = await viewSelect(clickhouse, database, "book_levels_mv", "book_changes", inDay);
  for (const hour of hours) {
    onProgress(`making the levels of the book anew: ${hour.from}`);
    await clickhouse.command({
      query: `INSERT INTO book_levels ${select}`,
      query_params: hour,
      clickhouse_settings: insertSettings,
    });
  }
  const compare = async (from: string, kind: string, span: { from: string; to: string }) => {
    const columns = "interval, product_id, connection, time, side, price, size, change";
    const wanted = await digest(clickhouse, from, columns, span);
    const stored = await digest(clickhouse, `book_levels FINAL WHERE ${kind} AND ${inDay}`, columns, span);
    if (wanted !== stored) throw differs("book_levels", day, "book_changes");
  };
  for (const hour of hours) {
    await compare(`(SELECT * FROM (${select}) WHERE interval != '1d')`, "interval != '1d'", hour);
  }
  await compare(`(${dayOfHours})`, "interval = '1d'", dayParameters(day));
}

/** The last change of each level in a day, from its hours: a whole day of changes is a large group. */
const dayOfHours =
  `SELECT '1d' AS interval, product_id, connection, toDateTime64(toStartOfDay(hours.time), 6, 'UTC') AS time, side, price,
     argMax(hours.size, hours.change) AS size, max(hours.change) AS change
   FROM (SELECT * FROM book_levels WHERE interval = '1h' AND ${inDay}) AS hours
   GROUP BY product_id, connection, time, side, price`;

/** The hours of a day of which the book, or its levels, hold anything: a whole day is a large group. */
async function readHours(clickhouse: ClickHouseClient, day: string): Promise<{ from: string; to: string }[]> {
  const hours = await bulkRows<{ hour: number }>(
    clickhouse,
    `SELECT DISTINCT toHour(time) AS hour
     FROM (SELECT time FROM book_changes WHERE ${inDay} UNION ALL
           SELECT time FROM book_levels WHERE interval = '10m' AND ${inDay})
     ORDER BY hour`,
    dayParameters(day),
  );
  const text = (at: number) => new Date(at).toISOString().slice(0, 19).replace("T", " ");
  return hours.map(({ hour }) => {
    const start = Date.parse(day) + hour * 3_600_000;
    return { from: text(start), to: text(start + 3_600_000) };
  });
}

/**
 * The select of a materialized view over a part of what it reads: the one place where its formula stands is the schema.
 *
 * @param where a condition on the source's columns
 * @param columns what is selected of it
 */
export async function viewSelect(
  clickhouse: ClickHouseClient,
  database: string,
  view: string,
  source: string,
  where: string,
  columns = "*",
): Promise<string> {
  const [row] = await bulkRows<{ as_select: string }>(
    clickhouse,
    "SELECT as_select FROM system.tables WHERE database = {database:String} AND name = {view:String}",
    { database, view },
  );
  return restrictSource(row?.as_select ?? "", source, where, columns);
}

/** Count and digest of what a query's FROM names: `12 00ab…`. */
export async function digest(
  clickhouse: ClickHouseClient,
  from: string,
  columns: string,
  query_params: Record<string, unknown>,
): Promise<string> {
  const [row] = await bulkRows<{ value: string }>(
    clickhouse,
    `SELECT concat(toString(count()), ' ', ${digestOf(columns)}) AS value FROM ${from}`,
    query_params,
  );
  return row?.value ?? "";
}

/** What is thrown when a table isn't what follows from another one. */
export function differs(table: string, where: string, source: string): FatalError {
  return new FatalError(
    `The restored ${table} of ${where} isn't what follows from ${source}: this backup can't be trusted. Restore another one.`,
  );
}

/** Takes all rows of a table away. */
export async function empty(clickhouse: ClickHouseClient, table: string): Promise<void> {
  await clickhouse.command({ query: `ALTER TABLE ${table} DROP PARTITION ALL` });
}

/** The number that a query answers as `value`; 0 without a row. */
export async function number(
  clickhouse: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown> = {},
): Promise<number> {
  const [row] = await bulkRows<{ value: string }>(clickhouse, query, query_params);
  return Number(row?.value ?? 0);
}
