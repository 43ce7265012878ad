/**
 * The one way in which rows enter ClickHouse.
 *
 * @module
 */

import { Readable } from "node:stream";
import type { ClickHouseClient } from "@clickhouse/client";
import { encodeRows } from "./frames/row_values.ts";
import { columns, type Row, type Table } from "./rows.ts";

/**
 * Inserts rows as **one block** that ClickHouse knows again by `token`: a second insert with the same token changes
 * neither the table nor any view behind it.
 *
 * @param rows whole rows in the order of `columns`
 * @throws when ClickHouse doesn't confirm; the same rows with the same token may then be inserted again
 */
export function insertBlock(
  clickhouse: ClickHouseClient,
  table: Table,
  rows: readonly Row[],
  token: string,
  signal?: AbortSignal,
): Promise<void> {
  return insertBytes(clickhouse, table, encodeRows(table, rows).bytes, token, signal);
}

/** As `insertBlock`. @param bytes the rows in RowBinary */
export async function insertBytes(
  clickhouse: ClickHouseClient,
  table: Table,
  bytes: Uint8Array,
  token: string,
  signal?: AbortSignal,
): Promise<void> {
  const { stream } = await clickhouse.exec({
    query: `INSERT INTO ${table} (${columns[table].join(", ")}) FORMAT RowBinary`,
    values: Readable.from([bytes], { objectMode: false }),
    // ClickHouse refuses a second one of that name while the first is executed.
    query_id: token,
    ...(signal ? { abort_signal: signal } : {}),
    clickhouse_settings: {
      insert_deduplication_token: token,
      insert_deduplicate: 1,
      // The API's queries have 2: they make way.
      priority: "1",
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
  // There is no answer but its end.
  await stream.forEach(() => {});
}
