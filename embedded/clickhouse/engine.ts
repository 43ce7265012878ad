/**
 * chDB: ClickHouse inside this process, through its C interface (`chdb.h`), which the npm package brings along. The
 * package's own JavaScript doesn't do here: it writes an insert's rows behind the statement's text, where the engine
 * takes an empty line for their end and what follows for another statement. Rows would be lost, or run as SQL.
 *
 * Every statement gets a connection of its own. It costs a millisecond, takes the statement's database, settings and
 * parameters away with it, and statements on different connections run side by side. (On one they queue up.)
 *
 * @module
 */

import { platformKey } from "chdb/libchdb";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ClickHouseError, readEngineError, type Work } from "./http.ts";

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

/** A format's name as ClickHouse writes it, and the media type of its answers. */
export interface Format {
  name: string;
  contentType: string;
}

/** A running chDB. */
export interface Engine {
  readonly version: string;
  readonly displayName: string;
  readonly timezone: string;
  /** A format by its name in any case. */
  format(name: string): Format | undefined;
  /**
   * Runs one statement.
   *
   * @param setup statements that prepare its connection
   * @param format of an answer whose statement names none
   * @throws {ClickHouseError}
   */
  run(setup: string[], work: Work, format: string): Promise<Outcome>;
  /** Only when no statement runs. */
  close(): void;
}

const bytes = ["buffer", "usize"] as const;
/** The functions that take long run on a thread of their own. */
const functions = {
  chdb_set_signal_handlers_enabled: { parameters: ["i32"], result: "void" },
  chdb_connect: { parameters: ["i32", "buffer"], result: "pointer" },
  chdb_close_conn: { parameters: ["pointer"], result: "void" },
  chdb_query_n: { parameters: ["pointer", ...bytes, ...bytes], result: "pointer", nonblocking: true },
  chdb_stream_insert_n: { parameters: ["pointer", ...bytes, ...bytes], result: "pointer", nonblocking: true },
  chdb_stream_append: { parameters: ["pointer", ...bytes], result: "i32", nonblocking: true },
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

/**
 * Starts chDB on a folder, which it makes, and makes a part of it the working directory. Only one process may do so at
 * a time.
 *
 * @param folder absolute path
 * @throws {Error} when chDB can't be loaded or opened
 */
export async function startEngine(folder: string): Promise<Engine> {
  const data = join(folder, "data");
  const empty = join(folder, "empty");
  for (const path of [data, empty]) await Deno.mkdir(path, { recursive: true });
  // In its database `default` chDB shows the working directory's files as tables, in front of the real ones.
  Deno.chdir(empty);
  const chdb = Deno.dlopen(libraryPath(), functions).symbols;
  // Signals are this process's business.
  chdb.chdb_set_signal_handlers_enabled(0);
  // What a call still reads must not be collected before it returns.
  const lent = new Set<unknown>();

  // The first connection keeps the engine up. Half of the memory is for others on this machine.
  const first = connect("--max_server_memory_usage_to_ram_ratio=0.5");
  const ask = async (query: string): Promise<Record<string, string>[]> => {
    const { bytes } = await runQuery(first, encoder.encode(query), "JSONStringsEachRow");
    return new TextDecoder().decode(bytes).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  };
  const [facts] = await ask(
    "SELECT version() AS version, displayName() AS displayName, timezone() AS timezone",
  );
  const formats = new Map<string, Format>();
  for (
    const row of await ask("SELECT name, content_type AS contentType FROM system.formats WHERE is_output")
  ) {
    const { name = "", contentType = "" } = row;
    formats.set(name.toLowerCase(), { name, contentType });
  }

  function connect(...options: string[]): Deno.PointerObject {
    const words = ["clickhouse", `--path=${data}`, ...options].map((word) => encoder.encode(`${word}\0`));
    const argv = new BigUint64Array(
      words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))),
    );
    lent.add(words);
    const connection = chdb.chdb_connect(words.length, argv);
    lent.delete(words);
    if (!connection) throw new ClickHouseError(1002, "UNKNOWN_EXCEPTION", `chDB doesn't open ${data}`);
    return connection;
  }

  /** chdb_connect gives the address of the handle that the other functions want. */
  function handle(connection: Deno.PointerObject): Deno.PointerValue {
    return new Deno.UnsafePointerView(connection).getPointer();
  }

  async function lend<T>(call: Promise<T>, ...buffers: Bytes[]): Promise<T> {
    lent.add(buffers);
    return await call.finally(() => lent.delete(buffers));
  }

  async function runQuery(
    connection: Deno.PointerObject,
    statement: Bytes,
    format: string,
  ): Promise<Outcome> {
    const name = encoder.encode(format);
    const call = chdb.chdb_query_n(handle(connection), statement, size(statement), name, size(name));
    return take(await lend(call, statement, name));
  }

  async function runInsert(
    connection: Deno.PointerObject,
    text: Bytes,
    { bytes, format }: NonNullable<Work["rows"]>,
  ): Promise<Outcome> {
    const name = encoder.encode(format);
    const stream = await lend(
      chdb.chdb_stream_insert_n(handle(connection), text, size(text), name, size(name)),
      text,
      name,
    );
    try {
      check(chdb.chdb_stream_insert_error(stream));
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        const piece = bytes.subarray(at, at + pieceBytes);
        const refused = await lend(chdb.chdb_stream_append(stream, piece, size(piece)), piece);
        if (refused) check(chdb.chdb_stream_insert_error(stream));
      }
      const { read: _unknown, ...outcome } = take(await chdb.chdb_stream_done(stream));
      return outcome;
    } finally {
      await chdb.chdb_destroy_insert_stream(stream);
    }
  }

  /** Copies what a result holds, and gives it back. */
  function take(result: Deno.PointerValue): Outcome {
    try {
      check(chdb.chdb_result_error(result));
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

  return {
    version: facts?.version ?? "",
    displayName: facts?.displayName ?? "",
    timezone: facts?.timezone ?? "",
    format: (name) => formats.get(name.toLowerCase()),
    async run(setup, work, format) {
      const connection = connect();
      try {
        for (const statement of setup) await runQuery(connection, encoder.encode(statement), "Null");
        const { text, rows } = work;
        return await (rows ? runInsert(connection, text, rows) : runQuery(connection, text, format));
      } finally {
        chdb.chdb_close_conn(connection);
      }
    },
    close: () => chdb.chdb_close_conn(first),
  };
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

function size(bytes: Bytes): bigint {
  return BigInt(bytes.length);
}

function check(error: Deno.PointerValue): void {
  if (error) throw readEngineError(new Deno.UnsafePointerView(error).getCString());
}
