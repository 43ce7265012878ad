/**
 * The real thing for tests: Kafka and ClickHouse of their own, and the entrypoints as processes under their own
 * permission sets.
 *
 * @module
 */

import "./clean_environment.ts";
import type { ClickHouseClient } from "@clickhouse/client";
import { fileURLToPath } from "node:url";
import deno from "../../deno.json" with { type: "json" };
import { type RunningClickHouse, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process/process.ts";
import { FatalError } from "../../lib/core/errors.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { fetchCommitted } from "../../lib/kafka/log_range.ts";
import type { Config, Variable } from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";
import { answersMetrics } from "../../lib/process/metrics_server.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { rows, tuples } from "../../lib/clickhouse/rows.ts";
import { configOf } from "./config.ts";
import { takeDatabase } from "./databases.ts";
import { until } from "./until.ts";

/** The project's folder. */
export const root = fileURLToPath(new URL("../..", import.meta.url));
/** All tests share one download of Kafka. */
const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;

/** Kafka and ClickHouse in a temporary folder. */
export interface Servers {
  home: string;
  kafka: RunningKafka;
  clickhouse: RunningClickHouse;
  /** More arguments of `deno run` for services, such as `--allow-read=…`. */
  runArguments?: string[];
  /** Both again after they were killed or stopped, on their ports and data. */
  startKafka(): Promise<void>;
  startClickHouse(): Promise<void>;
  stop(): Promise<void>;
}

/** Waits until a group has committed all that is in the tape's topics. */
export async function untilRead(config: Tape["config"], group: string): Promise<void> {
  const admin = openBroker(config, "test", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  try {
    for (const topic of [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC]) {
      for (const { partition, high } of await admin.fetchTopicOffsets(topic)) {
        await until(`offset ${high} of ${topic}/${partition} to be committed`, async () => {
          const { offset, inflight } = await fetchCommitted(admin, group, topic, partition);
          return Math.max(0, offset) >= Number(high) && inflight === undefined;
        });
      }
    }
  } finally {
    await admin.disconnect();
  }
}

/** Starts both at once; `stop` ends them and removes the folder. */
export async function startServers(): Promise<Servers> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const kafkaPort = freePort();
  const clickhousePort = freePort();
  const beginKafka = () => startKafka({ home, port: kafkaPort, jars });
  const beginClickHouse = () =>
    startClickHouse({ home, port: clickhousePort, logFile: `${home}/logs/clickhouse.log` });
  const [kafka, clickhouse] = await Promise.all([beginKafka(), beginClickHouse()]);
  const servers: Servers = {
    home,
    kafka,
    clickhouse,
    async startKafka() {
      servers.kafka = await beginKafka();
    },
    async startClickHouse() {
      servers.clickhouse = await beginClickHouse();
    },
    async stop() {
      await Promise.all([servers.kafka.stop(), servers.clickhouse.stop()]);
      await Deno.remove(home, { recursive: true });
    },
  };
  return servers;
}

/** A tape: topics, database and group of its own on shared servers, and the processes that work on it. */
export interface Tape {
  env: Record<string, string>;
  config: Config<Variable>;
  clickhouse: ClickHouseClient;
  /** Starts an entrypoint of the project's root (`producer`, `consumer`) and waits until it answers. */
  start(entrypoint: string, env?: Record<string, string>, args?: string[]): Promise<Service>;
  /** As `start`, for one that may end before anybody has asked: it isn't waited for. */
  launch(entrypoint: string, env?: Record<string, string>, args?: string[]): Promise<Service>;
  /** The rows of a query, whose columns are texts unless `T` says otherwise. */
  rows<T = Record<string, string>>(query: string): Promise<T[]>;
  /** The first value of a query's first row. */
  value(query: string): Promise<string>;
  /** Waits until `probe` is true. */
  until(what: string, probe: () => boolean | Promise<boolean>): Promise<void>;
  /** Waits until a service has logged a line with this message; returns it. */
  untilLogged(service: Service, message: string): Promise<Record<string, unknown>>;
  /** Waits until the consumers of the group have written and committed all that is in the topics now. */
  untilRead(group?: string): Promise<void>;
}

/** An entrypoint that runs. */
export interface Service extends RunningProcess {
  metricsUrl: string;
  /** What it has logged so far: one object a line. */
  log(): Promise<Record<string, unknown>[]>;
}

let tapes = 0;

/**
 * Runs `body` with a tape of its own, and ends every process that it started.
 *
 * @throws what `body` throws, with the services' last words
 */
export async function withTape(
  servers: Servers,
  env: Record<string, string>,
  body: (tape: Tape) => Promise<void>,
): Promise<void> {
  const name = `t${Deno.pid}_${++tapes}`;
  const all: Record<string, string> = {
    KAFKA_BROKERS: servers.kafka.brokers,
    KAFKA_TOPIC: `${name}_market`,
    KAFKA_LEVEL2_TOPIC: `${name}_level2`,
    KAFKA_GROUP: `${name}_group`,
    ...servers.clickhouse.env,
    METRICS_HOST: "127.0.0.1",
    // What a killed consumer had is its heir's soon.
    KAFKA_SESSION_MS: "4000",
    ...env,
  };
  const database = await takeDatabase(all);
  all.CLICKHOUSE_DATABASE = database.name;
  const config = configOf(all);
  const clickhouse = openClickHouse(config);
  const started: Service[] = [];
  const ended = new Set<Service>();
  const begin = async (isWaitedFor: boolean, request: StartRequest) => {
    const logFile = `${servers.home}/logs/${name}-${request[0]}-${started.length}.log`;
    const service = await startEntrypoint(request, { servers, env: all, logFile, isWaitedFor });
    started.push(service);
    void service.exited.then(() => ended.add(service));
    return service;
  };
  const tape: Tape = {
    env: all,
    config,
    clickhouse,
    start: (...request) => begin(true, request),
    launch: (...request) => begin(false, request),
    rows: (query) => rows(clickhouse, query),
    async value(query) {
      const [row] = await tuples(clickhouse, query);
      return String(row?.[0]);
    },
    until,
    async untilLogged(service, message) {
      let line: Record<string, unknown> | undefined;
      await tape.until(`"${message}" in the log of ${service.name}`, async () => {
        line = (await service.log()).find((entry) => entry.message === message);
        return line !== undefined;
      });
      return line ?? {};
    },
    untilRead: (group = config.KAFKA_GROUP) => untilRead(config, group),
  };
  try {
    await body(tape);
  } catch (cause) {
    // What is said to a person says it all.
    if (cause instanceof FatalError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${message}\nThe services, and what they said last:\n${lastWords(started, ended)}`, {
      cause,
    });
  } finally {
    for (const service of started.reverse()) await service.stop();
    await clickhouse.close();
    await database.giveBack();
  }
}

type StartRequest = Parameters<Tape["start"]>;

/** Starts an entrypoint under its permission set, its metrics on a free port. */
async function startEntrypoint(
  [entrypoint, more = {}, args = []]: StartRequest,
  { servers, env, logFile, isWaitedFor }: {
    servers: Servers;
    env: Record<string, string>;
    logFile: string;
    isWaitedFor: boolean;
  },
): Promise<Service> {
  const port = freePort();
  const metricsUrl = `http://127.0.0.1:${port}`;
  const process = await startProcess({
    name: entrypoint,
    command: Deno.execPath(),
    args: [
      "run",
      "-q",
      `-P=${entrypoint}`,
      // Its permission set doesn't let it stand still, and a list of one's own takes the place of the set's.
      ...("TAPEHOUSE_FAULT_POINT" in more
        ? [`--allow-env=${[...deno.permissions.consumer.env, "TAPEHOUSE_FAULT_POINT"]}`]
        : []),
      ...servers.runArguments ?? [],
      `${entrypoint}.ts`,
      ...args,
    ],
    cwd: root,
    env: { ...env, ...more, METRICS_PORT: String(port) },
    logFile,
    ...(isWaitedFor && {
      ready: (pid: number) => answersMetrics(metricsUrl, pid),
    }),
  });
  return {
    ...process,
    metricsUrl,
    async log() {
      const text = await Deno.readTextFile(logFile);
      return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
    },
  };
}

/** The last lines of each service's log, and whether it runs. */
function lastWords(services: readonly Service[], ended: ReadonlySet<Service>): string {
  return services.map((service) => {
    const lines = service.logged().trimEnd().split("\n").slice(-8);
    return `${service.name} ${service.pid}${ended.has(service) ? ", which has ended" : ""}:\n${
      lines.join("\n")
    }`;
  }).join("\n");
}
