/**
 * A part of a topic, read without touching any group's place in it.
 *
 * @module
 */

import type { Admin, EachBatchPayload, Kafka } from "kafkajs";
import { parseTime } from "../core/time.ts";
import { type TopicMessage, topicMessage } from "./message.ts";
import { FatalError } from "../core/errors.ts";

/** An offset, the same for each partition, or a time in µs since the epoch. */
export type Bound = { offset: number } | { time: number };

/** `1000` is an offset, `2026-07-07` or `2026-07-07T22:58:17Z` a time. Undefined when it is neither. */
export function parseBound(text: string): Bound | undefined {
  if (/^\d{1,15}$/.test(text)) return { offset: Number(text) };
  const time = parseTime(text);
  return time === undefined ? undefined : { time };
}

/** Offsets of a partition, `end` not included. */
export interface PartitionRange {
  topic: string;
  partition: number;
  first: number;
  end: number;
}

/**
 * What of the topics lies in the range now. A message's time is when it was received, in milliseconds.
 *
 * @param from where the topic begins when absent
 * @param to not included; where the topic ends now when absent
 * @throws {FatalError} when a topic doesn't exist
 */
export async function planTopicRange(
  admin: Admin,
  topics: readonly string[],
  from: Bound | undefined,
  to: Bound | undefined,
): Promise<PartitionRange[]> {
  const existing = await admin.listTopics();
  const ranges: PartitionRange[] = [];
  for (const topic of topics) {
    if (!existing.includes(topic)) throw new FatalError(`There is no topic ${topic}.`);
    // One after the other: while kafkajs learns of a topic, a second question about it fails.
    const ends = await admin.fetchTopicOffsets(topic);
    const first = await offsetsAt(admin, topic, from);
    const end = await offsetsAt(admin, topic, to);
    for (const { partition, low, high } of ends) {
      ranges.push({
        topic,
        partition,
        first: Math.max(Number(low), first(partition) ?? 0),
        end: Math.min(Number(high), end(partition) ?? Infinity),
      });
    }
  }
  return ranges.filter((range) => range.first < range.end);
}

async function offsetsAt(
  admin: Admin,
  topic: string,
  bound: Bound | undefined,
): Promise<(partition: number) => number | undefined> {
  if (bound === undefined) return () => undefined;
  if ("offset" in bound) return () => bound.offset;
  const found = await admin.fetchTopicOffsetsByTimestamp(topic, Math.ceil(bound.time / 1000));
  const offsets = new Map(found.map(({ partition, offset }) => [partition, Number(offset)]));
  return (partition) => offsets.get(partition);
}

/** A partition on its way: what has arrived and isn't taken yet. */
interface Lane extends PartitionRange {
  queue: TopicMessage[];
  taken: number;
  /** The next offset to arrive. */
  next: number;
  resume: (() => void) | undefined;
}

/** A partition that has so many messages waiting isn't fetched until they are taken. */
const waitingMessages = 20_000;

/**
 * Reads the ranges, merged in the order of receiving, in a group of its own that is removed at the end.
 *
 * @throws when the broker can't be used
 */
export async function* readTopicRange(
  kafka: Kafka,
  ranges: readonly PartitionRange[],
  signal: AbortSignal,
): AsyncGenerator<TopicMessage> {
  const lanes = ranges.map((range): Lane => ({
    ...range,
    queue: [],
    taken: 0,
    next: range.first,
    resume: undefined,
  }));
  if (lanes.length === 0) return;
  const groupId = `tapehouse-replay-${crypto.randomUUID()}`;
  const consumer = kafka.consumer({
    groupId,
    // A slow replay pauses all partitions for a while.
    sessionTimeout: 60_000,
    maxWaitTimeInMs: 250,
    maxBytesPerPartition: 8 * 1024 * 1024,
    allowAutoTopicCreation: false,
  });
  let arrived = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const stop = () => arrived.resolve();
  signal.addEventListener("abort", stop);

  function handleBatch(payload: EachBatchPayload): Promise<void> {
    const { topic, partition, messages } = payload.batch;
    const lane = lanes.find((lane) => lane.topic === topic && lane.partition === partition);
    for (const message of lane === undefined ? [] : messages) {
      const offset = Number(message.offset);
      if (offset < lane!.next || offset >= lane!.end) continue;
      lane!.queue.push(topicMessage(topic, partition, message));
    }
    // The last offsets of a range may be a transaction's marks, which are no messages.
    if (lane !== undefined) lane.next = Math.max(lane.next, Number(payload.batch.lastOffset()) + 1);
    if (lane === undefined || lane.next >= lane.end) payload.pause();
    else if (lane.queue.length - lane.taken > waitingMessages) lane.resume = payload.pause();
    arrived.resolve();
    return Promise.resolve();
  }

  // A group without a commit has no place: each time it joins, it goes where we are.
  consumer.on(consumer.events.GROUP_JOIN, () => {
    for (const { topic, partition, next } of lanes) {
      consumer.seek({ topic, partition, offset: String(next) });
    }
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) failed.reject(payload.error);
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [...new Set(lanes.map(({ topic }) => topic))], fromBeginning: true });
    await consumer.run({ autoCommit: false, partitionsConsumedConcurrently: 4, eachBatch: handleBatch });
    while (!signal.aborted) {
      const empty = lanes.filter((lane) => lane.taken === lane.queue.length);
      const awaited = empty.filter((lane) => lane.next < lane.end);
      if (awaited.length > 0) {
        for (const lane of awaited) {
          lane.resume?.();
          lane.resume = undefined;
        }
        await Promise.race([arrived.promise, failed.promise]);
        arrived = Promise.withResolvers();
        continue;
      }
      if (empty.length === lanes.length) return;
      yield* shiftEarliest(lanes);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await consumer.disconnect();
    await removeGroup(kafka, groupId);
  }
}

/** In the order of receiving, until a lane that isn't finished has nothing more. */
function* shiftEarliest(lanes: readonly Lane[]): Generator<TopicMessage> {
  while (true) {
    let earliest: Lane | undefined;
    for (const lane of lanes) {
      const head = lane.queue[lane.taken];
      if (head === undefined && lane.next < lane.end) return;
      if (head !== undefined && !(earliest !== undefined && headOf(earliest) <= head.receivedAt)) {
        earliest = lane;
      }
    }
    if (earliest === undefined) return;
    const message = earliest.queue[earliest.taken++]!;
    if (earliest.taken === earliest.queue.length) {
      earliest.queue = [];
      earliest.taken = 0;
    }
    yield message;
  }
}

function headOf(lane: Lane): number {
  return lane.queue[lane.taken]?.receivedAt ?? Infinity;
}

/** A killed replay's group has no offsets: the broker forgets it by itself. */
async function removeGroup(kafka: Kafka, groupId: string): Promise<void> {
  const admin = kafka.admin();
  try {
    await admin.connect();
    await admin.deleteGroups([groupId]);
  } catch {
    // Nothing depends on it.
  } finally {
    await admin.disconnect();
  }
}
