/**
 * The rules of ClickHouse's HTTP interface: what a request asks for, what the engine is told, what comes back.
 * Nothing here knows the engine or a socket.
 *
 * @module
 */

import { quote } from "../../lib/clickhouse/quote.ts";
import { hostName, isLoopback } from "../../lib/http/access.ts";
import { isFromForeignPage } from "../../lib/http/foreign_page.ts";
import { ClickHouseError } from "./clickhouse_error.ts";
import { isBlank, readStatement, secondAfterValues } from "./statement.ts";

/** What the address and the headers of a request ask for. */
export interface Options {
  /** The statement, or its beginning, from the address. */
  query: Uint8Array<ArrayBuffer>;
  queryId: string;
  database?: string;
  /** The format of an answer whose statement names none. */
  defaultFormat: string;
  /** Settings for this statement alone, in the order given. */
  settings: [name: string, value: Uint8Array][];
  /** Values for `{name:Type}`, as bytes in ClickHouse's escaped form. */
  parameters: [name: string, value: Uint8Array][];
  /** The statement must change nothing: it came by `GET`. */
  readOnly: boolean;
  gzipAnswer: boolean;
  /** The version of ClickHouse's native protocol that the client speaks; 0 when it doesn't. */
  clientRevision: number;
}

/**
 * Parameters of the protocol, not of the engine. Who asks was looked at before; quotas, roles and sessions don't exist
 * here.
 */
const ignored = new Set([
  ...["user", "password", "quota_key", "role", "stacktrace", "buffer_size", "wait_end_of_query"],
  ...["session_id", "session_timeout", "session_check", "close_session"],
  ...["compress", "decompress"],
]);

const plainName = /^[A-Za-z_][A-Za-z0-9_]*$/;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Reads the address and headers of a request.
 *
 * @param search the part of the address behind `?`, percent-encoded
 * @param fields what a `multipart/form-data` body carries; it counts like the address
 * @throws {ClickHouseError} for a name that can't be one and for ClickHouse's own compression
 */
export function readOptions(
  method: string,
  search: string,
  headers: Headers,
  fields: [string, string][] = [],
): Options {
  const options: Options = {
    query: new Uint8Array(),
    queryId: headers.get("x-clickhouse-query-id") || crypto.randomUUID(),
    defaultFormat: headers.get("x-clickhouse-format") || "TabSeparated",
    settings: [],
    parameters: [],
    readOnly: method !== "POST",
    gzipAnswer: false,
    clientRevision: 0,
  };
  const database = headers.get("x-clickhouse-database");
  if (database) options.database = database;
  const entries: [string, Uint8Array<ArrayBuffer>][] = [
    ...decodeForm(search),
    ...fields.map(([name, value]): [string, Uint8Array<ArrayBuffer>] => [name, encoder.encode(value)]),
  ];
  for (const [name, value] of entries) {
    const text = decoder.decode(value);
    if (name === "query") options.query = value;
    else if (name === "query_id") options.queryId = text || options.queryId;
    else if (name === "database") options.database = text || "default";
    else if (name === "default_format") options.defaultFormat = text || options.defaultFormat;
    else if (name === "client_protocol_version") options.clientRevision = Number(text) || 0;
    else if (name === "enable_http_compression") options.gzipAnswer = isTrue(text) && acceptsGzip(headers);
    else if ((name === "compress" || name === "decompress") && isTrue(text)) {
      throw new ClickHouseError(
        48,
        "NOT_IMPLEMENTED",
        `${name}=1, ClickHouse's own compression, isn't offered here: use gzip by Content-Encoding and ` +
          "enable_http_compression=1",
      );
    } else if (ignored.has(name) || name === "") continue;
    else if (name.startsWith("param_")) {
      if (!plainName.test(name)) throw wrongName("parameter", name.slice("param_".length));
      options.parameters.push([name.slice("param_".length), value]);
    } else {
      if (!plainName.test(name)) {
        throw new ClickHouseError(115, "UNKNOWN_SETTING", `Unknown setting '${name}'`);
      }
      options.settings.push([name, value]);
    }
  }
  return options;
}

