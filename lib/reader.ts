/**
 * Kafka → batches that count once: the consumer's side of the protocol in batch.ts. What a batch becomes is the sink's
 * business; when it is written, under which name, and what is committed before and after is decided here.
 *
 * @module
 */

import type { EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { retry, sleep, unlessAborted } from "./backoff.ts";
import { inflightMetadata, type OffsetRange } from "./batch.ts";
import { explainBrokerError, fetchCommitted } from "./broker.ts";
import type { FaultPoint } from "./faultpoint.ts";
import type { Logger } from "./log.ts";
import type { TopicMessage } from "./rows.ts";
import { FatalError } from "./service.ts";

/** A batch's name: the same after a crash as before it. */
export interface Place {
  topic: string;
  partition: number;
  range: OffsetRange;
  /** True when an earlier process may have written it already. */
  replayed: boolean;
  /** Messages of the partition that are not read yet. */
  lag: number;
}

/** Makes something of messages. `B` is a batch in the making. */
export interface Sink<B> {
  start(): B;
  /** Adds a message; returns the batch's size so far, in the unit of `maxSize`. */
  add(batch: B, message: TopicMessage): number;
  /**
   * Writes the batch so that writing it again under the same place changes nothing; keeps trying until it is written.
   *
   * @param assertOurs asks the broker whether the batch is still ours; to be called before each statement that writes,
   *   for this process may have slept since. Aborts `signal` when it isn't
   * @throws when `signal` aborts: the batch isn't ours any more, or the process stops
   */
  write(batch: B, place: Place, signal: AbortSignal, assertOurs: () => Promise<void>): Promise<void>;
}

/** What to read and how. */
export interface ReaderOptions<B> {
  kafka: Kafka;
  group: string;
  topics: readonly string[];
  sink: Sink<B>;
  /** A batch is written when it has this size … */
  maxSize: number;
  /** … or when the broker has held back a fetch for so long, whatever comes first. */
  flushMs: number;
  signal: AbortSignal;
  log: Logger;
  /**
   * Told when the group has given us our partitions (true), and when nothing that is known of them holds any more
   * (false): what was written without being committed may be written again, here or elsewhere.
   */
  onAssigned(assigned: boolean): void;
  /** Called between the steps of each batch; may take its time, so that a test can end the process there. */
  onStep?: (point: FaultPoint, place: Place) => Promise<void>;
}

/**
 * Reads until the signal aborts; idle topics, broker restarts and rebalances are no reason to stop.
 *
 * @throws {FatalError} when the broker refuses the credentials, or another program commits under the group's name
 */
export async function readTopics<B>(options: ReaderOptions<B>): Promise<void> {
  const { signal, log } = options;
  while (!signal.aborted) {
    const crash = await retry(() => readUntilCrash(options), {
      signal,
      onError(error, waitMs) {
        const explained = explainBrokerError(error);
        if (explained instanceof FatalError) throw explained;
        log.error("the broker can't be used, trying again", { error, wait_ms: Math.round(waitMs) });
      },
    }).catch((error) => {
      if (!signal.aborted) throw error;
    });
    if (crash === undefined || signal.aborted) return;
    const explained = explainBrokerError(crash);
    if (explained instanceof FatalError) throw explained;
    log.error("reading stopped, starting again", { error: crash });
    await sleep(1000, signal);
  }
}

/** What is known of a partition since the group gave it to us. */
interface Partition<B> {
  /** The batch of an earlier process that has to be read and written again, exactly. */
  inflight: OffsetRange | undefined;
  batch: B;
  /** The batch's first offset, once it has a message. */
  first: number | undefined;
}

/** One member of the group, from joining to the signal (returns nothing) or to a crash (returns it). */
async function readUntilCrash<B>(options: ReaderOptions<B>): Promise<Error | undefined> {
  const { kafka, group, sink, signal, log } = options;
  const admin = kafka.admin();
  const consumer = kafka.consumer({
    groupId: group,
    // A killed member's partitions are handed over after this long.
    sessionTimeout: 10_000,
    heartbeatInterval: 2_000,
    rebalanceTimeout: 30_000,
    maxWaitTimeInMs: options.flushMs,
    minBytes: 512 * 1024,
    maxBytesPerPartition: 8 * 1024 * 1024,
    maxBytes: 32 * 1024 * 1024,
    allowAutoTopicCreation: false,
    retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
  });
  const crashed = Promise.withResolvers<Error | undefined>();
  // Everything that is known of partitions is known of one generation of the group and forgotten with it.
  let session = new AbortController();
  let partitions = new Map<string, Partition<B>>();
  let rewound = new Set<string>();

  function forget(assigned = false): void {
    session.abort();
    session = new AbortController();
    partitions = new Map();
    rewound = new Set();
    options.onAssigned(assigned);
  }

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    forget(true);
    log.info("partitions assigned", { group, ...payload.memberAssignment });
  });
  consumer.on(consumer.events.REBALANCING, () => forget());
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    forget();
    log.error("kafka: the consumer crashed", { error: payload.error, restarts: payload.restart });
    if (!payload.restart) crashed.resolve(payload.error);
  });
  const stop = () => crashed.resolve(undefined);

  async function eachBatch(payload: EachBatchPayload): Promise<void> {
    const mine = session.signal;
    const beat = setInterval(() => payload.heartbeat().catch(() => forget(true)), 1000);
    try {
      const state = await load(payload, mine);
      if (state !== undefined) await take(payload, state, mine);
    } catch (error) {
      // What isn't committed is read again from the committed place, by whoever has the partition then.
      if (mine.aborted) return;
      forget(true);
      throw error;
    } finally {
      clearInterval(beat);
    }
  }

  /** What is known of the partition; on first sight read from the broker. Nothing when reading has to start elsewhere. */
  async function load(payload: EachBatchPayload, mine: AbortSignal): Promise<Partition<B> | undefined> {
    const { topic, partition, messages } = payload.batch;
    const id = `${topic}/${partition}`;
    const known = partitions.get(id);
    if (known !== undefined) return known;
    const { offset, inflight } = await fetchCommitted(admin, group, topic, partition);
    mine.throwIfAborted();
    // After an error kafkajs goes on where it had read to, on either side of the place that we committed.
    if (offset >= 0 && Number(messages[0]?.offset) !== offset && !rewound.has(id)) {
      rewound.add(id);
      consumer.seek({ topic, partition, offset: String(offset) });
      return undefined;
    }
    if (inflight) log.warn("a batch may have landed, writing it again", { topic, partition, ...inflight });
    const state: Partition<B> = { inflight, batch: sink.start(), first: undefined };
    partitions.set(id, state);
    return state;
  }

  async function take(payload: EachBatchPayload, state: Partition<B>, mine: AbortSignal): Promise<void> {
    const { batch: { topic, partition, messages, highWatermark }, resolveOffset } = payload;
    const lastFetched = messages.at(-1)?.offset;
    for (const message of messages) {
      if (mine.aborted || !payload.isRunning() || payload.isStale()) return;
      const offset = Number(message.offset);
      if (state.inflight !== undefined && offset > state.inflight.last) {
        await loseInflight(payload, state, mine);
      }
      state.first ??= offset;
      const size = sink.add(state.batch, topicMessage(topic, partition, message));
      const ends = state.inflight !== undefined
        ? offset === state.inflight.last
        : size >= options.maxSize || message.offset === lastFetched;
      if (ends) {
        // A replayed batch keeps its name, or its token would be another.
        const range = state.inflight ?? { first: state.first, last: offset };
        const lag = Number(highWatermark) - 1 - offset;
        await write(
          payload,
          state,
          { topic, partition, range, replayed: state.inflight !== undefined, lag },
          mine,
        );
      } else if (message.offset === lastFetched) {
        resolveOffset(message.offset);
      }
    }
  }

  /** The three steps of batch.ts. */
  async function write(
    payload: EachBatchPayload,
    state: Partition<B>,
    place: Place,
    mine: AbortSignal,
  ): Promise<void> {
    const { topic, partition, range } = place;
    // Not consumer.commitOffsets(): once the consumer is told to stop, that returns without committing, and without a word.
    const commit = (offset: number, metadata: string) => {
      mine.throwIfAborted();
      const place = { partition, offset: String(offset), metadata };
      return payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [place] }] });
    };
    await options.onStep?.("before the in-flight commit", place);
    await commit(range.first, inflightMetadata(range));
    await options.onStep?.("after the in-flight commit", place);
    await sink.write(state.batch, place, mine, () => assertMember(payload, place));
    await options.onStep?.("after the inserts", place);
    await commit(range.last + 1, "");
    await options.onStep?.("after the final commit", place);
    payload.resolveOffset(String(range.last));
    state.inflight = undefined;
    state.first = undefined;
    state.batch = sink.start();
  }

  /**
   * A process that slept (a stopped machine, a debugger) wakes up believing that its partitions are still its own. The
   * broker is asked unless it has said so within the last heartbeat interval, which is shorter than a session can end in.
   */
  async function assertMember(payload: EachBatchPayload, { topic, partition, range }: Place): Promise<void> {
    try {
      await payload.heartbeat();
    } catch (error) {
      log.warn("the group has moved on, the batch is left to whoever has its partition now", {
        topic,
        partition,
        ...range,
        error,
      });
      forget(true);
      throw error;
    }
  }

  /** The in-flight batch's last message has expired in the topic: what is left of the batch is written under its name. */
  async function loseInflight(
    payload: EachBatchPayload,
    state: Partition<B>,
    mine: AbortSignal,
  ): Promise<void> {
    const { topic, partition } = payload.batch;
    const range = state.inflight!;
    log.error("messages of a batch that may have landed have expired in the topic", {
      topic,
      partition,
      ...range,
    });
    await write(payload, state, { topic, partition, range, replayed: true, lag: 0 }, mine);
  }

  signal.addEventListener("abort", stop, { once: true });
  try {
    await unlessAborted(Promise.all([admin.connect(), consumer.connect()]), signal);
    await consumer.subscribe({ topics: [...options.topics], fromBeginning: true });
    const running = consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: 4,
      eachBatch,
    });
    // Joining waits for the other members.
    await unlessAborted(running, signal);
    return await crashed.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    await leave();
    await Promise.race([admin.disconnect(), sleep(1000)]);
  }

  /** Finishes the batch under way and leaves the group, so that others take over at once; not at any price. */
  async function leave(): Promise<void> {
    const left = new AbortController();
    const leaving = consumer.disconnect().finally(() => left.abort());
    // ClickHouse is away or hangs: the batch stays on record as in flight, and is written again by the next process.
    await sleep(4000, left.signal);
    forget();
    await Promise.race([leaving, sleep(3000, left.signal)]);
  }
}

/** A Kafka message as tapehouse sees it. Messages of other producers lack our headers: Kafka's own time serves then. */
export function topicMessage(topic: string, partition: number, message: KafkaMessage): TopicMessage {
  const header = (name: string) => message.headers?.[name]?.toString() ?? "";
  const receivedAt = Number(header("received_at"));
  return {
    topic,
    partition,
    offset: Number(message.offset),
    value: message.value ?? new Uint8Array(),
    receivedAt: Number.isSafeInteger(receivedAt) && receivedAt > 0
      ? receivedAt
      : Number(message.timestamp) * 1000,
    source: header("source") || "unknown",
    connection: header("connection"),
  };
}
