/**
 * The embedded ClickHouse: chDB behind ClickHouse's HTTP interface, so that clients and curl use it unchanged.
 *
 *     deno run --config embedded/clickhouse/deno.json -P embedded/clickhouse/server.ts
 *
 * Environment: EMBEDDED_CLICKHOUSE_PORT (8123; 0 takes a free one), TAPEHOUSE_HOME (.tapehouse); the data lie in
 * `$TAPEHOUSE_HOME/clickhouse`. Listens on 127.0.0.1 only. There is one user, who may do everything that ClickHouse can,
 * read and write any file of yours too: CLICKHOUSE_USER (`default`) with CLICKHOUSE_PASSWORD, or with a password that is
 * made at the first start and kept in `$TAPEHOUSE_HOME/clickhouse/password`. `netrc` beside it holds what the running
 * server takes, for `curl --netrc-file`. Requests that a browser sends for a page of another site are refused, and a `GET`
 * reads tables and nothing else.
 *
 * Not there: sessions (`session_id` is accepted, nothing is kept between requests), ClickHouse's own compression
 * (`compress=1`; gzip is), external tables, `FROM input()`, `system.query_log` and the other log tables. An answer is
 * complete in memory before its first byte is sent. The summary of an insert says nothing of the rows it read.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { createLogger } from "../../lib/process/log.ts";
import { authenticate, type Credentials, readCredentials } from "./authentication.ts";
import type { Outcome } from "./chdb.ts";
import { type Engine, startEngine } from "./engine.ts";
import {
  handshakeAnswer,
  isFromProgram,
  isHandshake,
  type Options,
  readOptions,
  readWork,
  setupStatements,
} from "./http.ts";
import { ClickHouseError, errorBody, errorStatus } from "./clickhouse_error.ts";
import { announceAccess, keptPassword } from "./password.ts";
import { createQueue, type Queue, QueueClosed } from "./task_queue.ts";
import { assertReadOnly, assertReadOnlySetting } from "./reading.ts";

/** Deno has 32 threads for blocking work; half of them are left for files and compression. */
const statementsAtOnce = 16;
const largestBody = 1024 * 1024 * 1024;

const usePost = "A GET only reads tables: use POST for everything else";

const log = createLogger({ service: "clickhouse" });

async function main(): Promise<void> {
  const port = readPort(Deno.env.get("EMBEDDED_CLICKHOUSE_PORT") || "8123");
  const home = resolve(Deno.env.get("TAPEHOUSE_HOME") || ".tapehouse");
  const folder = join(home, "clickhouse");
  const owner: Credentials = {
    user: Deno.env.get("CLICKHOUSE_USER") || "default",
    password: Deno.env.get("CLICKHOUSE_PASSWORD") || await keptPassword(home),
  };
  await Deno.mkdir(folder, { recursive: true });
  using _lock = await lock(folder);
  const engine = await startEngine(folder);
  const queue = createQueue(statementsAtOnce);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) => answer(request, owner, engine, queue),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  await announceAccess(home, { url, ...owner });
  log.info("ready", { url, folder, pid: Deno.pid });

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

async function answer(
  request: Request,
  owner: Credentials,
  engine: Engine,
  queue: Queue,
): Promise<Response> {
  const headers = new Headers({
    "content-type": "text/plain; charset=UTF-8",
    // Compression is up to the rules here, not to those of the HTTP server.
    "cache-control": "no-transform",
  });
  const plain = (text: string, status = 200) =>
    new Response(request.method === "HEAD" ? null : text, { status, headers });
  try {
    if (!isFromProgram(request.headers)) {
      throw new ClickHouseError(497, "ACCESS_DENIED", "Requests for other hosts or sites are refused here");
    }
    const { pathname, search } = new URL(request.url);
    if (pathname === "/ping" || pathname === "/replicas_status") return plain("Ok.\n");
    if (pathname !== "/") return plain(noHandler(pathname), 404);
    if (!["GET", "HEAD", "POST"].includes(request.method)) {
      return plain(`${request.method} is not offered: use POST, or GET for what only reads\n`, 405);
    }
    if (request.method === "HEAD" || (request.method === "GET" && search === "")) return plain("Ok.\n");

    // Before a byte of the body is read.
    authenticate(readCredentials(search.slice(1), request.headers), owner);
    headers.set("x-clickhouse-server-display-name", engine.displayName);
    headers.set("x-clickhouse-timezone", engine.timezone);
    const { options, body } = await readRequest(request, search.slice(1));
    headers.set("x-clickhouse-query-id", options.queryId);
    const bytes = await runStatement(options, body, engine, queue, request.signal, headers);
    if (!options.gzipAnswer) return new Response(bytes, { headers });
    headers.set("content-encoding", "gzip");
    return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip")), { headers });
  } catch (error) {
    // Nobody hears what becomes of a request that was given up.
    if (request.signal.aborted) return plain("", 499);
    const shown = toClickHouseError(error);
    if (shown.type === "READONLY" && request.method === "GET") shown.message += `. ${usePost}`;
    headers.set("x-clickhouse-exception-code", String(shown.code));
    headers.set("content-type", "text/plain; charset=UTF-8");
    headers.delete("x-clickhouse-format");
    return plain(errorBody(shown, engine.version), errorStatus(shown.type));
  }
}

