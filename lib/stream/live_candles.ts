/**
 * The channel `candles`: for each product and interval that is followed, a series that begins with what ClickHouse has and
 * goes on with the live trades. A trade counts once by its id, so it doesn't matter which of the two was first.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { type Interval, intervalStart, parseInterval } from "../core/interval.ts";
import { backoffMs, sleep } from "../core/retry.ts";
import type { Logger } from "../process/log.ts";
import { isoMicros } from "../core/time.ts";
import { CandleSeries, keptCandles, type Trade } from "./candle_series.ts";
import type { Hub, StreamMessage } from "./hub.ts";
import { firstLine, type Topic, topicKey } from "./client_messages.ts";
import { loadHistory, loadLastTrade, loadRuns, type ReadSnapshot } from "./snapshots.ts";
import { type IdleTopic, type LiveChannel, paceMs } from "./topic_catalog.ts";

/** A trade as it came from Kafka. */
export interface LiveTrade extends Trade {
  /** µs. */
  receivedAt: number;
  /** Older than the newest when it came: the fill of a gap. */
  late: boolean;
}

/** What the channel needs. */
export interface LiveCandlesOptions {
  hub: Hub;
  clickhouse: ClickHouseClient;
  log: Logger;
  readSnapshot: ReadSnapshot;
  /** The trades of the last seconds of a product, in order. */
  recent: (product: string) => readonly LiveTrade[];
  /** The exchange's time that is known of a product, µs. */
  clock: (product: string) => number;
}

const snapshotCandles = 300;
/** Between two tries to read the start; while ClickHouse fails, ever longer. */
const retryMs = 500;
const maxRetryMs = 5000;
/** ClickHouse may lag behind Kafka for so many tries; what is missing then is a gap of the tape. */
const maxLagTries = 20;

