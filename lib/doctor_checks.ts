/**
 * What `deno task doctor` looks at. What it makes of it: lib/doctor.ts.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import type { Admin } from "kafkajs";
import {
  brokerVariables,
  ensureTopics,
  explainBrokerError,
  openBroker,
  topicSettings,
  topicVariables,
} from "./broker.ts";
import { ConfigError, readConfig, type Variable, variables } from "./config.ts";
import {
  age,
  arrivingSeconds,
  type Check,
  judgeCompleteness,
  judgeDisk,
  judgeEvents,
  judgeFreshness,
  judgeGroup,
  judgeHoles,
  judgeMigrations,
  judgeParts,
  judgeRejected,
  judgeTopics,
  type Lag,
  NotChecked,
  ok,
  trouble,
  warning,
} from "./doctor.ts";
import { storingGroup } from "./kafka_engine.ts";
import { createLogger } from "./log.ts";
import { plan, readApplied, readMigrations } from "./migrations.ts";
import { FatalError } from "./service.ts";
import { nowMicros } from "./time.ts";
import { type Hole, readGivenUp, readHoles } from "./trade_gaps.ts";
import { openWarehouse, warehouseVariables } from "./warehouse.ts";

/** All checks, in the order in which a person would ask. */
export function createChecks(): Check[] {
  const admin = once(() => openAdmin());
  const warehouse = once(() => openWarehouse(configured(warehouseVariables)));

  /** A check that asks the database. */
  const ask = (
    name: string,
    look: (warehouse: ClickHouseClient) => Promise<Awaited<ReturnType<Check["look"]>>>,
  ) => ({
    name,
    needs: "clickhouse",
    look: () => look(warehouse()).catch(explainMissingTable),
  });

  return [
    { name: "environment", look: () => Promise.resolve(lookAtEnvironment()) },
    { name: "broker", look: () => lookAtBroker(admin) },
    {
      name: "topics",
      needs: "broker",
      async look() {
        const wanted = topicSettings(configured(topicVariables));
        return judgeTopics(wanted.map(({ topic }) => topic), await ensureTopics(await admin(), wanted, true));
      },
    },
    { name: "consumer", needs: "broker", look: async () => lookAtGroup(await openAdmin(), warehouse()) },
    { name: "clickhouse", look: () => lookAtClickHouse(warehouse) },
    { name: "migrations", needs: "clickhouse", look: () => lookAtMigrations() },
    ask("freshness", lookAtFreshness),
    ask("holes", async (client) => {
      const [holes, givenUp] = await Promise.all([readDatedHoles(client), readGivenUp(client)]);
      return judgeHoles(holes, givenUp, nowMicros());
    }),
    ask("completeness", async (client) => {
      const [row] = await rows<[number, number, number]>(
        client,
        // What the hour that runs lacks may be on its way; the check holes tells of it.
        `SELECT sum(trades), sum(expected),
           countIf(status = 'incomplete' AND hour < toStartOfHour(now()))
         FROM completeness WHERE hour >= now() - INTERVAL 24 HOUR`,
      );
      const [trades = 0, expected = 0, incompleteHours = 0] = row ?? [];
      return judgeCompleteness({ trades, expected, incompleteHours });
    }),
    ask("rejected", async (client) => {
      const found = await rows<[string, number, number]>(
        client,
        `SELECT reason, count() AS count, sum(count) OVER () FROM rejected
         WHERE received_at > now() - INTERVAL 24 HOUR GROUP BY reason ORDER BY count DESC, reason LIMIT 3`,
      );
      return judgeRejected(found.map(([reason, rows]) => ({ reason, rows })), found[0]?.[2] ?? 0);
    }),
    ask("feed events", async (client) => {
      // A producer that was asked to stop isn't in trouble.
      const found = await rows<[string, number]>(
        client,
        `SELECT event, count() AS count FROM feed_events
         WHERE time > now() - INTERVAL 1 HOUR
           AND event IN ('refused', 'not_acknowledged', 'error', 'silent', 'disconnected', 'buffer_full',
                         'frame_too_large', 'gap', 'gap_given_up')
           AND reason != 'the producer stops'
         GROUP BY event ORDER BY count DESC, event`,
      );
      return judgeEvents(found.map(([event, count]) => ({ event, count })));
    }),
    ask("disk", async (client) => {
      const found = await rows<[string, number, number]>(
        client,
        "SELECT name, free_space, total_space FROM system.disks ORDER BY name",
      );
      return judgeDisk(found.map(([name, free, total]) => ({ name, free, total })));
    }),
    ask("parts", async (client) => {
      const found = await rows<[string, number, number]>(
        client,
        `SELECT table, count() AS parts, sum(parts) OVER () FROM system.parts
         WHERE active AND database = currentDatabase()
         GROUP BY table, partition_id ORDER BY parts DESC LIMIT 1`,
      );
      const [table = "", most = 0, total = 0] = found[0] ?? [];
      return judgeParts(table, most, total);
    }),
    { name: "exchange", look: lookAtExchange },
  ];
}

