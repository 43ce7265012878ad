/**
 * The channel `anomalies`: they are found in ClickHouse, which is asked once a second, and only while somebody follows
 * them, or did a minute ago.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { ourselves } from "../core/fair_queue.ts";
import { sleep } from "../core/retry.ts";
import { formatMicros, nowMicros } from "../core/time.ts";
import type { Logger } from "../process/log.ts";
import type { Hub } from "./hub.ts";
import { firstLine, topicKey } from "./client_messages.ts";
import { loadAnomalies, type ReadSnapshot } from "./snapshots.ts";
import { lingerMs } from "./topic_catalog.ts";

/** What the channel needs. */
export interface LiveAnomaliesOptions {
  hub: Hub;
  clickhouse: ClickHouseClient;
  log: Logger;
  readSnapshot: ReadSnapshot;
  /** Products that may have anomalies. */
  products(): Iterable<string>;
  signal: AbortSignal;
}

const lookMs = 1000;
/** How far back each look goes: rows become visible late, and ClickHouse's clock may be another. */
const backMicros = 10e6;

/** See the module. */
export class LiveAnomalies {
  /** Resolves when the signal has ended the watch. */
  readonly ended: Promise<void>;
  readonly #options: LiveAnomaliesOptions;
  #since = Infinity;
  #followedAt = -Infinity;
  /** The error that followers were told last. */
  #toldError = "";
  /** The moment from which on is asked, as ClickHouse's text. */
  #from = "";
  /** What was sent of the time that is asked for again. */
  #sentRows = new Set<string>();

  constructor(options: LiveAnomaliesOptions) {
    this.#options = options;
    this.ended = this.#watch();
  }

  /** The number since which every anomaly was published; Infinity while nobody looks. */
  get since(): number {
    return this.#since;
  }

  async #watch(): Promise<void> {
    const { hub, signal } = this.#options;
    while (!signal.aborted) {
      await sleep(lookMs, signal);
      const keys = [...this.#keys()];
      if (keys.some((key) => hub.count(key) > 0)) this.#followedAt = performance.now();
      if (signal.aborted || performance.now() - this.#followedAt > lingerMs) {
        this.#since = Infinity;
        continue;
      }
      try {
        await this.#look();
        this.#toldError = "";
      } catch (error) {
        if (!signal.aborted) this.#report(firstLine(error), keys);
      }
    }
  }

  async #look(): Promise<void> {
    const { hub, clickhouse, readSnapshot, signal } = this.#options;
    const now = formatMicros(nowMicros() - backMicros);
    if (this.#since === Infinity) this.#from = now;
    const found = await readSnapshot(ourselves, () => loadAnomalies(clickhouse, this.#from, signal), signal);
    if (this.#since === Infinity) this.#since = hub.seq;
    const rows = new Set<string>();
    for (const row of found) {
      const text = JSON.stringify(row);
      rows.add(text);
      if (this.#sentRows.has(text)) continue;
      hub.publish([`anomalies ${row.product_id}`, "anomalies "], "anomaly", anomalyFields(row));
    }
    this.#sentRows = rows;
    // Rows of one moment may become visible one after the other.
    this.#from = now;
  }

  #report(reason: string, keys: readonly string[]): void {
    if (reason === this.#toldError) return;
    this.#toldError = reason;
    const { hub, log } = this.#options;
    log.warn("anomalies can't be read", { error: reason });
    hub.publish(keys, "error", {
      message: "No anomalies",
      reason: `anomalies wait for ClickHouse: ${reason}`,
    });
  }

  *#keys(): Iterable<string> {
    yield topicKey({ channel: "anomalies", productId: "" });
    for (const productId of this.#options.products()) yield topicKey({ channel: "anomalies", productId });
  }
}

/** The view's columns; times in ISO 8601. */
function anomalyFields(row: Record<string, unknown>): object {
  const times = ["time", "end_time", "detected_at", "updated_at"].filter((name) =>
    typeof row[name] === "string"
  )
    .map((name) => [name, `${String(row[name]).replace(" ", "T")}Z`]);
  return { ...row, ...Object.fromEntries(times) };
}
