/**
 * The API as a function from request to answer: a list of middlewares, then the routes. Knows no socket.
 *
 * @module
 */

import { OpenAPIHono } from "@hono/zod-openapi";
import { except } from "hono/combine";
import { clientAddress, type TrustedProxies } from "../http/client_address.ts";
import type { HealthChecks } from "../process/health.ts";
import type { Logger } from "../process/log.ts";
import { createCandleCache } from "./cache/candle_cache.ts";
import type { LagReader } from "./cache/consumer_lag.ts";
import { createImmutableTimes } from "./cache/immutable_times.ts";
import { createKnownProducts } from "./cache/known_products.ts";
import type { Api, ApiEnv, OnRefused } from "./env.ts";
import { bearer } from "./middleware/bearer.ts";
import { compression } from "./middleware/compression.ts";
import { cors } from "./middleware/cors.ts";
import { hostGuard } from "./middleware/host_guard.ts";
import { measure, type OnAnswer } from "./middleware/measure.ts";
import { onlyReads, withoutBody } from "./middleware/only_reads.ts";
import { originGuard } from "./middleware/origin_guard.ts";
import { rateLimit } from "./middleware/rate_limit.ts";
import { secureHeaders } from "./middleware/secure_headers.ts";
import { addDocs } from "./openapi_docs.ts";
import { notFound, problemHandler } from "./problem.ts";
import type { ReadClient } from "./read_client.ts";
import { addBook } from "./routes/book.ts";
import { addHealth } from "./routes/health.ts";
import { addMarket } from "./routes/market_statistics.ts";
import { addOhlc } from "./routes/ohlc.ts";
import { addPage, openPage } from "./routes/page_files.ts";
import { addProducts } from "./routes/products.ts";
import { addQuality } from "./routes/quality.ts";
import { addStatus } from "./routes/status.ts";
import { addStream, type StreamEndpoint } from "./routes/stream.ts";
import { addTrades } from "./routes/trades.ts";

/** What the API is made of. */
export interface AppOptions {
  clickhouse: ReadClient;
  databaseName: string;
  /** The data come from the simulated exchange. */
  simulated: boolean;
  /** The address that it listens on. */
  host: string;
  /** More names that `Host` may say, on loopback. */
  allowedHosts: readonly string[];
  /** Without any, everybody may ask. */
  tokens: readonly string[];
  corsOrigins: readonly string[];
  /** 0 for no limit. */
  ratePerSecond: number;
  trustedProxies: TrustedProxies;
  /** The built page; ends with `/`. */
  pageFolder: URL;
  lag?: LagReader | undefined;
  stream?: StreamEndpoint | undefined;
  /** What `/livez`, `/readyz` and `/healthz` answer. */
  health: HealthChecks;
  log: Logger;
  onAnswer?: OnAnswer;
  onRefused?: OnRefused;
}

/** Answers a request of a client at an address. */
export type Fetch = (request: Request, address: string) => Promise<Response>;

/** Makes the API. */
export function createApp(options: AppOptions): Fetch {
  const app: Api = new OpenAPIHono<ApiEnv>();
  guard(app, options);
  addRoutes(app, options);
  return async (request, peer) => {
    const forwarded = request.headers.get("x-forwarded-for");
    return await app.fetch(request, { address: clientAddress(peer, forwarded, options.trustedProxies) });
  };
}

/** The middlewares, the outermost first. */
function guard(app: Api, options: AppOptions): void {
  const { host, allowedHosts, corsOrigins, ratePerSecond, tokens } = options;
  const { log, onAnswer = () => {}, onRefused = () => {} } = options;
  const { preflight, headers } = cors(corsOrigins);
  app.onError(problemHandler(log));
  app.notFound(() => {
    throw notFound();
  });
  app.use(measure(app, onAnswer), withoutBody, compression());
  app.use(secureHeaders(corsOrigins.length === 0), headers);
  app.use(hostGuard(host, allowedHosts, onRefused));
  // Two rates: whoever has asked for too many data can still load the page, and a health check is answered.
  const [ofData, ofPage] = [rateLimit(ratePerSecond, onRefused), rateLimit(ratePerSecond, onRefused)];
  const data = ["/api/*", "/openapi.json"];
  for (const path of data) {
    app.use(path, preflight, ofData, originGuard(corsOrigins, onRefused), bearer(tokens, onRefused));
  }
  app.use(except(data, ofPage, originGuard(corsOrigins, onRefused, { navigable: true })));
  app.use(onlyReads);
}

function addRoutes(app: Api, options: AppOptions): void {
  const { clickhouse, stream } = options;
  const known = createKnownProducts(clickhouse);
  const candles = createCandleCache(clickhouse);
  addProducts(app, clickhouse, known);
  addTrades(app, clickhouse, known);
  addOhlc(app, { clickhouse, known, candles, immutable: createImmutableTimes(clickhouse) });
  addMarket(app, { clickhouse, known, candles });
  addBook(app, clickhouse, known);
  addQuality(app, clickhouse, known);
  addStatus(app, { ...options, stream: () => stream?.status() ?? { clients: 0 } });
  addStream(app, stream);
  addHealth(app, options.health);
  const page = openPage(options.pageFolder);
  addDocs(app, page);
  addPage(app, page);
}
