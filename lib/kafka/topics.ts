/**
 * The topics: what they should be, what they are, and how to get from one to the other.
 *
 * @module
 */

import { type Admin, ConfigResourceTypes, type Kafka } from "kafkajs";
import { FatalError } from "../core/errors.ts";
import { retry, unlessAborted } from "../core/retry.ts";
import type { Config } from "../process/config.ts";
import type { Logger } from "../process/log.ts";
import { explainAtStart, hintOf, kafkaErrorType } from "./kafka_errors.ts";
import {
  judgeTopic,
  limitsOf,
  planTopic,
  type TopicChange,
  type TopicLimits,
  type TopicSettings,
  type TopicState,
} from "./topic_plan.ts";
import { retryForever } from "../core/retry_forever.ts";

/** A topic as it is; undefined when there is none that this user may see (DESCRIBE). */
export async function describeTopic(admin: Admin, topic: string): Promise<TopicState | undefined> {
  if (!(await admin.listTopics()).includes(topic)) return undefined;
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  const partitions = topics.find(({ name }) => name === topic)?.partitions ?? [];
  const config = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  }).catch((error) => {
    if (kafkaErrorType(error) === "TOPIC_AUTHORIZATION_FAILED") return undefined;
    throw error;
  });
  const entries = config?.resources[0]?.configEntries;
  return {
    partitions: partitions.length,
    replication: Math.min(...partitions.map(({ replicas }) => replicas.length)),
    ...(entries && {
      config: new Map(entries.map(({ configName, configValue, configSource }) => [
        configName,
        { value: configValue, own: configSource === ownSetting },
      ])),
    }),
  };
}

/** ConfigSource DYNAMIC_TOPIC_CONFIG of Kafka's protocol; kafkajs calls it TOPIC_CONFIG and doesn't export it. */
const ownSetting = 1;

/**
 * Creates missing topics, adds missing partitions and sets what differs; other settings of a topic stay as they are.
 * Services don't call this: what is there belongs to the operator, who runs `deno task topics`.
 *
 * @param dryRun say what would be done, and do nothing
 * @returns what was done; empty when all was as it should be
 */
export async function ensureTopics(
  admin: Admin,
  wanted: readonly TopicSettings[],
  dryRun = false,
): Promise<TopicChange[]> {
  const changes: TopicChange[] = [];
  for (const settings of wanted) {
    const { topic } = settings;
    const plan = planTopic(settings, await describeTopic(admin, topic));
    changes.push(...plan.changes);
    if (dryRun) continue;
    if (plan.create) await createTopic(admin, settings);
    if (plan.partitions) {
      await admin.createPartitions({ topicPartitions: [{ topic, count: plan.partitions }] });
    }
    if (plan.config) {
      await admin.alterConfigs({
        validateOnly: false,
        resources: [{
          type: ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: Object.entries(plan.config).map(([name, value]) => ({ name, value })),
        }],
      });
    }
  }
  return changes;
}

/** Creates a topic and waits until the broker knows it. Returns false when somebody else has just created it. */
async function createTopic(
  admin: Admin,
  { topic, partitions, replication, config }: TopicSettings,
): Promise<boolean> {
  const created = await admin.createTopics({
    // kafkajs' own wait fails while the broker doesn't know the topic yet.
    waitForLeaders: false,
    topics: [{
      topic,
      numPartitions: partitions,
      replicationFactor: replication,
      configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
    }],
  });
  const known = async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    if (topics.some(({ partitions }) => partitions.length === 0)) {
      throw new Error(`${topic} has no partitions yet`);
    }
  };
  await retry(known, { signal: AbortSignal.timeout(10_000), maximumMs: 500, onError: () => {} });
  return created;
}

/** A topic that services can work with. */
export interface ReadyTopic {
  topic: string;
  created: boolean;
  /** What is worse than it could be, a line each. */
  warnings: string[];
  limits: TopicLimits;
}

/**
 * Creates what is missing, and looks whether what is there can be worked with; never changes it.
 *
 * @throws {FatalError} when a topic is missing and isn't to be created, or can't be worked with
 */
export async function createMissingTopics(
  admin: Admin,
  wanted: readonly TopicSettings[],
): Promise<ReadyTopic[]> {
  const ready: ReadyTopic[] = [];
  for (const settings of wanted) {
    const { topic } = settings;
    let state = await describeTopic(admin, topic);
    let created = false;
    if (state === undefined) {
      if (!settings.managed) {
        throw new FatalError(
          `topic ${topic} doesn't exist or may not be seen by this user (DESCRIBE), and with KAFKA_MANAGE_TOPICS=false ` +
            "services create none: run `deno task topics`.",
        );
      }
      created = await createTopic(admin, settings);
      state = await describeTopic(admin, topic);
      if (state === undefined) {
        throw new Error(`topic ${topic} was created, and isn't known to all brokers yet`);
      }
    }
    const { refused, warnings } = judgeTopic(settings, state);
    if (refused) throw new FatalError(refused);
    ready.push({ topic, created, warnings, limits: limitsOf(state) });
  }
  return ready;
}

/**
 * Waits until the broker answers, then creates missing topics and looks at those that are there.
 *
 * @returns topic → what a writer has to keep to
 * @throws {ConfigError} when the broker refuses what is configured: credentials, certificates, replication, sizes
 * @throws {FatalError} when it refuses us for another reason, or a topic can't be worked with
 */
export async function prepareTopics(
  kafka: Kafka,
  wanted: readonly TopicSettings[],
  signal: AbortSignal,
  log: Logger,
): Promise<Map<string, TopicLimits>> {
  const ready = await withAdmin(
    kafka,
    (admin) =>
      retryForever(
        "the broker can't be used",
        () => unlessAborted(admin.connect().then(() => createMissingTopics(admin, wanted)), signal),
        { signal, log, explain: explainAtStart, fields: (error) => ({ hint: hintOf(error) }) },
      ),
  );
  for (const { topic, created, warnings } of ready) {
    if (created) log.info("topic created", { topic });
    for (const warning of warnings) log.warn(warning);
  }
  return new Map(ready.map(({ topic, limits }) => [topic, limits]));
}

/** Reads anew what a writer has to keep to. Topics that are missing now are left out. */
export function readLimits(kafka: Kafka, topics: readonly string[]): Promise<Map<string, TopicLimits>> {
  return withAdmin(kafka, async (admin) => {
    await admin.connect();
    const limits = new Map<string, TopicLimits>();
    for (const topic of topics) {
      const state = await describeTopic(admin, topic);
      if (state) limits.set(topic, limitsOf(state));
    }
    return limits;
  });
}

async function withAdmin<T>(kafka: Kafka, work: (admin: Admin) => Promise<T>): Promise<T> {
  // Who calls this tries again, and wants to know soon why.
  const admin = kafka.admin({ retry: { initialRetryTime: 200, maxRetryTime: 1000, retries: 2 } });
  try {
    return await work(admin);
  } finally {
    await unlessAborted(admin.disconnect(), AbortSignal.timeout(1000)).catch(() => {});
  }
}

/** The larger of the two topics' numbers of partitions. */
export async function fetchPartitionCount(
  kafka: Kafka,
  { KAFKA_TOPIC, KAFKA_LEVEL2_TOPIC }: Config<"KAFKA_TOPIC" | "KAFKA_LEVEL2_TOPIC">,
): Promise<number> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [KAFKA_TOPIC, KAFKA_LEVEL2_TOPIC] });
    return Math.max(...topics.map(({ partitions }) => partitions.length));
  } finally {
    await admin.disconnect();
  }
}
