/**
 * What `deno task doctor` looks at in Kafka.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { Admin } from "kafkajs";
import { storingGroup } from "../clickhouse/kafka_engine.ts";
import { FatalError } from "../core/errors.ts";
import { brokerVariables, openBroker, splitAddress } from "../kafka/client.ts";
import { explainBrokerError } from "../kafka/kafka_errors.ts";
import {
  findReceivedAt,
  messagesBehind,
  offsetsOf,
  type PartitionLag,
  readLag,
  readRetention,
  retentionLeft,
} from "../kafka/lag.ts";
import { topicSettings, topicVariables } from "../kafka/topic_plan.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { isSet } from "../process/config.ts";
import { createLogger } from "../process/log.ts";
import { configured, within } from "./doctor_tools.ts";
import { NotChecked, ok, trouble } from "./doctor.ts";
import { judgeGroup, judgeRetention, judgeTopics, type Lag } from "./doctor_judgements.ts";

/** Connects to the configured broker. */
export async function openAdmin(): Promise<Admin> {
  const log = createLogger({ task: "doctor" }, { write: () => {} });
  const admin = openBroker(configured(brokerVariables), "doctor", log).admin();
  await admin.connect();
  return admin;
}

/** Does the broker answer? */
export async function lookAtBroker(admin: () => Promise<Admin>) {
  const where = configured(["KAFKA_BROKERS"]).KAFKA_BROKERS.join(",");
  try {
    // kafkajs tries for long, and then doesn't say why; whether anybody listens is known at once.
    await Promise.any(where.split(",").map(connectOnce)).catch((error) => {
      throw error.errors[0];
    });
    const { brokers, controller, clusterId } = await within(
      4500,
      admin().then((client) => client.describeCluster()),
    );
    const names = brokers.map(({ host, port }) => `${host}:${port}`).join(", ");
    const count = brokers.length === 1 ? "1 broker" : `${brokers.length} brokers`;
    const leader = controller === null ? ", no controller" : "";
    return ok(`${count} (${names})${leader}, cluster ${clusterId}`);
  } catch (error) {
    const explained = explainBrokerError(error);
    if (explained instanceof FatalError) return trouble(explained.message, "");
    return trouble(
      `${where}: ${error instanceof Error ? error.message : error}`,
      "start it (deno task dev, deno task up), or set KAFKA_BROKERS",
    );
  }
}

async function connectOnce(address: string): Promise<void> {
  const connection = await within(4000, Deno.connect(splitAddress(address)));
  connection.close();
}

export async function lookAtGroup(admin: Admin, clickhouse: ClickHouseClient) {
  const { group, topics } = await storingGroupAndTopics(admin, clickhouse);
  const { groups } = await admin.describeGroups([group]);
  const described = groups[0];
  const [partitions, ages] = await readAgedLag(admin, group, topics);
  const lags: Lag[] = topics.map((topic) => {
    const ofTopic = partitions.filter((lag) => lag.topic === topic);
    return {
      topic,
      messages: ofTopic.reduce((sum, lag) => sum + messagesBehind(lag), 0),
      oldestSeconds: Math.max(0, ...ofTopic.map((lag) => ages.get(lag) ?? 0)),
    };
  });
  const members = described === undefined || described.state === "Dead"
    ? undefined
    : described.members.length;
  return judgeGroup(group, members, lags);
}

/** consumer.ts's group, or that of ClickHouse's Kafka engine where it is on; and the topics that exist. */
async function storingGroupAndTopics(admin: Admin, clickhouse: ClickHouseClient) {
  const config = configured(["KAFKA_GROUP", "KAFKA_TOPIC", "KAFKA_LEVEL2_TOPIC", "CLICKHOUSE_DATABASE"]);
  // When ClickHouse doesn't answer, the next check says so.
  const group = await storingGroup(clickhouse, config.CLICKHOUSE_DATABASE, config.KAFKA_GROUP)
    .catch(() => config.KAFKA_GROUP);
  const existing = await admin.listTopics();
  const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].filter((topic) => existing.includes(topic));
  return { group, topics };
}

/** How long until Kafka deletes what isn't stored. */
export async function lookAtRetention(admin: Admin, clickhouse: ClickHouseClient) {
  const { group, topics } = await storingGroupAndTopics(admin, clickhouse);
  if (topics.length === 0) throw new NotChecked("see topics");
  const [lags, ages] = await readAgedLag(admin, group, topics);
  const retentions = await readRetention(admin, topics);
  return judgeRetention(topics.map((topic) => {
    const { ms, bytes } = retentions.get(topic) ?? { ms: -1, bytes: -1 };
    const left = lags.filter((lag) => lag.topic === topic).map((lag) =>
      // One look doesn't tell how fast messages come.
      retentionLeft(lag, { ms, bytes: -1 }, ages.get(lag) ?? 0, 0)
    );
    const retention = ms < 0 ? Infinity : ms / 1000;
    return { topic, left: Math.min(...left), retention, isSizeLimited: bytes >= 0 };
  }));
}

/** Every partition, and of those with a lag how old its oldest message is, in seconds. */
async function readAgedLag(
  admin: Admin,
  group: string,
  topics: readonly string[],
): Promise<[PartitionLag[], Map<PartitionLag, number>]> {
  const lags = await readLag(admin, group, topics);
  const ages = new Map<PartitionLag, number>();
  for (const topic of topics) {
    const behind = lags.filter((lag) => lag.topic === topic && messagesBehind(lag) > 0);
    const wanted = new Map(behind.map(({ partition, next }) => [partition, next]));
    const now = Date.now();
    const found = await findReceivedAt(offsetsOf(admin, topic), wanted, now);
    for (const lag of behind) ages.set(lag, (now - (found.get(lag.partition) ?? now)) / 1000);
  }
  return [lags, ages];
}

/** Are the topics as they should be? */
export async function lookAtTopics(admin: Admin) {
  // Who hasn't said how many partitions there should be takes what is there, as the services do.
  const partitions = isSet("KAFKA_PARTITIONS") ? {} : { partitions: 1 };
  const wanted = topicSettings(configured(topicVariables)).map((topic) => ({ ...topic, ...partitions }));
  return judgeTopics(wanted.map(({ topic }) => topic), await ensureTopics(admin, wanted, true));
}
