/**
 * chDB: ClickHouse inside this process.
 *
 * Every statement gets a connection of its own. It costs a millisecond, carries the statement's database, settings and
 * parameters away with it, and statements on different connections run side by side. (On one connection they queue up.)
 *
 * Rows to insert go through a file. chDB would also read them behind the statement's text, but takes an empty line in
 * them for their end and what follows for another statement: rows would be lost, or run as SQL.
 *
 * @module
 */

import { Session } from "chdb";
import { Buffer } from "node:buffer";
import { createRequire } from "node:module";
import { join } from "node:path";
import { insertFromFile, readEngineError, type Work } from "./http.ts";

/** What chDB tells of a statement; a number it doesn't tell is absent. */
export interface Outcome {
  /** The answer in its format; empty for an insert. */
  bytes: Uint8Array<ArrayBuffer>;
  seconds: number;
  resultRows?: number;
  resultBytes?: number;
  /** Rows in all tables, materialized views' too, as in ClickHouse. */
  writtenRows?: number;
  writtenBytes?: number;
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

/** The addon's own functions, which `Session` wraps: `Session` puts a close off while any other statement runs. */
interface Addon {
  CreateConnection(folder: string): Connection;
  CloseConnection(connection: Connection): void;
  QueryAsyncConnection(connection: Connection, text: string, format: string): Promise<{
    bytes: Uint8Array<ArrayBuffer>;
    elapsed: number;
    /** Rows of the result, despite the name. */
    rowsRead: number;
    bytesRead: number;
  }>;
  /** Runs a statement given as bytes; alone in telling what was written. */
  InsertRawAsyncConnection(
    connection: Connection,
    prefix: string,
    statement: Buffer,
    count: boolean,
  ): Promise<{
    elapsed: number;
    rowsWritten: number;
    bytesWritten: number;
  }>;
}
type Connection = { readonly brand: unique symbol };

/**
 * Starts chDB on a folder, which it makes. Only one process may do so at a time.
 *
 * @param folder absolute path: `data` holds the tables, `inserts` the rows under way
 */
export async function startEngine(folder: string): Promise<Engine> {
  const data = join(folder, "data");
  const inserts = join(folder, "inserts");
  await Deno.mkdir(data, { recursive: true });
  // A process that was killed left its files behind; their inserts were never acknowledged.
  await Deno.remove(inserts, { recursive: true }).catch(ignoreMissing);
  await Deno.mkdir(inserts);

  // The session keeps the engine up between statements. Half of the memory is for others on this machine.
  const session = new Session(data, { connectionArgs: ["--max_server_memory_usage_to_ram_ratio=0.5"] });
  const addon: Addon = createRequire(import.meta.resolve("chdb"))("./dist/loader.js").loadNative();
  const ask = (query: string): Record<string, string>[] =>
    session.query(query, "JSONStringsEachRow").split("\n").filter(Boolean).map((line) => JSON.parse(line));

  const [facts] = ask("SELECT version() AS version, displayName() AS displayName, timezone() AS timezone");
  const formats = new Map(
    ask("SELECT name, content_type FROM system.formats WHERE is_output").map((
      { name = "", content_type: contentType = "" },
    ) => [name.toLowerCase(), { name, contentType }]),
  );

  async function run(setup: string[], work: Work, format: string): Promise<Outcome> {
    if (!work.data) return await runText(setup, work.text, format, work.statement.verb === "INSERT");
    const path = join(inserts, crypto.randomUUID());
    try {
      await Deno.writeFile(path, work.data.rows);
      return await runText(setup, insertFromFile(work.text, work.data.place, path), format, true);
    } finally {
      await Deno.remove(path).catch(ignoreMissing);
    }
  }

  async function runText(setup: string[], text: string, format: string, isInsert: boolean): Promise<Outcome> {
    let connection: Connection | undefined;
    try {
      connection = addon.CreateConnection(data);
      for (const statement of setup) await addon.QueryAsyncConnection(connection, statement, "Null");
      if (isInsert) {
        const written = await addon.InsertRawAsyncConnection(connection, "", Buffer.from(text), false);
        return {
          bytes: new Uint8Array(),
          seconds: written.elapsed,
          writtenRows: written.rowsWritten,
          writtenBytes: written.bytesWritten,
        };
      }
      const result = await addon.QueryAsyncConnection(connection, text, format);
      return {
        bytes: result.bytes,
        seconds: result.elapsed,
        resultRows: result.rowsRead,
        resultBytes: result.bytesRead,
      };
    } catch (error) {
      throw readEngineError(error instanceof Error ? error.message : String(error));
    } finally {
      if (connection) addon.CloseConnection(connection);
    }
  }

  return {
    version: facts?.version ?? "",
    displayName: facts?.displayName ?? "",
    timezone: facts?.timezone ?? "",
    format: (name) => formats.get(name.toLowerCase()),
    run,
    close: () => session.close(),
  };
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
