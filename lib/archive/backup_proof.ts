/**
 * Whether a restored database agrees with itself: the candles and the runs of trades are compared with the trades, and every
 * table is counted and digested. Days of candles that differ are made anew first.
 *
 * @module
 */

import {
  bookLevels,
  differs,
  digest,
  insertSettings,
  number,
  restoredBatch,
  type RestoredDatabase,
  viewSelect,
} from "./backup_rebuild.ts";
import { dayParameters, inDay } from "./day_rows.ts";
import { bulkRows } from "./statements.ts";
import { quote } from "../clickhouse/quote.ts";

/** What is known of a table when all is done. */
export interface ProofLine {
  table: string;
  rows: number;
  /** The sum, modulo 2^64, of `cityHash64(formatRow('RowBinary', …))` of each row, hexadecimal. */
  digest: string;
  /** Rows that were stored after the moment. */
  removed: number;
  /** What it was compared with; empty where there is nothing to compare. */
  proven: string;
}

/** What was proven, and what a person should know of the tape. */
export interface Proof {
  lines: ProofLine[];
  /** Trades that stand more than once: as in the database that was backed up. */
  doubles: number;
  gaps: number;
  missing: number;
}

/** Each level of the candles: its materialized view, what that reads, and the view that finalizes it. */
const candleLevels = [
  { view: "candles_1s_mv", source: "trades", target: "candles_1s_state", candles: "candles_1s" },
  { view: "candles_1m_mv", source: "candles_1s_state", target: "candles_1m_state", candles: "candles_1m" },
  { view: "candles_1h_mv", source: "candles_1m_state", target: "candles_1h_state", candles: "candles_1h" },
  { view: "candles_1d_mv", source: "candles_1h_state", target: "candles_1d_state", candles: "candles_1d" },
] as const;

/**
 * Compares each day's candles with the trades, level by level, and makes a day anew that differs.
 *
 * @returns how many days there are, and how many were made anew
 */
export async function proveCandles(restored: RestoredDatabase): Promise<{ days: number; rebuilt: number }> {
  const { clickhouse, candlesOnly, onProgress } = restored;
  const days = await bulkRows<{ day: string }>(
    clickhouse,
    `SELECT DISTINCT toString(toDate(time)) AS day
     FROM (SELECT time FROM trades UNION ALL ${
      candleLevels.map(({ target }) => `SELECT time FROM ${target}`).join(" UNION ALL ")
    })
     WHERE NOT has({months:Array(String)}, toString(toYYYYMM(time))) ORDER BY day`,
    { months: candlesOnly },
  );
  let rebuilt = 0;
  for (const [index, { day }] of days.entries()) {
    onProgress(`comparing candles with trades: ${day}, ${index + 1} of ${days.length} days`);
    if (await differingCandles(restored, day) === undefined) continue;
    rebuilt++;
    for (const { target } of candleLevels) {
      await clickhouse.command({
        query: `DELETE FROM ${target} WHERE ${inDay}`,
        query_params: dayParameters(day),
      });
    }
    const [{ view, source, target }] = candleLevels;
    // The minute, the hour and the day follow by their own views.
    await clickhouse.command({
      query: `INSERT INTO ${target} ${await viewSelect(clickhouse, restored.database, view, source, inDay)}`,
      query_params: dayParameters(day),
      clickhouse_settings: insertSettings,
    });
    const level = await differingCandles(restored, day);
    if (level !== undefined) throw differs(level.candles, day, level.source);
  }
  return { days: days.length, rebuilt };
}

/** The first level of a day's candles that isn't what the level below it says. */
async function differingCandles({ clickhouse, database }: RestoredDatabase, day: string) {
  for (const level of candleLevels) {
    const select = await viewSelect(clickhouse, database, level.view, level.source, inDay);
    const columns = (open: string, close: string) =>
      `product_id, time, ${open}, high, low, ${close}, volume, quote_volume, buy_volume, sell_volume, trades`;
    const wanted = await digest(
      clickhouse,
      `(${select})`,
      columns("finalizeAggregation(open)", "finalizeAggregation(close)"),
      dayParameters(day),
    );
    const stored = await digest(
      clickhouse,
      `${level.candles} WHERE ${inDay}`,
      columns("open", "close"),
      dayParameters(day),
    );
    if (wanted !== stored) return level;
  }
}

