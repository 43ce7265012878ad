/**
 * What a partition's log holds, as the broker says.
 *
 * @module
 */

import type { Admin } from "kafkajs";
import { type Committed, parseCommitted } from "./offsets.ts";

/** What a partition's log holds. */
export interface LogRange {
  /** The oldest message that is there. */
  low: number;
  /** The next message to come. */
  high: number;
}

/** What a partition's log holds now. */
export async function fetchLogRange(admin: Admin, topic: string, partition: number): Promise<LogRange> {
  const found = (await admin.fetchTopicOffsets(topic)).find((entry) => entry.partition === partition);
  if (found === undefined) throw new Error(`The broker knows no partition ${partition} of ${topic}.`);
  return { low: Number(found.low), high: Number(found.high) };
}

/** The first message of a partition that was received at `micros` or later; the log's end when there is none. */
export async function fetchOffsetAt(
  admin: Admin,
  topic: string,
  partition: number,
  micros: number,
): Promise<number> {
  const at = Math.max(0, Math.floor(micros / 1000));
  const found = (await admin.fetchTopicOffsetsByTimestamp(topic, at)).find((entry) =>
    entry.partition === partition
  );
  return Number(found?.offset ?? 0);
}

/** What the group has committed for a partition, read from the broker. */
export async function fetchCommitted(
  admin: Admin,
  group: string,
  topic: string,
  partition: number,
): Promise<Committed> {
  const [answer] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  const found = answer?.partitions.find((entry) => entry.partition === partition);
  return found ? parseCommitted(found.offset, found.metadata) : { offset: -1 };
}
