/**
 * Statements that read or write S3, and those that take hours: a client for them, and what they say when they fail.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError, type ClickHouseSettings } from "@clickhouse/client";
import { ArchiveProblem } from "./manifest.ts";
import type { S3Config } from "./s3.ts";
import { type ClickHouseConfig, openClickHouse } from "../clickhouse/client.ts";
import { rows } from "../clickhouse/rows.ts";
import { FatalError } from "../core/errors.ts";

/** A client whose statements may take six hours: a day of a busy book is long. */
export function openBulkClient(config: ClickHouseConfig): ClickHouseClient {
  return openClickHouse(config, 6 * 3_600_000);
}

/** An S3 that is away is an error within seconds, not after five hundred tries. */
const s3Retries = { s3_retry_attempts: "4", backup_restore_s3_retry_attempts: "4" };

/** The rows of a query over many days. 64-bit integers are texts: what is read may be written again, in every digit. */
export function bulkRows<T>(
  clickhouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown> = {},
): Promise<T[]> {
  return rows(clickhouse, query, params, {
    settings: {
      output_format_json_quote_64bit_integers: 1,
      // A day of many products is a large group: rather on disk than refused.
      max_bytes_before_external_group_by: "4000000000",
    },
  });
}

/**
 * The rows that a query of S3 answers. The keys of S3 are parameters, so that no statement, log line or error repeats them,
 * and travel in the body, so that no address does.
 */
export function rowsWithKeys<T>(
  clickhouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown>,
): Promise<T[]> {
  return rows(clickhouse, query, params, { settings: s3Retries, inBody: true });
}

/** Runs a statement that writes S3, or restores from it: its parameters are keys, and its answer is of no interest. */
export async function runWithKeys(
  clickhouse: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown>,
  clickhouse_settings: ClickHouseSettings = {},
): Promise<void> {
  // command() has no such option. The format that query() adds changes nothing.
  const answer = await clickhouse.query({
    query,
    query_params,
    format: "JSONEachRow",
    use_multipart_params: true,
    clickhouse_settings: { ...s3Retries, ...clickhouse_settings },
  });
  await answer.text();
}

/**
 * What ClickHouse or the way to it said, as one line without the keys of S3.
 *
 * @returns a FatalError for ClickHouse's and network errors, anything else as it is
 */
export function clickhouseFailure(error: unknown, config: ClickHouseConfig & S3Config): unknown {
  if (error instanceof FatalError || error instanceof ArchiveProblem || !(error instanceof Error)) {
    return error;
  }
  const secrets = [config.S3_SECRET_KEY, config.S3_ACCESS_KEY, config.CLICKHOUSE_PASSWORD].filter(Boolean);
  const text = secrets.reduce((line, secret) => line.replaceAll(secret, "***"), error.message)
    .replace(/\s+/g, " ").trim().slice(0, 500);
  const where = `ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL)`;
  if (error instanceof ClickHouseError) {
    if (error.type !== "S3_ERROR") return new FatalError(`${where}: ${text}`);
    return new FatalError(
      `${where} can't work with S3 at ${config.S3_ENDPOINT} (S3_ENDPOINT), which it must reach itself: ${text}`,
    );
  }
  return "code" in error ? new FatalError(`${where} doesn't answer: ${text || String(error.code)}`) : error;
}
