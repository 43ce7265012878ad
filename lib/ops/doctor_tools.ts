/**
 * What the checks of `deno task doctor` share.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { tuples } from "../clickhouse/rows.ts";
import { ConfigError } from "../core/errors.ts";
import { readConfig, type Variable } from "../process/config.ts";
import { NotChecked } from "./doctor.ts";
import { isMissingTable } from "../clickhouse/client.ts";

/** Each check reads its own variables: a wrong one stops only those that need it. */
export function configured<const K extends Variable>(names: readonly K[]) {
  try {
    return readConfig(names);
  } catch (error) {
    if (error instanceof ConfigError) throw new NotChecked("see environment");
    throw error;
  }
}

/** @throws {NotChecked} where another check tells that the tables are missing */
export function explainMissingTable(error: unknown): never {
  if (isMissingTable(error)) throw new NotChecked("see migrations");
  throw error;
}

/** The rows of a query that has to answer soon. */
export function readSoon<T extends unknown[]>(
  clickhouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown> = {},
): Promise<T[]> {
  // Nobody waits for a longer answer.
  return tuples(clickhouse, query, params, { settings: { max_execution_time: 5 } });
}

/** Makes it when it is first asked for. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** What takes longer is an error that says so. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("no answer")), ms);
  work.catch(() => {});
  return await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}

/** `fetch failed` has the reason in its cause. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0] ?? "";
}
