/**
 * The writing of one partition: what is gathered becomes batches, and each batch takes the steps of batch_protocol.ts.
 *
 * What is new is written while more is gathered: reading and writing wait for each other only when a batch is full. What an
 * earlier process may have stored (a batch in flight, or one that is verified) is written while the reading waits, under
 * the range that is on record.
 *
 * @module
 */

import type { TopicMessage } from "../kafka/message.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import type { Batch, BatchId, Found } from "./batch.ts";
import type { CommittedPosition, PartitionContext } from "./committed_position.ts";

/** Messages that are read and not written yet: the batch in the making. */
export interface Gathered<B> {
  content: B;
  size: number;
  first: number;
  last: number;
  /** When the first and the last were received, in µs. */
  firstReceivedAt: number;
  receivedAt: number;
  /** Messages of the partition behind it. */
  lag: number;
}

/** Told of a batch that was committed long ago and is looked at again. @returns true when the next message may be read */
type OnVerified = (range: OffsetRange, found: Found, receivedAt: number) => Promise<boolean>;

/** Gathers and writes. */
export class PartitionWriter<B> {
  readonly #context: PartitionContext<B>;
  readonly #committed: CommittedPosition<B>;
  readonly #onVerified: OnVerified;
  #gathered: Gathered<B> | undefined;
  /** The writing of what is gathered, while there is any. */
  #writing: Promise<void> | undefined;
  /** A batch that is stored, and isn't committed: the next one's in-flight commit says so too. */
  #stored: BatchId | undefined;
  /** When a batch was last begun, in ms of the monotonic clock. */
  #begunAt = -Infinity;
  /** What is gathered is to be written at once. */
  #isUrgent = false;
  #isClosed = false;
  /** Wakes whoever waits for messages, or for room. */
  #changed = Promise.withResolvers<void>();

  constructor(context: PartitionContext<B>, committed: CommittedPosition<B>, onVerified: OnVerified) {
    this.#context = context;
    this.#committed = committed;
    this.#onVerified = onVerified;
  }

  /** What is gathered and not begun yet. */
  get gathered(): Gathered<B> | undefined {
    return this.#gathered;
  }

  /** Another reader has taken the partition: nothing more is gathered or written here. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A batch is under way, or soon will be. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Adds a message. @param lag messages of the partition behind it */
  gather(message: TopicMessage, lag: number): Gathered<B> {
    const gathered = this.#gathered ??= this.#start(message);
    gathered.size = this.#context.options.content.add(gathered.content, message);
    gathered.last = message.offset;
    gathered.receivedAt = message.receivedAt;
    gathered.lag = lag;
    return gathered;
  }

  /** Forgets what is gathered. */
  discard(): void {
    this.#gathered = undefined;
  }

  /** Nobody can have stored any of it. */
  isNew({ first }: Gathered<B>): boolean {
    const { commitFrom, askBelow, inflight } = this.#committed;
    return inflight === undefined && first >= commitFrom && first >= askBelow;
  }

