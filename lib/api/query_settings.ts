/**
 * What ClickHouse is told with each query of the API: limits, precedence, and how an answer is written.
 *
 * @module
 */

import type { ClickHouseSettings } from "@clickhouse/client";
import type { Lane } from "./lanes.ts";

/**
 * Limits of one query. They are at most those of the user `reader` of deploy/compose/clickhouse/users.xml, whose profile
 * forbids to raise the last three. The queries of one client together stay below that user's
 * `max_memory_usage_for_user`, so that others find room.
 */
export const limits = {
  max_execution_time: 10,
  max_rows_to_read: "1000000000",
  max_result_rows: "1000000",
  max_memory_usage: "1000000000",
} as const;

/** What serves everybody is small: more threads would only take the processors from what answers. */
const laneSettings: Record<Lane, ClickHouseSettings> = {
  shared: { max_threads: 1, max_memory_usage: "500000000" },
  interactive: { max_threads: 4, max_memory_usage: "750000000" },
  export: { max_threads: 4, max_memory_usage: limits.max_memory_usage },
};

/** The settings of a query of a lane. */
export function querySettings(lane: Lane, querySeconds: number): ClickHouseSettings {
  return {
    ...limits,
    readonly: "2",
    max_execution_time: Math.min(querySeconds, limits.max_execution_time),
    timeout_overflow_mode: "throw",
    cancel_http_readonly_queries_on_client_close: 1,
    // Inserts have priority 1: where both want the processors, a query makes way, a moment at each block. A longer one
    // would add up: a query may read hundreds.
    priority: "2",
    low_priority_query_wait_time_ms: "2",
    // Where memory runs out on the whole server, queries are ended before inserts are.
    memory_overcommit_ratio_denominator: "100000000",
    output_format_json_quote_decimals: 1,
    output_format_json_quote_64bit_integers: 0,
    output_format_json_quote_denormals: 0,
    output_format_json_escape_forward_slashes: 0,
    output_format_arrow_compression_method: "zstd",
    date_time_output_format: "iso",
    ...laneSettings[lane],
  };
}