function wrongName(what: string, name: string): ClickHouseError {
  return new ClickHouseError(
    36,
    "BAD_ARGUMENTS",
    `'${name}' can't be the name of a ${what}: expected letters, digits and _`,
  );
}

function isTrue(text: string): boolean {
  return text === "1" || text === "true";
}

function acceptsGzip(headers: Headers): boolean {
  return /(^|[\s,])gzip\s*(?!;\s*q=0(\.0*)?\s*(,|$))(;|,|$)/.test(headers.get("accept-encoding") ?? "");
}

/** `a=1&b=%FF` as bytes: values need not be text, and `URLSearchParams` would replace what isn't. */
export function decodeForm(search: string): [name: string, value: Uint8Array<ArrayBuffer>][] {
  return search.split("&").filter(Boolean).map((pair) => {
    const equals = pair.indexOf("=");
    const [name, value] = equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    return [decoder.decode(decodePercents(name)), decodePercents(value)];
  });
}

function decodePercents(text: string): Uint8Array<ArrayBuffer> {
  const bytes = encoder.encode(text.replaceAll("+", " "));
  const decoded = new Uint8Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    const hex = bytes[at] === 0x25 ? String.fromCharCode(...bytes.subarray(at + 1, at + 3)) : "";
    const isEscape = /^[0-9A-Fa-f]{2}$/.test(hex);
    decoded[length++] = isEscape ? parseInt(hex, 16) : bytes[at] ?? 0;
    if (isEscape) at += 2;
  }
  return decoded.subarray(0, length);
}

/** What the engine is given. */
export interface Work {
  /** The statement; of an insert with rows only what stands before their format. */
  text: Uint8Array<ArrayBuffer>;
  /** The statement's first word in upper case. */
  verb: string;
  /** The format of the answer, when the statement names it. */
  format?: string;
  /** The rows that an insert brings, and their format. */
  rows?: { bytes: Uint8Array<ArrayBuffer>; format: string };
}

/**
 * Puts the statement together from the address and the body, as ClickHouse does: one after the other. An insert's rows
 * stay the bytes they are.
 *
 * @throws {ClickHouseError} when there is no statement, more than one, or one that a server can't run
 */
export function readWork(query: Uint8Array<ArrayBuffer>, body: Uint8Array<ArrayBuffer>): Work {
  const inAddress = readStatement(query);
  const whole = inAddress.data || body.length === 0 ? query : query.length === 0 ? body : joined(query, body);
  const statement = whole === query ? inAddress : readStatement(whole);
  if (statement.verb === "") {
    throw new ClickHouseError(62, "SYNTAX_ERROR", "Syntax error: the query is empty");
  }
  if (statement.file) throw fileError(statement.file);
  if (statement.input) {
    throw new ClickHouseError(
      48,
      "NOT_IMPLEMENTED",
      "INSERT … SELECT … FROM input() isn't offered here: insert the rows as they are, or into a table with a " +
        "materialized view",
    );
  }
  if (statement.secondAt !== undefined) throw severalStatements(statement.secondAt);
  if (!statement.data) {
    return {
      text: whole,
      verb: statement.verb,
      ...(statement.format !== undefined && { format: statement.format }),
    };
  }
  const { format, formatAt, dataAt } = statement.data;
  const rest = whole.subarray(dataAt);
  const bytes = !inAddress.data ? rest : isBlank(rest) ? body : joined(rest, body);
  const second = format === "Values" ? secondAfterValues(bytes) : undefined;
  if (second !== undefined) throw severalStatements(dataAt + second);
  return { text: whole.subarray(0, formatAt), verb: statement.verb, rows: { bytes, format } };
}

function joined(query: Uint8Array, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(query.length + 1 + body.length);
  bytes.set(query);
  bytes.set([10], query.length);
  bytes.set(body, query.length + 1);
  return bytes;
}

function severalStatements(at: number): ClickHouseError {
  return new ClickHouseError(
    62,
    "SYNTAX_ERROR",
    `Syntax error (Multi-statements are not allowed): a second statement starts at position ${at + 1}`,
  );
}

