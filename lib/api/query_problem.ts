/**
 * What went wrong with a query, as the client of the API is told.
 *
 * @module
 */

import { ClickHouseError } from "@clickhouse/client";
import { Problem } from "./problem.ts";
import { limits } from "./query_settings.ts";

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
