/**
 * The native path: ClickHouse's Kafka engine loads the tables instead of consumer.ts. What it makes is in
 * sql/kafka_engine/; what it keeps of *Counting once* and what it doesn't is in docs/kafka_engine.md.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import type { Admin } from "kafkajs";
import { sleep } from "../core/retry.ts";
import { type Committed, parseCommitted } from "../kafka/offsets.ts";
import { brokerVariables } from "../kafka/client.ts";
import { createMissingTopics } from "../kafka/topics.ts";
import { topicSettings, topicVariables } from "../kafka/topic_plan.ts";
import type { Config, Variable } from "../process/config.ts";
import type { Logger } from "../process/log.ts";
import { quote, quoteText } from "./quote.ts";
import { splitStatements, sqlFolder } from "./sql_files.ts";
import { FatalError } from "../core/errors.ts";
import { retryForever } from "../core/retry_forever.ts";
import { assertNoConsumer } from "../kafka/group_members.ts";
import { rows, tuples } from "./rows.ts";

/** What turning the engine on or off reads, besides ClickHouse's variables. */
export const engineVariables = [
  "KAFKA_GROUP",
  ...brokerVariables,
  ...topicVariables,
] as const satisfies readonly Variable[];

/** The configuration that the engine is made from. */
export type EngineConfig = Config<(typeof engineVariables)[number] | "CLICKHOUSE_DATABASE">;

/** Every table and view of the engine begins with this, and nothing else does. */
const prefix = "kafka_engine_";

/** The engine's own group: the offsets of consumer.ts carry metadata that ClickHouse would overwrite. */
export function engineGroup(group: string): string {
  return `${group}_engine`;
}

/** Placeholder → what it stands for in sql/kafka_engine/. */
export function engineSettings(config: EngineConfig): Record<string, string> {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_TLS: tls } = config;
  const sasl = mechanism !== "none";
  return {
    brokers: config.KAFKA_BROKERS.join(","),
    topics: `${config.KAFKA_TOPIC},${config.KAFKA_LEVEL2_TOPIC}`,
    group: engineGroup(config.KAFKA_GROUP),
    protocol: `${sasl ? "sasl_" : ""}${tls ? "ssl" : "plaintext"}`,
    mechanism: sasl ? mechanism.toUpperCase() : "",
    username: sasl ? config.KAFKA_USERNAME : "",
    password: sasl ? config.KAFKA_PASSWORD : "",
  };
}

/** Replaces `{name}` by the value as an SQL string; braces around other words stay as they are. */
export function fillIn(sql: string, values: Record<string, string>): string {
  return sql.replace(/\{([a-z]+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : quoteText(value);
  });
}

/** The statements that turn the engine on, in their order: it begins to read after the last one. */
export async function readEngineStatements(config: EngineConfig): Promise<string[]> {
  const folder = `${sqlFolder}/kafka_engine`;
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name)
    .filter((name) => /^\d_\w+\.sql$/.test(name)).sort();
  const texts = await Promise.all(names.map((name) => Deno.readTextFile(`${folder}/${name}`)));
  return texts.flatMap(splitStatements).map((statement) => fillIn(statement, engineSettings(config)));
}

/** The engine's tables and views in a database, sorted; none when it is off or there is no such database. */
export async function readEngineTables(clickhouse: ClickHouseClient, database: string): Promise<string[]> {
  const names = await tuples<[name: string]>(
    clickhouse,
    `SELECT name FROM system.tables
     WHERE database = {database:String} AND startsWith(name, {prefix:String}) ORDER BY name`,
    { database, prefix },
  );
  return names.flat();
}

/** Who stores the topics' messages: the engine's group where it is on, else consumer.ts's. */
export async function storingGroup(
  clickhouse: ClickHouseClient,
  database: string,
  group: string,
): Promise<string> {
  const isOn = (await readEngineTables(clickhouse, database)).length > 0;
  return isOn ? engineGroup(group) : group;
}

/**
 * Asserts that nothing but the caller writes the tables of the topic.
 *
 * @throws {FatalError} when the engine is on
 */
