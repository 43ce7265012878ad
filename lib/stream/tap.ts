/**
 * The topics as they grow: a consumer group of this instance's own, from the end, deleted on stop. Every message is
 * handed over once and in the order of its partition; where that can't be, the listener is told of the hole.
 *
 * A killed instance leaves its group behind. The next start deletes the groups of this prefix that have no member; one
 * whose process only sleeps goes on from where it had read to, for that is kept here and not only at the broker.
 *
 * @module
 */

import type { EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { setImmediate } from "node:timers/promises";
import { retry, sleep, unlessAborted } from "../backoff.ts";
import type { Logger } from "../log.ts";
import { topicMessage } from "../reader.ts";
import type { TopicMessage } from "../rows.ts";

/** A message and the product it is about, by its Kafka key; empty without one. */
export interface TapMessage extends TopicMessage {
  key: string;
}

const sliceBytes = 32 * 1024;

/** What is read and who is told. */
export interface TapOptions {
  kafka: Kafka;
  /** The group is this and a random id. */
  groupPrefix: string;
  topics: readonly string[];
  signal: AbortSignal;
  log: Logger;
  onMessages(messages: readonly TapMessage[]): void;
  /** Messages of a partition are lost to this instance. */
  onHole(hole: { topic: string; partition: number; first: number; last: number }): void;
  /** The broker serves us (empty), or why it doesn't. */
  onState(reason: string): void;
}

/** Reads until the signal aborts; then leaves the group and deletes it. Never throws: it tries again and says so. */
export async function runTap(options: TapOptions): Promise<void> {
  const { kafka, signal, log } = options;
  const group = `${options.groupPrefix}${crypto.randomUUID()}`;
  /** The next offset of each partition that was read from. */
  const expected = new Map<string, number>();
  /** The group is there, and so is the broker: when it isn't, nobody has to wait for a deletion. */
  let canDelete = false;
  const onState = (reason: string) => {
    canDelete = reason === "";
    options.onState(reason);
  };
  await retry(async () => {
    const crash = await readUntilCrash({ ...options, onState }, group, expected);
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
  options: TapOptions,
  group: string,
  expected: Map<string, number>,
): Promise<Error | undefined> {
  const { kafka, signal, log } = options;
  await unlessAborted(deleteLeftOver(options, group), signal).catch((error) => {
    signal.throwIfAborted();
    log.debug("left-over groups can't be looked up", { error });
  });
  const consumer = kafka.consumer({
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
  const ended = Promise.withResolvers<Error | undefined>();
  const rewound = new Set<string>();
  consumer.on(consumer.events.GROUP_JOIN, () => {
    rewound.clear();
    log.info("the stream reads from the broker", { group });
  });
  // Not before: only with the first fetch it is settled where "from the end" is.
  consumer.on(consumer.events.FETCH, () => options.onState(""));
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    options.onState(`Kafka can't be used: ${payload.error.message}`);
    if (!payload.restart) ended.resolve(payload.error);
  });
  const stop = () => ended.resolve(undefined);
  signal.addEventListener("abort", stop, { once: true });

  async function eachBatch({ batch, resolveOffset, isStale, heartbeat }: EachBatchPayload): Promise<void> {
    if (isStale() || signal.aborted) return;
    const { topic, partition, messages } = batch;
    const id = `${topic}/${partition}`;
    const next = expected.get(id);
    const first = Number(messages[0]?.offset ?? 0);
    if (next !== undefined && first > next) {
      // The group forgot where we were, or the broker has deleted what comes next.
      if (!rewound.has(id)) {
        rewound.add(id);
        consumer.seek({ topic, partition, offset: String(next) });
        return;
      }
      log.warn("messages are lost to the stream", { topic, partition, first: next, last: first - 1 });
      options.onHole({ topic, partition, first: next, last: first - 1 });
    }
    const news = next === undefined ? messages : messages.filter(({ offset }) => Number(offset) >= next);
    for (const slice of slices(news)) {
      if (signal.aborted) return;
      expected.set(id, Number(slice.at(-1)?.offset) + 1);
      options.onMessages(slice.map((message) => ({
        ...topicMessage(topic, partition, message),
        key: message.key?.toString() ?? "",
      })));
      // What was sent reaches the sockets of the system only when this thread lets go: without a pause every client
      // would look slow.
      await setImmediate();
      await heartbeat();
    }
    const last = messages.at(-1);
    if (last) resolveOffset(last.offset);
  }

  try {
    await unlessAborted(consumer.connect(), signal);
    await unlessAborted(
      consumer.subscribe({ topics: [...options.topics], fromBeginning: false }),
      signal,
    );
    const run = consumer.run({
      // So that a rejoin goes on where it was.
      autoCommitInterval: 1000,
      eachBatchAutoResolve: false,
      eachBatch,
    });
    await unlessAborted(run, signal);
    return await ended.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    await Promise.race([consumer.disconnect().catch(() => {}), sleep(3000)]);
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

async function deleteLeftOver({ kafka, groupPrefix, log }: TapOptions, own: string): Promise<void> {
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
