/**
 * One member of the consumer group, from joining to leaving: which partitions are ours, and since when. A partition's
 * messages are read by partition_reader.ts.
 *
 * @module
 */

import type { Admin, Consumer, EachBatchPayload } from "kafkajs";
import { FatalError } from "../core/errors.ts";
import { sleep, unlessAborted } from "../core/retry.ts";
import type { BatchHandler, ConsumeOptions } from "./batch.ts";
import { explainBrokerError } from "../kafka/kafka_errors.ts";
import { sessionOptions } from "./group_member.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import type { PartitionMemory } from "./committed_position.ts";
import { PartitionReader } from "./partition_reader.ts";
import { retryForever } from "../core/retry_forever.ts";

/** Reads as a member of the group; to be run once. */
export class GroupReader<B> {
  readonly #options: ConsumeOptions<B>;
  readonly #handler: BatchHandler<B>;
  readonly #admin: Admin;
  readonly #consumer: Consumer;
  readonly #crashed = Promise.withResolvers<Error | undefined>();
  /** What outlives an assignment, by `topic/partition`. */
  readonly #memory = new Map<string, PartitionMemory>();
  /** Everything that is known of partitions is known of one generation of the group and dropped with it. */
  #session = new AbortController();
  /** Counts the assignments of partitions. */
  #generation = 0;
  /** Topic → the partitions that the group has given us. */
  #assignment: Record<string, number[]> = {};
  #partitions = new Map<string, Promise<PartitionReader<B>>>();

