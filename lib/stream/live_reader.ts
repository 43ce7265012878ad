/**
 * The topics as they grow: a consumer group of this instance's own, from the end, deleted on stop. Every message is
 * handed over once and in the order of its partition; where that can't be, the listener is told of the gap. While nobody
 * is there it rests: what comes then is never read, and who comes next finds the last seconds.
 *
 * A killed instance leaves its group behind. The next start deletes the groups of this prefix that have no member; one
 * whose process only sleeps goes on from where it had read to, for that is kept here and not only at the broker.
 *
 * @module
 */

import type { Batch, Consumer, EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { setImmediate } from "node:timers/promises";
import { retry, sleep, unlessAborted } from "../core/retry.ts";
import type { Logger } from "../process/log.ts";
import { type TopicMessage, topicMessage } from "../kafka/message.ts";

/** A message and the product it is about, by its Kafka key; empty without one. */
export interface LiveMessage extends TopicMessage {
  key: string;
}

const sliceBytes = 32 * 1024;
/** While nobody is there it is read so often: a fetch for each of the producer's requests is work for nobody. */
const absentMs = 250;
/** A member that rests says so often that it lives. */
const restHeartbeatMs = 2000;
/** So much of what was said during a rest is read after it: longer than ClickHouse usually lags behind the topic. */
const recentMs = 5000;

/** Those for whom it is read. */
export interface Audience {
  /** Aborted while somebody is there; another one once the last has left. */
  readonly present: AbortSignal;
  /** Since when somebody is, in ms of the monotonic clock; Infinity while nobody is. */
  readonly presentSince: number;
}

/** What is read and who is told. */
export interface LiveReaderOptions {
  kafka: Kafka;
  /** The group is this and a random id. */
  groupPrefix: string;
  topics: readonly string[];
  signal: AbortSignal;
  log: Logger;
  onMessages(messages: readonly LiveMessage[]): void;
  audience: Audience;
  /** Nobody needs what is said until somebody comes. */
  mayRest(): boolean;
  /** What was handed over is not gone on with. */
  onRest(): void;
  /** The last seconds are going to be handed over, and all that follows. */
  onWake(): void;
  /** Messages of a partition are lost to this instance. */
  onGap(gap: { topic: string; partition: number; first: number; last: number }): void;
  /** The broker serves us (empty), or why it doesn't. */
  onState(reason: string): void;
}

/** Reads until the signal aborts; then leaves the group and deletes it. Never throws: it tries again and says so. */
export async function runLiveReader(options: LiveReaderOptions): Promise<void> {
  const { kafka, signal, log } = options;
  const group = `${options.groupPrefix}${crypto.randomUUID()}`;
  const place: Place = { expected: new Map(), isResting: false };
  /** The group is there, and so is the broker: when it isn't, nobody has to wait for a deletion. */
  let canDelete = false;
  const onState = (reason: string) => {
    canDelete = reason === "";
    options.onState(reason);
  };
  await retry(async () => {
    const crash = await readUntilCrash({ ...options, onState }, group, place);
    if (crash !== undefined) throw crash;
  }, {
    signal,
    maximumMs: 5000,
    onError(error, waitMs) {
      onState(`Kafka can't be used: ${error instanceof Error ? error.message : error}`);
      log.warn("the stream can't read from the broker, trying again", {
        error,
        wait_ms: Math.round(waitMs),
      });
    },
  }).catch(() => {});
  if (canDelete) await deleteGroups(kafka, [group], log);
}

/** One member of the group; returns nothing when the signal aborts, the error when it crashed. */
async function readUntilCrash(
  options: LiveReaderOptions,
  group: string,
  place: Place,
): Promise<Error | undefined> {
  const { signal, log } = options;
  await unlessAborted(deleteLeftOver(options, group), signal).catch((error) => {
    signal.throwIfAborted();
    log.debug("left-over groups can't be looked up", { error });
  });
  return await new LiveMember(options, group, place).read();
}

/** How far was read: what one member leaves to the next. */
interface Place {
  /** Topic and partition → the next offset. */
  expected: Map<string, number>;
  /** It isn't gone on from there. */
  isResting: boolean;
}

/** A member of the group, from joining to its end. */
class LiveMember {
  readonly #options: LiveReaderOptions;
  readonly #place: Place;
  readonly #consumer: Consumer;
  readonly #ended = Promise.withResolvers<Error | undefined>();
  /** When the last fetch was answered, in ms of the monotonic clock. */
  #fetchedAt = -Infinity;
  /** Partitions that were set back to where we were since the last join. */
  readonly #rewound = new Set<string>();

  constructor(options: LiveReaderOptions, group: string, place: Place) {
    this.#options = options;
    this.#place = place;
    const consumer = options.kafka.consumer({
      groupId: group,
      sessionTimeout: 10_000,
      heartbeatInterval: 2_000,
      // A message is handed over when it comes; the broker answers early for a single byte.
      maxWaitTimeInMs: 500,
      minBytes: 1,
      maxBytesPerPartition: 2 * 1024 * 1024,
      allowAutoTopicCreation: false,
      retry: { initialRetryTime: 200, maxRetryTime: 2000, retries: 3 },
    });
    this.#consumer = consumer;
    consumer.on(consumer.events.GROUP_JOIN, () => {
      this.#rewound.clear();
      options.log.info("the stream reads from the broker", { group });
    });
    // Not before: only with the first fetch it is settled where "from the end" is.
    consumer.on(consumer.events.FETCH, () => {
      this.#fetchedAt = performance.now();
      options.onState("");
    });
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      options.onState(`Kafka can't be used: ${payload.error.message}`);
      if (!payload.restart) this.#ended.resolve(payload.error);
    });
  }

  /** Reads until the signal aborts or the member crashes; returns why it crashed. */
  async read(): Promise<Error | undefined> {
    const { signal, topics } = this.#options;
    const consumer = this.#consumer;
    const stop = () => this.#ended.resolve(undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      await unlessAborted(consumer.connect(), signal);
      await unlessAborted(consumer.subscribe({ topics: [...topics], fromBeginning: false }), signal);
      const run = consumer.run({
        // So that a rejoin goes on where it was.
        autoCommitInterval: 1000,
        eachBatchAutoResolve: false,
        eachBatch: (payload) => this.#handleBatch(payload),
      });
      await unlessAborted(run, signal);
      return await this.#ended.promise;
    } finally {
      signal.removeEventListener("abort", stop);
      await Promise.race([consumer.disconnect().catch(() => {}), sleep(3000)]);
    }
  }

  async #handleBatch({ batch, resolveOffset, isStale, heartbeat }: EachBatchPayload): Promise<void> {
    const { signal } = this.#options;
    if (isStale() || signal.aborted) return;
    const { present } = this.#options.audience;
    const woken = AbortSignal.any([signal, present]);
    if (this.#place.isResting || !present.aborted && this.#options.mayRest()) {
      return await this.#rest(woken, heartbeat);
    }
    const { topic, partition, messages } = batch;
    const id = `${topic}/${partition}`;
    const next = this.#place.expected.get(id);
    if (next !== undefined && this.#mustRewind(batch, next)) return;
    const news = next === undefined ? messages : messages.filter(({ offset }) => Number(offset) >= next);
    for (const slice of slices(news)) {
      if (signal.aborted) return;
      this.#place.expected.set(id, Number(slice.at(-1)?.offset) + 1);
      this.#handOver(topic, partition, slice);
      // What was sent reaches the sockets of the system only when this thread lets go: without a pause every client
      // would look slow.
      await setImmediate();
      await heartbeat();
    }
    const last = messages.at(-1);
    if (last) resolveOffset(last.offset);
    const isAtEnd = Number(last?.offset ?? -1) + 1 >= Number(batch.highWatermark);
    if (isAtEnd) await sleep(Math.max(0, this.#fetchedAt + absentMs - performance.now()), woken);
  }

  /**
   * Compares where the batch begins with where we were. The group may have forgotten that: then the partition is read
   * from there again, once. Or the broker has deleted what comes next: then that is told.
   */
  #mustRewind({ topic, partition, messages }: Batch, next: number): boolean {
    const { log, onGap } = this.#options;
    const first = Number(messages[0]?.offset ?? 0);
    if (first <= next) return false;
    const id = `${topic}/${partition}`;
    if (!this.#rewound.has(id)) {
      this.#rewound.add(id);
      this.#consumer.seek({ topic, partition, offset: String(next) });
      return true;
    }
    log.warn("messages are lost to the stream", { topic, partition, first: next, last: first - 1 });
    onGap({ topic, partition, first: next, last: first - 1 });
    return false;
  }

  /** Sleeps, and stays a member, until somebody comes or the signal aborts; then reads on from what is recent. */
  async #rest(woken: AbortSignal, heartbeat: () => Promise<void>): Promise<void> {
    const { signal, audience, onRest, onWake } = this.#options;
    // A member that crashed in its rest has told it already, and somebody may have come since.
    if (!this.#place.isResting) onRest();
    this.#place.isResting = true;
    while (!woken.aborted) {
      await sleep(restHeartbeatMs, woken);
      await heartbeat();
    }
    if (signal.aborted) return;
    // Where the broker was away, whoever waits came long ago.
    const since = Math.min(performance.now(), audience.presentSince) - recentMs;
    await this.#seek(since);
    this.#place.isResting = false;
    onWake();
  }

  /** Everywhere to the first message since then (ms of the monotonic clock). */
  async #seek(since: number): Promise<void> {
    const { kafka, topics } = this.#options;
    const timestamp = Math.floor(Date.now() - (performance.now() - since));
    const admin = kafka.admin();
    await admin.connect();
    try {
      for (const topic of topics) {
        for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, timestamp)) {
          this.#place.expected.set(`${topic}/${partition}`, Number(offset));
          this.#consumer.seek({ topic, partition, offset });
        }
      }
    } finally {
      await admin.disconnect();
    }
  }

  #handOver(topic: string, partition: number, messages: readonly KafkaMessage[]): void {
    this.#options.onMessages(messages.map((message) => ({
      ...topicMessage(topic, partition, message),
      key: message.key?.toString() ?? "",
    })));
  }
}

