/**
 * Starts what `deno task dev` runs: the servers, the page's bundle, the exchange, the services, the history.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { chosenAccess, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { startKafka } from "../../embedded/kafka/start.ts";
import type { ProcessGroup } from "../../embedded/process/group.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { startProcess } from "../../embedded/process/process.ts";
import { endLeftOver } from "../../embedded/process/pid_file.ts";
import { isSet } from "../../lib/process/config.ts";
import { answersMetrics } from "../../lib/process/metrics_server.ts";
import { isSimulated, type Market } from "./exchange_choice.ts";
import { type Servers } from "./settings.ts";
import { type AllConfig, type Environment, settingsOf } from "./configuration.ts";
import { say } from "./terminal.ts";

/** Ends the services of a run that was killed, before anything takes their ports for somebody else's. */
export async function endLeftOvers(home: string): Promise<void> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(`${home}/run`)) {
      if (name.endsWith(".pid")) names.push(name.slice(0, -".pid".length));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Promise.all(names.map((name) => endLeftOver(name, pidFileOf(home, name))));
}

function pidFileOf(home: string, name: string): string {
  return `${home}/run/${name}.pid`;
}

/** Starts the servers that the person didn't configure, both at once. */
export async function startServers(config: AllConfig, group: ProcessGroup): Promise<Servers> {
  const { TAPEHOUSE_HOME: home, EMBEDDED_KAFKA_PORT, EMBEDDED_CLICKHOUSE_PORT } = config;
  const { signal } = group.stop;
  const [clickhouse, kafka] = await Promise.allSettled([
    isSet("CLICKHOUSE_URL")
      ? { CLICKHOUSE_URL: config.CLICKHOUSE_URL }
      : group.start("ClickHouse", () =>
        startClickHouse({
          home,
          port: EMBEDDED_CLICKHOUSE_PORT,
          ...chosenAccess(),
          logFile: `${group.logs}/clickhouse.log`,
          signal,
        })).then(({ env }) => env),
    isSet("KAFKA_BROKERS")
      ? config.KAFKA_BROKERS.join(",")
      : group.start("Kafka", () => startKafka({ home, port: EMBEDDED_KAFKA_PORT, log: say, signal }))
        .then(({ brokers }) => brokers),
  ]);
  // Both have settled: what did come up is stopped in order.
  if (clickhouse.status === "rejected") throw clickhouse.reason;
  if (kafka.status === "rejected") throw kafka.reason;
  return { clickhouse: clickhouse.value, kafka: kafka.value };
}

/** The page, as api.ts serves it; the tape runs without it too. */
export async function bundlePage(group: ProcessGroup): Promise<void> {
  const logFile = `${group.logs}/web.log`;
  const { success } = await group.run({
    name: "the page's bundle",
    command: Deno.execPath(),
    args: entrypoint("web", "tasks/web.ts"),
    logFile,
  });
  if (!success) say(`the page isn't bundled anew: ${logFile} says why`);
}

/** Arguments of Deno that run a file of the project under a permission set, from any folder. */
function entrypoint(permissions: string, file: string, ...args: string[]): string[] {
  return [
    "run",
    "--quiet",
    `-P=${permissions}`,
    fileURLToPath(new URL(`../../${file}`, import.meta.url)),
    ...args,
  ];
}

/** Starts the exchange when it is ours, and says where it is. */
export async function startExchange(
  market: Market,
  config: AllConfig,
  group: ProcessGroup,
): Promise<Environment> {
  if (!isSimulated(market)) return {};
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  await group.start("exchange", () =>
    startProcess({
      name: "exchange",
      command: Deno.execPath(),
      args: entrypoint("exchange", "tasks/exchange.ts", "--port", String(port), ...market.arguments),
      logFile: `${group.logs}/exchange.log`,
      pidFile: pidFileOf(config.TAPEHOUSE_HOME, "exchange"),
      ready: () => answersOk(`${url}/time`),
      signal: group.stop.signal,
    }));
  // Nobody but us asks this exchange.
  return {
    COINBASE_WS_URL: `ws://127.0.0.1:${port}`,
    COINBASE_REST_URL: url,
    COINBASE_REST_PER_SECOND: "100",
  };
}

/** Starts the entrypoints, each under its own permission set, and says where their metrics are. */
export async function startServices(
  env: Environment,
  config: AllConfig,
  group: ProcessGroup,
): Promise<Record<string, string>> {
  const metrics: Record<string, string> = {};
  const services = [
    { name: "consumer", usualPort: 9102, file: "consumer.ts", args: [] },
    { name: "backfill", usualPort: 9103, file: "backfill.ts", args: ["--watch"] },
    { name: "rollup", usualPort: 9105, file: "rollup.ts", args: ["--watch"] },
    { name: "api", usualPort: 9104, file: "api.ts", args: [] },
    { name: "producer", usualPort: 9101, file: "producer.ts", args: [] },
  ];
  for (const { name, usualPort, file, args } of services) {
    let port = 0;
    let isUp = false;
    await group.start(name, () => {
      if (!isUp) {
        // Another program may have taken a port that was free when it was looked for.
        port = freePort(usualPort);
        metrics[name] = `http://127.0.0.1:${port}`;
        if (name === "api" && !isSet("API_PORT")) env.API_PORT = String(freePort(Number(env.API_PORT)));
      }
      return startProcess({
        name,
        command: Deno.execPath(),
        args: entrypoint(name, file, ...args),
        env: { ...env, METRICS_HOST: "127.0.0.1", METRICS_PORT: String(port) },
        logFile: `${group.logs}/${name}.log`,
        pidFile: pidFileOf(config.TAPEHOUSE_HOME, name),
        ready: (pid) => answersMetrics(metrics[name]!, pid),
        signal: group.stop.signal,
      });
    });
    isUp = true;
  }
  return metrics;
}

/**
 * The trades of the last `milliseconds`, from REST, newest first: they grow on to what the feed brings, without a gap. What
 * is stored already isn't asked for.
 */
export async function fetchHistory(
  env: Environment,
  milliseconds: number,
  group: ProcessGroup,
): Promise<void> {
  if (milliseconds === 0) return;
  const since = performance.now();
  const from = new Date(Date.now() - milliseconds).toISOString();
  const products = settingsOf(env).COINBASE_PRODUCTS;
  const ended = await Promise.all(products.map((product) =>
    group.run({
      name: `the history of ${product}`,
      command: Deno.execPath(),
      args: entrypoint("backfill", "backfill.ts", "--product", product, "--from", from),
      env: { ...env, LOG_LEVEL: "warn" },
      logFile: `${group.logs}/history.log`,
    })
  ));
  const missed = products.filter((_, index) => ended[index]?.code !== 0);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  say(
    missed.length === 0
      ? `${milliseconds / 60_000} min of history are stored after ${seconds} s`
      : `the history of ${missed.join(", ")} isn't complete: ${group.logs}/history.log says why`,
  );
}

async function answersOk(url: string): Promise<boolean> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.ok;
}
