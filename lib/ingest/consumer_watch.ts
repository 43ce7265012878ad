/**
 * What the consumer tells of itself, and what stays true while something is away: lag, age of the oldest message that
 * isn't stored, retention left. Once in a few seconds the broker is asked, whether or not anything is read or written.
 *
 * All consumers of a group tell of all partitions, also of those that are another's or nobody's: take the maximum over
 * the consumers, not the sum.
 *
 * @module
 */

import type { Admin, Kafka } from "kafkajs";
import { sleep, unlessAborted } from "../core/retry.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import type { FaultPoint } from "../process/fault_point.ts";
import { countKafkaErrors, type KafkaErrors } from "../kafka/error_counter.ts";
import {
  findReceivedAt,
  messagesBehind,
  offsetsOf,
  readLag,
  readRetention,
  type TopicRetention,
} from "../kafka/lag.ts";
import {
  newProgress,
  oldestReceivedAt,
  type PartitionProgress,
  type TopicPartition,
} from "./partition_progress.ts";
import type { Reporting } from "../process/service.ts";
import { createMetrics } from "./consumer_metrics.ts";
import { createWatchdog, type Loop, type Watchdog } from "../process/watchdog.ts";

const pollMs = 5000;
/** A look at the broker may take so long; then it is a failure. */
const pollLimitMs = 8000;
/** What is known of Kafka is old after this, whatever became of the look under way. */
const oldMs = 15_000;
/** Topics' settings change rarely. */
const retentionMs = 60_000;
/** The speed of a partition is measured over so many looks: five minutes. */
const speedLooks = 60;
/** A batch that ClickHouse hasn't confirmed after so long is worth a word. */
const slowBatchMs = 15_000;
/** Seconds for which nothing is read, though messages wait and Kafka answers: not ready, and then not alive. */
const idleSeconds = 30;
const stuckSeconds = 180;

/** The consumer, watched from outside. Nothing here can fail or wait; readiness and liveness are the service's by it. */
export class ConsumerWatch {
  readonly #service: Reporting;
  readonly #group: string;
  readonly #topics: readonly string[];
  readonly #errors: KafkaErrors;
  readonly #gauges: ReturnType<typeof createMetrics>;
  readonly #partitions = new Map<string, PartitionProgress>();
  readonly #reading: Watchdog;
  #assignment: Record<string, number[]> | undefined;
  #joined: Record<string, number[]> | undefined;
  #clickhouse: string | null = "ClickHouse: no answer yet";
  /** When ClickHouse last didn't do something, in ms of the monotonic clock. */
  #refusedAt = -Infinity;
  #retention = new Map<string, TopicRetention>();
  #retentionAt = -Infinity;
  /** When the broker last told of offsets, or when it was to be asked for the first time. */
  #polledAt: number | undefined;
  #isPollFailing = false;
  #steps = 0;
  #last: PartitionProgress | undefined;

