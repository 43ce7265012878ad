/**
 * ClickHouse, as the API asks it: reading only, within limits, given up when the client goes away.
 *
 * @module
 */

import type { ClickHouseClient, ClickHouseSettings } from "@clickhouse/client";
import { ClickHouseError } from "@clickhouse/client";
import { Readable } from "node:stream";
import { openWarehouse, type WarehouseConfig } from "../warehouse.ts";
import { Problem } from "./problem.ts";

/** Values of `{name:Type}`; ClickHouse puts them into the statement. */
export type Parameters = Record<string, string | number | string[]>;

/**
 * Limits of one query. They are those of the user `reader` of deploy/compose/clickhouse/users.xml, whose profile forbids
 * to change the last three: sending the same value is allowed.
 */
export const limits = {
  max_execution_time: 10,
  max_rows_to_read: "1000000000",
  max_result_rows: "1000000",
  max_memory_usage: "2000000000",
} as const;

/** Answers questions. */
export interface Database {
  /**
   * The answer as text, in the format that the statement names.
   *
   * @throws {Problem} when ClickHouse can't be asked or a limit is passed
   */
  text(statement: string, parameters?: Parameters, signal?: AbortSignal): Promise<string>;
  /** The answer as objects. */
  rows<T>(statement: string, parameters?: Parameters, signal?: AbortSignal): Promise<T[]>;
  /** The answer as bytes, at the reader's pace. Its query is over and went well when the first byte comes. */
  stream(statement: string, parameters: Parameters, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
  close(): Promise<void>;
}

/**
 * @param querySeconds the time a query may take
 */
export function openDatabase(config: WarehouseConfig, querySeconds: number): Database {
  // Each has its own connections (10): exports that are read slowly must not keep the page from its answers.
  const interactive = openWarehouse(config);
  const exporting = openWarehouse(config);
  const settings: ClickHouseSettings = {
    ...limits,
    readonly: "2",
    max_execution_time: Math.min(querySeconds, limits.max_execution_time),
    timeout_overflow_mode: "throw",
    cancel_http_readonly_queries_on_client_close: 1,
    output_format_json_quote_decimals: 1,
    output_format_json_quote_64bit_integers: 0,
    output_format_json_quote_denormals: 0,
    output_format_json_escape_forward_slashes: 0,
    output_format_arrow_compression_method: "zstd",
    date_time_output_format: "iso",
  };

  async function ask(
    client: ClickHouseClient,
    statement: string,
    parameters: Parameters,
    signal: AbortSignal | undefined,
    more: ClickHouseSettings = {},
  ): Promise<Readable> {
    // ClickHouse ends a query at its limit. Where it doesn't answer at all, nobody waits for longer than this.
    const deadline = AbortSignal.timeout((querySeconds + 2) * 1000);
    const { stream } = await client.exec({
      query: statement,
      query_params: parameters,
      abort_signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      clickhouse_settings: { ...settings, ...more },
    });
    return stream;
  }

  const database: Database = {
    async text(statement, parameters = {}, signal) {
      try {
        const chunks: Uint8Array[] = [];
        for await (const chunk of await ask(interactive, statement, parameters, signal)) chunks.push(chunk);
        return new TextDecoder().decode(joined(chunks));
      } catch (error) {
        signal?.throwIfAborted();
        throw toProblem(error, querySeconds);
      }
    },
    async rows<T>(statement: string, parameters?: Parameters, signal?: AbortSignal): Promise<T[]> {
      const text = await database.text(`${statement} FORMAT JSONEachRow`, parameters, signal);
      return text.split("\n").filter(Boolean).map((line): T => JSON.parse(line));
    },
    async stream(statement, parameters, signal) {
      try {
        // The whole answer waits in ClickHouse (on its disk where it is large): an error in the middle is still a status.
        const wait = { wait_end_of_query: 1 } as const;
        return Readable.toWeb(await ask(exporting, statement, parameters, signal, wait)) as ReadableStream<
          Uint8Array
        >;
      } catch (error) {
        signal.throwIfAborted();
        throw toProblem(error, querySeconds);
      }
    },
    async close() {
      await Promise.all([interactive.close(), exporting.close()]);
    },
  };
  return database;
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1 && chunks[0]) return chunks[0];
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** ClickHouse's error numbers for limits, with the limit's name and what a person can do. */
const passed: Record<string, [limit: string, advice: string]> = {
  "159": ["max_execution_time", "ask for a shorter range, a coarser interval or fewer rows"],
  "158": ["max_rows_to_read", "ask for a shorter range"],
  "307": ["max_rows_to_read", "ask for a shorter range"],
  "396": ["max_result_rows", "ask for fewer rows"],
  "241": ["max_memory_usage", "ask for a shorter range or fewer rows"],
};

/** What went wrong, as the client of the API is told. Errors that are nobody's mistake but the API's stay what they are. */
export function toProblem(error: unknown, querySeconds: number): unknown {
  if (error instanceof Problem) return error;
  const unavailable = (detail: string) =>
    new Problem("unavailable", { detail, headers: { "retry-after": "1" } });
  if (error instanceof ClickHouseError) {
    const limit = passed[error.code];
    if (limit !== undefined) {
      const [name, advice] = limit;
      const value = name === "max_execution_time" ? `${querySeconds} s` : limits[name as keyof typeof limits];
      return new Problem("over-limit", {
        detail: `The query passed ${name} (${value}): ${advice}.`,
        limit: name,
      });
    }
    // Unknown table or database; too many queries; stopping; wrong user or password.
    if (["60", "81"].includes(error.code)) {
      return unavailable("The database lacks the tables or views: run `deno task migrate`.");
    }
    if (["202", "439", "394", "236"].includes(error.code)) {
      return unavailable("ClickHouse is busy or stopping.");
    }
    if (["192", "193", "194", "497", "516"].includes(error.code)) {
      return unavailable("ClickHouse refuses the API's user: check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.");
    }
    return error;
  }
  // Anything else comes from the connection, not from an answer.
  return unavailable("ClickHouse doesn't answer.");
}