function lookAtEnvironment() {
  const names = Object.keys(variables) as Variable[];
  try {
    readConfig(names);
    return ok("every variable is valid");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return trouble(error.message.replaceAll("\n", "; "), "correct it; .env.example lists all variables");
  }
}

async function openAdmin(): Promise<Admin> {
  const log = createLogger({ task: "doctor" }, { write: () => {} });
  const admin = openBroker(configured(brokerVariables), "doctor", log).admin();
  await admin.connect();
  return admin;
}

async function lookAtBroker(admin: () => Promise<Admin>) {
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
  const colon = address.lastIndexOf(":");
  const hostname = address.slice(0, colon);
  const connection = await within(4000, Deno.connect({ hostname, port: Number(address.slice(colon + 1)) }));
  connection.close();
}

/** consumer.ts's group, or that of ClickHouse's Kafka engine where it is on. */
async function lookAtGroup(admin: Admin, warehouse: ClickHouseClient) {
  const config = configured(["KAFKA_GROUP", "KAFKA_TOPIC", "KAFKA_LEVEL2_TOPIC", "CLICKHOUSE_DATABASE"]);
  // When ClickHouse doesn't answer, the next check says so.
  const group = await storingGroup(warehouse, config.CLICKHOUSE_DATABASE, config.KAFKA_GROUP)
    .catch(() => config.KAFKA_GROUP);
  const { groups } = await admin.describeGroups([group]);
  const described = groups[0];
  const existing = await admin.listTopics();
  const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].filter((topic) => existing.includes(topic));
  const lags: Lag[] = [];
  for (const topic of topics) lags.push(await readLag(admin, group, topic));
  const members = described === undefined || described.state === "Dead"
    ? undefined
    : described.members.length;
  return judgeGroup(group, members, lags);
}

/** Seconds; how old what isn't read is, is known only as older than one of these. */
const lagSteps = [10, 60, 600, 3600, 86_400];

async function readLag(admin: Admin, group: string, topic: string): Promise<Lag> {
  const now = Date.now();
  // One after the other: while kafkajs learns of a topic, a second question about it fails.
  const ends = await admin.fetchTopicOffsets(topic);
  const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  const steps: Awaited<ReturnType<Admin["fetchTopicOffsetsByTimestamp"]>>[] = [];
  for (const seconds of lagSteps) {
    steps.push(await admin.fetchTopicOffsetsByTimestamp(topic, now - seconds * 1000));
  }
  const lag: Lag = { topic, messages: 0, atLeastSeconds: 0 };
  for (const { partition, low, high } of ends) {
    const found = committed[0]?.partitions.find((entry) => entry.partition === partition);
    const next = Math.max(Number(low), Number(found?.offset ?? -1));
    lag.messages += Math.max(0, Number(high) - next);
    steps.forEach((offsets, index) => {
      // Messages before this offset are older than the step.
      const offset = Number(offsets.find((entry) => entry.partition === partition)?.offset ?? -1);
      if (offset > next) lag.atLeastSeconds = Math.max(lag.atLeastSeconds, lagSteps[index]!);
    });
  }
  return lag;
}

