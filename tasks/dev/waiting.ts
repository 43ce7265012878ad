/**
 * Waiting for servers that are just being started again.
 *
 * @module
 */

import { ClickHouseError } from "@clickhouse/client";
import type { ProcessGroup } from "../../embedded/process/group.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { rows } from "../../lib/clickhouse/rows.ts";
import { ConfigError, FatalError } from "../../lib/core/errors.ts";
import { retry, sleep } from "../../lib/core/retry.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { topicSettings } from "../../lib/kafka/topic_plan.ts";
import { prepareTopics } from "../../lib/kafka/topics.ts";
import { createLogger } from "../../lib/process/log.ts";
import { type Environment, settingsOf } from "./configuration.ts";
import { say } from "./terminal.ts";

/**
 * Tries until a server answers: it may have been killed, and is being started again.
 *
 * @throws {FatalError} when it doesn't answer for a minute
 */
export async function untilItAnswers<T>(
  server: string,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  const since = performance.now();
  let told = false;
  return await retry(attempt, {
    signal,
    maximumMs: 2000,
    onError(error) {
      // What a server refuses it refuses again, unless it is about to end.
      const isRefused = error instanceof ClickHouseError && error.type !== "CANNOT_SCHEDULE_TASK";
      if (isRefused || error instanceof FatalError || error instanceof ConfigError) throw error;
      const reason = error instanceof Error ? error.message || error.name : String(error);
      if (performance.now() - since > answerWithinMs) {
        throw new FatalError(`${server} doesn't answer: ${reason}.`);
      }
      if (!told) say(`${server} doesn't answer yet (${reason}); trying again for a minute`);
      told = true;
    },
  });
}

/** Brings database and topics into the shape that the entrypoints expect. */
export async function prepare(env: Environment, group: ProcessGroup): Promise<void> {
  const config = settingsOf(env);
  const applied = await untilItAnswers("ClickHouse", group.stop.signal, () => migrate(config, () => {}));
  await prepareTopics(openBroker(config, "dev", quiet), topicSettings(config), group.stop.signal, quiet);
  console.log(`database ${config.CLICKHOUSE_DATABASE}: ${applied} migrations applied; topics are there`);
}

/** Resolves when the first candle can be read. */
export async function firstCandle(env: Environment, signal: AbortSignal): Promise<void> {
  const clickhouse = openClickHouse(settingsOf(env));
  const hasCandle = async () => (await rows(clickhouse, "SELECT 1 FROM candles_1s LIMIT 1")).length > 0;
  // ClickHouse may have been killed, and is being started again.
  while (!signal.aborted && !await hasCandle().catch(() => false)) await sleep(200, signal);
  await clickhouse.close();
}

/** A server that doesn't answer for so long while everything is prepared isn't there. */
const answerWithinMs = 60_000;

const quiet = createLogger({}, { level: "error" });

export const silent = createLogger({}, { write: () => {} });