  /** The batch that ends with the newest message; undefined while it goes on. One that is written again keeps its name. */
  rangeThatEnds({ first, last, size }: Gathered<B>, isLastFetched: boolean): OffsetRange | undefined {
    const { commitFrom } = this.#committed;
    const inflight = this.#committed.inflight !== undefined && last >= this.#committed.inflight.first
      ? this.#committed.inflight
      : undefined;
    const ends = last === commitFrom - 1 || (inflight !== undefined && last >= inflight.last) ||
      (inflight === undefined && (size >= this.#context.options.maxSize || isLastFetched));
    if (!ends) return undefined;
    return inflight?.last === last ? inflight : { first, last };
  }

  /** Has what is gathered written, beside whatever is read meanwhile. */
  write(): void {
    this.#wake();
    this.#writing ??= this.#writeGathered().catch((error) => {
      this.#isClosed = true;
      this.#context.fail(error);
    }).finally(() => {
      this.#writing = undefined;
      this.#wake();
      // What came while the last commit was under way.
      if (this.#gathered !== undefined && !this.#isClosed) this.write();
    });
  }

  async #writeGathered(): Promise<void> {
    const { flushMs, signal } = this.#context.options;
    while (!this.#isClosed) {
      this.#context.signal.throwIfAborted();
      const gathered = this.#gathered;
      if (gathered === undefined) {
        // Who reads on soon commits once for both: what is stored, and what is begun.
        if (!this.#isUrgent && !signal.aborted) await this.#waitForChange(flushMs);
        if (this.#gathered !== undefined) continue;
        return await this.#commitStored();
      }
      const waitMs = this.#begunAt + flushMs - performance.now();
      if (waitMs > 0 && gathered.size < this.#context.options.maxSize && !this.#isUrgent && !signal.aborted) {
        await this.#waitForChange(waitMs);
        continue;
      }
      this.#begunAt = performance.now();
      this.#gathered = undefined;
      this.#wake();
      if (!await this.#handle(gathered, { first: gathered.first, last: gathered.last })) return;
    }
  }

  /** Until what is gathered isn't a full batch any more. */
  async waitForRoom(): Promise<void> {
    const { options: { maxSize }, signal } = this.#context;
    while ((this.#gathered?.size ?? 0) >= maxSize && this.#writing !== undefined && !signal.aborted) {
      await this.#waitForChange(1000);
    }
  }

  async #waitForChange(ms: number): Promise<void> {
    const timer = Promise.withResolvers<void>();
    const id = setTimeout(timer.resolve, ms);
    await Promise.race([this.#changed.promise, timer.promise]);
    clearTimeout(id);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Writes what is gathered at once, and puts all that is stored on record. Doesn't throw. */
  async drain(): Promise<void> {
    this.#isUrgent = true;
    this.#wake();
    while (this.#writing !== undefined) await this.#writing;
    this.#isUrgent = false;
  }

  /** Has a batch written while the reading waits. @returns true when the next message may be read */
  async writeAlone(gathered: Gathered<B>, range: OffsetRange): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gathered = undefined;
    this.#writing = promise;
    try {
      return await this.#handle(gathered, range);
    } finally {
      this.#writing = undefined;
      resolve();
    }
  }

  /** Has a batch written. @returns true when the next message may be read */
  async #handle(gathered: Gathered<B>, range: OffsetRange): Promise<boolean> {
    const { topic, partition, signal, handler } = this.#context;
    const id = this.#committed.idOf(range, gathered.lag, gathered.firstReceivedAt);
    let goesOn: boolean | undefined;
    const batch: Batch<B> = {
      ...id,
      content: gathered.content,
      signal,
      begin: async () => {
        if (!id.isCommitted) await this.#begin(id);
      },
      assertOwned: () => this.#assertOwned(range),
      commit: async (found) => {
        goesOn =
          await (id.isCommitted
            ? this.#onVerified(range, found, gathered.receivedAt)
            : this.#end(id, found, gathered.receivedAt));
      },
    };
    await handler(batch);
    if (goesOn === undefined) {
      throw new Error(`The batch of ${topic}/${partition} wasn't committed by its handler.`);
    }
    return goesOn;
  }

  /** Step 1 of batch_protocol.ts, and step 3 of the batch before. */
  async #begin(id: BatchId): Promise<void> {
    const { onStep } = this.#context.options;
    await onStep?.("before the in-flight commit", id);
    await this.#committed.commit(id.range.first, id.range);
    await this.#tellCommitted();
    await onStep?.("after the in-flight commit", id);
  }

  /** Step 3 of batch_protocol.ts, unless the next batch's step 1 is soon. @returns true when the next message may be read */
  async #end(id: BatchId, { lostSince }: Found, receivedAt: number): Promise<boolean> {
    const { memory, options: { onStep, store }, reopen } = this.#context;
    const { last } = id.range;
    await onStep?.("after the inserts", id);
    this.#committed.before = receivedAt;
    if (lostSince !== undefined) memory.suspect = Math.min(lostSince, memory.suspect ?? Infinity);
    if (this.#committed.inflight !== undefined && last >= this.#committed.inflight.last) {
      this.#committed.inflight = undefined;
    }
    this.#committed.commitFrom = last + 1;
    this.#stored = id;
    const isSound = memory.suspect === undefined && store.restarts === memory.verifiedAt;
    if (id.mayBeStored || !isSound) await this.#commitStored();
    if (isSound) return true;
    // From an earlier offset, once more: all that is known of the partition is read anew.
    this.#isClosed = true;
    this.#gathered = undefined;
    await reopen();
    return false;
  }

  /** Step 3 of batch_protocol.ts by itself. */
  async #commitStored(): Promise<void> {
    if (this.#stored === undefined) return;
    await this.#committed.commit(this.#committed.commitFrom, undefined);
    await this.#tellCommitted();
  }

  async #tellCommitted(): Promise<void> {
    const stored = this.#stored;
    this.#stored = undefined;
    if (stored !== undefined) await this.#context.options.onStep?.("after the final commit", stored);
  }

  #start(message: TopicMessage): Gathered<B> {
    const { offset, receivedAt } = message;
    const content = this.#context.options.content.start();
    return { content, size: 0, first: offset, last: offset, firstReceivedAt: receivedAt, receivedAt, lag: 0 };
  }

  /**
   * A process that slept (a stopped machine, a debugger) wakes up believing that its partitions are still its own. The
   * broker is asked unless it has said so within the last heartbeat interval, which is shorter than a session can end in.
   */
  async #assertOwned(range: OffsetRange): Promise<void> {
    const { signal, group, handOver } = this.#context;
    signal.throwIfAborted();
    try {
      await group.heartbeat();
    } catch (error) {
      if (!signal.aborted) handOver(error, range);
      throw error;
    }
  }
}
