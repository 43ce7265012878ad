/**
 * The API as a function from request to answer: access, routes, page, headers. Knows no socket.
 *
 * @module
 */

import { OpenAPIHono } from "@hono/zod-openapi";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Logger } from "../log.ts";
import {
  clientAddress,
  createRateLimit,
  givenToken,
  isLoopback,
  isOriginAllowed,
  isServedHost,
  isToken,
} from "./access.ts";
import { addBook } from "./book.ts";
import { createCandleCache } from "./candles.ts";
import type { Database } from "./database.ts";
import { docsPage, docsPolicy } from "./docs.ts";
import { createKnownProducts } from "./known_products.ts";
import type { LagReader } from "./lag.ts";
import { addMarket } from "./market.ts";
import { addOhlc } from "./ohlc.ts";
import { pageFile } from "./page.ts";
import { Problem, problemResponse } from "./problem.ts";
import { addProducts } from "./products.ts";
import { addQuality } from "./quality.ts";
import { createSettled } from "./settled.ts";
import { addStatus, version } from "./status.ts";
import { addTrades } from "./trades.ts";

/** The live stream, as the API serves it. */
export interface StreamEndpoint {
  /** Answers a WebSocket's handshake. */
  upgrade(request: Request): Response;
  /** For `/api/status`. */
  status(): { clients: number };
}

/** What the API is made of. */
export interface AppOptions {
  database: Database;
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
  trustProxy: boolean;
  /** The built page; ends with `/`. */
  pageFolder: URL;
  lag?: LagReader | undefined;
  stream?: StreamEndpoint | undefined;
  log: Logger;
  /** Is told of every answer. */
  onAnswer?: (route: string, status: number, seconds: number) => void;
}

/** Answers a request of a client at an address. */
export type Fetch = (request: Request, address: string) => Promise<Response>;

const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  // lightweight-charts writes a <style> for its logo.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
const dataPolicy = "default-src 'none'; frame-ancestors 'none'";

const exposed = "ETag, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset";
/** Shorter answers aren't worth compressing. */
const leastGzipBytes = 1024;
/** Compressed answers in memory. */
const maxGzipBytes = 32 * 1024 * 1024;
const compress = promisify(gzip);

