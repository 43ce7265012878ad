/**
 * What rollup.ts tells of itself: metrics, why it can't be relied on, whether it goes on.
 *
 * @module
 */

import { Counter, Gauge } from "prom-client";
import { formatMicros, nowMicros } from "../core/time.ts";
import { ageSeconds, gauge } from "../process/gauge.ts";
import type { Reporting } from "../process/service.ts";
import type { RollupTotals } from "./rollup.ts";

/** Readiness and liveness are the service's by it. */
export class RollupWatch {
  readonly #service: Reporting;
  readonly #metrics: ReturnType<typeof createMetrics>;
  readonly #startedAt = nowMicros();
  #caughtUpAt: number | undefined;
  #trouble: string | null = "ClickHouse doesn't answer";
  /** Waits for ClickHouse or for the next round. */
  #waits = 0;
  #steps = 0;

  constructor(service: Reporting) {
    this.#service = service;
    const registers = [service.registry];
    this.#metrics = createMetrics(registers);
    gauge(registers, "tapehouse_rollup_lag_seconds", {
      help: "Since everything that was due was filled; since the start before that.",
      value: () => ageSeconds(this.#caughtUpAt ?? this.#startedAt),
    });
    service.watch({
      limitSeconds: 60,
      due: () => this.#waits > 0 ? null : "the round doesn't go on",
      progress: () => this.#steps,
    });
    service.setHealth(() => this.#trouble);
  }

  /** ClickHouse has answered (null), or didn't, and why. */
  clickhouse(reason: string | null): void {
    this.#trouble = reason;
  }

  /** While this work waits for others, nobody expects steps. */
  async waiting<T>(work: Promise<T>): Promise<T> {
    this.#waits++;
    return await work.finally(() => {
      this.#waits--;
      this.#steps++;
    });
  }

  /**
   * A round has ended.
   *
   * @param now when it began, µs
   */
  finished(totals: RollupTotals, now: number): void {
    const { minutesFilled, minutesLeft, finishedAt } = this.#metrics;
    minutesFilled.inc(totals.minutes);
    minutesLeft.set(totals.left);
    if (totals.left === 0) this.#caughtUpAt = now;
    finishedAt.setToCurrentTime();
    for (const change of totals.changes) this.#tell(change, change.detected_at === formatMicros(now));
  }

  #tell(change: RollupTotals["changes"][number], isNew: boolean): void {
    const { kind, product_id, severity, time, explanation, is_withdrawn } = change;
    if (isNew) this.#metrics.anomalies.inc({ kind });
    // One that goes on is written again each time; once is enough for a log.
    if (!isNew && !is_withdrawn) return;
    const message = is_withdrawn ? "anomaly withdrawn" : "anomaly";
    const fields = { product_id, kind, severity, at: time, explanation };
    this.#service.log[severity === "info" ? "info" : "warn"](message, fields);
  }
}

function createMetrics(registers: Reporting["registry"][]) {
  return {
    minutesFilled: new Counter({
      name: "tapehouse_rollup_depth_minutes_total",
      help: "Minutes of order books that were filled into book_depth_1s.",
      registers,
    }),
    minutesLeft: new Gauge({
      name: "tapehouse_rollup_depth_minutes_left",
      help: "Minutes that are due and not filled yet.",
      registers,
    }),
    anomalies: new Counter({
      name: "tapehouse_rollup_anomalies_total",
      help: "Anomalies that were found for the first time, by kind.",
      labelNames: ["kind"],
      registers,
    }),
    finishedAt: new Gauge({
      name: "tapehouse_rollup_finished_timestamp_seconds",
      help: "When the last round ended.",
      registers,
    }),
  };
}
