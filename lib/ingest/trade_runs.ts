/**
 * Which trades are stored already: rule 3 of *Counting once* (docs/decisions.md). Trade ids are kept as runs without a
 * gap, so memory grows with the gaps and not with the trades.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { sleep } from "../core/retry.ts";
import { findLocalTable, type LocalTable } from "../clickhouse/cluster.ts";
import type { TradeKey } from "./rows.ts";
import { consistentRead } from "../clickhouse/client.ts";
import { createTradeIds, type Run, type TradeIds } from "../core/id_ranges.ts";
import { tuples } from "../clickhouse/rows.ts";

/** What is stored of each product, as far as it was asked for. */
export type StoredTrades = Map<string, TradeIds>;

/**
 * The trades that aren't stored, each once, in their order; from now on they count as stored.
 *
 * @param stored must know every product of `trades`
 */
export function newTrades<T extends TradeKey>(trades: readonly T[], stored: StoredTrades): T[] {
  return trades.filter(({ productId, tradeId }) => {
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
  /** The time of each product's newest trade, as ClickHouse writes it; products without trades are absent. */
  newest: Map<string, string>;
  /** Products whose runs lie in so many rows that they are worth joining for good. */
  fragmented: string[];
}

/** A product with more rows than this, and twice as many as runs, is fragmented. */
export const fragmentedRows = 5000;

/**
 * Loads what is stored of `productIds`, one row a run: the query joins the runs of all batches.
 *
 * @param exceptBatch leaves out what this batch wrote. A batch that is written again must filter to the same rows as the
 *   first time, whether or not that try landed.
 */
export async function loadStoredTrades(
  clickhouse: ClickHouseClient,
  productIds: readonly string[],
  exceptBatch = "",
): Promise<LoadedTrades> {
  const loaded = await tuples<[product: string, first: number, last: number, rows: number, newest: string]>(
    clickhouse,
    `SELECT product_id, min(first_trade_id), max(last_trade_id), count(), toString(max(last_time))
     FROM (${joined("product_id IN {productIds:Array(String)} AND batch != {exceptBatch:String}")})
     GROUP BY product_id, run`,
    { productIds, exceptBatch },
    { settings: consistentRead },
  );
  const runs = new Map<string, Run[]>(productIds.map((productId) => [productId, []]));
  const rowsOf = new Map<string, number>();
  const newestOf = new Map<string, string>();
  for (const [productId, first, last, rows, newest] of loaded) {
    runs.get(productId)?.push({ first, last });
    if (newest > (newestOf.get(productId) ?? "")) newestOf.set(productId, newest);
    rowsOf.set(productId, (rowsOf.get(productId) ?? 0) + rows);
  }
  return {
    stored: new Map([...runs].map(([productId, found]) => [productId, createTradeIds(found)])),
    newest: newestOf,
    fragmented: [...rowsOf].filter(([productId, rows]) =>
      rows > fragmentedRows && rows > 2 * (runs.get(productId)?.length ?? 0)
    ).map(([productId]) => productId),
  };
}

/** So many runs are named by one DELETE: its text stays far below what ClickHouse parses (256 KiB). */
const runsPerDelete = 2000;
/** How long the replicas may take to fetch the joined rows, before these are left for the next time. */
const replicationMs = 5000;

/**
 * Joins a product's rows of `trade_runs` for good, so that loading takes as long as there are runs and not as long as there
 * were batches. First the joined rows are added, then those that they cover are deleted: at every moment the rows together
 * name the same ids, so it may be interrupted, or run beside inserts. Rows of fills stay: `trade_fills` reads them.
 *
 * On a cluster nothing is deleted before every replica of the product's shard has the joined rows. Where one is away they
 * stay beside the others, and the next time joins them too.
 *
 * @param exceptBatch a batch that may still have to be written again keeps its own rows
 */
export async function compactTradeRuns(
  clickhouse: ClickHouseClient,
  productId: string,
  exceptBatch = "",
): Promise<void> {
  const name = `joined/${crypto.randomUUID()}`;
  const query_params = { productId, exceptBatch, name };
  await clickhouse.command({
    query: `
      INSERT INTO trade_runs
      SELECT product_id, min(first_trade_id), max(last_trade_id), argMin(first_time, first_trade_id),
        argMax(last_time, last_trade_id), argMin(first_received_at, first_trade_id),
        argMax(last_received_at, last_trade_id), 'joined', {name:String}
      FROM (${joined("product_id = {productId:String} AND batch != {exceptBatch:String}")})
      GROUP BY product_id, run
      HAVING countIf(source != 'backfill') > 1`,
    query_params,
    // Shard by shard it would be run over each shard's rows and not over all.
    clickhouse_settings: {
      ...consistentRead,
      distributed_foreground_insert: 1,
      parallel_distributed_insert_select: "0",
    },
  });
  const runs = await tuples<[first: number, last: number]>(
    clickhouse,
    `SELECT first_trade_id, last_trade_id FROM trade_runs
     WHERE product_id = {productId:String} AND batch = {name:String} ORDER BY first_trade_id`,
    query_params,
    { settings: consistentRead },
  );
  if (runs.length === 0) return;
  const local = await findLocalTable(clickhouse, "trade_runs");
  if (local && !await isReplicated(clickhouse, local, query_params, runs.length)) return;
  for (let begin = 0; begin < runs.length; begin += runsPerDelete) {
    const part = runs.slice(begin, begin + runsPerDelete);
    const [firsts, lasts] = [0, 1].map((bound) => part.map((run) => run[bound]).join());
    await clickhouse.command({
      // Numbers only: a replicated table refuses a subquery here, for each replica might get another answer.
      query: `
        DELETE FROM ${local ? `${local.name} ON CLUSTER ${local.cluster}` : "trade_runs"}
        WHERE product_id = {productId:String} AND source != 'backfill'
          AND batch NOT IN ({exceptBatch:String}, {name:String})
          AND arrayExists((first, last) -> first_trade_id >= first AND last_trade_id <= last, [${firsts}], [${lasts}])`,
      query_params,
      // A node that is away does it when it is back; the batch that waits for us doesn't wait for it.
      ...(local && {
        clickhouse_settings: { distributed_ddl_task_timeout: "0", lightweight_deletes_sync: "0" },
      }),
    });
  }
}

/** Whether every replica of the product's shard has all joined rows, at the latest after `replicationMs`. */
async function isReplicated(
  clickhouse: ClickHouseClient,
  { cluster, name }: LocalTable,
  query_params: Record<string, unknown>,
  runs: number,
): Promise<boolean> {
  for (const deadline = performance.now() + replicationMs;;) {
    // As many rows as the cluster has replicas; one that doesn't answer is an error, or no row.
    const [row] = await tuples<[replicas: number, found: number[]]>(
      clickhouse,
      `WITH (SELECT any(_shard_num) FROM trade_runs WHERE product_id = {productId:String} AND batch = {name:String}) AS shard
        SELECT
          (SELECT count() FROM system.clusters WHERE cluster = {cluster:String} AND shard_num = shard),
          (SELECT groupArray(found) FROM
          (
            SELECT countIf(batch = {name:String}) AS found
            FROM clusterAllReplicas(${cluster}, currentDatabase(), ${name})
            WHERE product_id = {productId:String}
            GROUP BY _shard_num
          ))`,
      { ...query_params, cluster },
      { settings: { skip_unavailable_shards: 1 } },
    );
    const [replicas = 0, found = []] = row ?? [];
    if (found.length === replicas && found.every((count) => count === runs)) return true;
    if (performance.now() > deadline) return false;
    await sleep(200);
  }
}