  constructor(service: Reporting, { group, topics }: { group: string; topics: readonly string[] }) {
    this.#service = service;
    this.#group = group;
    this.#topics = topics;
    this.#errors = countKafkaErrors(service.registry);
    this.#gauges = createMetrics(service.registry, {
      partitions: () => this.#partitions.values(),
      retentionOf: (topic) => this.#retention.get(topic),
      assignedCount: () => this.#assignedCount(),
    });
    this.#reading = createWatchdog(this.#idle(idleSeconds));
    service.watch(this.#idle(stuckSeconds));
    service.setHealth(() => this.#reasons());
  }

  /** To be told each error of the Kafka client. */
  readonly kafkaError = (message: string): void => this.#errors.note(message);

  /** Which partitions the group has given us (topic → numbers); undefined while it hasn't. */
  assigned(next: Record<string, number[]> | undefined): void {
    this.#assignment = next;
    this.#steps++;
    if (next !== undefined && next !== this.#joined) this.#gauges.rebalances.inc();
    this.#joined = next ?? this.#joined;
    // Batches that were begun are dropped, and so is what they say; what isn't written is in the topic.
    for (const known of this.#partitions.values()) {
      known.oldest = known.first ?? known.oldest;
      known.first = known.inflight = undefined;
    }
  }

  /** Messages were read, the first one with this offset and received then; to be told of all fetches. */
  read(messages: TopicPartition & { offset: number; receivedAt: number; end: number }): void {
    const { offset, receivedAt, end } = messages;
    this.#steps++;
    const known = this.#progressOf(messages, offset);
    known.first ??= { offset, receivedAt };
    known.end = Math.max(known.end, end);
  }

  /** A batch has come to a step of lib/consume/batch_protocol.ts. */
  step(
    point: FaultPoint,
    batch: TopicPartition & { range: OffsetRange; lag: number; receivedAt: number },
  ): void {
    const { range, lag, receivedAt } = batch;
    const known = this.#progressOf(batch, range.first);
    const now = performance.now();
    this.#steps++;
    if (point !== "after the final commit") {
      const waitsFor = point === "after the in-flight commit" ? "ClickHouse" : "Kafka";
      known.inflight = { since: known.inflight?.since ?? now, waitsFor };
      known.first = { offset: range.first, receivedAt };
      return;
    }
    known.inflight = known.first = undefined;
    known.next = range.last + 1;
    known.end = Math.max(known.end, known.next + lag);
    known.committedAt = now;
    this.#gauges.lastCommit.set({ topic: batch.topic, partition: batch.partition }, Date.now() / 1000);
  }

  /**
   * ClickHouse doesn't do what it was asked to, and why; null once it does.
   *
   * @param since when it was asked, in ms of the monotonic clock: what was asked before the last refusal, and done, says
   *   nothing of now
   */
  clickhouse(reason: string | null, since: number = performance.now()): void {
    if (reason === null) {
      if (since >= this.#refusedAt) this.#clickhouse = null;
      return;
    }
    this.#clickhouse = `ClickHouse: ${reason}`;
    this.#refusedAt = since;
  }

  /** Asks the broker now and then, until the signal aborts. Doesn't throw. */
  async run(kafka: Kafka, signal: AbortSignal): Promise<void> {
    this.#polledAt = performance.now();
    let admin: Admin | undefined;
    while (!signal.aborted) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(pollLimitMs)]);
      try {
        if (admin === undefined) {
          admin = kafka.admin();
          await unlessAborted(admin.connect(), limit);
        }
        await unlessAborted(this.#poll(admin), limit);
        this.#isPollFailing = false;
      } catch (error) {
        if (signal.aborted) break;
        this.#isPollFailing = true;
        this.#gauges.pollErrors.inc();
        this.#service.log.debug("the broker didn't tell of offsets", { error });
        admin?.disconnect().catch(() => {});
        admin = undefined;
      }
      await sleep(pollMs, signal);
    }
    this.#reading.stop();
    const left = admin?.disconnect() ?? Promise.resolve();
    await unlessAborted(left, AbortSignal.timeout(1000)).catch(() => {});
  }

  #progressOf({ topic, partition }: TopicPartition, offset: number): PartitionProgress {
    // Messages come in runs of one partition.
    if (this.#last?.topic === topic && this.#last.partition === partition) return this.#last;
    const key = `${topic}/${partition}`;
    const known = this.#partitions.get(key) ?? newProgress({ topic, partition }, offset);
    this.#partitions.set(key, known);
    return this.#last = known;
  }

  #isKafkaAway(): boolean {
    const polledAt = this.#polledAt;
    return polledAt !== undefined && (this.#isPollFailing || performance.now() - polledAt > oldMs);
  }

  #assignedCount(): number {
    return Object.values(this.#assignment ?? {}).flat().length;
  }

  /** Messages that wait for nobody but this process. */
  #idle(limitSeconds: number): Loop {
    return { limitSeconds, due: () => this.#unread(), progress: () => this.#steps };
  }

  #unread(): string | null {
    if (this.#polledAt === undefined || this.#isKafkaAway()) return null;
    let waiting = 0;
    for (const [topic, numbers] of Object.entries(this.#assignment ?? {})) {
      for (const partition of numbers) {
        const known = this.#partitions.get(`${topic}/${partition}`);
        // Who writes waits for ClickHouse, or for the broker to take the commit.
        if (known?.inflight !== undefined) return null;
        waiting += known === undefined ? 0 : messagesBehind(known);
      }
    }
    return waiting === 0 ? null : `${waiting} messages wait in Kafka, and none is read`;
  }

  #reasons(): string[] {
    const because = this.#errors.recent();
    const kafka = (reason: string) => `Kafka: ${reason}${because === null ? "" : `; last error: ${because}`}`;
    const unread = this.#reading.reason();
    const reasons: string[] = [];
    if (this.#clickhouse !== null) reasons.push(this.#clickhouse);
    if (this.#isKafkaAway()) reasons.push(kafka("no answer"));
    else if (this.#assignedCount() === 0) reasons.push(kafka("no partition is assigned"));
    else if (unread !== null) reasons.push(kafka(unread));
    for (const { topic, partition, inflight } of this.#partitions.values()) {
      const ms = inflight === undefined ? 0 : performance.now() - inflight.since;
      // One is enough, and a better reason is there already when the other side has refused.
      if (inflight === undefined || ms < slowBatchMs || reasons.length > 0) continue;
      const seconds = Math.round(ms / 1000);
      reasons.push(`${inflight.waitsFor}: a batch of ${topic}/${partition} is under way for ${seconds} s`);
    }
    return reasons;
  }

  async #poll(admin: Admin): Promise<void> {
    const askedAt = performance.now();
    const found = await readLag(admin, this.#group, this.#topics);
    const now = performance.now();
    for (const { topic, partition, start, end, next } of found) {
      const known = this.#progressOf({ topic, partition }, next);
      known.start = start;
      known.end = end;
      // What we committed meanwhile is newer than the broker's answer.
      if (known.committedAt < askedAt) known.next = next;
      known.ends.push({ at: now, end });
      if (known.ends.length > speedLooks) known.ends.shift();
    }
    this.#polledAt = now;
    this.#gauges.polled.setToCurrentTime();
    for (const topic of this.#topics) await this.#findOldest(admin, topic);
    if (now - this.#retentionAt < retentionMs) return;
    // Not everybody may describe topics; the rest is told all the same.
    this.#retention = await readRetention(admin, this.#topics).catch((error) => {
      this.#service.log.debug("the topics' retention isn't known", { error });
      return this.#retention;
    });
    this.#retentionAt = now;
  }

  /** Looks up when messages were received that wait and that this process hasn't read, once for each. */
  async #findOldest(admin: Admin, topic: string): Promise<void> {
    const wanted = new Map<number, number>();
    for (const known of this.#partitions.values()) {
      if (known.topic !== topic || messagesBehind(known) === 0) continue;
      if (oldestReceivedAt(known) === undefined) wanted.set(known.partition, known.next);
    }
    if (wanted.size === 0) return;
    const found = await findReceivedAt(offsetsOf(admin, topic), wanted, Date.now());
    for (const [partition, ms] of found) {
      const offset = wanted.get(partition)!;
      this.#progressOf({ topic, partition }, offset).oldest = { offset, receivedAt: ms * 1000 };
    }
  }
}
