/**
 * Whether the API can do its work now.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { rows } from "../clickhouse/rows.ts";
import { createSharedAnswer } from "../core/shared_answer.ts";
import { Problem } from "./problem.ts";
import { toProblem } from "./query_problem.ts";

/** How long ClickHouse may take to answer, and for how long an answer counts. */
const answerMs = 2000;

/**
 * The API is ready when ClickHouse answers; without Kafka only its stream stands still. However many ask, ClickHouse is
 * asked once in two seconds.
 *
 * @param clickhouse not the one of the clients' queries, whose places may all be taken
 * @param now ms of a monotonic clock
 * @returns null, or what is wrong
 */
export function createReadiness(
  clickhouse: Pick<ClickHouseClient, "query">,
  now?: () => number,
): () => Promise<string | null> {
  const ask = async () => {
    try {
      await rows(clickhouse, "SELECT 1", {}, { signal: AbortSignal.timeout(answerMs) });
      return null;
    } catch (error) {
      // Those who may not know where ClickHouse is ask too.
      const problem = toProblem(error, answerMs / 1000);
      return `ClickHouse: ${problem instanceof Problem ? problem.details.detail : "fails"}`;
    }
  };
  return createSharedAnswer(ask, { freshMs: answerMs, staleMs: answerMs, ...(now && { now }) });
}
