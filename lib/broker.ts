/**
 * Kafka (Redpanda, Apache Kafka): the client, the topics, and the committed offsets with their metadata.
 *
 * @module
 */

import { type Admin, ConfigResourceTypes, Kafka, logLevel } from "kafkajs";
import "./kafkajs_timers.ts";
import { retry, unlessAborted } from "./backoff.ts";
import { type Committed, parseCommitted } from "./batch.ts";
import type { Config, Variable } from "./config.ts";
import type { Level, Logger } from "./log.ts";
import { FatalError } from "./service.ts";

/** What `openBroker` reads. */
export const brokerVariables = [
  "KAFKA_BROKERS",
  "KAFKA_SASL_MECHANISM",
  "KAFKA_USERNAME",
  "KAFKA_PASSWORD",
  "KAFKA_TLS",
] as const satisfies readonly Variable[];

/** What `topicSettings` reads. */
export const topicVariables = [
  "KAFKA_TOPIC",
  "KAFKA_LEVEL2_TOPIC",
  "KAFKA_PARTITIONS",
  "KAFKA_REPLICATION",
  "KAFKA_RETENTION_HOURS",
] as const satisfies readonly Variable[];

/** A topic's batch of records may have so many bytes: Coinbase's snapshots pass 1 MB, the usual limit. */
export const maxMessageBytes = 16 * 1024 * 1024;

/** A client for the configured brokers; connects when it is first used. */
export function openBroker(
  config: Config<(typeof brokerVariables)[number]>,
  clientId: string,
  log: Logger,
): Kafka {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_USERNAME: username, KAFKA_PASSWORD: password } = config;
  return new Kafka({
    clientId: `tapehouse-${clientId}`,
    brokers: config.KAFKA_BROKERS,
    ssl: config.KAFKA_TLS,
    // The mechanisms differ for the type checker only.
    ...(mechanism === "none" ? {} : { sasl: { mechanism: mechanism as "plain", username, password } }),
    connectionTimeout: 3000,
    retry: { initialRetryTime: 200, maxRetryTime: 2000, retries: 5 },
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => {
      const { message, error, broker, groupId } = entry.log;
      const level: Level = entry.level === logLevel.ERROR ? "warn" : "debug";
      log[level](`kafka: ${message}`, {
        ...(error === undefined ? {} : { error }),
        ...(broker === undefined ? {} : { broker }),
        ...(groupId === undefined ? {} : { group: groupId }),
      });
    },
  });
}

/** What a topic must be set to. */
export interface TopicSettings {
  topic: string;
  partitions: number;
  replication: number;
  config: Record<string, string>;
}

/** The settings of the two topics. */
export function topicSettings(config: Config<(typeof topicVariables)[number]>): TopicSettings[] {
  return [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].map((topic) => ({
    topic,
    partitions: config.KAFKA_PARTITIONS,
    replication: config.KAFKA_REPLICATION,
    config: {
      "max.message.bytes": String(maxMessageBytes),
      "retention.ms": String(config.KAFKA_RETENTION_HOURS * 3_600_000),
      "cleanup.policy": "delete",
    },
  }));
}

/** What was done to a topic, in words for a person. */
export interface TopicChange {
  topic: string;
  change: string;
}

/**
 * Creates missing topics, adds missing partitions and sets what differs. Partitions are never removed: Kafka can't.
 *
 * @param dryRun say what would be done, and do nothing
 * @returns what was done; empty when all was as it should be
 */
export async function ensureTopics(
  admin: Admin,
  wanted: readonly TopicSettings[],
  dryRun = false,
): Promise<TopicChange[]> {
  const existing = new Set(await admin.listTopics());
  const changes: TopicChange[] = [];
  for (const { topic, partitions, replication, config } of wanted) {
    if (!existing.has(topic)) {
      changes.push({ topic, change: `created with ${partitions} partitions` });
      if (dryRun) continue;
      await admin.createTopics({
        waitForLeaders: true,
        topics: [{
          topic,
          numPartitions: partitions,
          replicationFactor: replication,
          configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
        }],
      });
      continue;
    }
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    const have = topics[0]?.partitions.length ?? 0;
    if (have < partitions) {
      changes.push({ topic, change: `partitions ${have} → ${partitions}` });
      if (!dryRun) await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] });
    }
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: Object.keys(config) }],
    });
    const current = new Map(
      resources[0]?.configEntries.map((entry) => [entry.configName, entry.configValue]),
    );
    const different = Object.entries(config).filter(([name, value]) => current.get(name) !== value);
    if (different.length === 0) continue;
    for (const [name, value] of different) {
      changes.push({ topic, change: `${name} ${current.get(name)} → ${value}` });
    }
    if (dryRun) continue;
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{
        type: ConfigResourceTypes.TOPIC,
        name: topic,
        configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
      }],
    });
  }
  return changes;
}

/**
 * Waits until the broker answers, then sees to the topics.
 *
 * @throws {FatalError} when the broker refuses the credentials
 */
export async function prepareTopics(
  kafka: Kafka,
  wanted: readonly TopicSettings[],
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const admin = kafka.admin();
  const connectAndEnsure = async () => {
    await admin.connect();
    return await ensureTopics(admin, wanted);
  };
  const changes = await retry(() => unlessAborted(connectAndEnsure(), signal), {
    signal,
    onError(error, waitMs) {
      const explained = explainBrokerError(error);
      if (explained instanceof FatalError) throw explained;
      log.error("the broker can't be used, trying again", { error, wait_ms: Math.round(waitMs) });
    },
  }).finally(() => unlessAborted(admin.disconnect(), AbortSignal.timeout(1000)).catch(() => {}));
  for (const change of changes) log.info("topic", { ...change });
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

/** True for an error of the credentials: trying again can't help. */
export function isAuthenticationError(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause ?? error : undefined;
  return cause instanceof Error && cause.name === "KafkaJSSASLAuthenticationError";
}

/** Turns an authentication failure into one line for the person who set the variables. */
export function explainBrokerError(error: unknown): unknown {
  if (!isAuthenticationError(error)) return error;
  return new FatalError(
    `Kafka refused the credentials: ${
      (error as Error).message
    }. Check KAFKA_SASL_MECHANISM, KAFKA_USERNAME and KAFKA_PASSWORD.`,
  );
}
