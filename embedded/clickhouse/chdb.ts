/**
 * chDB's C interface (`chdb.h`): the library that the npm package brings along, connections to it, and what a statement
 * on one came to. The package's own JavaScript doesn't do here: it writes an insert's rows behind the statement's text,
 * where the engine takes an empty line for their end and what follows for another statement. Rows would be lost, or run
 * as SQL.
 *
 * @module
 */

import { platformKey } from "chdb/libchdb";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Work } from "./http.ts";
import { ClickHouseError, readEngineError } from "./clickhouse_error.ts";

/** What came of a statement. */
export interface Outcome {
  /** The answer in its format; empty for an insert. */
  bytes: Uint8Array<ArrayBuffer>;
  seconds: number;
  /** Rows and bytes read from tables; unknown for inserts. */
  read?: Amount;
  /** Written to all tables, those behind views too, as in ClickHouse. */
  written: Amount;
  /** Of the answer, before it was put into its format. */
  result: Amount;
}

/** Rows, and their size in memory. */
export interface Amount {
  rows: bigint;
  bytes: bigint;
}

/** A connection to the engine; it runs one statement at a time. */
export interface Connection {
  /**
   * Runs a statement that brings no rows.
   *
   * @param format of an answer whose statement names none
   * @throws {ClickHouseError}
   */
  query(statement: Bytes, format: string): Promise<Outcome>;
  /**
   * Runs an insert.
   *
   * @param statement what stands before the rows' format
   * @throws {ClickHouseError}
   */
  insert(statement: Bytes, rows: NonNullable<Work["rows"]>): Promise<Outcome>;
  close(): void;
}

/** The loaded library's functions. */
export type Chdb = Deno.DynamicLibrary<typeof functions>["symbols"];

const buffer = ["buffer", "usize"] as const;
/** The functions that take long run on a thread of their own. */
const functions = {
  chdb_set_signal_handlers_enabled: { parameters: ["i32"], result: "void" },
  chdb_connect: { parameters: ["i32", "buffer"], result: "pointer" },
  chdb_close_conn: { parameters: ["pointer"], result: "void" },
  chdb_query_n: { parameters: ["pointer", ...buffer, ...buffer], result: "pointer", nonblocking: true },
  chdb_stream_insert_n: {
    parameters: ["pointer", ...buffer, ...buffer],
    result: "pointer",
    nonblocking: true,
  },
  chdb_stream_append: { parameters: ["pointer", ...buffer], result: "i32", nonblocking: true },
  chdb_stream_done: { parameters: ["pointer"], result: "pointer", nonblocking: true },
  chdb_stream_insert_error: { parameters: ["pointer"], result: "pointer" },
  chdb_destroy_insert_stream: { parameters: ["pointer"], result: "void", nonblocking: true },
  chdb_result_error: { parameters: ["pointer"], result: "pointer" },
  chdb_result_buffer: { parameters: ["pointer"], result: "pointer" },
  chdb_result_length: { parameters: ["pointer"], result: "usize" },
  chdb_result_elapsed: { parameters: ["pointer"], result: "f64" },
  chdb_result_rows_read: { parameters: ["pointer"], result: "u64" },
  chdb_result_bytes_read: { parameters: ["pointer"], result: "u64" },
  chdb_result_storage_rows_read: { parameters: ["pointer"], result: "u64" },
  chdb_result_storage_bytes_read: { parameters: ["pointer"], result: "u64" },
  chdb_result_rows_written: { parameters: ["pointer"], result: "u64" },
  chdb_result_bytes_written: { parameters: ["pointer"], result: "u64" },
  chdb_destroy_query_result: { parameters: ["pointer"], result: "void" },
} as const;

/** Rows are handed over in pieces of this size, so that they are parsed while the next piece is copied. */
const pieceBytes = 1024 * 1024;
const encoder = new TextEncoder();
type Bytes = Uint8Array<ArrayBuffer>;

/** What a call still reads: it must not be collected before the call returns. */
const lent = new Set<unknown>();

/**
 * Loads chDB into this process.
 *
 * @throws {Error} when it isn't there for this machine, or can't be loaded
 */
export function loadChdb(): Chdb {
  const chdb = Deno.dlopen(libraryPath(), functions).symbols;
  // Signals are this process's business.
  chdb.chdb_set_signal_handlers_enabled(0);
  return chdb;
}

