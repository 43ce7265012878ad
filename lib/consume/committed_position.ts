/**
 * What is committed of a partition: which log it is, how far it is stored, and what has to be asked for once more.
 *
 * @module
 */

import type { Admin, Consumer, EachBatchPayload } from "kafkajs";
import type { BatchHandler, BatchId, ConsumeOptions } from "./batch.ts";
import { commitMetadata, type Committed, type OffsetRange, parseCommitted } from "../kafka/offsets.ts";
import type { Position } from "./position.ts";

/** What is known of a partition beyond an assignment. */
export interface PartitionMemory {
  /** What we committed last: kafkajs commits -2 over it when the offset has expired. */
  committed?: Committed;
  /** How often ClickHouse had been started anew when the partition was verified last. */
  verifiedAt?: number;
  /** The time in µs from which the partition is to be verified, for rows from there were gone. */
  suspect?: number | undefined;
  /** The name of a log that is new, until it is committed. */
  newName?: string | undefined;
}

/** The group, as far as a batch speaks to it. Not by way of the consumer: once it is told to stop, that commits nothing. */
export interface Membership {
  heartbeat: EachBatchPayload["heartbeat"];
  commit: EachBatchPayload["commitOffsetsIfNecessary"];
}

/** The partition, and what it is read with. */
export interface PartitionContext<B> {
  topic: string;
  partition: number;
  /** Aborts when the partition isn't ours any more. */
  signal: AbortSignal;
  memory: PartitionMemory;
  options: ConsumeOptions<B>;
  handler: BatchHandler<B>;
  admin: Admin;
  consumer: Consumer;
  group: Membership;
  /** Opens the partition anew: what is known of it doesn't hold any more. */
  reopen(): Promise<void>;
  /** The broker says that the partition isn't ours any more. */
  handOver(error: unknown, range: OffsetRange): void;
  /** What was written beside the reading has failed: what isn't committed is read again. */
  fail(error: unknown): void;
}

/** A partition's committed offset and what belongs to it; see offsets.ts for what is on record. */
export class CommittedPosition<B> {
  readonly #context: PartitionContext<B>;
  logName: string;
  /** The log's name was made here. */
  isNew: boolean;
  /** What comes before is verified: it was committed, and must be stored. The committed offset isn't moved for it. */
  commitFrom: number;
  /** Rows of messages below may be stored already. */
  askBelow: number;
  /** The batch of an earlier process, to be written under the same name. */
  inflight: OffsetRange | undefined;
  /** When the message in front of `commitFrom` was received, in µs, as it was committed; undefined when nobody knows. */
  before: number | undefined;
  /** How often ClickHouse had been started anew when the partition was opened. */
  readonly restarts: number;

  constructor(context: PartitionContext<B>, position: Position, restarts: number) {
    this.#context = context;
    this.logName = position.logName;
    this.isNew = position.isNew;
    this.commitFrom = position.next;
    this.askBelow = position.askBelow;
    this.inflight = position.inflight;
    this.before = position.before;
    this.restarts = restarts;
  }

  /** Which batch these offsets are. */
  idOf(range: OffsetRange, lag: number, receivedAt: number): BatchId {
    const { topic, partition } = this.#context;
    const isCommitted = range.last < this.commitFrom;
    return {
      topic,
      partition,
      logName: this.logName,
      range,
      mayBeStored: isCommitted || range.first < this.askBelow,
      isCommitted,
      isNewName: this.isNew,
      lag,
      receivedAt,
    };
  }

  /** Commits an offset, with all that whoever reads on from there has to know. */
  async commit(offset: number, inflight: OffsetRange | undefined): Promise<void> {
    const { topic, partition, signal, group, memory: { suspect } } = this.#context;
    signal.throwIfAborted();
    const coveredBelow = Math.max(offset, inflight === undefined ? 0 : inflight.last + 1);
    const metadata = commitMetadata({
      log: this.logName,
      ...(this.before !== undefined && { before: this.before }),
      ...(inflight && { inflight }),
      ...(this.askBelow > coveredBelow && { ask: this.askBelow }),
      ...(suspect !== undefined && { suspect }),
    });
    const entry = { partition, offset: String(offset), metadata };
    await group.commit({ topics: [{ topic, partitions: [entry] }] });
    // Whoever has opened the partition meanwhile may not have seen this commit: nothing may be built on it here.
    signal.throwIfAborted();
    this.#noteCommitted(entry.offset, metadata);
  }

  #noteCommitted(offset: string, metadata: string): void {
    const { memory } = this.#context;
    memory.committed = parseCommitted(offset, metadata);
    memory.newName = undefined;
  }

  markVerified(): void {
    const { memory } = this.#context;
    memory.verifiedAt = this.restarts;
    memory.suspect = undefined;
  }

  /** The group knows nothing of this log. Whatever was in the topic before it, and wasn't read, is lost. */
  async enterLog(hasCommitted: boolean): Promise<void> {
    const { topic, partition, signal, consumer, options: { log, store } } = this.#context;
    if (this.askBelow > this.commitFrom) {
      const range = { first: this.commitFrom, last: this.askBelow - 1 };
      const fields = { topic, partition, ...range, log: this.logName };
      log.warn("the group knows nothing of this log: ClickHouse is asked what it has of it", fields);
    }
    if (hasCommitted) return;
    if (await store.holdsRows(signal, { topic, partition })) {
      const reason = "the consumer group has no place in the topic: it may be another one of that name";
      await store.recordLoss({ topic, partition, logName: this.logName, reason }, signal);
    }
    // On record at once, so that a loss isn't told at each start until a batch is written. Not where a log that takes this
    // one's place could hide messages in front of it.
    if (this.commitFrom > 0) return;
    signal.throwIfAborted();
    const metadata = commitMetadata({ log: this.logName, ask: Number.MAX_SAFE_INTEGER });
    await consumer.commitOffsets([{ topic, partition, offset: "0", metadata }]);
    this.#noteCommitted("0", metadata);
  }

  async recordLoss(range: OffsetRange): Promise<void> {
    const { topic, partition, signal, options: { log, store } } = this.#context;
    log.error("messages expired in the topic before they were read", {
      topic,
      partition,
      ...range,
      messages: range.last - range.first + 1,
    });
    const reason = "expired in the topic before they were read";
    await store.recordLoss({ topic, partition, logName: this.logName, range, reason }, signal);
  }

  /** What lies between expired. */
  skipTo(offset: number): void {
    if (offset > this.commitFrom) {
      this.commitFrom = offset;
      this.before = undefined;
    }
    if (this.inflight === undefined) return;
    this.inflight = this.inflight.last < offset ? undefined : { first: offset, last: this.inflight.last };
  }

  /** Another log has taken this one's place: all that is in it now is asked for. */
  beginLog(name: string, low: number, high: number): void {
    this.logName = name;
    this.isNew = true;
    this.commitFrom = low;
    this.askBelow = high;
    this.inflight = undefined;
    this.before = undefined;
  }
}