/** Makes the API. */
export function createApp(options: AppOptions): Fetch {
  const routes = createRoutes(options);
  const paths = new Set(routes.routes.map(({ path }) => path));
  const gzipOf = createGzip();
  const rate = options.ratePerSecond > 0 ? createRateLimit(options.ratePerSecond) : undefined;

  function clientOf(request: Request, address: string): string {
    return clientAddress(address, request.headers.get("x-forwarded-for"), options.trustProxy);
  }

  async function answer(request: Request, address: string): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (!isServedHost(options.host, options.allowedHosts, request.headers.get("host"))) {
      throw new Problem("forbidden-host", {
        detail:
          "This API listens on this machine alone and was called by another name: add it to API_ALLOWED_HOSTS.",
      });
    }
    const isData = pathname.startsWith("/api/") || pathname === "/openapi.json";
    if (!isData) {
      checkMethod(request);
      return await open(request, pathname);
    }
    if (request.method === "OPTIONS") return preflight();
    const allowance = rate?.(clientOf(request, address));
    const headers: Record<string, string> = allowance === undefined ? {} : {
      "ratelimit-limit": String(allowance.limit),
      "ratelimit-remaining": String(allowance.remaining),
      "ratelimit-reset": String(allowance.resetSeconds),
    };
    if (allowance && !allowance.allowed) {
      throw new Problem("too-many-requests", {
        detail: `More than ${options.ratePerSecond} requests a second.`,
        headers: { ...headers, "retry-after": String(allowance.retrySeconds) },
      });
    }
    checkToken(request);
    checkMethod(request);
    const response = pathname === "/api/stream" ? upgrade(request) : await routes.fetch(asGet(request));
    return response.status === 101 ? response : withHeaders(response, headers);
  }

  function checkToken(request: Request): void {
    if (options.tokens.length === 0) return;
    const given = givenToken(request);
    if (given !== undefined && isToken(options.tokens, given)) return;
    throw new Problem("unauthorized", {
      detail: given === undefined
        ? "Send `Authorization: Bearer <token>` with one of API_TOKENS (`?token=` for the WebSocket)."
        : "This token isn't one of API_TOKENS.",
      headers: {
        "www-authenticate": `Bearer realm="tapehouse"${given === undefined ? "" : ', error="invalid_token"'}`,
      },
    });
  }

  /** What needs no token: the page and what explains the API. */
  async function open(request: Request, pathname: string): Promise<Response> {
    if (pathname === "/docs") {
      return withHeaders(await routes.fetch(asGet(request)), { "content-security-policy": docsPolicy });
    }
    if (pathname === "/healthz") return await routes.fetch(asGet(request));
    const response = await pageFile(options.pageFolder, decoded(pathname), request);
    return withHeaders(response, { "content-security-policy": pagePolicy });
  }

  function upgrade(request: Request): Response {
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      throw new Problem("not-found", { detail: "/api/stream is a WebSocket: connect with ws:// or wss://." });
    }
    if (!isOriginAllowed(request, options.corsOrigins)) {
      throw new Problem("forbidden-host", {
        detail: "A page of this origin may not connect: see API_CORS_ORIGINS.",
      });
    }
    if (options.stream === undefined) {
      throw new Problem("unavailable", {
        detail: "The stream isn't running.",
        headers: { "retry-after": "5" },
      });
    }
    return options.stream.upgrade(request);
  }

  function withCors(request: Request, response: Response): Response {
    if (options.corsOrigins.length === 0) {
      return withHeaders(response, { "cross-origin-resource-policy": "same-origin" });
    }
    const origin = request.headers.get("origin");
    const any = options.corsOrigins.includes("*");
    const allowed = origin !== null && (any || options.corsOrigins.includes(origin));
    return withHeaders(response, {
      vary: "Origin",
      ...(allowed && {
        "access-control-allow-origin": any ? "*" : origin,
        "access-control-expose-headers": exposed,
      }),
    });
  }

  return async (request, address) => {
    const started = performance.now();
    let response: Response;
    try {
      response = await answer(request, address);
    } catch (error) {
      response = failure(request, error, options.log);
    }
    const { pathname } = new URL(request.url);
    const route = paths.has(pathname) || pathname === "/api/stream"
      ? pathname
      : pathname.startsWith("/api/")
      ? "other"
      : "page";
    if (response.status !== 101) {
      const isLocal = isLoopback(clientOf(request, address));
      response = await withGzip(request, secured(withCors(request, response)), isLocal, gzipOf);
      if (request.method === "HEAD") {
        await response.body?.cancel();
        response = new Response(null, response);
      }
    }
    options.onAnswer?.(route, response.status, (performance.now() - started) / 1000);
    return response;
  };
}

function createRoutes(options: AppOptions): OpenAPIHono {
  const { database } = options;
  const app = new OpenAPIHono();
  const known = createKnownProducts(database);
  addProducts(app, database, known);
  addTrades(app, database, known);
  const candles = createCandleCache(database);
  addOhlc(app, { database, known, candles, settled: createSettled(database) });
  addMarket(app, { database, known, candles });
  addBook(app, database, known);
  addQuality(app, database, known);
  addStatus(app, {
    ...options,
    lag: options.lag,
    stream: () => options.stream?.status() ?? { clients: 0 },
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "token", {
    type: "http",
    scheme: "bearer",
    description: "One of API_TOKENS; not needed where none are set.",
  });
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "tapehouse API",
      version,
      description:
        "The Coinbase tape as it is stored: complete, counted once, exact. Decimals are strings, times UTC with " +
        "microseconds. `from` is included, `to` is not.\n\nLists come in pages: `next` goes into `cursor`. " +
        "What happens now comes by the WebSocket `/api/stream`: see docs/stream.md.",
    },
  });
  const json = JSON.stringify(document);
  const page = docsPage(document);
  app.get("/openapi.json", () => new Response(json, { headers: { "content-type": "application/json" } }));
  app.get("/docs", () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }));
  app.get("/healthz", async () => {
    await database.text("SELECT 1");
    return new Response("ok\n", { headers: { "content-type": "text/plain", "cache-control": "no-store" } });
  });
  app.notFound(() => {
    throw new Problem("not-found", { detail: "Nothing is at this address. /docs lists what there is." });
  });
  app.onError((error) => {
    throw error;
  });
  return app;
}

