/**
 * Which rows of a batch ClickHouse has already, asked of the tables themselves: the answer doesn't depend on how long
 * ClickHouse remembers a block's token.
 *
 * A trade is known by its product and number; every other row by its message: partition, offset, and the microsecond in
 * which it was received, so that the same offset of another log is another message. A message's rows share one time, so
 * they lie in one part, and are there together or not at all.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { columns, type Row, type Table, type TradeKey, tradeKey } from "./rows.ts";
import { createTradeIds, type Run } from "../core/id_ranges.ts";
import { consistentRead } from "../clickhouse/client.ts";
import { tuples } from "../clickhouse/rows.ts";

/** More conditions than this and the runs next to each other are asked for together. */
const mostRuns = 100;

/**
 * The rows that are not stored, in their order.
 *
 * @param rows of one batch of one partition, in the order of `columns`
 */
export async function missingRows(
  clickhouse: ClickHouseClient,
  table: Table,
  rows: readonly Row[],
): Promise<Row[]> {
  // Merges keep only the newest row of a product, so an older one is never found; one more changes nothing.
  if (rows.length === 0 || table === "products_state") return [...rows];
  const key = keyOf(table);
  const stored = new Set<string>();
  for (const { where, parameters } of scopes(table, rows)) {
    const found = await tuples<string[]>(
      clickhouse,
      `SELECT DISTINCT ${key.map((column) => `toString(${column})`)} FROM ${table} WHERE ${where}`,
      parameters,
      { settings: consistentRead },
    );
    for (const values of found) stored.add(values.join(" "));
  }
  const places = key.map((column) => place(table, column));
  return rows.filter((row) => !stored.has(places.map((at) => String(row[at])).join(" ")));
}

/** When the trades of these numbers happened that are stored: `product number` → ClickHouse's time. */
export async function readTradeTimes(
  clickhouse: ClickHouseClient,
  trades: readonly TradeKey[],
): Promise<Map<string, string>> {
  const times = new Map<string, string>();
  for (const { where, parameters } of tradeScopes(trades)) {
    const found = await tuples<[product: string, number: string, time: string]>(
      clickhouse,
      `SELECT product_id, toString(trade_id), toString(time) FROM trades WHERE ${where}`,
      parameters,
      { settings: consistentRead },
    );
    for (const [product, number, time] of found) times.set(`${product} ${number}`, time);
  }
  return times;
}

/**
 * Removes all rows but the first of each of the batch's, for an insert that came late may have found another one done.
 * Nothing happens where each is there once.
 *
 * @returns how many were removed
 */
export async function removeDoubles(
  clickhouse: ClickHouseClient,
  table: Table,
  rows: readonly Row[],
): Promise<number> {
  if (rows.length === 0 || table === "products_state") return 0;
  const key = [...keyOf(table), ...(table === "book_changes" ? ["position"] : [])].join(", ");
  let removed = 0;
  for (const { where, parameters } of scopes(table, rows)) {
    const [row] = await tuples<[surplus: number]>(
      clickhouse,
      `SELECT count() - uniqExact(${key}) FROM ${table} WHERE ${where}`,
      parameters,
      { settings: consistentRead },
    );
    const [surplus = 0] = row ?? [];
    if (surplus === 0) continue;
    // Rows of one insert share ingested_at, and no two inserts of the same rows do.
    await clickhouse.command({
      query: `DELETE FROM ${table} WHERE ${where} AND (${key}, ingested_at) NOT IN
              (SELECT ${key}, min(ingested_at) FROM ${table} WHERE ${where} GROUP BY ${key})`,
      query_params: parameters,
      clickhouse_settings: { lightweight_deletes_sync: "2" },
    });
    removed += surplus;
  }
  return removed;
}

function keyOf(table: Table): string[] {
  return table === "trades" ? ["product_id", "trade_id"] : ["kafka_offset", "received_at"];
}

function place(table: Table, column: string): number {
  return (columns[table] as readonly string[]).indexOf(column);
}