/** Cuts messages so that a slice is handed over in a moment. */
function* slices(messages: readonly KafkaMessage[]): Iterable<KafkaMessage[]> {
  let slice: KafkaMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    slice.push(message);
    bytes += message.value?.length ?? 0;
    if (bytes < sliceBytes) continue;
    yield slice;
    slice = [];
    bytes = 0;
  }
  if (slice.length > 0) yield slice;
}

async function deleteLeftOver({ kafka, groupPrefix, log }: LiveReaderOptions, own: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const { groups } = await admin.listGroups();
    const ids = groups.map(({ groupId }) => groupId).filter((id) => id.startsWith(groupPrefix) && id !== own);
    if (ids.length === 0) return;
    const described = await admin.describeGroups(ids);
    const empty = described.groups.filter(({ state }) => state === "Empty").map(({ groupId }) => groupId);
    if (empty.length > 0) await deleteGroups(kafka, empty, log);
  } finally {
    await admin.disconnect();
  }
}

/** At best effort: the broker forgets an empty group by itself after offsets.retention.minutes. */
async function deleteGroups(kafka: Kafka, groups: string[], log: Logger): Promise<void> {
  const admin = kafka.admin({ retry: { retries: 1 } });
  const work = (async () => {
    await admin.connect();
    await admin.deleteGroups(groups);
    log.info("consumer groups of the stream deleted", { groups: groups.length });
  })().catch((error) => log.debug("consumer groups of the stream weren't deleted", { error }));
  await Promise.race([work, sleep(3000)]);
  await Promise.race([admin.disconnect().catch(() => {}), sleep(500)]);
}
