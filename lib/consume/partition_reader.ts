/**
 * One partition, since the group gave it to us: where to read from, what is verified, and each batch's steps.
 *
 * @module
 */

import type { EachBatchPayload } from "kafkajs";
import { newLog } from "./batch_protocol.ts";
import type { Batch, BatchId, Found } from "./batch.ts";
import { fetchCommitted, fetchLogRange, fetchOffsetAt } from "../kafka/log_range.ts";
import { type TopicMessage, topicMessage } from "../kafka/message.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import { CommittedPosition, type PartitionContext } from "./committed_position.ts";
import { assertInLog, findPosition, verifyBeforeMicros } from "./position.ts";

/** Reads a partition; made by `open`. */
export class PartitionReader<B> {
  readonly #context: PartitionContext<B>;
  readonly #committed: CommittedPosition<B>;
  /** The next message to come. */
  #next: number;
  /** The step of `verifyBeforeMicros` under way, and what was missing in it. */
  #verifying: Found & { step: number } = { step: 0, missing: 0 };
  #content: B;
  /** The content's first offset, once it has a message. */
  #first: number | undefined;
  /** When the newest message that was read was received, in µs. */
  #receivedAt: number | undefined;
  /** The offset that was asked for last because another one had come. */
  #sought: number | undefined;

  private constructor(context: PartitionContext<B>, committed: CommittedPosition<B>) {
    this.#context = context;
    this.#committed = committed;
    this.#next = committed.commitFrom;
    this.#content = context.options.content.start();
  }