/** A condition that holds the batch's rows and few others, by the table's order key. */
export interface Scope {
  where: string;
  parameters: Record<string, unknown>;
}

function scopes(table: Table, rows: readonly Row[]): Scope[] {
  return table === "trades" ? tradeScopes(rows.map(tradeKey)) : [messageScope(table, rows)];
}

/** The scope of a batch's messages, by their place in the topic and their time. */
export function messageScope(table: Exclude<Table, "trades">, rows: readonly Row[]): Scope {
  const of = (column: string) => {
    const at = place(table, column);
    return rows.map((row) => row[at]!);
  };
  const offsets = of("kafka_offset") as number[];
  const time = table === "rejected" ? "received_at" : "time";
  const times = of(time) as string[];
  const parameters: Record<string, unknown> = {
    partition: of("kafka_partition")[0],
    first: least(offsets),
    last: greatest(offsets),
    from: least(times),
    to: greatest(times),
  };
  const where = [
    "kafka_partition = {partition:UInt32}",
    "kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}",
    `${table}.${time} BETWEEN {from:DateTime64(6, 'UTC')} AND {to:DateTime64(6, 'UTC')}`,
  ];
  if (table === "rejected") {
    where.push("kafka_topic = {topic:String}");
    parameters.topic = of("kafka_topic")[0];
  } else if (table !== "feed_events") {
    where.push("product_id IN {products:Array(String)}");
    parameters.products = [...new Set(of("product_id"))];
  }
  return { where: where.join(" AND "), parameters };
}

/** A scope a product: its numbers, so that a batch of old and new trades doesn't ask for all that lies between. */
function tradeScopes(trades: readonly TradeKey[]): Scope[] {
  const numbers = new Map<string, number[]>();
  for (const { productId, tradeId } of trades) {
    const of = numbers.get(productId);
    if (of === undefined) numbers.set(productId, [tradeId]);
    else of.push(tradeId);
  }
  return [...numbers].map(([product, of]) => {
    const runs = nearest(createTradeIds(of.map((number) => ({ first: number, last: number }))).runs);
    return {
      where: `product_id = {product:String} AND (${
        runs.map(({ first, last }) => `trade_id BETWEEN ${first} AND ${last}`).join(" OR ")
      })`,
      parameters: { product },
    };
  });
}

/** At most `mostRuns` of them: those that lie nearest to each other become one. */
function nearest(runs: readonly Run[]): Run[] {
  const surplus = runs.length - mostRuns;
  if (surplus <= 0) return [...runs];
  const distances = runs.slice(1).map((run, index) => run.first - runs[index]!.last);
  const bound = distances.toSorted((left, right) => left - right)[surplus - 1]!;
  const joined: Run[] = [];
  for (const run of runs) {
    const before = joined.at(-1);
    if (before !== undefined && run.first - before.last <= bound) before.last = run.last;
    else joined.push({ ...run });
  }
  return joined;
}

function least<T extends number | string>(values: readonly T[]): T {
  return values.reduce((left, right) => right < left ? right : left);
}

function greatest<T extends number | string>(values: readonly T[]): T {
  return values.reduce((left, right) => right > left ? right : left);
}

/** True when any message of a topic may be stored: what every producer sends before anything else is there. */
export async function holdsRows(clickhouse: ClickHouseClient): Promise<boolean> {
  const [row] = await tuples<[holds: number | null]>(
    clickhouse,
    `SELECT sum(total_rows) > 0 FROM system.tables
     WHERE database = currentDatabase() AND match(name, {tables:String})`,
    { tables: `^(${Object.keys(columns).join("|")})(_local)?$` },
  );
  return Boolean(row?.[0]);
}

/** True when one of the tables has a message of the partition, of whatever log. */
export async function holdsPartition(
  clickhouse: ClickHouseClient,
  of: readonly Table[],
  partition: number,
): Promise<boolean> {
  for (const table of of) {
    const query = `SELECT 1 FROM ${table} WHERE kafka_partition = {partition:UInt32} LIMIT 1`;
    if ((await tuples(clickhouse, query, { partition })).length > 0) return true;
  }
  return false;
}
