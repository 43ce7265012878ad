/**
 * Whether a restored database agrees with itself: the candles and the runs of trades are compared with the trades, and every
 * table is counted and digested. Days of candles that differ are made anew first.
 *
 * @module
 */

import {
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

/** The intervals that candles are kept of; the view `candles_1s` finalizes those of a second. */
const intervals = ["1s", "1m", "1h", "1d"];

/**
 * Compares each day's candles with the trades, and makes a day anew that differs.
 *
 * @returns how many days there are, and how many were made anew
 */
export async function proveCandles(restored: RestoredDatabase): Promise<{ days: number; rebuilt: number }> {
  const { clickhouse, candlesOnly, onProgress } = restored;
  const days = await bulkRows<{ day: string }>(
    clickhouse,
    `SELECT DISTINCT toString(toDate(time)) AS day
     FROM (SELECT time FROM trades UNION ALL SELECT time FROM candle_states)
     WHERE NOT has({months:Array(String)}, toString(toYYYYMM(time))) ORDER BY day`,
    { months: candlesOnly },
  );
  let rebuilt = 0;
  for (const [index, { day }] of days.entries()) {
    onProgress(`comparing candles with trades: ${day}, ${index + 1} of ${days.length} days`);
    if (await areCandlesRight(restored, day)) continue;
    rebuilt++;
    await clickhouse.command({
      query: `DELETE FROM candle_states WHERE ${inDay}`,
      query_params: dayParameters(day),
    });
    await clickhouse.command({
      query: `INSERT INTO candle_states ${await candlesOfTrades(restored)}`,
      query_params: dayParameters(day),
      clickhouse_settings: insertSettings,
    });
    if (!await areCandlesRight(restored, day)) throw differs("candle_states", day, "trades");
  }
  return { days: days.length, rebuilt };
}

/** The states of a day's candles, as its trades make them. */
function candlesOfTrades({ clickhouse, database }: RestoredDatabase): Promise<string> {
  return viewSelect(clickhouse, database, "candle_states_mv", "trades", inDay);
}

/** Whether a day's candles are those that its trades make. */
async function areCandlesRight(restored: RestoredDatabase, day: string): Promise<boolean> {
  const { clickhouse } = restored;
  const columns = (open: string, close: string) =>
    `interval, product_id, time, ${open}, high, low, ${close}, volume, quote_volume, buy_volume, sell_volume, trades`;
  const wanted = await digest(
    clickhouse,
    `(${await candlesOfTrades(restored)})`,
    columns("finalizeAggregation(open)", "finalizeAggregation(close)"),
    dayParameters(day),
  );
  const views = intervals.map((interval) =>
    `SELECT '${interval}' AS interval, * FROM candles_${interval} WHERE ${inDay}`
  );
  const stored = await digest(
    clickhouse,
    `(${views.join(" UNION ALL ")})`,
    columns("open", "close"),
    dayParameters(day),
  );
  return wanted === stored;
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
    ["heartbeat_ends_state", "made anew from heartbeats"],
    ["book_losses", "made anew from feed_events and rejected"],
    ["book_snapshots", "made anew from book_changes"],
    ["book_connections_state", "made anew from book_changes"],
    ["book_levels", books.length === 0 ? "" : `equals book_changes since ${books[0]}`],
    ["candle_states", `equals trades${anew}`],
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
