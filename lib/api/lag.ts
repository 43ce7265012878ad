/**
 * How many messages of the topics the consumer group hasn't taken yet.
 *
 * @module
 */

import type { Admin, Kafka } from "kafkajs";

/** What is known of Kafka now. */
export interface KafkaState {
  ok: boolean;
  /** Messages behind, over all partitions; null when it isn't known. */
  lag: number | null;
}

/** Knows the lag. */
export interface LagReader {
  /** What was found last, at once; asks again in the background when that is older than a second. */
  read(): KafkaState;
  close(): Promise<void>;
}

const freshMs = 1000;
const oldMs = 10_000;

/** @param group tells the group that stores the topics' messages: it may change while the API runs */
export function createLagReader(
  kafka: Kafka,
  group: () => Promise<string>,
  topics: readonly string[],
): LagReader {
  let admin: Admin | undefined;
  let last: { state: KafkaState; at: number } = { state: { ok: false, lag: null }, at: -Infinity };
  let asking: Promise<void> | undefined;
  let closed = false;

  async function ask(): Promise<void> {
    const at = performance.now();
    try {
      if (admin === undefined) {
        const fresh = kafka.admin();
        await fresh.connect();
        admin = fresh;
      }
      last = { state: { ok: true, lag: await lagOf(admin, await group(), topics) }, at };
    } catch {
      last = { state: { ok: false, lag: null }, at };
      await admin?.disconnect().catch(() => {});
      admin = undefined;
    }
  }

  return {
    read() {
      const age = performance.now() - last.at;
      if (age > freshMs && !closed) asking ??= ask().finally(() => asking = undefined);
      // A broker that hangs isn't fine because it was once.
      return age > oldMs ? { ok: false, lag: null } : last.state;
    },
    async close() {
      closed = true;
      await asking;
      await admin?.disconnect();
    },
  };
}

async function lagOf(admin: Admin, group: string, topics: readonly string[]): Promise<number> {
  const [ends, committed] = await Promise.all([
    Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic))),
    admin.fetchOffsets({ groupId: group, topics: [...topics] }),
  ]);
  return topics.reduce((sum, topic, index) => {
    const mine = committed.find((entry) => entry.topic === topic)?.partitions ?? [];
    return sum + partitionLag(ends[index] ?? [], mine);
  }, 0);
}

/** Messages between what is committed (the oldest there is when nothing was) and the end. */
export function partitionLag(
  ends: readonly { partition: number; high: string; low: string }[],
  committed: readonly { partition: number; offset: string }[],
): number {
  return ends.reduce((sum, { partition, high, low }) => {
    const offset = Number(committed.find((entry) => entry.partition === partition)?.offset ?? -1);
    return sum + Math.max(0, Number(high) - Math.max(offset, Number(low)));
  }, 0);
}
