/**
 * Status of the tape in one line, read from the metrics of producer and consumer.
 *
 * @module
 */

import { type Buckets, buckets, parseMetrics, quantile, total } from "./prometheus.ts";

/** What the status line is computed from: one reading of the services' metrics. */
export interface Reading {
  atMs: number;
  frames: number;
  rows: number;
  /** Messages that aren't in ClickHouse, be it in the producer's memory or in the topics. */
  lag: number;
  rejected: number;
  freshness: Buckets;
}

/**
 * Reads the metrics now.
 *
 * @param metrics service → its metrics address, of `producer` and `consumer`
 * @returns undefined when one of them doesn't answer
 */
export async function read(metrics: Record<string, string>): Promise<Reading | undefined> {
  try {
    const [producer, consumer] = await Promise.all(["producer", "consumer"].map(async (name) => {
      const response = await fetch(`${metrics[name]}/metrics`, { signal: AbortSignal.timeout(900) });
      return parseMetrics(await response.text());
    }));
    if (producer === undefined || consumer === undefined) return undefined;
    const rejected = consumer.find(({ name, labels }) =>
      name === "tapehouse_rows_total" && labels.table === "rejected"
    );
    return {
      atMs: performance.now(),
      frames: total(producer, "tapehouse_frames_total"),
      rows: total(consumer, "tapehouse_rows_total"),
      lag: total(producer, "tapehouse_unproduced_messages") + total(consumer, "tapehouse_lag_messages"),
      rejected: rejected?.value ?? 0,
      freshness: buckets(consumer, "tapehouse_freshness_seconds"),
    };
  } catch {
    // A service is being started again; the next second tells more.
    return undefined;
  }
}

/** What happened between two readings: `frames/s 41 · rows/s 388 · lag 0 · freshness p50 160 ms, p99 310 ms · rejected 0` */
export function statusText(before: Reading, now: Reading): string {
  const seconds = (now.atMs - before.atMs) / 1000;
  const rate = (count: number) => Math.max(0, Math.round(count / seconds)).toLocaleString("en-US");
  const ms = (share: number) => {
    const found = quantile(share, before.freshness, now.freshness);
    if (found === undefined) return "–";
    // Messages of an earlier run may have waited in the topic for longer than the histogram can tell.
    return Number.isFinite(found) ? `${Math.round(found * 1000)} ms` : "over 2 min";
  };
  return `frames/s ${rate(now.frames - before.frames)} · rows/s ${
    rate(now.rows - before.rows)
  } · lag ${now.lag}` +
    ` · freshness p50 ${ms(0.5)}, p99 ${ms(0.99)} · rejected ${now.rejected}`;
}