function libraryPath(): string {
  const name = `@chdb/lib-${platformKey()}${Deno.build.os === "linux" ? "-gnu" : ""}`;
  try {
    // Only the place is looked up. Loading the package would load the engine twice.
    const manifest = createRequire(import.meta.resolve("chdb")).resolve(`${name}/package.json`);
    return join(dirname(manifest), "libchdb.so");
  } catch {
    throw new Error(
      `chDB isn't there for this machine (${name}). Other ways: CLICKHOUSE_URL of a server you have, or Docker`,
    );
  }
}

/**
 * Opens a connection to the data in a folder. The first one starts the engine, which lives as long as it has one.
 *
 * @param options of the engine, for the first connection
 * @throws {ClickHouseError} when the data can't be opened
 */
export function openConnection(chdb: Chdb, data: string, ...options: string[]): Connection {
  const words = ["clickhouse", `--path=${data}`, ...options].map((word) => encoder.encode(`${word}\0`));
  const argv = new BigUint64Array(
    words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))),
  );
  lent.add(words);
  const connection = chdb.chdb_connect(words.length, argv);
  lent.delete(words);
  if (!connection) throw new ClickHouseError(1002, "UNKNOWN_EXCEPTION", `chDB doesn't open ${data}`);
  // chdb_connect gives the address of the handle that the other functions want.
  const handle = () => new Deno.UnsafePointerView(connection).getPointer();
  return {
    query: (statement, format) => runQuery(chdb, handle(), statement, format),
    insert: (statement, rows) => runInsert(chdb, handle(), statement, rows),
    close: () => chdb.chdb_close_conn(connection),
  };
}

async function runQuery(
  chdb: Chdb,
  handle: Deno.PointerValue,
  statement: Bytes,
  format: string,
): Promise<Outcome> {
  const name = encoder.encode(format);
  const call = chdb.chdb_query_n(handle, statement, size(statement), name, size(name));
  return takeResult(chdb, await lend(call, statement, name));
}

async function runInsert(
  chdb: Chdb,
  handle: Deno.PointerValue,
  statement: Bytes,
  { bytes, format }: NonNullable<Work["rows"]>,
): Promise<Outcome> {
  const name = encoder.encode(format);
  const stream = await lend(
    chdb.chdb_stream_insert_n(handle, statement, size(statement), name, size(name)),
    statement,
    name,
  );
  try {
    assertNoError(chdb.chdb_stream_insert_error(stream));
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes);
      const refused = await lend(chdb.chdb_stream_append(stream, piece, size(piece)), piece);
      if (refused) assertNoError(chdb.chdb_stream_insert_error(stream));
    }
    const { read: _unknown, ...outcome } = takeResult(chdb, await chdb.chdb_stream_done(stream));
    return outcome;
  } finally {
    await chdb.chdb_destroy_insert_stream(stream);
  }
}

/** Copies what a result holds, and gives it back. */
function takeResult(chdb: Chdb, result: Deno.PointerValue): Outcome {
  try {
    assertNoError(chdb.chdb_result_error(result));
    const start = chdb.chdb_result_buffer(result);
    const bytes = new Uint8Array(start ? Number(chdb.chdb_result_length(result)) : 0);
    if (start) new Deno.UnsafePointerView(start).copyInto(bytes);
    return {
      bytes,
      seconds: chdb.chdb_result_elapsed(result),
      // "rows_read" is of the result, despite its name.
      result: { rows: chdb.chdb_result_rows_read(result), bytes: chdb.chdb_result_bytes_read(result) },
      read: {
        rows: chdb.chdb_result_storage_rows_read(result),
        bytes: chdb.chdb_result_storage_bytes_read(result),
      },
      written: {
        rows: chdb.chdb_result_rows_written(result),
        bytes: chdb.chdb_result_bytes_written(result),
      },
    };
  } finally {
    chdb.chdb_destroy_query_result(result);
  }
}

async function lend<T>(call: Promise<T>, ...buffers: Bytes[]): Promise<T> {
  lent.add(buffers);
  return await call.finally(() => lent.delete(buffers));
}

function size(bytes: Bytes): bigint {
  return BigInt(bytes.length);
}

function assertNoError(error: Deno.PointerValue): void {
  if (error) throw readEngineError(new Deno.UnsafePointerView(error).getCString());
}
