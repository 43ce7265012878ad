/**
 * The engine: ClickHouse inside this process, as chDB is.
 *
 * Every statement gets a connection of its own. It costs a millisecond, takes the statement's database, settings and
 * parameters away with it, and statements on different connections run side by side. (On one they queue up.)
 *
 * @module
 */

import { join } from "node:path";
import { type Connection, loadChdb, openConnection, type Outcome } from "./chdb.ts";
import type { Work } from "./http.ts";

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

const encoder = new TextEncoder();

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
  const chdb = loadChdb();
  // The first connection keeps the engine up. Half of the memory is for others on this machine.
  const first = openConnection(chdb, data, "--max_server_memory_usage_to_ram_ratio=0.5");
  const facts = await readFacts(first);
  const formats = await readFormats(first);
  return {
    ...facts,
    format: (name) => formats.get(name.toLowerCase()),
    async run(setup, { text, rows }, format) {
      const connection = openConnection(chdb, data);
      try {
        for (const statement of setup) await connection.query(encoder.encode(statement), "Null");
        return await (rows ? connection.insert(text, rows) : connection.query(text, format));
      } finally {
        connection.close();
      }
    },
    close: () => first.close(),
  };
}

/** What the engine says of itself. */
async function readFacts(
  connection: Connection,
): Promise<Pick<Engine, "version" | "displayName" | "timezone">> {
  const [facts] = await readRows(
    connection,
    "SELECT version() AS version, displayName() AS displayName, timezone() AS timezone",
  );
  return {
    version: facts?.version ?? "",
    displayName: facts?.displayName ?? "",
    timezone: facts?.timezone ?? "",
  };
}

/** A format's name in lower case → the format; those that answers can have. */
async function readFormats(connection: Connection): Promise<Map<string, Format>> {
  const rows = await readRows(
    connection,
    "SELECT name, content_type AS contentType FROM system.formats WHERE is_output",
  );
  return new Map(
    rows.map(({ name = "", contentType = "" }) => [name.toLowerCase(), { name, contentType }]),
  );
}

/** Rows by column, all values as text. */
async function readRows(connection: Connection, query: string): Promise<Record<string, string>[]> {
  const { bytes } = await connection.query(encoder.encode(query), "JSONStringsEachRow");
  return new TextDecoder().decode(bytes).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}
