/**
 * How far the consumer is with a partition: what is read, what is under way, what waits.
 *
 * @module
 */

import { ageSeconds } from "../process/gauge.ts";
import { messagesBehind, type PartitionLag } from "../kafka/lag.ts";

/** Which partition. */
export interface TopicPartition {
  topic: string;
  partition: number;
}

/** What is known of a partition. */
export interface PartitionProgress extends PartitionLag {
  /** The oldest message that isn't stored: its offset, and when it was received (µs); a guess from Kafka's timestamps, or as read. */
  oldest: { offset: number; receivedAt: number } | undefined;
  /** The first message of the batch in the making, or under way. */
  first: { offset: number; receivedAt: number } | undefined;
  /** The batch under way: since when (ms of the monotonic clock), and whose confirmation it waits for. */
  inflight: { since: number; waitsFor: "Kafka" | "ClickHouse" } | undefined;
  /** When we committed last (ms of the monotonic clock). */
  committedAt: number;
  /** Ends of the log at earlier looks. */
  ends: { at: number; end: number }[];
}

/** Nothing is known but the offset that is to be read next. */
export function newProgress({ topic, partition }: TopicPartition, offset: number): PartitionProgress {
  const none = { oldest: undefined, first: undefined, inflight: undefined, committedAt: -Infinity };
  return { topic, partition, start: offset, end: offset, next: offset, ...none, ends: [] };
}

/** When the oldest message that isn't stored was received, µs; undefined when that isn't known. */
export function oldestReceivedAt({ next, first, oldest }: PartitionProgress): number | undefined {
  if (first !== undefined && first.offset >= next) return first.receivedAt;
  return oldest?.offset === next ? oldest.receivedAt : undefined;
}

/** Since then, in s; 0 when all is stored. */
export function oldestAge(known: PartitionProgress): number {
  return messagesBehind(known) === 0 ? 0 : ageSeconds(oldestReceivedAt(known));
}

/** Messages a second, over the last minutes. */
export function endPerSecond({ ends }: PartitionProgress): number {
  const [first, last] = [ends[0], ends.at(-1)];
  if (first === undefined || last === undefined || last.at <= first.at) return 0;
  return Math.max(0, last.end - first.end) / (last.at - first.at) * 1000;
}
