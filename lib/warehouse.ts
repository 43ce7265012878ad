/**
 * ClickHouse, as the consumer and the tasks use it.
 *
 * @module
 */

import { type ClickHouseClient, createClient } from "@clickhouse/client";
import type { Config, Variable } from "./config.ts";
import { columns, type Row, type Table } from "./rows.ts";

/** What `openWarehouse` reads. */
export const warehouseVariables = [
  "CLICKHOUSE_URL",
  "CLICKHOUSE_USER",
  "CLICKHOUSE_PASSWORD",
  "CLICKHOUSE_DATABASE",
] as const satisfies readonly Variable[];

/** The part of the configuration that says where ClickHouse is. */
export type WarehouseConfig = Config<(typeof warehouseVariables)[number]>;

/**
 * A client for the configured server and database. Nothing is sent before its first statement.
 *
 * @param timeoutMs the longest that a statement may take
 */
export function openWarehouse(config: WarehouseConfig, timeoutMs = 60_000): ClickHouseClient {
  return createClient({
    url: config.CLICKHOUSE_URL,
    username: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    database: config.CLICKHOUSE_DATABASE,
    application: "tapehouse",
    request_timeout: timeoutMs,
    // Deno doesn't tell of a reused connection that the server closes in the middle of a request: an insert into a server
    // that dies would wait for the timeout. A connection for each statement costs a fraction of a millisecond.
    keep_alive: { enabled: false },
    // The caller logs what fails, once, in its own words.
    log: { level: 127 },
  });
}

/**
 * Inserts rows as **one block** that ClickHouse knows again by `token`: a second insert with the same token changes
 * neither the table nor any view behind it.
 *
 * @throws when ClickHouse doesn't confirm; the same rows with the same token may then be inserted again
 */
export async function insertBlock(
  client: ClickHouseClient,
  table: Table,
  rows: readonly Row[],
  token: string,
  signal?: AbortSignal,
): Promise<void> {
  await client.insert({
    table,
    columns: [...columns[table]] as [string, ...string[]],
    values: [...rows],
    format: "JSONCompactEachRow",
    ...(signal ? { abort_signal: signal } : {}),
    clickhouse_settings: {
      insert_deduplication_token: token,
      insert_deduplicate: 1,
      deduplicate_blocks_in_dependent_materialized_views: 1,
      async_insert: 0,
      // On a cluster: confirmed when the shards have it, not when it lies in a queue.
      distributed_foreground_insert: 1,
      // Several blocks under one token would be taken for one: never let the server cut the body.
      input_format_parallel_parsing: 0,
      max_insert_block_size: "10000000",
      min_insert_block_size_rows: "10000000",
      min_insert_block_size_bytes: "0",
      // History of a quiet product reaches over years of months in one batch.
      max_partitions_per_insert_block: "0",
    },
  });
}