async function lookAtClickHouse(warehouse: () => ClickHouseClient) {
  const config = configured(warehouseVariables);
  // The database may not be there yet.
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  try {
    const [row] = await within(4500, rows<[string, number]>(server, "SELECT version(), uptime()"));
    warehouse();
    return ok(`${config.CLICKHOUSE_URL} version ${row?.[0]}, up for ${age(row?.[1] ?? 0)}`);
  } catch (error) {
    const message = error instanceof Error ? error.message.split("\n")[0] : error;
    return trouble(
      `${config.CLICKHOUSE_URL}: ${message}`,
      error instanceof ClickHouseError
        ? "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
        : "start it (deno task dev, deno task up), or set CLICKHOUSE_URL",
    );
  }
}

async function lookAtMigrations() {
  const config = configured(warehouseVariables);
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const [files, applied] = await Promise.all([
    readMigrations(),
    readApplied(server, config.CLICKHOUSE_DATABASE),
  ]);
  return judgeMigrations(config.CLICKHOUSE_DATABASE, applied.length, plan(files, applied));
}

/** A hole behind the newest trade carries the newest heartbeat's time: here it gets that of the first one to tell of it. */
async function readDatedHoles(client: ClickHouseClient): Promise<Hole[]> {
  const holes = await readHoles(client);
  for (const hole of holes) {
    if (nowMicros() - hole.seenAt > arrivingSeconds * 1e6) continue;
    const [row] = await rows<[number]>(
      client,
      `SELECT toUnixTimestamp64Micro(min(received_at)) FROM heartbeats
       WHERE product_id = {product:String} AND last_trade_id >= {id:UInt64} AND time > now() - INTERVAL 1 DAY`,
      { product: hole.productId, id: hole.first },
    );
    if (row !== undefined && row[0] > 0) hole.seenAt = Math.min(hole.seenAt, row[0]);
  }
  return holes;
}

async function lookAtFreshness(client: ClickHouseClient) {
  const { COINBASE_PRODUCTS: products } = configured(["COINBASE_PRODUCTS"]);
  // What a backfill brings is received now, and old all the same.
  const found = await rows<[string, number, number]>(
    client,
    `SELECT product_id,
       dateDiff('microsecond', max(received), now64(6)) / 1e6,
       if(max(traded) = toDateTime64(0, 6, 'UTC'), -1, dateDiff('microsecond', max(traded), now64(6)) / 1e6)
     FROM
     (
       SELECT product_id, received_at AS received, toDateTime64(0, 6, 'UTC') AS traded FROM heartbeats_range_state
       UNION ALL
       SELECT product_id, last_received_at, last_time FROM trade_runs WHERE source != 'backfill'
     )
     WHERE product_id IN {products:Array(String)}
     GROUP BY product_id`,
    { products },
  );
  return judgeFreshness(
    products,
    found.map(([productId, received, traded]) => ({
      productId,
      received,
      traded: traded < 0 ? undefined : traded,
    })),
  );
}

async function lookAtExchange() {
  const { COINBASE_REST_URL: url } = configured(["COINBASE_REST_URL"]);
  const advice = "without it nothing new comes; COINBASE_REST_URL says where it is";
  try {
    const response = await fetch(`${url}/time`, { signal: AbortSignal.timeout(4500) });
    await response.body?.cancel();
    return response.ok ? ok(`${url} answers`) : warning(`${url}/time answers ${response.status}`, advice);
  } catch (error) {
    return warning(`${url}: ${reasonOf(error)}`, advice);
  }
}

/** `fetch failed` has the reason in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return (cause instanceof Error ? cause.message : String(cause)).split("\n")[0] ?? "";
}

/** Each check reads its own variables: a wrong one stops only those that need it. */
function configured<const K extends Variable>(names: readonly K[]) {
  try {
    return readConfig(names);
  } catch (error) {
    if (error instanceof ConfigError) throw new NotChecked("see environment");
    throw error;
  }
}

function explainMissingTable(error: unknown): never {
  const missing = ["UNKNOWN_TABLE", "UNKNOWN_DATABASE"];
  if (error instanceof ClickHouseError && missing.includes(error.type ?? "")) {
    throw new NotChecked("see migrations");
  }
  throw error;
}

async function rows<T>(
  client: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown> = {},
): Promise<T[]> {
  const answer = await client.query({
    query,
    query_params,
    format: "JSONCompactEachRow",
    // Nobody waits for a longer answer.
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0, max_execution_time: 5 },
  });
  return await answer.json<T>();
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** What takes longer is an error that says so. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("no answer")), ms);
  work.catch(() => {});
  return await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}
