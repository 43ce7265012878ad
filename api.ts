/**
 * ClickHouse and Kafka → browsers and programs: the REST API, the live stream and the page, on one port.
 *
 * `deno task api` runs it as a service; `deno serve api.ts` and others that call `fetch` run it too.
 *
 * @module
 */

import type { Registry } from "prom-client";
import { createApp, type Fetch } from "./lib/api/app.ts";
import { assertGuarded, readTrustedProxies } from "./lib/http/access_config.ts";
import { watchLag, watchRequests } from "./lib/api/api_watch.ts";
import { createReadiness } from "./lib/api/readiness.ts";
import { openReadClient, type ReadClient } from "./lib/api/read_client.ts";
import { createLagReader } from "./lib/api/cache/consumer_lag.ts";
import { aborted, unlessAborted } from "./lib/core/retry.ts";
import { openBroker } from "./lib/kafka/client.ts";
import { type Config, readConfig, simulatedNames } from "./lib/process/config.ts";
import { ConfigError, FatalError } from "./lib/core/errors.ts";
import { createLogger, type Logger } from "./lib/process/log.ts";
import { createRegistry } from "./lib/process/metrics_server.ts";
import { storingGroup } from "./lib/clickhouse/kafka_engine.ts";
import { projectFolder } from "./lib/process/project.ts";
import { runService } from "./lib/process/service.ts";
import { openStream, streamVariables } from "./lib/stream/live_stream.ts";
import { clickhouseVariables, openClickHouse } from "./lib/clickhouse/client.ts";

const variables = [
  ...clickhouseVariables,
  ...streamVariables,
  "API_HOST",
  "API_PORT",
  "API_TOKENS",
  "API_ALLOWED_HOSTS",
  "API_CORS_ORIGINS",
  "API_RATE_PER_SECOND",
  "API_TRUST_PROXY",
  "API_QUERY_SECONDS",
  "API_QUERIES",
  "API_CLIENT_SOCKETS",
] as const;
type ApiConfig = Config<(typeof variables)[number]>;

/** How long answers that are under way may take when the API is stopped. */
const drainMs = 10_000;
/** How long leaving the broker may take then. */
const brokerMs = 2000;

/** The API, ready to answer. */
function openApi(config: ApiConfig, log: Logger, registry: Registry) {
  assertGuarded(config);
  const simulated = config.CLICKHOUSE_DATABASE === simulatedNames(config).CLICKHOUSE_DATABASE;
  const trustedProxies = readTrustedProxies(config);
  const metrics = watchRequests(registry, () => reader.load());
  const reader: ReadClient = openReadClient(config, config.API_QUERY_SECONDS, config.API_QUERIES, metrics);
  const clickhouse = openClickHouse(config);
  const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC];
  const { CLICKHOUSE_DATABASE, KAFKA_GROUP } = config;
  // While ClickHouse is away nothing is stored by anybody.
  const group = () => storingGroup(clickhouse, CLICKHOUSE_DATABASE, KAFKA_GROUP).catch(() => KAFKA_GROUP);
  const lag = createLagReader(openBroker(config, "api", log), group, topics);
  watchLag(registry, lag);
  const ready = createReadiness(clickhouse);
  const stream = openStream({
    config,
    clickhouse,
    log,
    registry,
    simulated,
    maxClientSockets: config.API_CLIENT_SOCKETS,
  });
  const fetch = createApp({
    clickhouse: reader,
    databaseName: config.CLICKHOUSE_DATABASE,
    simulated,
    host: config.API_HOST,
    allowedHosts: config.API_ALLOWED_HOSTS,
    tokens: config.API_TOKENS,
    corsOrigins: config.API_CORS_ORIGINS,
    ratePerSecond: config.API_RATE_PER_SECOND,
    trustedProxies,
    pageFolder: projectFolder("web/dist"),
    lag,
    stream,
    health: { live: () => null, ready },
    log,
    onAnswer: metrics.onAnswer,
    onRefused: metrics.onAccessRefused,
  });
  return {
    fetch,
    ready,
    closeStream: () => stream.close(),
    async close() {
      await unlessAborted(lag.close(), AbortSignal.timeout(brokerMs)).catch(() => {});
      await clickhouse.close();
      await reader.close();
    },
  };
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
    setHealth(api.ready);
    await aborted(signal);
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
