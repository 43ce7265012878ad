/**
 * Which trades are stored already: rule 3 of *Counting once* (docs/decisions.md). Trade ids are kept as runs without a
 * hole, so memory grows with the holes and not with the trades.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { type Row, tradeKey } from "./rows.ts";

/** Ids from `first` to `last`, both included. */
export interface Run {
  first: number;
  last: number;
}

/** The ids of one product. */
export interface TradeIds {
  /** Adds an id; true when it wasn't there. */
  add(id: number): boolean;
  /** Ascending, apart from each other by at least one id. */
  readonly runs: readonly Run[];
}

/** Starts with `stored`, in any order, overlapping or not. */
export function createTradeIds(stored: readonly Run[] = []): TradeIds {
  const runs: Run[] = [];
  for (const { first, last } of [...stored].sort((left, right) => left.first - right.first)) {
    const before = runs.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else runs.push({ first, last });
  }

  /** The index of the last run that starts at or before `id`; -1 when there is none. */
  function indexOf(id: number): number {
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (runs[middle]!.first <= id) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  return {
    runs,
    add(id) {
      // Almost every trade is the newest plus one; the search finds that run as quickly as any.
      const index = indexOf(id);
      const before = runs[index];
      const after = runs[index + 1];
      if (before !== undefined && id <= before.last) return false;
      const touchesBefore = before !== undefined && id === before.last + 1;
      const touchesAfter = after !== undefined && id === after.first - 1;
      if (touchesBefore && touchesAfter) {
        before.last = after.last;
        runs.splice(index + 1, 1);
      } else if (touchesBefore) {
        before.last = id;
      } else if (touchesAfter) {
        after.first = id;
      } else {
        runs.splice(index + 1, 0, { first: id, last: id });
      }
      return true;
    },
  };
}

/** What is stored of each product, as far as it was asked for. */
export type StoredTrades = Map<string, TradeIds>;

/**
 * The rows whose trade isn't stored, each once, in their order; from now on they count as stored.
 *
 * @param stored must know every product of `rows`
 */
export function newTrades(rows: readonly Row[], stored: StoredTrades): Row[] {
  return rows.filter((row) => {
    const { productId, tradeId } = tradeKey(row);
    const ids = stored.get(productId);
    if (ids === undefined) throw new Error(`The stored trades of ${productId} were not loaded.`);
    return ids.add(tradeId);
  });
}

/** Joins the rows of `trade_runs` that a condition leaves into runs: one number a run, `run`. */
const joined = (condition: string) => `
  SELECT *, sum(starts) OVER (PARTITION BY product_id ORDER BY first_trade_id, last_trade_id) AS run
  FROM
  (
    SELECT *, first_trade_id > 1 + max(last_trade_id) OVER (
      PARTITION BY product_id ORDER BY first_trade_id, last_trade_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS starts
    FROM trade_runs
    WHERE ${condition}
  )`;

/** What `loadStoredTrades` found. */
export interface LoadedTrades {
  stored: StoredTrades;
  /** Products whose runs lie in so many rows that they are worth joining for good. */
  scattered: string[];
}

/** A product with more rows than this, and twice as many as runs, is scattered. */
export const scatteredRows = 5000;

/**
 * Loads what is stored of `productIds`, one row a run: the query joins the runs of all batches.
 *
 * @param exceptBatch leaves out what this batch wrote. A batch that is written again must filter to the same rows as the
 *   first time, whether or not that try landed.
 */
export async function loadStoredTrades(
  warehouse: ClickHouseClient,
  productIds: readonly string[],
  exceptBatch: string,
): Promise<LoadedTrades> {
  const answer = await warehouse.query({
    query: `
      SELECT product_id, min(first_trade_id) AS first, max(last_trade_id) AS last, count() AS rows
      FROM (${joined("product_id IN {productIds:Array(String)} AND batch != {exceptBatch:String}")})
      GROUP BY product_id, run`,
    query_params: { productIds, exceptBatch },
    format: "JSONCompactEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  const runs = new Map<string, Run[]>(productIds.map((productId) => [productId, []]));
  const rowsOf = new Map<string, number>();
  for (const [productId, first, last, rows] of await answer.json<[string, number, number, number]>()) {
    runs.get(productId)?.push({ first, last });
    rowsOf.set(productId, (rowsOf.get(productId) ?? 0) + rows);
  }
  return {
    stored: new Map([...runs].map(([productId, found]) => [productId, createTradeIds(found)])),
    scattered: [...rowsOf].filter(([productId, rows]) =>
      rows > scatteredRows && rows > 2 * (runs.get(productId)?.length ?? 0)
    ).map(([productId]) => productId),
  };
}

/**
 * Joins a product's rows of `trade_runs` for good, so that loading takes as long as there are runs and not as long as there
 * were batches. First the joined rows are added, then those that they cover are deleted: at every moment the rows together
 * name the same ids, so it may be interrupted, or run beside inserts. Rows of fills stay: `trade_fills` reads them. On a
 * cluster nothing is joined: a Distributed table has no DELETE.
 *
 * @param exceptBatch a batch that may still have to be written again keeps its own rows
 */
export async function joinStoredTrades(
  warehouse: ClickHouseClient,
  productId: string,
  exceptBatch: string,
): Promise<void> {
  if (await isDistributed(warehouse)) return;
  const name = `joined/${crypto.randomUUID()}`;
  const query_params = { productId, exceptBatch, name };
  await warehouse.command({
    query: `
      INSERT INTO trade_runs
      SELECT product_id, min(first_trade_id), max(last_trade_id), argMin(first_time, first_trade_id),
        argMax(last_time, last_trade_id), argMin(first_received_at, first_trade_id),
        argMax(last_received_at, last_trade_id), 'joined', {name:String}
      FROM (${joined("product_id = {productId:String} AND batch != {exceptBatch:String}")})
      GROUP BY product_id, run`,
    query_params,
  });
  await warehouse.command({
    query: `
      DELETE FROM trade_runs
      WHERE product_id = {productId:String} AND source != 'backfill'
        AND batch NOT IN ({exceptBatch:String}, {name:String})
        AND (first_trade_id, last_trade_id) IN
        (
          SELECT row.first_trade_id, row.last_trade_id
          FROM trade_runs AS row
          ASOF JOIN (SELECT * FROM trade_runs WHERE product_id = {productId:String} AND batch = {name:String}) AS whole
            ON row.product_id = whole.product_id AND row.first_trade_id >= whole.first_trade_id
          WHERE row.product_id = {productId:String} AND row.last_trade_id <= whole.last_trade_id
        )`,
    query_params,
  });
}

async function isDistributed(warehouse: ClickHouseClient): Promise<boolean> {
  const answer = await warehouse.query({
    query: "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'trade_runs'",
    format: "JSONEachRow",
  });
  const [table] = await answer.json<{ engine: string }>();
  return table?.engine === "Distributed";
}
