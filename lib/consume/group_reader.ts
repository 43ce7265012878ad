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
import type { Membership, PartitionMemory } from "./committed_position.ts";
import { topicMessage } from "../kafka/message.ts";
import { PartitionReader } from "./partition_reader.ts";
import { retryForever } from "../core/retry_forever.ts";

/** A fetch waits for so long where there is nothing to be read. */
const idleFetchMs = 500;
/** What is under way may take so long when the consumer is asked to stop. */
const leaveMs = 4000;
/** So many messages in a fetch: more of them wait. */
const fullFetch = 1000;

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
  /** What kafkajs gives with each fetch to speak to the group; it holds as long as the consumer does. */
  #membership: Membership | undefined;
  /** What went wrong beside kafkajs' own loop: thrown into it, so that it joins the group anew where that helps. */
  #failure: unknown;
  /** When the last fetch was answered, for all partitions that it brought; in ms of the monotonic clock. */
  #fetchedAt = -Infinity;
  #isLeaving = false;

  constructor(options: ConsumeOptions<B>, handler: BatchHandler<B>) {
    this.#options = options;
    this.#handler = handler;
    this.#admin = options.kafka.admin();
    this.#consumer = options.kafka.consumer({
      groupId: options.group,
      ...sessionOptions(options.sessionMs),
      // What is there is fetched at once; how often is decided in #readFetched().
      minBytes: 1,
      maxWaitTimeInMs: idleFetchMs,
      maxBytesPerPartition: 4 * 1024 * 1024,
      maxBytes: 8 * 1024 * 1024,
      allowAutoTopicCreation: false,
      retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
    });
    const { GROUP_JOIN, REBALANCING, FETCH, STOP, CRASH } = this.#consumer.events;
    this.#consumer.on(FETCH, () => this.#fetchedAt = performance.now());
    this.#consumer.on(GROUP_JOIN, ({ payload }) => this.#onAssignment(payload.memberAssignment));
    this.#consumer.on(REBALANCING, () => this.#onGenerationEnd());
    // Told before a crash is: from here on kafkajs has no group to speak to, until it has joined again.
    this.#consumer.on(STOP, () => {
      this.#membership = undefined;
      this.#onGenerationEnd();
    });
    this.#consumer.on(CRASH, ({ payload }) => {
      options.log.error("kafka: the consumer crashed", { error: payload.error, restarts: payload.restart });
      if (!payload.restart) this.#crashed.resolve(payload.error);
    });
  }

  /** Reads until the signal aborts (returns nothing) or kafkajs gives up (returns why). */
  async run(): Promise<Error | undefined> {
    const { signal, topics } = this.#options;
    const stop = () => this.#crashed.resolve(undefined);
    signal.addEventListener("abort", stop, { once: true });
    const beat = setInterval(() => void this.#beat(), Math.min(1000, this.#options.sessionMs / 5));
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
      clearInterval(beat);
      await Promise.race([this.#admin.disconnect(), sleep(1000)]);
    }
  }

  #onAssignment(assignment: Record<string, number[]>): void {
    const { group, log } = this.#options;
    this.#generation++;
    this.#assignment = assignment;
    this.#failure = undefined;
    this.#resetSession(true);
    log.info("partitions assigned", { group, ...assignment });
    this.#beginAll();
  }

  /**
   * Where to begin is looked up before kafkajs fetches: of an offset outside of the log it would make the log's start, and
   * commit that over ours.
   */
  #beginAll(): void {
    for (const [topic, partitions] of Object.entries(this.#assignment)) {
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
      group: {
        heartbeat: () => this.#speaking().heartbeat(),
        commit: (offsets) => this.#speaking().commit(offsets),
      },
      reopen: async () => {
        this.#partitions.delete(id);
        await this.#open(topic, partition);
      },
      handOver: (error, range) => this.#handOver({ topic, partition, ...range }, error),
      fail: (error) => {
        if (signal.aborted) return;
        if (error instanceof FatalError) return this.#crashed.resolve(error);
        this.#handOver({ topic, partition }, error);
      },
    });
  }

  async #readFetched(payload: EachBatchPayload): Promise<void> {
    // Nothing is read any more; kafkajs would fetch the same again at once.
    if (this.#isLeaving) return await sleep(leaveMs, this.#session.signal);
    this.#membership = { heartbeat: payload.heartbeat, commit: payload.commitOffsetsIfNecessary };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
    const session = this.#session.signal;
    const { topic, partition, messages } = payload.batch;
    try {
      const reader = await this.#open(topic, partition);
      if (session.aborted) return;
      const [first, last] = [messages[0], messages.at(-1)];
      if (first !== undefined && last !== undefined) {
        const { offset, receivedAt } = topicMessage(topic, partition, first);
        this.#options.onRead?.({ topic, partition, offset, receivedAt, end: Number(last.offset) + 1 });
      }
      await reader.read(payload);
      // Few messages: more of them are fetched together a little later, in good time for the next batch.
      const restMs = this.#fetchedAt + this.#options.flushMs / 2 - performance.now();
      if (messages.length < fullFetch && restMs > 0) await sleep(restMs, session);
    } catch (error) {
      // What isn't committed is read again from the committed offset, by whoever has the partition then.
      if (session.aborted) return;
      if (error instanceof FatalError) this.#crashed.resolve(error);
      this.#readAgain();
      throw error;
    }
  }

  #speaking(): Membership {
    if (this.#membership === undefined) throw new Error("the consumer has stopped");
    return this.#membership;
  }

  /** kafkajs speaks to the group only when a fetch brings nothing. */
  async #beat(): Promise<void> {
    const session = this.#session.signal;
    try {
      await this.#membership?.heartbeat();
    } catch (error) {
      // Where kafkajs has crashed meanwhile it says so itself.
      if (!session.aborted) this.#handOver({}, error);
    }
  }

  /** A heartbeat or a commit was refused or not answered: nothing that is known holds any more. */
  #handOver(batch: { topic?: string; partition?: number } & Partial<OffsetRange>, error: unknown): void {
    this.#options.log.warn("the group has moved on, the batch is left to whoever has its partition now", {
      ...batch,
      error,
    });
    this.#failure = error;
    this.#readAgain();
  }

  /** Where the partitions are still ours, what isn't committed is read again, also when nothing new comes. */
  #readAgain(): void {
    // A consumer that has crashed, or leaves, has no group to speak to.
    if (this.#isLeaving || this.#membership === undefined) return this.#resetSession();
    this.#resetSession(true);
    this.#beginAll();
  }

  /** Finishes the batch under way and leaves the group, so that others take over at once; not at any price. */
  async #leave(): Promise<void> {
    this.#isLeaving = true;
    const written = new AbortController();
    const readers = [...this.#partitions.values()];
    const draining = Promise.allSettled(readers.map(async (reader) => await (await reader).drain()));
    draining.finally(() => written.abort());
    // ClickHouse is away or hangs: the batch stays on record as in flight, and is written again by the next process.
    await sleep(leaveMs, written.signal);
    this.#resetSession();
    const left = new AbortController();
    this.#consumer.disconnect().finally(() => left.abort()).catch(() => {});
    await sleep(3000, left.signal);
  }
}
