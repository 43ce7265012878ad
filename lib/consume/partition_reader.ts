/**
 * One partition, since the group gave it to us: where to read from, what is verified, and each batch's steps.
 *
 * @module
 */

import type { EachBatchPayload } from "kafkajs";
import { newLog } from "./batch_protocol.ts";
import type { Found } from "./batch.ts";
import { fetchCommitted, fetchLogRange, fetchOffsetAt } from "../kafka/log_range.ts";
import { type TopicMessage, topicMessage } from "../kafka/message.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import { CommittedPosition, type PartitionContext } from "./committed_position.ts";
import { type Gathered, PartitionWriter } from "./partition_writer.ts";
import { assertInLog, findPosition, verifyBeforeMicros } from "./position.ts";

/** Reads a partition; made by `open`. */
export class PartitionReader<B> {
  readonly #context: PartitionContext<B>;
  readonly #committed: CommittedPosition<B>;
  readonly #writer: PartitionWriter<B>;
  /** The next message to come. */
  #next: number;
  /** The step of `verifyBeforeMicros` under way, and what was missing in it. */
  #verifying: Found & { step: number } = { step: 0, missing: 0 };
  /** The offset that was asked for last because another one had come. */
  #sought: number | undefined;

  private constructor(context: PartitionContext<B>, committed: CommittedPosition<B>) {
    this.#context = context;
    this.#committed = committed;
    this.#next = committed.commitFrom;
    this.#writer = new PartitionWriter(context, committed, (...batch) => this.#endVerified(...batch));
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

  /** Gathers what was fetched. Returns when all of it is, with at the most one batch that waits to be written. */
  async read(payload: EachBatchPayload): Promise<void> {
    const { options: { maxSize }, topic, partition, signal } = this.#context;
    const { batch: { messages, highWatermark }, resolveOffset } = payload;
    const writer = this.#writer;
    const lastFetched = messages.at(-1)?.offset;
    const end = Number(highWatermark);
    const isOver = () => signal.aborted || writer.isClosed || !payload.isRunning() || payload.isStale();
    if (isOver()) return;
    for (const message of messages) {
      const offset = Number(message.offset);
      if (offset !== this.#next && (!await this.#jump(offset) || isOver())) return;
      const read = topicMessage(topic, partition, message);
      if (this.#isOfOtherLog(read)) return await this.#beginOtherLog();
      const verified = this.#verifiedUntil(offset);
      if (verified !== undefined && (!await writer.writeAlone(...verified) || isOver())) return;
      this.#next = offset + 1;
      const gathered = writer.gather(read, end - 1 - offset);
      const isLast = message.offset === lastFetched;
      if (writer.isNew(gathered)) {
        if (gathered.size < maxSize && !isLast) continue;
        resolveOffset(message.offset);
        writer.write();
        if (gathered.size >= maxSize) await writer.waitForRoom();
      } else {
        const range = writer.rangeThatEnds(gathered, isLast);
        if (range !== undefined && !await writer.writeAlone(gathered, range)) return;
        if (range !== undefined || isLast) resolveOffset(message.offset);
      }
      if (isOver()) return;
    }
  }

  /** Writes what is gathered at once, and puts all that is stored on record. Doesn't throw. */
  async drain(): Promise<void> {
    await this.#writer.drain();
  }

  /** Where the message in front of the committed offset isn't there, what is verified ends before it. */
  #verifiedUntil(offset: number): [Gathered<B>, OffsetRange] | undefined {
    const { commitFrom } = this.#committed;
    const { gathered } = this.#writer;
    if (gathered === undefined || offset < commitFrom || gathered.first >= commitFrom) return undefined;
    return [gathered, { first: gathered.first, last: commitFrom - 1 }];
  }

  /**
   * The end of a batch that was committed long ago. Where rows were missing, ClickHouse has lost more than that perhaps: it
   * is looked at from further back.
   *
   * @returns true when the next message may be read
   */
  async #endVerified(range: OffsetRange, found: Found, receivedAt: number): Promise<boolean> {
    const { topic, partition, signal, memory, admin, consumer, options } = this.#context;
    const verifying = this.#verifying;
    verifying.missing += found.missing;
    if (found.lostSince !== undefined) {
      verifying.lostSince = Math.min(found.lostSince, verifying.lostSince ?? Infinity);
    }
    if (range.last < this.#committed.commitFrom - 1) return true;
    const { step, missing, lostSince } = verifying;
    const reach = verifyBeforeMicros[step + 1];
    if ((missing === 0 && lostSince === undefined) || reach === undefined) {
      const wasSuspect = memory.suspect !== undefined;
      this.#committed.markVerified();
      if (wasSuspect) {
        await this.#committed.commit(this.#committed.commitFrom, this.#committed.inflight);
      }
      return true;
    }
    options.log.error("rows that were committed were missing and are written again: looking further back", {
      topic,
      partition,
      rows: missing,
    });
    const since = Math.min(receivedAt - reach, lostSince ?? Infinity);
    const { low } = await fetchLogRange(admin, topic, partition);
    const from = since <= 0 ? low : Math.max(low, await fetchOffsetAt(admin, topic, partition, since));
    signal.throwIfAborted();
    // Should it be interrupted, the next look begins there too, whoever has the partition then.
    memory.suspect = Math.max(0, since);
    await this.#committed.commit(this.#committed.commitFrom, this.#committed.inflight);
    this.#verifying = { step: step + 1, missing: 0 };
    this.#next = Math.min(from, this.#committed.commitFrom);
    consumer.seek({ topic, partition, offset: String(this.#next) });
    return false;
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
   * A message that isn't the next one. Either kafkajs reads elsewhere, as it does after an error: it is sent back. Or the
   * messages between have expired, or the log is another: then it is written down.
   *
   * @returns true when the message is the next one now
   */
  async #jump(offset: number): Promise<boolean> {
    const { topic, partition, signal, admin, consumer, reopen } = this.#context;
    // What was read before it is written by itself: a batch has no gap inside.
    if (this.#writer.isWriting) await this.#writer.drain();
    if (this.#writer.isClosed) return false;
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
    if (this.#writer.gathered !== undefined || offset !== low) {
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
    this.#writer.discard();
    consumer.seek({ topic, partition, offset: String(low) });
  }
}
