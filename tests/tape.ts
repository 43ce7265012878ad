/**
 * The real thing for tests: Kafka and ClickHouse of their own, and the entrypoints as processes under their own
 * permission sets.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { kafkaVersion, type RunningKafka, startKafka } from "../embedded/kafka.ts";
import { freePort } from "../embedded/ports.ts";
import { type RunningProcess, startProcess } from "../embedded/process.ts";
import { sleep } from "../lib/backoff.ts";
import { fetchCommitted, openBroker } from "../lib/broker.ts";
import { type Config, readConfig, type Variable, variables } from "../lib/config.ts";
import { createLogger } from "../lib/log.ts";
import { migrate } from "../lib/migrations.ts";
import { openWarehouse } from "../lib/warehouse.ts";

/** The project's folder. */
export const root = fileURLToPath(new URL("..", import.meta.url));
/** All tests share one download of Kafka. */
const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
/** Nothing takes so long unless it hangs. */
export const hangMs = 120_000;

/** Kafka and ClickHouse in a temporary folder. */
export interface Servers {
  home: string;
  kafka: RunningKafka;
  clickhouse: RunningProcess & { url: string };
  /** Both again after they were killed or stopped, on their ports and data. */
  startKafka(): Promise<void>;
  startClickHouse(): Promise<void>;
  stop(): Promise<void>;
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
  warehouse: ClickHouseClient;
  /** Starts an entrypoint of the project's root (`producer`, `consumer`) and waits until it answers. */
  start(entrypoint: string, env?: Record<string, string>, args?: string[]): Promise<Service>;
  /** The rows of a query, as strings where ClickHouse's JSON quotes them. */
  rows<T = Record<string, string>>(query: string): Promise<T[]>;
  /** The first value of a query's first row. */
  value(query: string): Promise<string>;
  /** Waits until `probe` is true; fails with the services' logs when that never happens. */
  until(what: string, probe: () => Promise<boolean>): Promise<void>;
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

/** Runs `body` with a tape of its own, and ends every process that it started. */
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
    CLICKHOUSE_URL: servers.clickhouse.url,
    CLICKHOUSE_DATABASE: name,
    METRICS_HOST: "127.0.0.1",
    ...env,
  };
  const config = readConfig(Object.keys(variables) as Variable[], (variable) => all[variable]);
  await migrate(config, () => {});
  const warehouse = openWarehouse(config);
  const started: Service[] = [];
  const tape: Tape = {
    env: all,
    config,
    warehouse,
    async start(entrypoint, more = {}, args = []) {
      const port = freePort();
      const metricsUrl = `http://127.0.0.1:${port}`;
      const logFile = `${servers.home}/logs/${name}-${entrypoint}-${started.length}.log`;
      const process = await startProcess({
        name: entrypoint,
        command: Deno.execPath(),
        args: ["run", "-q", `-P=${entrypoint}`, `${entrypoint}.ts`, ...args],
        cwd: root,
        env: { ...all, ...more, METRICS_PORT: String(port) },
        logFile,
        ready: async () => {
          const response = await fetch(`${metricsUrl}/metrics`);
          await response.body?.cancel();
          return response.ok;
        },
      });
      const service: Service = {
        ...process,
        metricsUrl,
        async log() {
          const text = await Deno.readTextFile(logFile);
          return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
        },
      };
      started.push(service);
      return service;
    },
    async rows(query) {
      const answer = await warehouse.query({ query, format: "JSONEachRow" });
      return await answer.json() as never;
    },
    async value(query) {
      const [row] = await tape.rows(query);
      return String(Object.values(row ?? {})[0]);
    },
    async until(what, probe) {
      const deadline = performance.now() + hangMs;
      while (!await probe()) {
        if (performance.now() > deadline) {
          const logs = await Promise.all(started.map(async (service) => {
            const lines = (await service.log()).slice(-8).map((line) => JSON.stringify(line));
            return `${service.name} ${service.pid}:\n${lines.join("\n")}`;
          }));
          assert.fail(`waited ${hangMs / 1000} s for: ${what}\n${logs.join("\n")}`);
        }
        await sleep(100);
      }
    },
    async untilLogged(service, message) {
      let line: Record<string, unknown> | undefined;
      await tape.until(`"${message}" in the log of ${service.name}`, async () => {
        line = (await service.log()).find((entry) => entry.message === message);
        return line !== undefined;
      });
      return line ?? {};
    },
    async untilRead(group = config.KAFKA_GROUP) {
      const admin = openBroker(config, "test", createLogger({}, { level: "error" })).admin();
      await admin.connect();
      try {
        for (const topic of [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC]) {
          for (const { partition, high } of await admin.fetchTopicOffsets(topic)) {
            await tape.until(`offset ${high} of ${topic}/${partition} to be committed`, async () => {
              const { offset, inflight } = await fetchCommitted(admin, group, topic, partition);
              return Math.max(0, offset) >= Number(high) && inflight === undefined;
            });
          }
        }
      } finally {
        await admin.disconnect();
      }
    },
  };
  try {
    await body(tape);
  } finally {
    for (const service of started.reverse()) await service.stop();
    await warehouse.command({ query: `DROP DATABASE IF EXISTS ${config.CLICKHOUSE_DATABASE} SYNC` }).catch(
      () => {},
    );
    await warehouse.close();
  }
}