/** See the module. */
export class LiveCandles implements LiveChannel {
  readonly #options: LiveCandlesOptions;
  readonly #followed = new Map<string, FollowedSeries>();
  readonly #byProduct = new Map<string, Set<FollowedSeries>>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(options: LiveCandlesOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      for (const series of this.#followed.values()) series.flush();
    }, paceMs);
  }

  /** A trade that wasn't seen before. */
  add(product: string, trade: LiveTrade): void {
    for (const series of this.#byProduct.get(product) ?? []) series.add(trade);
  }

  /** The exchange's clock (µs) has come so far, says a heartbeat. */
  advance(product: string, time: number): void {
    for (const series of this.#byProduct.get(product) ?? []) series.advance(time);
  }

  /** Trades were missed: every series begins anew. */
  restart(): void {
    for (const series of this.#followed.values()) series.begin();
  }

  get size(): number {
    return this.#followed.size;
  }

  has(topic: Topic): boolean {
    return this.#followed.has(topicKey(topic));
  }

  open(topic: Topic, client: string): void {
    const key = topicKey(topic);
    if (this.#followed.has(key)) return;
    const series = new FollowedSeries(topic, client, this.#options);
    this.#followed.set(key, series);
    const group = this.#byProduct.get(topic.productId) ?? new Set();
    this.#byProduct.set(topic.productId, group.add(series));
    series.begin();
  }

  hold(topic: Topic): () => void {
    const series = this.#followed.get(topicKey(topic));
    if (series) series.waiting++;
    return () => {
      if (series) series.waiting--;
    };
  }

  async prepare(topic: Topic, onTrouble: (reason: string) => void): Promise<void> {
    await this.#followed.get(topicKey(topic))?.prepare(onTrouble);
  }

  snapshot(topic: Topic): StreamMessage[] {
    return this.#followed.get(topicKey(topic))?.snapshot() ?? [];
  }

  aliveSince(topic: Topic): number {
    return this.#followed.get(topicKey(topic))?.aliveSince ?? Infinity;
  }

  idle(): IdleTopic[] {
    const idle = [];
    for (const [key, series] of this.#followed) {
      if (series.waiting > 0 || this.#options.hub.count(key) > 0) {
        series.idleSince = undefined;
        continue;
      }
      series.idleSince ??= performance.now();
      idle.push({ since: series.idleSince, drop: () => this.#drop(key, series) });
    }
    return idle;
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const series of this.#followed.values()) series.stop();
  }

  #drop(key: string, series: FollowedSeries): void {
    series.stop();
    this.#followed.delete(key);
    this.#options.hub.dropSeries(key);
    const group = this.#byProduct.get(series.product);
    group?.delete(series);
    if (group?.size === 0) this.#byProduct.delete(series.product);
  }
}

/** The series of a topic, from ClickHouse's trades on, and what is to be sent of it. */
class FollowedSeries {
  /** Those who are about to follow it. */
  waiting = 0;
  /** Nobody follows it since then (ms). */
  idleSince: number | undefined;
  readonly #options: LiveCandlesOptions;
  readonly #topic: Topic;
  /** Who asked for it first: its start is read in that one's turn. */
  readonly #client: string;
  readonly #interval: Interval;
  /** A number of the stream. */
  readonly #openedAt: number;
  readonly #stopped = new AbortController();
  readonly #troubles = new Set<(reason: string) => void>();
  readonly #dirty = new Set<number>();
  #series: CandleSeries | undefined;
  /** Trades that came while ClickHouse was asked. */
  #pending: LiveTrade[] = [];
  /** A live trade has shown that nothing lies between the stored trades and it. */
  #isProven = false;
  #newest = { time: 0, receivedAt: 0 };
  #ready = Promise.resolve();
  /** Ends the reading of the start. */
  #reading = new AbortController();

  constructor(topic: Topic, client: string, options: LiveCandlesOptions) {
    const interval = parseInterval(topic.interval ?? "");
    if (interval === undefined) throw new RangeError(`Not an interval: ${topic.interval}`);
    this.#options = options;
    this.#topic = topic;
    this.#client = client;
    this.#interval = interval;
    this.#openedAt = options.hub.seq;
  }

  get product(): string {
    return this.#topic.productId;
  }

  /** The number since which every change was published; Infinity before the start is read. */
  get aliveSince(): number {
    return this.#series === undefined ? Infinity : this.#openedAt;
  }

  /** Reads the start, also for another time. */
  begin(): void {
    this.#series = undefined;
    this.#dirty.clear();
    this.#pending = [...this.#options.recent(this.product)];
    // A start that is being read already would take the trades that wait for this one.
    this.#reading.abort();
    this.#reading = new AbortController();
    this.#ready = this.#readStart(AbortSignal.any([this.#stopped.signal, this.#reading.signal]));
  }

  add(trade: LiveTrade): void {
    const series = this.#series;
    if (series === undefined) {
      this.#pending.push(trade);
      return;
    }
    if (!this.#isProven && !trade.late) {
      this.#isProven = true;
      if (trade.id > series.lastId + 1) return this.begin();
    }
    if (!trade.late) this.advance(trade.time);
    const start = series.add(trade);
    if (start === undefined) return;
    this.#newest = { time: trade.time, receivedAt: trade.receivedAt };
    this.#dirty.add(start);
  }

  advance(time: number): void {
    // What is over doesn't wait for the pace.
    const closed = this.#series?.advance(time) ?? [];
    for (const start of closed) {
      this.#dirty.delete(start);
      this.#publish(start);
    }
    // What is no longer kept can't be said again.
    if (closed.length > 0) this.flush();
  }

  /** Publishes what has changed. */
  flush(): void {
    for (const start of this.#dirty) this.#publish(start);
    this.#dirty.clear();
  }

  /** Resolves when the start is read. */
  async prepare(onTrouble: (reason: string) => void): Promise<void> {
    this.waiting++;
    this.#troubles.add(onTrouble);
    try {
      // A restart makes another promise.
      while (this.#series === undefined && !this.#stopped.signal.aborted) await this.#ready;
    } finally {
      this.waiting--;
      this.#troubles.delete(onTrouble);
    }
  }

  snapshot(): StreamMessage[] {
    if (this.#series === undefined) return [];
    // The snapshot holds what is dirty: those who follow already hear of it at the same number.
    this.flush();
    const { productId, interval } = this.#topic;
    const fields = { product_id: productId, interval, candles: this.#series.rows(snapshotCandles) };
    return [{ type: "candles_snapshot", fields }];
  }

  stop(): void {
    this.#stopped.abort();
  }

  /** Reads the start again and again until it reaches the first live trade. */
  async #readStart(signal: AbortSignal): Promise<void> {
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        const { lastId, ...start } = await this.#loadStart(signal);
        const first = this.#pending.find(({ late }) => !late);
        if (first !== undefined && first.id > lastId + 1 && tries < maxLagTries) {
          await sleep(retryMs, signal);
          continue;
        }
        if (signal.aborted) return;
        const series = new CandleSeries(this.#interval, start);
        for (const trade of this.#pending) {
          series.advance(trade.time);
          series.add(trade);
        }
        this.#isProven = first !== undefined;
        this.#pending = [];
        this.#series = series;
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#report(error, tries);
        await sleep(backoffMs(tries, { initialMs: retryMs, maximumMs: maxRetryMs }), signal);
      }
    }
  }

  async #loadStart(signal: AbortSignal) {
    const { clickhouse, readSnapshot, clock } = this.#options;
    const { productId, interval: name = "" } = this.#topic;
    const interval = this.#interval;
    const read = <T>(load: () => Promise<T>) => readSnapshot(this.#client, load, signal);
    const last = await read(() => loadLastTrade(clickhouse, productId));
    const now = Math.max(last.time, clock(productId));
    const since = Math.max(0, intervalStart(now, interval) - correctable(interval) * interval.micros);
    const history = await read(() =>
      loadHistory(clickhouse, productId, name, interval, since, snapshotCandles)
    );
    const runs = await read(() => loadRuns(clickhouse, productId, interval, since));
    return { lastId: last.id, history, runs, since, now };
  }

  #report(error: unknown, tries: number): void {
    const reason = `candles of ${this.product} wait for ClickHouse: ${firstLine(error)}`;
    if (tries === 1) this.#options.log.warn(reason);
    for (const tell of this.#troubles) tell(reason);
    this.#troubles.clear();
  }

  #publish(start: number): void {
    if (this.#series === undefined) return;
    this.#options.hub.publishSeries(topicKey(this.#topic), "candles", {
      product_id: this.product,
      interval: this.#topic.interval,
      time: isoMicros(this.#newest.time),
      received_at: isoMicros(this.#newest.receivedAt),
      candle: this.#series.row(start),
    });
  }
}

/** Closed candles that late trades can change from the start on: no more than an hour's, for they are read trade by trade. */
function correctable({ micros }: Interval): number {
  return Math.min(keptCandles - 1, Math.floor(3600e6 / micros));
}
