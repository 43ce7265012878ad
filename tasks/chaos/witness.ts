/**
 * A witness beside the consumers: reads the topics for itself and notes every message of book, ticker, heartbeat and feed
 * event. testimony.ts compares what it has seen with what is stored.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { Admin, Kafka } from "kafkajs";
import { fetchCommitted } from "../../lib/kafka/log_range.ts";
import { topicMessage } from "../../lib/kafka/message.ts";
import { type Ended, type Seen, tableOf, testify, type Testimony } from "./testimony.ts";

/** Opens an admin client, uses it, closes it; again until that works. */
export type WithAdmin = <T>(use: (admin: Admin) => Promise<T>) => Promise<T>;

/** Reads the topics. */
export interface Witness {
  /** Notes what came since it looked last. */
  look(): Promise<void>;
  /** To be called before the topics are deleted, after `look`. */
  logEnds(at: number): Promise<void>;
  /** Compares what it has seen with what is stored; both must stand still. */
  testify(clickhouse: ClickHouseClient): Promise<Testimony>;
}

/** What a witness looks at. */
export interface WitnessOptions {
  kafka: Kafka;
  /** Opens an admin client for a moment, and tries until it works. */
  withAdmin: WithAdmin;
  group: string;
  topics: readonly string[];
  signal: AbortSignal;
}

type Message = Parameters<typeof topicMessage>[2];

/** Partitions by `TOPIC/PARTITION`. */
type Offsets = Map<string, number>;

/** A witness that has seen nothing. */
export function createWitness(options: WitnessOptions): Witness {
  const { withAdmin, group, topics } = options;
  const seen: Seen[] = [];
  const ended: Ended[] = [];
  /** The next offset to note, of each partition. */
  let next: Offsets = new Map();

  async function lookOnce(admin: Admin): Promise<void> {
    const ends = await findUnread(admin, topics, next);
    if (ends.size > 0) await readTo(ends, next, note, options);
  }

  function note(topic: string, partition: number, message: Message): void {
    const { offset, value, receivedAt } = topicMessage(topic, partition, message);
    next.set(`${topic}/${partition}`, offset + 1);
    const type = /^\{"type":"(\w+)"/.exec(new TextDecoder().decode(value.subarray(0, 40)))?.[1] ?? "";
    if (!(type in tableOf)) return;
    const table = tableOf[type as keyof typeof tableOf];
    seen.push([table, ended.length, topic, partition, offset, receivedAt]);
  }

  return {
    look: () => withAdmin(lookOnce),
    async logEnds(at) {
      const committed: Offsets = new Map();
      await withAdmin(async (admin) => {
        for (const id of next.keys()) {
          const [topic, partition] = placeOf(id);
          committed.set(id, (await fetchCommitted(admin, group, topic, partition)).offset);
        }
      });
      ended.push({ at, committed });
      next = new Map();
    },
    testify: (clickhouse) => testify(clickhouse, seen, ended),
  };
}

/**
 * Where the partitions that have something new end now.
 *
 * @param next the next offset to read of each partition; moved to where its log begins by now
 */
async function findUnread(admin: Admin, topics: readonly string[], next: Offsets): Promise<Offsets> {
  const ends: Offsets = new Map();
  for (const topic of topics) {
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
      const id = `${topic}/${partition}`;
      const from = Math.max(Number(low), next.get(id) ?? 0);
      next.set(id, from);
      if (from < Number(high)) ends.set(id, Number(high));
    }
  }
  return ends;
}

/**
 * Reads each partition from `next` to its end, in a group of its own.
 *
 * @param ends where to stop; what is read to there is taken out
 * @param next moved to the end of what is read to there; `note` moves it along
 * @throws when the broker can't be used, or the signal's reason
 */
async function readTo(
  ends: Offsets,
  next: Offsets,
  note: (topic: string, partition: number, message: Message) => void,
  { kafka, topics, signal }: WitnessOptions,
): Promise<void> {
  const done = Promise.withResolvers<void>();
  const stop = () => done.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  const consumer = kafka.consumer({
    groupId: `witness-${crypto.randomUUID()}`,
    allowAutoTopicCreation: false,
    maxBytesPerPartition: 8 * 1024 * 1024,
    maxWaitTimeInMs: 100,
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) done.reject(payload.error);
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 8,
      eachBatch: ({ batch: { topic, partition, messages } }) => {
        const id = `${topic}/${partition}`;
        const end = ends.get(id);
        for (const message of messages) {
          if (end === undefined || Number(message.offset) >= end) break;
          if (Number(message.offset) < next.get(id)!) continue;
          note(topic, partition, message);
        }
        if (end !== undefined && Number(messages.at(-1)?.offset ?? -1) >= end - 1) {
          next.set(id, end);
          ends.delete(id);
          if (ends.size === 0) done.resolve();
        }
        return Promise.resolve();
      },
    });
    for (const id of ends.keys()) {
      const [topic, partition] = placeOf(id);
      consumer.seek({ topic, partition, offset: String(next.get(id)) });
    }
    await done.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    await consumer.disconnect();
  }
}

/** `TOPIC/PARTITION` → both. */
function placeOf(id: string): [topic: string, partition: number] {
  const [topic = "", partition] = id.split("/");
  return [topic, Number(partition)];
}