async function readRequest(
  request: Request,
  search: string,
): Promise<{ options: Options; body: Uint8Array<ArrayBuffer> }> {
  const body = await readBody(request);
  const type = request.headers.get("content-type") ?? "";
  if (!type.toLowerCase().startsWith("multipart/form-data")) {
    return { options: readOptions(request.method, search, request.headers), body };
  }
  const form = await new Response(body, { headers: { "content-type": type } }).formData();
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

async function readBody(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  if (!request.body) return new Uint8Array();
  const encoding = request.headers.get("content-encoding") ?? "identity";
  if (encoding === "identity") return await collect(request.body);
  if (encoding !== "gzip" && encoding !== "deflate") {
    throw new ClickHouseError(
      48,
      "NOT_IMPLEMENTED",
      `Content-Encoding ${encoding} isn't offered here: use gzip or deflate`,
    );
  }
  try {
    return await collect(request.body.pipeThrough(new DecompressionStream(encoding)));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ClickHouseError(36, "BAD_ARGUMENTS", `The body isn't what Content-Encoding ${encoding} says`);
  }
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > largestBody) {
      throw new ClickHouseError(
        161,
        "QUERY_IS_TOO_LARGE",
        `The body is larger than ${largestBody} bytes: send it in several inserts`,
      );
    }
    chunks.push(chunk);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** Runs the request's statement: the bytes of the answer, and in `headers` what describes them. */
async function runStatement(
  options: Options,
  body: Uint8Array<ArrayBuffer>,
  engine: Engine,
  queue: Queue,
  signal: AbortSignal,
  headers: Headers,
): Promise<Uint8Array<ArrayBuffer>> {
  const work = readWork(options.query, body);
  if (options.readOnly) {
    for (const [name] of options.settings) assertReadOnlySetting(name);
    assertReadOnly(work.text, work.verb);
  }
  const name = work.format ?? options.defaultFormat;
  const format = engine.format(name);
  if (!format) throw new ClickHouseError(73, "UNKNOWN_FORMAT", `Unknown format ${name}`);
  headers.set("x-clickhouse-format", format.name);
  headers.set("content-type", format.contentType);
  if (format.name === "Native" && isHandshake(work.text)) {
    return handshakeAnswer(engine, options.clientRevision);
  }

  const setup = setupStatements(options, work.rows !== undefined);
  const outcome = await queue.run(() => engine.run(setup, work, format.name), signal);
  headers.set("x-clickhouse-summary", JSON.stringify(summary(outcome)));
  return outcome.bytes;
}

/** Numbers as text, as ClickHouse writes them. */
function summary({ read, written, result, seconds }: Outcome): Record<string, string> {
  return {
    ...(read && { read_rows: `${read.rows}`, read_bytes: `${read.bytes}` }),
    written_rows: `${written.rows}`,
    written_bytes: `${written.bytes}`,
    result_rows: `${result.rows}`,
    result_bytes: `${result.bytes}`,
    elapsed_ns: `${Math.round(seconds * 1e9)}`,
  };
}

function toClickHouseError(error: unknown): ClickHouseError {
  if (error instanceof ClickHouseError) return error;
  if (error instanceof QueueClosed) {
    return new ClickHouseError(439, "CANNOT_SCHEDULE_TASK", "The server is stopping");
  }
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
