/**
 * `deno task rollup`: fills `book_depth_1s` and `anomalies`, once or as a service (`--watch`). What is to be filled and how
 * is in lib/rollup.ts.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { Counter, Gauge } from "prom-client";
import { retry, sleep, unlessAborted } from "../lib/backoff.ts";
import { parseTime } from "../lib/backfill.ts";
import { runTask } from "../lib/cli.ts";
import { requireSchema } from "../lib/migrations.ts";
import { bar, createProgressLine } from "../lib/progress_line.ts";
import { rollUp, type RollupTotals, type Span } from "../lib/rollup.ts";
import { FatalError, runService, type Service } from "../lib/service.ts";
import { formatMicros, nowMicros } from "../lib/time.ts";
import { openWarehouse, warehouseVariables } from "../lib/warehouse.ts";

const variables = ["ROLLUP_INTERVAL_SECONDS", ...warehouseVariables] as const;

/** A product's minutes a round of the service: the other products and the anomalies aren't kept waiting. */
const minutesPerRound = 30;
/** A run that isn't watched gives up when ClickHouse doesn't answer for so long. */
const patienceMs = 120_000;

const command = new Command("deno task rollup")
  .description(
    "Fills book_depth_1s and anomalies. Without options: once, for what is due, at most a day back.",
  )
  .addOption(new Option("--watch", "go on for ever, as a service").conflicts(["from", "to"]))
  .option("--from <time>", "fill again from this moment on, such as 2026-07-01 or 2026-07-01T12:00Z", time)
  .option("--to <time>", "up to this moment; when absent, now. Anomalies are always searched until now", time)
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Killed and started again it goes on where it was; what is filled again is the same, once.
Exit codes: 0 all that is due is filled, 1 it isn't, 2 wrong arguments or variables.`,
  );

function readOptions(args: string[]): { watch: boolean; again?: Span } {
  const { watch = false, from, to } = command.parse(args, { from: "user" }).opts();
  if (from === undefined && to !== undefined) command.error("error: --to needs --from TIME");
  if (from === undefined) return { watch };
  const again = { from, to: Math.min(to ?? Infinity, nowMicros()) };
  if (again.from >= again.to) command.error("error: --from must be in the past, and before --to");
  return { watch, again };
}

await runTask(() => {
  const options = readOptions(Deno.args);
  // Only the service has a port that people know; a single run must not be in its way.
  const metricsPort = options.watch ? 9105 : 0;
  return runService({ name: "rollup", metricsPort, variables }, (service) => rollup(service, options));
});

async function rollup(
  service: Service<(typeof variables)[number]>,
  options: { watch: boolean; again?: Span },
): Promise<void> {
  const { config, log, registry, signal } = service;
  const registers = [registry];
  const minutesFilled = new Counter({
    name: "tapehouse_rollup_depth_minutes_total",
    help: "Minutes of order books that were filled into book_depth_1s.",
    registers,
  });
  const minutesLeft = new Gauge({
    name: "tapehouse_rollup_depth_minutes_left",
    help: "Minutes that are due and not filled yet.",
    registers,
  });
  const anomalies = new Counter({
    name: "tapehouse_rollup_anomalies_total",
    help: "Anomalies that were found for the first time, by kind.",
    labelNames: ["kind"],
    registers,
  });
  const finishedAt = new Gauge({
    name: "tapehouse_rollup_finished_timestamp_seconds",
    help: "When the last round ended.",
    registers,
  });
  let trouble: string | null = "ClickHouse doesn't answer";
  service.setHealth(() => trouble);
  const warehouse = openWarehouse(config);

  /** Tries until ClickHouse answers; the service leaves it to others for as long as the statement took. */
  async function run<T>(what: string, statement: () => Promise<T>): Promise<T> {
    const begunAt = performance.now();
    let triedAt = begunAt;
    const attempt = () => {
      triedAt = performance.now();
      return unlessAborted(statement(), signal);
    };
    const answer = await retry(attempt, {
      signal,
      onError(error, waitMs) {
        const reason = `ClickHouse: ${what}: ${error instanceof Error ? error.message : error}`;
        if (!options.watch && performance.now() - begunAt > patienceMs) throw new FatalError(reason);
        trouble = reason;
        log.error("ClickHouse didn't answer, trying again", { what, error, wait_ms: Math.round(waitMs) });
      },
    });
    trouble = null;
    if (options.watch) await sleep(performance.now() - triedAt, signal);
    return answer;
  }

  async function waitForSchema(): Promise<void> {
    const patience = options.watch ? signal : AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
    await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, patience, log).catch((error) => {
      if (!patience.aborted || signal.aborted) throw error;
      throw new FatalError(
        `ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL) doesn't answer: ${error.message}`,
      );
    });
  }

  async function round(
    show?: (product: string, done: number, minutes: number) => void,
  ): Promise<RollupTotals> {
    const now = nowMicros();
    const totals = await rollUp(warehouse, {
      now,
      signal,
      run,
      ...(options.again && { again: options.again }),
      ...(options.watch && { minutes: minutesPerRound }),
      onProgress: ({ product, done, minutes }) => show?.(product, done, minutes),
    });
    minutesFilled.inc(totals.minutes);
    minutesLeft.set(totals.left);
    finishedAt.setToCurrentTime();
    for (const { kind, product_id, severity, time, explanation, ...row } of totals.changes) {
      const isNew = row.detected_at === formatMicros(now);
      if (isNew) anomalies.inc({ kind });
      // One that goes on is written again each time; once is enough for a log.
      if (!isNew && !row.is_withdrawn) continue;
      const message = row.is_withdrawn ? "anomaly withdrawn" : "anomaly";
      log[severity === "info" ? "info" : "warn"](message, {
        product_id,
        kind,
        severity,
        at: time,
        explanation,
      });
    }
    return totals;
  }

  try {
    await waitForSchema();
    trouble = null;
    if (options.watch) {
      while (!signal.aborted) {
        const { left } = await round();
        // Rounds follow one another: a slow one is never met by the next.
        if (left === 0) await sleep(config.ROLLUP_INTERVAL_SECONDS * 1000, signal);
      }
      return;
    }
    if (options.again) {
      const { from, to } = options.again;
      log.info("filling again", { from: formatMicros(from), to: formatMicros(to) });
    }
    const display = createProgressLine();
    const totals = await round((product, done, minutes) =>
      display.show(() => `${bar(done / minutes)}  ${product}: ${done} of ${minutes} minutes`)
    ).finally(() => display.end());
    const { products, minutes, changes } = totals;
    log.info("rollup ended", { products, depth_minutes: minutes, anomalies_changed: changes.length });
  } catch (error) {
    if (signal.aborted && !options.watch) {
      throw new FatalError("Stopped before the end. The same command goes on where it was.");
    }
    throw error;
  } finally {
    await warehouse.close();
  }
}

function time(text: string): number {
  const micros = parseTime(text);
  if (micros !== undefined) return micros;
  throw new InvalidArgumentError("expected a date or a time such as 2026-07-01 or 2026-07-01T12:00Z.");
}