function fileError(file: "OUTFILE" | "INFILE"): ClickHouseError {
  return file === "OUTFILE"
    ? new ClickHouseError(
      358,
      "INTO_OUTFILE_NOT_ALLOWED",
      "INTO OUTFILE is not allowed: files belong to clients",
    )
    : new ClickHouseError(78, "UNKNOWN_TYPE_OF_QUERY", "FROM INFILE is not allowed: files belong to clients");
}

/**
 * The statements that prepare the engine's connection for one statement: database, settings and parameters. The values
 * become literals of bytes, and the engine puts the parameters into the statement.
 */
export function setupStatements(options: Options, hasData: boolean): string[] {
  const statements = options.database === undefined ? [] : [`USE ${quote(options.database)}`];
  const values = [
    ...defaults,
    ...(hasData ? oneBlock : []),
    ...options.parameters.map(([name, value]) => `param_${name} = ${quoteBytes(value)}`),
    ...options.settings.map(([name, value]) => `${name} = ${quoteBytes(value)}`),
    // The last one, after which the statement can change none.
    ...(options.readOnly ? ["readonly = 1"] : []),
  ];
  // Of the same name the last counts. All at once: with readonly=1 among them, a second SET would be refused.
  return [...statements, `SET ${values.join(", ")}`];
}

/** chDB takes `1 + 1` for a SELECT; a server doesn't, and its errors are clearer for it. */
const defaults = ["implicit_select = 0"];
/** One request is one block, whatever its size: a deduplication token names one block. */
const oneBlock = [
  "max_insert_block_size = 1000000000000",
  "min_insert_block_size_rows = 1000000000000",
  "min_insert_block_size_bytes = 0",
];

/** Any bytes as a string literal of ClickHouse. */
export function quoteBytes(bytes: Uint8Array): string {
  let literal = "'";
  for (const byte of bytes) {
    const isPlain = byte >= 32 && byte < 127 && byte !== 39 && byte !== 92;
    literal += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `${literal}'`;
}

/**
 * True for clickhouse-go's first question. It expects an answer in the version of the Native format that it speaks
 * itself, and in those to come the version that this answer names. chDB writes version 0, the plain one.
 */
export function isHandshake(statement: Uint8Array): boolean {
  return statement.length < 200 &&
    /^\s*SELECT\s+displayName\(\)\s*,\s*version\(\)\s*,\s*revision\(\)\s*,\s*timezone\(\)\s*$/i
      .test(decoder.decode(statement));
}

/** The answer to it: one row that names revision 0, in the Native format of `clientRevision`. */
export function handshakeAnswer(
  server: { displayName: string; version: string; timezone: string },
  clientRevision: number,
): Uint8Array<ArrayBuffer> {
  // Block info since revision 1: field 1 (no overflow), field 2 (bucket -1), end. A column says since 54454 that its
  // values are stored as usual.
  const info = clientRevision > 0 ? [1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0] : [];
  const usual = clientRevision >= 54454 ? [0] : [];
  const text = (value: string) => {
    const bytes = encoder.encode(value).subarray(0, 127);
    return [bytes.length, ...bytes];
  };
  return new Uint8Array([
    ...info,
    ...[4, 1],
    ...[...text("displayName()"), ...text("String"), ...usual, ...text(server.displayName)],
    ...[...text("version()"), ...text("String"), ...usual, ...text(server.version)],
    ...[...text("revision()"), ...text("UInt32"), ...usual, 0, 0, 0, 0],
    ...[...text("timezone()"), ...text("String"), ...usual, ...text(server.timezone)],
  ]);
}

/**
 * True for requests that programs of this machine send, and containers on it: no page of a browser, neither one of
 * another site nor one whose name was bent to 127.0.0.1 (`Host`). An address isn't a name, so no name can be bent to it.
 */
export function isFromProgram(headers: Headers): boolean {
  const name = hostName(headers.get("host"));
  return (isLoopback(name) || name === "host.docker.internal" || /^\d+(\.\d+){3}$/.test(name)) &&
    !isFromForeignPage(headers);
}
