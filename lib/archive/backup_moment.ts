/**
 * The moment of a backup: how far the consumer's group had stored each partition of the topics before the backup began.
 * What lies below these offsets is in every table of the backup; what lies above is in some of them and is removed by the
 * restore (lib/archive/backup_one_moment.ts), so that the consumer can read it again. docs/decisions.md tells why.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { Admin, Kafka } from "kafkajs";
import { createHash } from "node:crypto";
import { z } from "zod";
import { bulkRows } from "./statements.ts";
import { engineGroup } from "../clickhouse/kafka_engine.ts";
import { FatalError } from "../core/errors.ts";
import { sleep } from "../core/retry.ts";
import { brokerVariables, openBroker } from "../kafka/client.ts";
import { explainBrokerError } from "../kafka/kafka_errors.ts";
import { type OffsetRange, parseCommitted } from "../kafka/offsets.ts";
import { readTopicRange } from "../kafka/topic_range.ts";
import type { Config, Variable } from "../process/config.ts";
import { createLogger } from "../process/log.ts";

/** What reading a moment and rewinding a group need. */
export const momentVariables = [
  ...brokerVariables,
  "KAFKA_TOPIC",
  "KAFKA_LEVEL2_TOPIC",
  "KAFKA_GROUP",
] as const satisfies readonly Variable[];

/** The part of the configuration that says which group reads which topics where. */
export type MomentConfig = Config<(typeof momentVariables)[number]>;

const topicCut = z.object({
  topic: z.string(),
  /** By partition: the first offset that isn't part of the backup. */
  offsets: z.array(z.number().int().nonnegative()),
  /**
   * By partition: SHA-256 of the last message that is part of it, by which a topic is known again; null where the topic
   * didn't hold it any more.
   */
  last: z.array(z.string().nullable()),
});

/** What a backup's record says of its moment. */
export const momentSchema = z.object({
  /** By ClickHouse's clock, before the offsets were read: rows above the offsets were written after it. */
  at: z.string(),
  cluster: z.string(),
  group: z.string(),
  /** All but the book … */
  market: topicCut,
  /** … and the book. */
  level2: topicCut,
});

/** How far each partition was stored at one moment. */
export type Moment = z.output<typeof momentSchema>;

/** How far one topic was. */
export type TopicCut = z.output<typeof topicCut>;

/** A partition as the broker tells of it. */
export interface PartitionState {
  /** The committed offset, -1 for none. */
  offset: number;
  inflight?: OffsetRange;
  /** The first offset that the topic still holds, and the one after the last. */
  low: number;
  high: number;
}

/**
 * The offset at which a partition can be cut: what lies below is stored for certain, and no row at or above it was written
 * before the first look. Undefined when that isn't known yet.
 *
 * A batch in flight may have landed before the first look. It hasn't when the group has committed something newer since, for
 * that proves that the batch was finished and the next begun in between.
 *
 * @param first what the first look saw
 * @param now what a later look sees, or the first
 * @param named whether the group's batches are on record before they are written: those of consumer.ts are, those of the
 *   Kafka engine aren't
 */
export function cutOf(first: PartitionState, now: PartitionState, named: boolean): number | undefined {
  const offset = now.offset < 0 ? now.low : now.offset;
  if (now.offset > first.offset && first.offset >= 0) return offset;
  const nothingWaits = offset >= now.high;
  return (named ? now.inflight === undefined : nothingWaits) ? offset : undefined;
}

/** While a group lives it commits again and again: one that doesn't for so long, with a batch begun, is dead. */
const timeoutMs = 30_000;

/**
 * Reads how far the group has stored the topics, as a moment to which every table of a backup that begins now can be cut.
 *
 * @throws {FatalError} when Kafka doesn't answer, or a killed consumer has left a batch that may have landed
 */
export async function readMoment(
  clickhouse: ClickHouseClient,
  database: string,
  config: MomentConfig,
): Promise<Moment> {
  const engine = await hasEngine(clickhouse, database);
  const group = engine ? engineGroup(config.KAFKA_GROUP) : config.KAFKA_GROUP;
  return await withAdmin(config, async (admin, kafka) => {
    const { clusterId } = await admin.describeCluster();
    const at = await readClock(clickhouse);
    const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC];
    const first = await readStates(admin, group, topics);
    let seen = committedBy(first);
    let deadline = performance.now() + timeoutMs;
    for (let now = first;; now = await readStates(admin, group, topics)) {
      const committed = committedBy(now);
      if (committed !== seen) deadline = performance.now() + timeoutMs;
      seen = committed;
      const cuts = topics.map((topic) =>
        (now.get(topic) ?? []).map((state, partition) =>
          cutOf(first.get(topic)?.[partition] ?? state, state, !engine)
        )
      );
      if (cuts.every(isKnown)) {
        const [market, level2] = await Promise.all(
          topics.map((topic, index) => cutTopic(kafka, topic, now.get(topic) ?? [], cuts[index] as number[])),
        );
        return { at, cluster: clusterId, group, market: market!, level2: level2! };
      }
      if (performance.now() > deadline) throw stuck(group, topics, now, engine);
      await sleep(50);
    }
  });
}

