/**
 * rollup.ts: fills `book_depth_1s` and `anomalies`, once or as a service (`--watch`). What is to be filled and how
 * is in lib/ops/rollup.ts.
 *
 * @module
 */

import { clickhouseVariables, openClickHouse } from "./lib/clickhouse/client.ts";
import { waitForSchema } from "./lib/clickhouse/migrations.ts";
import { FatalError } from "./lib/core/errors.ts";
import { sleep, unlessAborted } from "./lib/core/retry.ts";
import { retryForever } from "./lib/core/retry_forever.ts";
import { formatMicros, nowMicros } from "./lib/core/time.ts";
import { rollUp, type RollupOptions, type RollupTotals } from "./lib/ops/rollup.ts";
import { readArguments, type RollupArguments } from "./lib/ops/rollup_command.ts";
import { RollupWatch } from "./lib/ops/rollup_watch.ts";
import { bar, createProgressLine } from "./lib/process/progress.ts";
import { runService, type Service } from "./lib/process/service.ts";
import { runTask } from "./lib/process/task.ts";

const variables = ["ROLLUP_INTERVAL_SECONDS", ...clickhouseVariables] as const;

/** A product's minutes a round of the service: the other products and the anomalies aren't kept waiting. */
const minutesPerRound = 30;
/** A run that isn't watched gives up when ClickHouse doesn't answer for so long. */
const giveUpMs = 120_000;

await runTask(() => {
  const options = readArguments(Deno.args);
  // Only the service has a port that people know; a single run must not be in its way.
  const metricsPort = options.watch ? 9105 : 0;
  return runService({ name: "rollup", metricsPort, variables }, (service) => rollup(service, options));
});

async function rollup(service: Service<(typeof variables)[number]>, options: RollupArguments): Promise<void> {
  const { config, log, signal } = service;
  const watch = new RollupWatch(service);
  const clickhouse = openClickHouse(config);

  /** Tries until ClickHouse answers; the service leaves it to others for as long as the statement took. */
  async function persist<T>(what: string, statement: () => Promise<T>): Promise<T> {
    const begunAt = performance.now();
    let triedAt = begunAt;
    const attempt = () => {
      triedAt = performance.now();
      return unlessAborted(statement(), signal);
    };
    const answer = await retryForever("ClickHouse didn't answer", attempt, {
      signal,
      log,
      fields: { what },
      onError(error) {
        const reason = `ClickHouse: ${what}: ${error instanceof Error ? error.message : error}`;
        if (!options.watch && performance.now() - begunAt > giveUpMs) throw new FatalError(reason);
        watch.clickhouse(reason);
      },
    });
    watch.clickhouse(null);
    if (options.watch) await sleep(performance.now() - triedAt, signal);
    return answer;
  }

  async function round(onProgress: RollupOptions["onProgress"] = () => {}): Promise<RollupTotals> {
    const now = nowMicros();
    const totals = await rollUp(clickhouse, {
      ...{ now, signal, onProgress },
      run: (what, statement) => watch.waiting(persist(what, statement)),
      ...(options.again && { again: options.again }),
      ...(options.watch && { minutes: minutesPerRound }),
    });
    watch.finished(totals, now);
    return totals;
  }

  try {
    await watch.waiting(waitForClickHouse());
    watch.clickhouse(null);
    while (options.watch && !signal.aborted) {
      const { left } = await round();
      // Rounds follow one another: a slow one is never met by the next.
      if (left === 0) await watch.waiting(sleep(config.ROLLUP_INTERVAL_SECONDS * 1000, signal));
    }
    if (!options.watch) await once();
  } catch (error) {
    if (!signal.aborted || options.watch) throw error;
    throw new FatalError("Stopped before the end. The same command goes on where it was.");
  } finally {
    await clickhouse.close();
  }

  async function waitForClickHouse(): Promise<void> {
    const limit = options.watch ? signal : AbortSignal.any([signal, AbortSignal.timeout(giveUpMs)]);
    await waitForSchema(clickhouse, config.CLICKHOUSE_DATABASE, limit, log).catch((error) => {
      if (!limit.aborted || signal.aborted) throw error;
      throw new FatalError(
        `ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL) doesn't answer: ${error.message}`,
      );
    });
  }

  async function once(): Promise<void> {
    if (options.again) {
      const { from, to } = options.again;
      log.info("filling again", { from: formatMicros(from), to: formatMicros(to) });
    }
    const display = createProgressLine();
    const { products, minutes, changes } = await round(({ product, done, minutes }) =>
      display.show(() => `${bar(done / minutes)}  ${product}: ${done} of ${minutes} minutes`)
    ).finally(() => display.end());
    log.info("rollup ended", { products, depth_minutes: minutes, anomalies_changed: changes.length });
  }
}
