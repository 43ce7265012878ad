/**
 * What lies in the topics and isn't stored yet: how much, since when, and how long until Kafka deletes it.
 *
 * @module
 */

import { type Admin, ConfigResourceTypes } from "kafkajs";

/** A partition, as the broker knows it. */
export interface PartitionLag {
  topic: string;
  partition: number;
  /** The oldest offset that is there. */
  start: number;
  /** The offset that the next message will have. */
  end: number;
  /** The next offset to be stored: what the group has committed, or the oldest that is there. */
  next: number;
}

/** Messages that aren't stored. */
export const messagesBehind = ({ end, next }: Pick<PartitionLag, "end" | "next">): number =>
  Math.max(0, end - next);

/**
 * Asks the broker for the lag of every partition.
 *
 * @param topics must exist
 * @throws when the broker doesn't answer; kafkajs tries for seconds
 */
export async function readLag(
  admin: Admin,
  group: string,
  topics: readonly string[],
): Promise<PartitionLag[]> {
  const committed = await admin.fetchOffsets({ groupId: group, topics: [...topics] });
  const found: PartitionLag[] = [];
  // One after the other: while kafkajs learns of a topic, a second question about it fails.
  for (const topic of topics) {
    const ends = await admin.fetchTopicOffsets(topic);
    found.push(
      ...partitionLags(topic, ends, committed.find((entry) => entry.topic === topic)?.partitions ?? []),
    );
  }
  return found;
}

/** The same from the broker's two answers; a group that never committed has offset -1, or none. */
export function partitionLags(
  topic: string,
  ends: readonly { partition: number; high: string; low: string }[],
  committed: readonly { partition: number; offset: string }[],
): PartitionLag[] {
  return ends.map(({ partition, high, low }) => {
    const offset = Number(committed.find((entry) => entry.partition === partition)?.offset ?? -1);
    const start = Number(low);
    // What was committed and is gone by now can't be stored any more.
    return { topic, partition, start, end: Number(high), next: Math.max(offset, start) };
  });
}

/** When a message was received, in ms since the epoch: not before, and before this. */
interface Bracket {
  from: number;
  before: number;
}

/** A bracket is narrow enough at this, or at a fiftieth of the age. */
const preciseMs = 1000;
const preciseShare = 0.02;
const mostQuestions = 40;

/**
 * Finds when messages that nobody has read were received, by asking the broker which offsets belong to which time
 * (Kafka's own index of timestamps; the producer stamps a message with the time at which it received the frame).
 *
 * @param offsetsAt partition → the first offset that is not older than a time (ms since the epoch); the end when none is
 * @param wanted partition → the offset of the message
 * @returns partition → ms since the epoch, early by at most a second or 2 % of the age; partitions that the broker
 *   doesn't speak of are left out
 */
export async function findReceivedAt(
  offsetsAt: (ms: number) => Promise<ReadonlyMap<number, number>>,
  wanted: ReadonlyMap<number, number>,
  now: number,
): Promise<Map<number, number>> {
  const brackets = new Map<number, Bracket>();
  for (const partition of wanted.keys()) brackets.set(partition, { from: -Infinity, before: now });

  async function ask(ms: number): Promise<void> {
    const offsets = await offsetsAt(ms);
    for (const [partition, bracket] of brackets) {
      const offset = offsets.get(partition);
      if (offset === undefined) brackets.delete(partition);
      // The message itself, or one before it, is the first that isn't older: it isn't older either.
      else if (offset <= wanted.get(partition)!) bracket.from = Math.max(bracket.from, ms);
      else bracket.before = Math.min(bracket.before, ms);
    }
  }

  // Twice as far back each time, until every message lies behind; then halves of what is widest.
  for (let questions = 0, back = preciseMs; questions < mostQuestions; questions++) {
    const wide = [...brackets.values()].filter(({ from, before }) =>
      before - from > Math.max(preciseMs, (now - before) * preciseShare)
    );
    const [first] = wide;
    if (first === undefined) break;
    const open = wide.find(({ from }) => from === -Infinity);
    if (open !== undefined && back > now) open.from = 0;
    else if (open !== undefined) await ask(now - back);
    else {
      const widest = wide.reduce((most, next) =>
        next.before - next.from > most.before - most.from ? next : most
      );
      await ask(Math.floor((widest.from + widest.before) / 2));
    }
    back *= open === undefined ? 1 : 2;
  }
  return new Map([...brackets].map(([partition, { from }]) => [partition, Math.max(0, from)]));
}

/** `findReceivedAt`'s question, of one topic. */
export function offsetsOf(admin: Admin, topic: string): (ms: number) => Promise<Map<number, number>> {
  return async (ms) => {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, ms);
    return new Map(found.map(({ partition, offset }) => [partition, Number(offset)]));
  };
}

/** How long a topic keeps messages; -1 for no limit. */
export interface TopicRetention {
  ms: number;
  /** Of each partition. */
  bytes: number;
}

/** @throws when the broker doesn't answer or the user has no right to describe the topics */
export async function readRetention(
  admin: Admin,
  topics: readonly string[],
): Promise<Map<string, TopicRetention>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({
      type: ConfigResourceTypes.TOPIC,
      name,
      configNames: ["retention.ms", "retention.bytes", "cleanup.policy"],
    })),
  });
  return new Map(resources.map(({ resourceName, configEntries }) => {
    const value = (name: string) => configEntries.find(({ configName }) => configName === name)?.configValue;
    const isDeleted = (value("cleanup.policy") ?? "delete").includes("delete");
    const limit = (name: string) => isDeleted ? Number(value(name) ?? -1) : -1;
    return [resourceName, { ms: limit("retention.ms"), bytes: limit("retention.bytes") }];
  }));
}

/**
 * Seconds until Kafka may delete the next message that isn't stored: an estimate from below, since Kafka deletes whole
 * segments, and only once their newest message is old enough. Negative when it is overdue, Infinity when nothing is
 * deleted.
 *
 * By time: what `retention.ms` leaves beyond the message's age. By size: where `retention.bytes` is set and the topic's
 * beginning has been deleted already, the log is as large as it may be, so its start moves as fast as its end: the
 * messages before ours, at that speed.
 *
 * @param ageSeconds of the message; 0 when all is stored
 * @param endPerSecond how fast messages come
 */
export function retentionLeft(
  { start, next }: Pick<PartitionLag, "start" | "next">,
  retention: TopicRetention,
  ageSeconds: number,
  endPerSecond: number,
): number {
  const byTime = retention.ms < 0 ? Infinity : retention.ms / 1000 - ageSeconds;
  const isFull = retention.bytes >= 0 && start > 0;
  const bySize = !isFull || endPerSecond <= 0 ? Infinity : (next - start) / endPerSecond;
  return Math.min(byTime, bySize);
}