export async function assertNoKafkaEngine(clickhouse: ClickHouseClient, database: string): Promise<void> {
  if ((await readEngineTables(clickhouse, database)).length === 0) return;
  throw new FatalError(
    `ClickHouse's Kafka engine loads ${database} (its tables ${prefix}*), and both together would store messages twice: ` +
      "run `deno task migrate --no-kafka-engine` first.",
  );
}

/** The same, waiting until ClickHouse answers. */
export async function waitForNoKafkaEngine(
  clickhouse: ClickHouseClient,
  database: string,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const attempt = () => assertNoKafkaEngine(clickhouse, database);
  await retryForever("ClickHouse doesn't answer", attempt, { signal, log });
}

/**
 * Turns the engine on: it goes on where consumer.ts has committed.
 *
 * The consumer looks for the engine's tables when it has joined its group, and this looks for members of the group when it
 * has made the tables: whichever comes second sees the other.
 *
 * @returns what was done, one line each
 * @throws {FatalError} when a consumer is a member of KAFKA_GROUP, or has left a batch that may have landed
 */
export async function turnOn(
  clickhouse: ClickHouseClient,
  admin: Admin,
  config: EngineConfig,
): Promise<string[]> {
  const group = engineGroup(config.KAFKA_GROUP);
  if ((await readEngineTables(clickhouse, config.CLICKHOUSE_DATABASE)).includes(lastMade)) {
    return [`the Kafka engine was on already (group ${group})`];
  }
  await assertNoConsumer(admin, consumerOf(config));
  const topics = await createMissingTopics(admin, topicSettings(config));
  const moved = await moveForward(admin, config.KAFKA_GROUP, group, topicsOf(config));
  for (const statement of await readEngineStatements(config)) await create(clickhouse, statement);
  await assertNoConsumer(admin, consumerOf(config)).catch(async (error) => {
    await dropTables(clickhouse, config.CLICKHOUSE_DATABASE);
    throw error;
  });
  return [
    ...topics.filter(({ created }) => created).map(({ topic }) => `topic ${topic} created`),
    ...topics.flatMap(({ warnings }) => warnings),
    ...moved,
    ...(config.KAFKA_CA_FILE || config.KAFKA_CERT_FILE
      ? ["ClickHouse reads certificates where its own configuration names them: docs/kafka_engine.md"]
      : []),
    `the Kafka engine is on (group ${group})`,
  ];
}

/**
 * Turns the engine off: consumer.ts goes on where it has committed. Safe to repeat after it was interrupted.
 *
 * @returns what was done, one line each
 */
export async function turnOff(
  clickhouse: ClickHouseClient,
  admin: Admin,
  config: EngineConfig,
): Promise<string[]> {
  const dropped = await dropTables(clickhouse, config.CLICKHOUSE_DATABASE);
  const moved = await moveForward(
    admin,
    engineGroup(config.KAFKA_GROUP),
    config.KAFKA_GROUP,
    topicsOf(config),
  );
  return [...moved, dropped > 0 ? "the Kafka engine is off" : "the Kafka engine was off already"];
}

/** One line for a person: off, or on and how far. */
export async function describeEngine(clickhouse: ClickHouseClient, database: string): Promise<string> {
  const tables = await readEngineTables(clickhouse, database);
  if (tables.length === 0) return "off";
  if (!tables.includes(lastMade)) {
    return "half made: run `deno task migrate --kafka-engine` again, or --no-kafka-engine";
  }
  const [row] = await rows<{ partitions: number; messages: number; error: string }>(
    clickhouse,
    `SELECT
       sum(length(assignments.topic)) AS partitions,
       sum(num_messages_read) AS messages,
       argMax(exceptions.text[-1], exceptions.time[-1]) AS error
     FROM system.kafka_consumers WHERE database = {database:String} AND startsWith(table, {prefix:String})`,
    { database, prefix },
  );
  const error = row?.error ? `; last error: ${row.error.split("\n")[0]}` : "";
  return `on, ${row?.partitions ?? 0} partitions assigned, ${
    row?.messages ?? 0
  } messages read since it began${error}`;
}

/** The view that makes the engine read: where it is, all the others are. */
const lastMade = `${prefix}messages_mv`;