/**
 * Compares the runs with the trades: each stored trade is in one run, and no run names another.
 *
 * @throws {FatalError} naming the products of which that isn't so
 */
export async function proveTradeRuns({ clickhouse }: RestoredDatabase): Promise<void> {
  const wrong = await bulkRows<{ product: string }>(
    clickhouse,
    `SELECT product_id AS product
     FROM
     (
       SELECT product_id, count() AS trades, 0 AS ids FROM trades GROUP BY product_id
       UNION ALL
       SELECT product_id, 0, sum(last_trade_id - first_trade_id + 1) FROM trade_runs
       WHERE batch = '${restoredBatch}' GROUP BY product_id
     )
     GROUP BY product_id HAVING sum(trades) != sum(ids)`,
  );
  if (wrong.length > 0) throw differs("trade_runs", wrong.map(({ product }) => product).join(", "), "trades");
}

/**
 * Counts and digests every table.
 *
 * @param removed table → rows that were stored after the moment
 * @param candles what `proveCandles` returned
 * @param books the days of the book that were made anew
 */
export async function readProof(
  { clickhouse, database, onProgress }: RestoredDatabase,
  removed: ReadonlyMap<string, number>,
  candles: { days: number; rebuilt: number },
  books: readonly string[],
): Promise<Proof> {
  const anew = candles.rebuilt === 0 ? "" : `, ${candles.rebuilt} of ${candles.days} days made anew`;
  const proven = new Map<string, string>([
    ["trade_runs", "made anew; names each trade once, and no other"],
    ["heartbeats_range_state", "made anew from heartbeats"],
    ["heartbeat_ends_state", "made anew from heartbeats"],
    ["book_losses", "made anew from feed_events and rejected"],
    ["book_snapshots", "made anew from book_changes"],
    ["book_connections_state", "made anew from book_changes"],
    ...bookLevels.map(({ target, source }): [string, string] => [
      target,
      books.length === 0 ? "" : `equals ${source} since ${books[0]}`,
    ]),
    ...candleLevels.map(({ target, source }): [string, string] => [target, `equals ${source}${anew}`]),
  ]);
  const tables = await bulkRows<{ name: string; columns: string; final: number }>(
    clickhouse,
    `SELECT name, match(any(engine), '^(Aggregating|Replacing)') AS final,
       arrayStringConcat(groupArray(if(startsWith(column.type, 'AggregateFunction'),
         concat('finalizeAggregation(', column.name, ')'), column.name)), ', ') AS columns
     FROM system.tables AS table
     INNER JOIN
     (
       SELECT table, name, type FROM system.columns
       WHERE database = {database:String} AND default_kind NOT IN ('ALIAS', 'EPHEMERAL', 'MATERIALIZED')
       ORDER BY table, position
     ) AS column ON column.table = table.name
     WHERE table.database = {database:String} AND endsWith(engine, 'MergeTree') AND name != 'migrations'
     GROUP BY name ORDER BY name`,
    { database },
  );
  const lines: ProofLine[] = [];
  for (const { name, columns, final } of tables) {
    onProgress(`reading ${name}`);
    const [count = "0", hash = ""] = (await digest(
      clickhouse,
      `${quote(name)}${final ? " FINAL" : ""}`,
      columns,
      {},
    )).split(" ");
    lines.push({
      table: name,
      rows: Number(count),
      digest: hash,
      removed: removed.get(name) ?? 0,
      proven: proven.get(name) ?? "",
    });
  }
  const doubles = await number(
    clickhouse,
    `SELECT count() AS value FROM (SELECT 1 FROM trades GROUP BY product_id, trade_id HAVING count() > 1
     SETTINGS optimize_aggregation_in_order = 1)`,
  );
  const gaps = await number(clickhouse, "SELECT count() AS value FROM trade_gaps");
  const missing = await number(clickhouse, "SELECT sum(missing) AS value FROM trade_gaps");
  return { lines, doubles, gaps, missing };
}