function checkMethod({ method }: Request): void {
  if (method === "GET" || method === "HEAD") return;
  throw new Problem("method-not-allowed", {
    detail: `${method}: the API only reads, use GET or HEAD.`,
    headers: { allow: "GET, HEAD, OPTIONS" },
  });
}

function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      "access-control-allow-methods": "GET, HEAD",
      "access-control-allow-headers": "authorization, if-none-match",
      "access-control-max-age": "600",
    },
  });
}

/** HEAD is GET without the body, which is dropped at the end. */
function asGet(request: Request): Request {
  return request.method === "HEAD" ? new Request(request, { method: "GET" }) : request;
}

function decoded(pathname: string): string {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return pathname;
  }
}

function failure(request: Request, error: unknown, log: Logger): Response {
  if (error instanceof Problem) return problemResponse(error);
  // Nobody hears what becomes of a request that was given up.
  if (request.signal.aborted) return new Response(null, { status: 499 });
  log.error("request failed", { path: new URL(request.url).pathname, error });
  return problemResponse(new Problem("internal", { detail: "The API has a fault; its log says which." }));
}

/** In place: a copy would turn a body of bytes into a stream, which is slower to send. */
function withHeaders(response: Response, more: Record<string, string>): Response {
  for (const [name, value] of Object.entries(more)) response.headers.set(name, value);
  return response;
}

function secured(response: Response): Response {
  const policy = response.headers.get("content-security-policy") ?? dataPolicy;
  return withHeaders(response, {
    "content-security-policy": policy,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
  });
}

/**
 * Text is compressed for those who take it; Arrow and Parquet are compressed in themselves. A client on this machine has
 * nothing from it: compressing 1,000 candles takes longer than all else of the answer.
 */
async function withGzip(
  request: Request,
  response: Response,
  isLocal: boolean,
  gzipOf: GzipOf,
): Promise<Response> {
  const type = response.headers.get("content-type") ?? "";
  if (response.body === null || !/^(text\/|application\/(json|problem\+json))/.test(type)) return response;
  withHeaders(response, {
    vary: [response.headers.get("vary"), "Accept-Encoding"].filter(Boolean).join(", "),
  });
  const isTaken = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/i.test(request.headers.get("accept-encoding") ?? "");
  if (isLocal || !isTaken) return response;
  const etag = response.headers.get("etag");
  const more = { "content-encoding": "gzip", ...(etag && { etag: `W/${etag}` }) };
  if (type.startsWith("text/csv")) {
    const body = response.body.pipeThrough(new CompressionStream("gzip"));
    return withHeaders(new Response(body, response), more);
  }
  const bytes = await response.bytes();
  if (bytes.length < leastGzipBytes) return new Response(bytes, response);
  return withHeaders(new Response(await gzipOf(etag, bytes), response), more);
}

/** Compresses; what has an ETag only once for all who ask for it. */
type GzipOf = (etag: string | null, bytes: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>;

function createGzip(): GzipOf {
  /** The one that was wanted longest ago stands first. */
  const kept = new Map<string, Uint8Array<ArrayBuffer>>();
  let keptBytes = 0;
  return async (etag, bytes) => {
    const known = etag === null ? undefined : kept.get(etag);
    // The fastest level: three quarters are saved by it, and the best would take longer than the query.
    const small = known ?? new Uint8Array(await compress(bytes, { level: 1 }));
    if (etag === null) return small;
    keptBytes += small.length - (kept.get(etag)?.length ?? 0);
    kept.delete(etag);
    kept.set(etag, small);
    for (const [oldest, { length }] of kept) {
      if (keptBytes <= maxGzipBytes) break;
      kept.delete(oldest);
      keptBytes -= length;
    }
    return small;
  };
}