function topicsOf(config: EngineConfig): string[] {
  return [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC];
}

const consumerOf = ({ KAFKA_GROUP, CLICKHOUSE_DATABASE }: EngineConfig) => ({
  group: KAFKA_GROUP,
  database: CLICKHOUSE_DATABASE,
  advice: "stop consumer.ts first",
});

/** Embedded ClickHouse can say that it was shut down although the table was made. */
async function create(clickhouse: ClickHouseClient, statement: string): Promise<void> {
  await clickhouse.command({ query: statement }).catch(async (error) => {
    const name = /\bkafka_engine_\w+/.exec(statement.replace(/^(--.*\n)+/, ""))?.[0] ?? "";
    if (error instanceof ClickHouseError && error.message.includes("Shutdown was called")) {
      const query = "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = {name:String}";
      if ((await tuples(clickhouse, query, { name })).length > 0) return;
    }
    // Not the statement, which may hold the broker's password.
    throw new FatalError(`sql/kafka_engine, at ${name}: ${error.message}`);
  });
}

/** Drops what is there, the views before what they read from. Each drop waits for the block under way. */
async function dropTables(clickhouse: ClickHouseClient, database: string): Promise<number> {
  const tables = await readEngineTables(clickhouse, database);
  // First the engine: it finishes and commits its block while the views behind it still are there.
  const order = (name: string) =>
    name === `${prefix}messages` ? 0 : name === lastMade ? 1 : name.endsWith("_mv") ? 2 : 3;
  for (const table of tables.toSorted((left, right) => order(left) - order(right))) {
    await clickhouse.command({ query: `DROP TABLE IF EXISTS ${quote(table)} SYNC` });
  }
  return tables.length;
}

/** Where a group has to be moved to, given what both have committed: forward only. */
export function offsetsToMove(
  from: ReadonlyMap<number, Committed>,
  to: ReadonlyMap<number, Committed>,
): { partition: number; offset: number }[] {
  return [...from].map(([partition, { offset }]) => ({ partition, offset }))
    .filter(({ partition, offset }) => offset > (to.get(partition)?.offset ?? -1));
}

/** Moves the group `to` to where the group `from` has committed; never back, so that it can be repeated. */
async function moveForward(
  admin: Admin,
  from: string,
  to: string,
  topics: readonly string[],
): Promise<string[]> {
  const done: string[] = [];
  for (const topic of topics) {
    const committed = await fetchPartitions(admin, from, topic);
    const unsure = [...committed].find(([, { inflight }]) => inflight !== undefined);
    if (unsure !== undefined) {
      const [partition, { inflight }] = unsure;
      throw new FatalError(
        `A killed consumer (group ${from}) left a batch that may have landed (${topic}, partition ${partition}, offsets ` +
          `${inflight?.first} to ${inflight?.last}): start consumer.ts, let it finish, stop it, and run this again.`,
      );
    }
    const partitions = offsetsToMove(committed, await fetchPartitions(admin, to, topic));
    if (partitions.length === 0) continue;
    await untilEmpty(admin, to);
    await admin.setOffsets({
      groupId: to,
      topic,
      partitions: partitions.map(({ partition, offset }) => ({ partition, offset: String(offset) })),
    });
    done.push(`${topic}: group ${to} goes on where ${from} was, in ${partitions.length} partitions`);
  }
  return done;
}

/** Kafka moves only a group without members, and ClickHouse doesn't leave: its session has to end, 45 s at the most. */
async function untilEmpty(admin: Admin, group: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const { groups } = await admin.describeGroups([group]);
    if ((groups[0]?.members.length ?? 0) === 0) return;
    if (performance.now() > deadline) {
      throw new FatalError(
        `The group ${group} still has members and can't be moved: stop them, and run this again.`,
      );
    }
    await sleep(500);
  }
}

async function fetchPartitions(
  admin: Admin,
  groupId: string,
  topic: string,
): Promise<Map<number, Committed>> {
  const [answer] = await admin.fetchOffsets({ groupId, topics: [topic] });
  return new Map(
    answer?.partitions.map((
      { partition, offset, metadata },
    ) => [partition, parseCommitted(offset, metadata)]),
  );
}
