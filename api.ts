/**
 * ClickHouse and Kafka → browsers and programs: the REST API, the live stream and the page, on one port.
 *
 * `deno task api` runs it as a service; `deno serve api.ts` and others that call `fetch` run it too.
 *
 * @module
 */

import { Counter, Histogram, type Registry } from "prom-client";
import { isLoopback } from "./lib/api/access.ts";
import { createApp, type Fetch } from "./lib/api/app.ts";
import { openDatabase } from "./lib/api/database.ts";
import { createLagReader } from "./lib/api/lag.ts";
import { unlessAborted } from "./lib/backoff.ts";
import { openBroker } from "./lib/broker.ts";
import { type Config, ConfigError, readConfig, simulatedNames } from "./lib/config.ts";
import { createLogger, type Logger } from "./lib/log.ts";
import { createRegistry, latencyBuckets } from "./lib/metrics.ts";
import { storingGroup } from "./lib/kafka_engine.ts";
import { FatalError, runService } from "./lib/service.ts";
import { openStream, streamVariables } from "./lib/stream/stream.ts";
import { openWarehouse, warehouseVariables } from "./lib/warehouse.ts";

const variables = [
  ...warehouseVariables,
  ...streamVariables,
  "API_HOST",
  "API_PORT",
  "API_TOKENS",
  "API_ALLOWED_HOSTS",
  "API_CORS_ORIGINS",
  "API_RATE_PER_SECOND",
  "API_TRUST_PROXY",
  "API_QUERY_SECONDS",
] as const;
type ApiConfig = Config<(typeof variables)[number]>;

/** How long answers that are under way may take when the API is stopped. */
const drainMs = 10_000;
/** How long leaving the broker may take then. */
const brokerMs = 2000;

/** The API, ready to answer. */
function openApi(config: ApiConfig, log: Logger, registry: Registry) {
  checkAccess(config);
  const simulated = config.CLICKHOUSE_DATABASE === simulatedNames(config).CLICKHOUSE_DATABASE;
  const database = openDatabase(config, config.API_QUERY_SECONDS);
  const warehouse = openWarehouse(config);
  const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC];
  const { CLICKHOUSE_DATABASE, KAFKA_GROUP } = config;
  // While ClickHouse is away nothing is stored by anybody.
  const group = () => storingGroup(warehouse, CLICKHOUSE_DATABASE, KAFKA_GROUP).catch(() => KAFKA_GROUP);
  const lag = createLagReader(openBroker(config, "api", log), group, topics);
  const stream = openStream({ config, warehouse, log, registry, simulated });
  const fetch = createApp({
    database,
    databaseName: config.CLICKHOUSE_DATABASE,
    simulated,
    host: config.API_HOST,
    allowedHosts: config.API_ALLOWED_HOSTS,
    tokens: config.API_TOKENS,
    corsOrigins: config.API_CORS_ORIGINS,
    ratePerSecond: config.API_RATE_PER_SECOND,
    trustProxy: config.API_TRUST_PROXY,
    pageFolder: new URL("web/dist/", import.meta.url),
    lag,
    stream,
    log,
    onAnswer: countAnswers(registry),
  });
  return {
    fetch,
    closeStream: () => stream.close(),
    async close() {
      await unlessAborted(lag.close(), AbortSignal.timeout(brokerMs)).catch(() => {});
      await warehouse.close();
      await database.close();
    },
  };
}

/** @throws {ConfigError} when others could reach the API without a token */
function checkAccess({ API_HOST, API_TOKENS }: ApiConfig): void {
  if (API_TOKENS.some((token) => token.length < 16)) {
    throw new ConfigError("API_TOKENS: expected tokens of at least 16 characters, separated by commas");
  }
  if (isLoopback(API_HOST) || API_TOKENS.length > 0) return;
  throw new ConfigError(
    `API_HOST=${API_HOST}: others can reach this address, so API_TOKENS must name at least one token ` +
      "(16 characters or more), or leave API_HOST at 127.0.0.1",
  );
}

/** Runs the API until it is told to stop. */
async function serve(): Promise<never> {
  return await runService({ name: "api", metricsPort: 9104, variables }, async (service) => {
    const { config, log, registry, signal, setHealth } = service;
    const api = openApi(config, log, registry);
    // Requests that are under way are finished when a stop is asked for; `abandon` ends them.
    const abandon = new AbortController();
    const server = listen(config, api.fetch, abandon.signal);
    log.info("ready", { url: `http://${config.API_HOST}:${config.API_PORT}/`, docs: "/docs" });
    setHealth(() => null);
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    // A broker that is away doesn't hold up the rest.
    const closed = unlessAborted(api.closeStream(), AbortSignal.timeout(brokerMs));
    await closed.catch((error) => log.warn("the stream's consumer group may be left behind", { error }));
    const giveUp = setTimeout(() => abandon.abort(), drainMs);
    await server.shutdown();
    await server.finished;
    clearTimeout(giveUp);
    await api.close();
  });
}

function listen(config: ApiConfig, fetch: Fetch, signal: AbortSignal): Deno.HttpServer {
  try {
    return Deno.serve(
      { hostname: config.API_HOST, port: config.API_PORT, signal, onListen: () => {} },
      (request, info) => fetch(request, addressOf(info)),
    );
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new FatalError(`Port ${config.API_PORT} for the API is in use. Set API_PORT to a free one.`);
  }
}

function countAnswers(registry: Registry) {
  const answers = new Counter({
    name: "tapehouse_api_requests_total",
    help: "Answers, by route and status.",
    labelNames: ["route", "status"] as const,
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "tapehouse_api_request_seconds",
    help: "From a request to its answer's first byte.",
    labelNames: ["route"] as const,
    buckets: latencyBuckets,
    registers: [registry],
  });
  return (route: string, status: number, took: number) => {
    answers.inc({ route, status: String(status) });
    seconds.observe({ route }, took);
  };
}

function addressOf({ remoteAddr }: Deno.ServeHandlerInfo): string {
  return "hostname" in remoteAddr ? remoteAddr.hostname : "local";
}

let isServed = false;
let served: ReturnType<typeof openApi> | undefined;

export default {
  /** `deno serve` and Deno Deploy call this; the service doesn't. */
  fetch(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    // Whoever calls it chose the address: where that wasn't told, it may be any.
    served ??= openServed("0.0.0.0");
    return served.fetch(request, addressOf(info));
  },
  onListen({ hostname }: Deno.NetAddr): void {
    isServed = true;
    try {
      served = openServed(hostname);
    } catch (error) {
      console.error(error instanceof ConfigError ? error.message : error);
      Deno.exit(2);
    }
  },
};

function openServed(host: string): ReturnType<typeof openApi> {
  return openApi(servedConfig(host), createLogger({ service: "api" }), createRegistry());
}

function servedConfig(host: string): ApiConfig {
  return { ...readConfig(variables), API_HOST: host };
}

// `deno serve` has called onListen when this module's first timer fires; `deno run` calls nothing.
if (import.meta.main) setTimeout(() => isServed || serve(), 0);