  constructor(options: ConsumeOptions<B>, handler: BatchHandler<B>) {
    this.#options = options;
    this.#handler = handler;
    this.#admin = options.kafka.admin();
    this.#consumer = options.kafka.consumer({
      groupId: options.group,
      ...sessionOptions(options.sessionMs),
      maxWaitTimeInMs: options.flushMs,
      minBytes: 512 * 1024,
      maxBytesPerPartition: 8 * 1024 * 1024,
      maxBytes: 32 * 1024 * 1024,
      allowAutoTopicCreation: false,
      retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
    });
    const { GROUP_JOIN, REBALANCING, CRASH } = this.#consumer.events;
    this.#consumer.on(GROUP_JOIN, ({ payload }) => this.#onAssignment(payload.memberAssignment));
    this.#consumer.on(REBALANCING, () => this.#onGenerationEnd());
    this.#consumer.on(CRASH, ({ payload }) => {
      this.#onGenerationEnd();
      options.log.error("kafka: the consumer crashed", { error: payload.error, restarts: payload.restart });
      if (!payload.restart) this.#crashed.resolve(payload.error);
    });
  }

  /** Reads until the signal aborts (returns nothing) or kafkajs gives up (returns why). */
  async run(): Promise<Error | undefined> {
    const { signal, topics } = this.#options;
    const stop = () => this.#crashed.resolve(undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      await unlessAborted(Promise.all([this.#admin.connect(), this.#consumer.connect()]), signal);
      await this.#consumer.subscribe({ topics: [...topics], fromBeginning: true });
      const running = this.#consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: 4,
        eachBatch: (payload) => this.#readFetched(payload),
      });
      // Joining waits for the other members.
      await unlessAborted(running, signal);
      return await this.#crashed.promise;
    } finally {
      signal.removeEventListener("abort", stop);
      await this.#leave();
      await Promise.race([this.#admin.disconnect(), sleep(1000)]);
    }
  }

  #onAssignment(assignment: Record<string, number[]>): void {
    const { group, log } = this.#options;
    this.#generation++;
    this.#assignment = assignment;
    this.#resetSession(true);
    log.info("partitions assigned", { group, ...assignment });
    // Where to begin is looked up before kafkajs fetches: of an offset outside of the log it would make the log's start,
    // and commit that over ours.
    for (const [topic, partitions] of Object.entries(assignment)) {
      this.#consumer.pause([{ topic, partitions }]);
      for (const partition of partitions) void this.#begin(topic, partition, this.#generation);
    }
  }

  #onGenerationEnd(): void {
    this.#generation++;
    this.#resetSession();
  }

  #resetSession(assigned = false): void {
    this.#session.abort();
    this.#session = new AbortController();
    this.#partitions = new Map();
    this.#options.onAssigned(assigned, this.#assignment);
  }

  /** Fetches from a partition once it is known where; an error in another partition meanwhile is no reason not to. */
  async #begin(topic: string, partition: number, generation: number): Promise<void> {
    while (generation === this.#generation) {
      const session = this.#session.signal;
      try {
        await this.#open(topic, partition);
        if (generation === this.#generation) this.#consumer.resume([{ topic, partitions: [partition] }]);
        return;
      } catch {
        // `#open` has said why. Where it wasn't interrupted, the reading ends.
        if (!session.aborted) return;
      }
    }
  }

  /** What is known of the partition; on first sight asked of the broker, without end. A reason to stop ends the reading. */
  #open(topic: string, partition: number): Promise<PartitionReader<B>> {
    const id = `${topic}/${partition}`;
    const known = this.#partitions.get(id);
    if (known !== undefined) return known;
    const session = this.#session.signal;
    const openNow = () => this.#openNow(topic, partition, session);
    const opening = retryForever("the partition's position can't be read", openNow, {
      signal: session,
      log: this.#options.log,
      fields: { topic, partition },
      explain: explainBrokerError,
    });
    this.#partitions.set(id, opening);
    opening.catch((error) => {
      if (!session.aborted) this.#crashed.resolve(error);
    });
    return opening;
  }

  #openNow(topic: string, partition: number, signal: AbortSignal): Promise<PartitionReader<B>> {
    const id = `${topic}/${partition}`;
    const memory = this.#memory.get(id) ?? {};
    this.#memory.set(id, memory);
    return PartitionReader.open({
      topic,
      partition,
      signal,
      memory,
      options: this.#options,
      handler: this.#handler,
      admin: this.#admin,
      consumer: this.#consumer,
      reopen: async () => {
        this.#partitions.delete(id);
        await this.#open(topic, partition);
      },
      handOver: (error, range) => this.#handOver({ topic, partition, ...range }, error),
    });
  }

  async #readFetched(payload: EachBatchPayload): Promise<void> {
    const session = this.#session.signal;
    const { topic, partition } = payload.batch;
    const beat = setInterval(
      () =>
        payload.heartbeat().catch((error) => session.aborted || this.#handOver({ topic, partition }, error)),
      Math.min(1000, this.#options.sessionMs / 5),
    );
    try {
      const reader = await this.#open(topic, partition);
      if (!session.aborted) await reader.read(payload);
    } catch (error) {
      // What isn't committed is read again from the committed offset, by whoever has the partition then.
      if (session.aborted) return;
      if (error instanceof FatalError) this.#crashed.resolve(error);
      this.#resetSession(true);
      throw error;
    } finally {
      clearInterval(beat);
    }
  }

  /** A heartbeat was refused or not answered: nothing that is known holds any more. */
  #handOver(batch: { topic: string; partition: number } & Partial<OffsetRange>, error: unknown): void {
    this.#options.log.warn("the group has moved on, the batch is left to whoever has its partition now", {
      ...batch,
      error,
    });
    this.#resetSession(true);
  }

  /** Finishes the batch under way and leaves the group, so that others take over at once; not at any price. */
  async #leave(): Promise<void> {
    const left = new AbortController();
    const leaving = this.#consumer.disconnect().finally(() => left.abort());
    // ClickHouse is away or hangs: the batch stays on record as in flight, and is written again by the next process.
    await sleep(4000, left.signal);
    this.#resetSession();
    await Promise.race([leaving, sleep(3000, left.signal)]);
  }
}