  /** Asks the broker for the group's committed offset, decides where to begin, and has kafkajs begin there. */
  static async open<B>(context: PartitionContext<B>): Promise<PartitionReader<B>> {
    const { topic, partition, signal, memory, admin, consumer, options: { group, store, log } } = context;
    const { restarts } = store;
    const onRecord = await fetchCommitted(admin, group, topic, partition);
    const range = await fetchLogRange(admin, topic, partition);
    const own = memory.committed;
    const committed = onRecord.offset === -2 && own !== undefined && own.offset <= range.high
      ? own
      : onRecord;
    memory.newName ??= newLog();
    const position = findPosition(committed, range, {
      newLog: memory.newName,
      hasRows: await store.holdsRows(signal),
    });
    assertInLog(position, { group, topic, partition });
    signal.throwIfAborted();
    const committedPosition = new CommittedPosition(context, position, restarts);
    if (position.isNew) await committedPosition.enterLog(committed.offset >= 0);
    if (position.suspect !== undefined) {
      memory.suspect = Math.min(position.suspect, memory.suspect ?? Infinity);
    }
    if (position.lost) await committedPosition.recordLoss(position.lost);
    if (position.inflight) {
      log.warn("a batch may have landed, writing it again", { topic, partition, ...position.inflight });
    }
    const reader = new PartitionReader(context, committedPosition);
    if (!position.isNew) await reader.#goBackToVerify(range.low);
    signal.throwIfAborted();
    if (position.isNew || reader.#next >= committedPosition.commitFrom) committedPosition.markVerified();
    consumer.seek({ topic, partition, offset: String(reader.#next) });
    return reader;
  }

  /** Makes batches of what was fetched, and hands each to the handler. */
  async read(payload: EachBatchPayload): Promise<void> {
    const { options, topic, partition, signal } = this.#context;
    const { batch: { messages, highWatermark }, resolveOffset } = payload;
    const lastFetched = messages.at(-1)?.offset;
    for (const message of messages) {
      if (signal.aborted || !payload.isRunning() || payload.isStale()) return;
      const offset = Number(message.offset);
      if (offset !== this.#next && !await this.#jump(offset)) return;
      const read = topicMessage(topic, partition, message);
      if (this.#isOfOtherLog(read)) return await this.#beginOtherLog();
      if (
        offset >= this.#committed.commitFrom && this.#first !== undefined &&
        this.#first < this.#committed.commitFrom
      ) {
        // The message in front of the committed offset isn't there: what was verified ends before it.
        const verified = { first: this.#first, last: this.#committed.commitFrom - 1 };
        if (!await this.#handle(payload, verified, 0)) return;
      }
      this.#next = offset + 1;
      this.#receivedAt = read.receivedAt;
      this.#first ??= offset;
      const size = options.content.add(this.#content, read);
      const range = this.#rangeThatEnds(offset, size, message.offset === lastFetched);
      if (range !== undefined) {
        if (!await this.#handle(payload, range, Number(highWatermark) - 1 - offset)) return;
      } else if (message.offset === lastFetched) {
        resolveOffset(message.offset);
      }
    }
  }

  /** The batch that ends with this message; undefined while it goes on. One that is written again keeps its name. */
  #rangeThatEnds(offset: number, size: number, isLastFetched: boolean): OffsetRange | undefined {
    const inflight = this.#committed.inflight !== undefined && offset >= this.#committed.inflight.first
      ? this.#committed.inflight
      : undefined;
    const ends = offset === this.#committed.commitFrom - 1 ||
      (inflight !== undefined && offset >= inflight.last) ||
      (inflight === undefined && (size >= this.#context.options.maxSize || isLastFetched));
    if (!ends) return undefined;
    return inflight?.last === offset ? inflight : { first: this.#first!, last: offset };
  }

  /** Has a batch written. @returns true when the next message may be read */
  async #handle(payload: EachBatchPayload, range: OffsetRange, lag: number): Promise<boolean> {
    const { topic, partition, signal, handler } = this.#context;
    const id = this.#committed.idOf(range, lag);
    let goesOn: boolean | undefined;
    const batch: Batch<B> = {
      ...id,
      content: this.#content,
      signal,
      begin: async () => {
        if (!id.isCommitted) await this.#begin(payload, id);
      },
      assertOwned: () => this.#assertOwned(payload, range),
      commit: async (found) => {
        goesOn =
          await (id.isCommitted ? this.#endVerified(payload, id, found) : this.#end(payload, id, found));
      },
    };
    await handler(batch);
    if (goesOn === undefined) {
      throw new Error(`The batch of ${topic}/${partition} wasn't committed by its handler.`);
    }
    return goesOn;
  }

  /** Step 1 of batch_protocol.ts. */
  async #begin(payload: EachBatchPayload, id: BatchId): Promise<void> {
    const { onStep } = this.#context.options;
    await onStep?.("before the in-flight commit", id);
    await this.#committed.commit(payload, id.range.first, id.range);
    await onStep?.("after the in-flight commit", id);
  }

  /** Step 3 of batch_protocol.ts. @returns true when the next message may be read */
  async #end(payload: EachBatchPayload, id: BatchId, { lostSince }: Found): Promise<boolean> {
    const { memory, options: { onStep, store }, reopen } = this.#context;
    const { last } = id.range;
    await onStep?.("after the inserts", id);
    if (this.#receivedAt !== undefined) this.#committed.before = this.#receivedAt;
    if (lostSince !== undefined) memory.suspect = Math.min(lostSince, memory.suspect ?? Infinity);
    await this.#committed.commit(payload, last + 1, undefined);
    await onStep?.("after the final commit", id);
    payload.resolveOffset(String(last));
    if (this.#committed.inflight !== undefined && last >= this.#committed.inflight.last) {
      this.#committed.inflight = undefined;
    }
    this.#committed.commitFrom = last + 1;
    this.#startBatch();
    if (memory.suspect === undefined && store.restarts === memory.verifiedAt) return true;
    // From an earlier offset, once more: all that is known of the partition is read anew.
    await reopen();
    return false;
  }

  /**
   * The end of a batch that was committed long ago. Where rows were missing, ClickHouse has lost more than that perhaps: it
   * is looked at from further back.
   *
   * @returns true when the next message may be read
   */
  async #endVerified(payload: EachBatchPayload, { range }: BatchId, found: Found): Promise<boolean> {
    const { topic, partition, signal, memory, admin, consumer, options } = this.#context;
    payload.resolveOffset(String(range.last));
    const verifying = this.#verifying;
    verifying.missing += found.missing;
    if (found.lostSince !== undefined) {
      verifying.lostSince = Math.min(found.lostSince, verifying.lostSince ?? Infinity);
    }
    this.#startBatch();
    if (range.last < this.#committed.commitFrom - 1) return true;
    const { step, missing, lostSince } = verifying;
    const reach = verifyBeforeMicros[step + 1];
    if ((missing === 0 && lostSince === undefined) || reach === undefined) {
      const wasSuspect = memory.suspect !== undefined;
      this.#committed.markVerified();
      if (wasSuspect) {
        await this.#committed.commit(payload, this.#committed.commitFrom, this.#committed.inflight);
      }
      return true;
    }
    options.log.error("rows that were committed were missing and are written again: looking further back", {
      topic,
      partition,
      rows: missing,
    });
    const since = Math.min((this.#receivedAt ?? 0) - reach, lostSince ?? Infinity);
    const { low } = await fetchLogRange(admin, topic, partition);
    const from = since <= 0 ? low : Math.max(low, await fetchOffsetAt(admin, topic, partition, since));
    signal.throwIfAborted();
    // Should it be interrupted, the next look begins there too, whoever has the partition then.
    memory.suspect = Math.max(0, since);
    await this.#committed.commit(payload, this.#committed.commitFrom, this.#committed.inflight);
    this.#verifying = { step: step + 1, missing: 0 };
    this.#next = Math.min(from, this.#committed.commitFrom);
    consumer.seek({ topic, partition, offset: String(this.#next) });
    return false;
  }

  #startBatch(): void {
    this.#content = this.#context.options.content.start();
    this.#first = undefined;
  }

  /** Begins in front of the committed offset: at the least one message, to see that it is still the one. */
  async #goBackToVerify(low: number): Promise<void> {
    const { topic, partition, memory, admin } = this.#context;
    const since = memory.suspect !== undefined
      ? memory.suspect - 60e6
      : memory.verifiedAt === this.#committed.restarts || this.#committed.before === undefined
      ? undefined
      : this.#committed.before - verifyBeforeMicros[0];
    const before = this.#next - 1;
    const from = since === undefined
      ? before
      : Math.min(before, await fetchOffsetAt(admin, topic, partition, since));
    this.#next = Math.max(low, from);
  }

  /**
   * A process that slept (a stopped machine, a debugger) wakes up believing that its partitions are still its own. The
   * broker is asked unless it has said so within the last heartbeat interval, which is shorter than a session can end in.
   */
  async #assertOwned(payload: EachBatchPayload, range: OffsetRange): Promise<void> {
    try {
      await payload.heartbeat();
    } catch (error) {
      this.#context.handOver(error, range);
      throw error;
    }
  }

  /**
   * A message that isn't the next one. Either kafkajs reads elsewhere, as it does after an error: it is sent back. Or the
   * messages between have expired, or the log is another: then it is written down.
   *
   * @returns true when the message is the next one now
   */
  async #jump(offset: number): Promise<boolean> {
    const { topic, partition, signal, admin, consumer, reopen } = this.#context;
    const { low, high } = await fetchLogRange(admin, topic, partition);
    signal.throwIfAborted();
    // The log was made anew or has lost its end under our hands: what is on record now says how to go on.
    if (this.#next > high) {
      await reopen();
      return false;
    }
    if (offset < this.#next || (low <= this.#next && this.#sought !== this.#next)) {
      this.#sought = this.#next;
      consumer.seek({ topic, partition, offset: String(this.#next) });
      return false;
    }
    // The broker was asked for just that offset and has none there: another producer's transaction marker.
    if (low <= this.#next) return true;
    // What was read before the loss is written by itself: a batch has no gap inside.
    if (this.#first !== undefined || offset !== low) {
      await reopen();
      return false;
    }
    if (offset > this.#committed.commitFrom) {
      await this.#committed.recordLoss({
        first: Math.max(this.#next, this.#committed.commitFrom),
        last: offset - 1,
      });
    }
    this.#next = offset;
    this.#committed.skipTo(offset);
    return true;
  }

  /** The message in front of the committed offset tells: is it the one that was committed? */
  #isOfOtherLog({ offset, receivedAt }: TopicMessage): boolean {
    return offset === this.#committed.commitFrom - 1 && this.#committed.before !== undefined &&
      receivedAt !== this.#committed.before;
  }

  /** All that is in the log now is asked for. */
  async #beginOtherLog(): Promise<void> {
    const { topic, partition, signal, admin, consumer, options: { log, store } } = this.#context;
    const { low, high } = await fetchLogRange(admin, topic, partition);
    const name = newLog();
    log.error("the topic holds another log than the one that was read: reading it from its start", {
      topic,
      partition,
      first: low,
      last: high - 1,
      log: name,
    });
    const reason = "another log has taken the topic's place";
    await store.recordLoss({ topic, partition, logName: name, reason }, signal);
    this.#committed.beginLog(name, low, high);
    this.#next = low;
    this.#startBatch();
    consumer.seek({ topic, partition, offset: String(low) });
  }
}