/** What the group has on record, to see whether it does anything. */
function committedBy(states: ReadonlyMap<string, readonly PartitionState[]>): string {
  return JSON.stringify([...states.values()].flat().map(({ offset, inflight }) => [offset, inflight]));
}

function isKnown(offsets: readonly (number | undefined)[]): boolean {
  return !offsets.includes(undefined);
}

function stuck(
  group: string,
  topics: readonly string[],
  states: ReadonlyMap<string, readonly PartitionState[]>,
  engine: boolean,
): FatalError {
  if (engine) {
    return new FatalError(
      `The Kafka engine (group ${group}) has committed nothing for ${
        timeoutMs / 1000
      } s though messages wait: ` +
        "see `deno task migrate --status`, or back up with --without-kafka.",
    );
  }
  for (const topic of topics) {
    for (const [partition, { inflight }] of (states.get(topic) ?? []).entries()) {
      if (inflight === undefined) continue;
      return new FatalError(
        `A consumer (group ${group}) has begun a batch that may have landed and isn't confirmed (${topic}, partition ` +
          `${partition}, offsets ${inflight.first} to ${inflight.last}): start consumer.ts, let it finish, and run this ` +
          "again; or back up with --without-kafka.",
      );
    }
  }
  return new FatalError(`The offsets of group ${group} can't be read.`);
}

/** ClickHouse's clock, the one that stamps `ingested_at`: UTC, with microseconds. */
export async function readClock(clickhouse: ClickHouseClient): Promise<string> {
  const [row] = await bulkRows<{ now: string }>(clickhouse, "SELECT toString(now64(6, 'UTC')) AS now");
  return row?.now ?? "";
}

async function hasEngine(clickhouse: ClickHouseClient, database: string): Promise<boolean> {
  const found = await bulkRows(
    clickhouse,
    "SELECT 1 FROM system.tables WHERE database = {database:String} AND engine = 'Kafka' LIMIT 1",
    { database },
  );
  return found.length > 0;
}

/** How far a group and each topic are, by partition; a topic that isn't there has none. */
export async function readStates(
  admin: Admin,
  group: string,
  topics: readonly string[],
): Promise<Map<string, PartitionState[]>> {
  const existing = await admin.listTopics();
  const states = new Map<string, PartitionState[]>();
  for (const topic of topics) {
    if (!existing.includes(topic)) {
      states.set(topic, []);
      continue;
    }
    const [committed] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
    // Read after the commits: what is committed lies below.
    const ends = await admin.fetchTopicOffsets(topic);
    states.set(
      topic,
      ends.toSorted((left, right) => left.partition - right.partition).map(({ partition, low, high }) => {
        const found = committed?.partitions.find((entry) => entry.partition === partition);
        const committedAt = found ? parseCommitted(found.offset, found.metadata) : { offset: -1 };
        return { ...committedAt, low: Number(low), high: Number(high) };
      }),
    );
  }
  return states;
}

async function cutTopic(
  kafka: Kafka,
  topic: string,
  states: readonly PartitionState[],
  offsets: number[],
): Promise<TopicCut> {
  const before = offsets.map((offset, partition) => ({
    partition,
    offset: offset > (states[partition]?.low ?? 0) ? offset - 1 : undefined,
  }));
  return { topic, offsets, last: await hashMessages(kafka, topic, before) };
}

/**
 * SHA-256 of one message of each partition; null for what isn't there or isn't asked for.
 *
 * @throws {FatalError} when the messages can't be read in time
 */
export async function hashMessages(
  kafka: Kafka,
  topic: string,
  places: readonly { partition: number; offset: number | undefined }[],
): Promise<(string | null)[]> {
  const hashes: (string | null)[] = places.map(() => null);
  const ranges = places.flatMap(({ partition, offset }) =>
    offset === undefined ? [] : [{ topic, partition, first: offset, end: offset + 1 }]
  );
  const signal = AbortSignal.timeout(timeoutMs);
  for await (const { partition, value, receivedAt } of readTopicRange(kafka, ranges, signal)) {
    hashes[partition] = createHash("sha256").update(String(receivedAt)).update(value).digest("hex");
  }
  if (signal.aborted) {
    throw new FatalError(`Messages of ${topic} couldn't be read within ${timeoutMs / 1000} s.`);
  }
  return hashes;
}

/**
 * Does some work with an admin of the broker, which is connected for it.
 *
 * @throws {FatalError} of one line when Kafka doesn't answer or refuses
 */
export async function withAdmin<T>(
  config: MomentConfig,
  work: (admin: Admin, kafka: Kafka) => Promise<T>,
): Promise<T> {
  // What fails is said once, here.
  const kafka = openBroker(config, "backup", createLogger({}, { write: () => {} }));
  const admin = kafka.admin();
  try {
    await admin.connect();
    return await work(admin, kafka);
  } catch (error) {
    const explained = explainBrokerError(error);
    const isKafka = error instanceof Error && error.name.startsWith("KafkaJS");
    if (explained instanceof FatalError || !(explained instanceof Error) || !isKafka) throw explained;
    throw new FatalError(
      `Kafka at ${config.KAFKA_BROKERS.join(", ")} (KAFKA_BROKERS) doesn't answer: ` +
        explained.message.replace(/\s+/g, " ").slice(0, 300),
    );
  } finally {
    await admin.disconnect().catch(() => {});
  }
}
