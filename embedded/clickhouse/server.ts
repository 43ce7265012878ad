/**
 * The embedded ClickHouse: chDB behind ClickHouse's HTTP interface, so that clients, curl and Grafana use it unchanged.
 *
 *     deno run --config embedded/clickhouse/deno.json -P embedded/clickhouse/server.ts
 *
 * Environment: EMBEDDED_CLICKHOUSE_PORT (8123; 0 takes a free one), TAPEHOUSE_HOME (.tapehouse); the data lie in
 * `$TAPEHOUSE_HOME/clickhouse`. Listens on 127.0.0.1 only. **Every user is `default` and may do everything: names and
 * passwords are accepted and not looked at.** Requests that a browser sends for a page of another site are refused.
 *
 * Not there: sessions (`session_id` is accepted, nothing is kept between requests), ClickHouse's own compression
 * (`compress=1`; gzip is), external tables, `FROM input()`, `system.query_log` and the other log tables. An answer is
 * complete in memory before its first byte is sent. `written_rows` of the summary counts rows in views too; `read_rows`
 * isn't known and left out.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { brotliDecompress, gunzip, gzip, inflate } from "node:zlib";
import { createLogger } from "../../lib/log.ts";
import { type Engine, type Outcome, startEngine } from "./engine.ts";
import {
  ClickHouseError,
  errorBody,
  errorStatus,
  isFromThisMachine,
  type Options,
  readOptions,
  readWork,
  setupStatements,
  withRevisionZero,
} from "./http.ts";
import { createQueue, type Queue, QueueClosed } from "./queue.ts";

/** Deno has 32 threads for blocking work; half of them are left for files and compression. */
const statementsAtOnce = 16;
const largestBody = 1024 * 1024 * 1024;

const getOnlyReads = "A GET only reads: use POST for statements that change something";

const unzip = { maxOutputLength: largestBody };
const decoders = new Map<string, (body: Uint8Array) => Promise<Uint8Array>>([
  ["gzip", (body) => promisify(gunzip)(body, unzip)],
  ["deflate", (body) => promisify(inflate)(body, unzip)],
  ["br", (body) => promisify(brotliDecompress)(body, unzip)],
]);

const log = createLogger({ service: "clickhouse" });

async function main(): Promise<void> {
  const port = readPort(Deno.env.get("EMBEDDED_CLICKHOUSE_PORT") || "8123");
  const folder = resolve(Deno.env.get("TAPEHOUSE_HOME") || ".tapehouse", "clickhouse");
  if (/[*?{}]/.test(folder)) {
    throw new Error(
      `TAPEHOUSE_HOME: the path ${folder} holds one of * ? { }, which ClickHouse takes for a pattern`,
    );
  }
  await Deno.mkdir(folder, { recursive: true });
  using _lock = await lock(folder);
  const engine = await startEngine(folder);
  const queue = createQueue(statementsAtOnce);
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port,
    onListen: ({ port }) => log.info("ready", { url: `http://127.0.0.1:${port}`, folder, pid: Deno.pid }),
  }, (request) => answer(request, engine, queue));

  await signalled();
  const stopped = server.shutdown();
  await queue.close();
  await stopped;
  engine.close();
  log.info("stopped");
  Deno.exit(0);
}

function readPort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65535) return port;
  log.error(`EMBEDDED_CLICKHOUSE_PORT=${text}: expected a port, 0 to 65535`);
  Deno.exit(2);
}

/** The system drops this lock with the process, however that ends. The id in it is for people. */
async function lock(folder: string): Promise<Deno.FsFile> {
  const path = join(folder, "lock");
  const file = await Deno.open(path, { read: true, write: true, create: true });
  if (!await file.tryLock(true)) {
    const owner = (await Deno.readTextFile(path)).trim();
    throw new Error(
      `${folder} is in use by process ${owner}: stop that one first, or set TAPEHOUSE_HOME to another folder`,
    );
  }
  await file.truncate();
  await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  return file;
}

function signalled(): Promise<void> {
  return new Promise((done) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, () => done());
  });
}

async function answer(request: Request, engine: Engine, queue: Queue): Promise<Response> {
  const headers = new Headers({
    "content-type": "text/plain; charset=UTF-8",
    // Compression is up to the rules here, not to those of the HTTP server.
    "cache-control": "no-transform",
    "x-clickhouse-server-display-name": engine.displayName,
    "x-clickhouse-timezone": engine.timezone,
  });
  const plain = (text: string, status = 200) =>
    new Response(request.method === "HEAD" ? null : text, { status, headers });
  try {
    if (!isFromThisMachine(request.headers)) {
      throw new ClickHouseError(497, "ACCESS_DENIED", "Requests for other hosts or sites are refused here");
    }
    const { pathname, search } = new URL(request.url);
    if (pathname === "/ping" || pathname === "/replicas_status") return plain("Ok.\n");
    if (pathname !== "/") return plain(noHandler(pathname), 404);
    if (!["GET", "HEAD", "POST"].includes(request.method)) {
      return plain(`${request.method} is not offered: use POST, or GET for what only reads\n`, 405);
    }
    if (request.method === "HEAD" || (request.method === "GET" && search === "")) return plain("Ok.\n");

    const { options, body } = await readRequest(request, search.slice(1));
    headers.set("x-clickhouse-query-id", options.queryId);
    const outcome = await runStatement(options, body, engine, queue, request.signal, headers);
    return await finish(outcome, options, headers);
  } catch (error) {
    const shown = toClickHouseError(error);
    if (shown.type === "READONLY" && request.method === "GET") shown.message += `. ${getOnlyReads}`;
    headers.set("x-clickhouse-exception-code", String(shown.code));
    headers.set("content-type", "text/plain; charset=UTF-8");
    headers.delete("x-clickhouse-format");
    const status = error instanceof QueueClosed
      ? 503
      : error instanceof BodyTooLarge
      ? 413
      : errorStatus(shown.type);
    return plain(errorBody(shown, engine.version), status);
  }
}

