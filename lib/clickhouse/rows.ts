/**
 * The rows that a query answers, read as a whole.
 *
 * @module
 */

import type { ClickHouseClient, ClickHouseSettings } from "@clickhouse/client";
import { unlessAborted } from "../core/retry.ts";

/** How a query is asked. */
export interface AskOptions {
  /** Beyond the user's own. 64-bit integers are numbers, unless this says otherwise. */
  settings?: ClickHouseSettings;
  /** Ends the wait for the answer, also for one that stalls in the middle. */
  signal?: AbortSignal;
  /** The parameters travel in the body: no address has them. */
  inBody?: boolean;
}

/** What of a client is needed here. */
type Queryable = Pick<ClickHouseClient, "query">;

/** Each row as an object. */
export function rows<T>(
  clickhouse: Queryable,
  query: string,
  params: Record<string, unknown> = {},
  options: AskOptions = {},
): Promise<T[]> {
  return ask(clickhouse, "JSONEachRow", query, params, options);
}

/** Each row as a list of its columns. */
export function tuples<T extends unknown[]>(
  clickhouse: Queryable,
  query: string,
  params: Record<string, unknown> = {},
  options: AskOptions = {},
): Promise<T[]> {
  return ask(clickhouse, "JSONCompactEachRow", query, params, options);
}

async function ask<T>(
  clickhouse: Queryable,
  format: "JSONEachRow" | "JSONCompactEachRow",
  query: string,
  query_params: Record<string, unknown>,
  { settings, signal, inBody = false }: AskOptions,
): Promise<T[]> {
  const answer = await clickhouse.query({
    query,
    query_params,
    format,
    ...(inBody && { use_multipart_params: true }),
    ...(signal && { abort_signal: signal }),
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0, ...settings },
  });
  if (signal === undefined) return await answer.json<T>();
  try {
    // The client forgets the signal once an answer has begun: one that stalls would hold its place for ever.
    return await unlessAborted(answer.json<T>(), signal);
  } catch (error) {
    answer.close();
    throw error;
  }
}