async function readRequest(
  request: Request,
  search: string,
): Promise<{ options: Options; body: Uint8Array }> {
  const body = await decodeBody(await readBody(request), request.headers.get("content-encoding"));
  const type = request.headers.get("content-type") ?? "";
  if (!type.toLowerCase().startsWith("multipart/form-data")) {
    return { options: readOptions(request.method, search, request.headers), body };
  }
  const form = await new Response(new Uint8Array(body), { headers: { "content-type": type } }).formData();
  const fields = [...form].map(([name, value]): [string, string] => {
    if (typeof value === "string") return [name, value];
    throw new ClickHouseError(
      48,
      "NOT_IMPLEMENTED",
      `'${name}' is a file: external tables aren't offered here`,
    );
  });
  return { options: readOptions(request.method, search, request.headers, fields), body: new Uint8Array() };
}

class BodyTooLarge extends ClickHouseError {
  constructor() {
    super(307, "TOO_MANY_BYTES", `The body is larger than ${largestBody} bytes: send it in several inserts`);
  }
}

async function readBody(request: Request): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > largestBody) throw new BodyTooLarge();
    chunks.push(chunk);
  }
  if (chunks.length === 1 && chunks[0]) return chunks[0];
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

async function decodeBody(body: Uint8Array, encoding: string | null): Promise<Uint8Array> {
  if (!encoding || encoding === "identity") return body;
  const decode = decoders.get(encoding);
  if (!decode) {
    throw new ClickHouseError(
      48,
      "NOT_IMPLEMENTED",
      `Content-Encoding ${encoding} isn't offered here: use ${[...decoders.keys()].join(", ")}`,
    );
  }
  try {
    return await decode(body);
  } catch (error) {
    if (error instanceof RangeError) throw new BodyTooLarge();
    const reason = error instanceof Error ? error.message : String(error);
    throw new ClickHouseError(
      36,
      "BAD_ARGUMENTS",
      `The body isn't what Content-Encoding ${encoding} says: ${reason}`,
    );
  }
}

/** Runs the request's statement; adds the headers that describe the answer. */
async function runStatement(
  options: Options,
  body: Uint8Array,
  engine: Engine,
  queue: Queue,
  signal: AbortSignal,
  headers: Headers,
): Promise<Outcome> {
  const work = readWork(options.query, body);
  const name = work.statement.format ?? options.defaultFormat;
  const format = engine.format(name);
  if (!format) throw new ClickHouseError(73, "UNKNOWN_FORMAT", `Unknown format ${name}`);
  const setup = setupStatements(options, work.data !== undefined);
  const outcome = await queue.run(
    () => engine.run(setup, { ...work, text: withRevisionZero(work.text) }, format.name),
    signal,
  );
  headers.set("x-clickhouse-format", format.name);
  headers.set("content-type", format.contentType);
  headers.set("x-clickhouse-summary", JSON.stringify(summary(outcome)));
  return outcome;
}

/** Numbers as text, as ClickHouse writes them. */
function summary(outcome: Outcome): Record<string, string> {
  const numbers = {
    written_rows: outcome.writtenRows,
    written_bytes: outcome.writtenBytes,
    result_rows: outcome.resultRows,
    result_bytes: outcome.resultBytes,
    elapsed_ns: Math.round(outcome.seconds * 1e9),
  };
  return Object.fromEntries(
    Object.entries(numbers).flatMap(([name, value]) => value === undefined ? [] : [[name, String(value)]]),
  );
}

async function finish(outcome: Outcome, options: Options, headers: Headers): Promise<Response> {
  if (!options.gzipAnswer) return new Response(outcome.bytes, { headers });
  headers.set("content-encoding", "gzip");
  return new Response(new Uint8Array(await promisify(gzip)(outcome.bytes, { level: 3 })), { headers });
}

function toClickHouseError(error: unknown): ClickHouseError {
  if (error instanceof ClickHouseError) return error;
  if (error instanceof QueueClosed) return new ClickHouseError(236, "ABORTED", "The server is stopping");
  const message = error instanceof Error ? error.message : String(error);
  log.warn("request failed", { error: message });
  return new ClickHouseError(1002, "UNKNOWN_EXCEPTION", message);
}

function noHandler(path: string): string {
  return `There is no handle ${path}\n\nUse / or /ping for health checks.\n` +
    "Or /replicas_status for more sophisticated health checks.\n\n" +
    "Send queries from your program with POST method or GET /?query=...\n";
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
