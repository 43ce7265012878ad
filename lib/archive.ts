/**
 * A day of a table in S3: one sorted Parquet file a product, and a manifest that is written last. Written and read back by
 * ClickHouse itself (its s3() function); the bytes are hashed here, by another client.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import { z } from "zod";
import type { S3, S3Config } from "./s3.ts";
import { FatalError } from "./service.ts";
import { openWarehouse, type WarehouseConfig } from "./warehouse.ts";

/**
 * The tables that are archived. `order`: how a product's rows are sorted in its file. `undigested`: what a restored row
 * doesn't keep, because it names the insert and not the trade. What has no product (`rejected`) or no day
 * (`products_state`, the rolled-up states) is in the backups only.
 */
export const archivedTables = {
  trades: { order: ["trade_id"], undigested: ["batch"], droppable: false },
  tickers: { order: ["time", "kafka_offset"], undigested: [], droppable: false },
  book_changes: { order: ["time", "kafka_offset", "position"], undigested: [], droppable: true },
  heartbeats: { order: ["time", "kafka_offset"], undigested: [], droppable: false },
  feed_events: { order: ["time", "event", "kafka_offset"], undigested: [], droppable: false },
} as const;

/** One of them. */
export type ArchivedTable = keyof typeof archivedTables;

/** Its names. */
export const archivedTableNames = Object.keys(archivedTables) as ArchivedTable[];

const column = z.object({ name: z.string().regex(/^[A-Za-z_]\w*$/), type: z.string() });
const part = z.object({
  product_id: z.string(),
  key: z.string(),
  rows: z.number().int().positive(),
  digest: z.string().regex(/^[0-9a-f]{16}$/),
  ranges: z.record(z.string(), z.tuple([z.string(), z.string()])),
  bytes: z.number().int().positive(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
const manifest = z.object({
  version: z.literal(1),
  database: z.string(),
  table: z.enum(archivedTableNames),
  date: z.iso.date(),
  rows: z.number(),
  bytes: z.number(),
  order: z.array(z.string()),
  columns: z.array(column),
  parts: z.array(part),
  written_at: z.string(),
  dropped_at: z.string().optional(),
});

/** A column of the table; product_id is one, though the file itself leaves it to its path. */
export type Column = z.output<typeof column>;

/** A product's file. */
export type Part = z.output<typeof part>;

/**
 * What a day of a table consists of. `dropped_at`: since then the table may hold less than the archive, which is never
 * written again from it.
 */
export type Manifest = z.output<typeof manifest>;

/** What is known of a product's rows without its file. `ranges`: column → least and greatest value. */
export type Content = Pick<Part, "product_id" | "rows" | "digest" | "ranges">;

/** Where the archive lies and what it is made from. */
export interface Archive {
  warehouse: ClickHouseClient;
  s3: S3;
  config: S3Config;
  /** Of the names in the archive; the tables are those of `warehouse`. */
  database: string;
}

/** What is wrong with an archived day or its table: one line, for a person. Other days may still be fine. */
export class ArchiveProblem extends Error {
  override name = "ArchiveProblem";
}

/** `a/market/trades/date=2026-07-07`: the folder of a table's day. */
export function dayFolder(prefix: string, database: string, table: string, date: string): string {
  return `${prefix}/${database}/${table}/date=${date}`;
}

/** Named with a `_`, which readers of folders full of Parquet leave alone. */
export function manifestKey(folder: string): string {
  return `${folder}/_manifest.json`;
}

/**
 * A product's file. Names as Hive writes them: a character that could mean something in a path becomes `%XX`, and no name
 * at all becomes Hive's word for it.
 */
export function partKey(folder: string, productId: string): string {
  const name = productId === "" ? "__HIVE_DEFAULT_PARTITION__" : productId.replace(
    /[^A-Za-z0-9_.-]/gu,
    (character) => [...new TextEncoder().encode(character)].map((byte) => `%${hex(byte)}`).join(""),
  );
  return `${folder}/product_id=${name}/part.parquet`;
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

/** The days from `from` to `to`, both included, as `YYYY-MM-DD`. */
export function daysBetween(from: string, to: string): string[] {
  const days: string[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += 86_400_000) {
    days.push(new Date(at).toISOString().slice(0, 10));
  }
  return days;
}

/** What to do with a product's rows, given what the archive has of them. */
export type Action = "write" | "keep" | "refuse";

/**
 * A table that lost rows must not take them from the archive too.
 *
 * @param options.dropped whether the day was dropped after it was archived: only the same rows may be there again
 * @param options.rewrite also what is unchanged, and what has lost rows
 * @param options.sameColumns whether the digests are of the same columns
 * @param archived what the manifest says; undefined when the product isn't in it
 * @param stored what the table holds; undefined when it holds nothing
 */
export function decide(
  archived: Pick<Content, "rows" | "digest"> | undefined,
  stored: Pick<Content, "rows" | "digest"> | undefined,
  options: { dropped: boolean; rewrite: boolean; sameColumns: boolean },
): Action {
  if (stored === undefined) return "keep";
  if (archived === undefined) return options.dropped ? "refuse" : "write";
  const equal = options.sameColumns && archived.rows === stored.rows && archived.digest === stored.digest;
  if (equal) return options.rewrite ? "write" : "keep";
  if (options.dropped) return "refuse";
  return options.rewrite || stored.rows >= archived.rows ? "write" : "refuse";
}

/**
 * The last day that may be dropped when `keepDays` whole days before today (UTC) are kept.
 *
 * `lastDroppable(7, new Date("2026-07-15T12:00:00Z"))` is 2026-07-07.
 */
export function lastDroppable(keepDays: number, now: Date): string {
  return new Date(now.getTime() - (keepDays + 1) * 86_400_000).toISOString().slice(0, 10);
}

/** A client whose statements may take six hours: a day of a busy book is long. */
export function openPatientWarehouse(config: WarehouseConfig): ClickHouseClient {
  return openWarehouse(config, 6 * 3_600_000);
}

/**
 * What ClickHouse or the way to it said, as one line without the keys of S3.
 *
 * @returns a FatalError for ClickHouse's and network errors, anything else as it is
 */
export function clickhouseFailure(error: unknown, config: WarehouseConfig & S3Config): unknown {
  if (error instanceof FatalError || error instanceof ArchiveProblem || !(error instanceof Error)) {
    return error;
  }
  const secrets = [config.S3_SECRET_KEY, config.S3_ACCESS_KEY, config.CLICKHOUSE_PASSWORD].filter(Boolean);
  const text = secrets.reduce((line, secret) => line.replaceAll(secret, "***"), error.message)
    .replace(/\s+/g, " ").trim().slice(0, 500);
  const where = `ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL)`;
  if (error instanceof ClickHouseError) {
    if (error.type !== "S3_ERROR") return new FatalError(`${where}: ${text}`);
    return new FatalError(
      `${where} can't work with S3 at ${config.S3_ENDPOINT} (S3_ENDPOINT), which it must reach itself: ${text}`,
    );
  }
  return "code" in error ? new FatalError(`${where} doesn't answer: ${text || String(error.code)}`) : error;
}

/**
 * The columns of a table, in their order, without those that hold nothing of their own.
 *
 * @throws {FatalError} when there is no such table
 */
export async function readColumns(warehouse: ClickHouseClient, table: string): Promise<Column[]> {
  const answer = await warehouse.query({
    query: `SELECT name, type FROM system.columns
            WHERE database = currentDatabase() AND table = {table:String}
              AND default_kind NOT IN ('ALIAS', 'EPHEMERAL', 'MATERIALIZED')
            ORDER BY position`,
    query_params: { table },
    format: "JSONEachRow",
  });
  const columns = await answer.json<Column>();
  if (columns.length > 0) return columns;
  throw new FatalError(`The database has no table ${table}: run \`deno task migrate\` first.`);
}

/** Whether the table holds no row of a day. */
async function isEmpty(warehouse: ClickHouseClient, table: ArchivedTable, date: string): Promise<boolean> {
  const answer = await warehouse.query({
    query: `SELECT 1 FROM ${quote(table)} WHERE ${inDay} LIMIT 1`,
    query_params: dayParameters(date),
    format: "JSONEachRow",
  });
  return (await answer.json()).length === 0;
}

/** The rows of a day, per product; products in their order. */
export async function readContents(
  warehouse: ClickHouseClient,
  table: ArchivedTable,
  date: string,
  columns: readonly Column[],
  product?: string,
): Promise<Content[]> {
  return await queryContents(
    warehouse,
    table,
    columns,
    `${quote(table)} WHERE ${inDay}${product === undefined ? "" : " AND product_id = {product:String}"}`,
    { ...dayParameters(date), ...(product !== undefined && { product }) },
  );
}

/** The same of a product's file, as ClickHouse reads it from S3. */
async function readFileContent(
  archive: Archive,
  day: Pick<Manifest, "table" | "columns">,
  file: Pick<Part, "product_id" | "key">,
) {
  const [content] = await queryContents(
    archive.warehouse,
    day.table,
    day.columns,
    `(${selectFile(day.columns)})`,
    fileParameters(archive, day.columns, file),
  );
  return content;
}

async function queryContents(
  warehouse: ClickHouseClient,
  table: ArchivedTable,
  columns: readonly Column[],
  from: string,
  query_params: Record<string, unknown>,
): Promise<Content[]> {
  const undigested: readonly string[] = archivedTables[table].undigested;
  const digested = columns.map(({ name }) => name).filter((name) => !undigested.includes(name)).map(quote);
  const ranged = columns.map(({ name }) => name)
    .filter((name) => ["time", "trade_id", "sequence", "kafka_offset"].includes(name));
  // As RowBinary an absent value differs from every value, and the bytes don't depend on how a column is stored.
  // The sum modulo 2^64 of the rows' hashes: their order doesn't matter, and a row that is there twice counts twice.
  const digest = `sum(cityHash64(formatRow('RowBinary', ${digested.join(", ")})))`;
  const ranges = ranged.map((name) => `(toString(min(${name})), toString(max(${name})))`).join(", ");
  const answer = await warehouse.query({
    query:
      `SELECT product_id, count() AS rows, lower(leftPad(hex(${digest}), 16, '0')) AS digest, [${ranges}] AS ranges
            FROM ${from} GROUP BY product_id ORDER BY product_id`,
    query_params,
    format: "JSONEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0, ...patience },
  });
  const rows = await answer.json<
    { product_id: string; rows: number; digest: string; ranges: [string, string][] }
  >();
  return rows.map(({ ranges, ...row }) => ({
    ...row,
    ranges: Object.fromEntries(ranged.map((name, index) => [name, ranges[index] ?? ["", ""]])),
  }));
}

/** An S3 that is away is an error within seconds, not after five hundred tries. */
export const patience = { s3_retry_attempts: "4", backup_restore_s3_retry_attempts: "4" };

/** The condition of a day's rows; needs `dayParameters`. */
export const inDay = "time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}";

/** The bounds of a day for `{from}` and `{to}`. */
export function dayParameters(date: string): { from: string; to: string } {
  const next = new Date(Date.parse(date) + 86_400_000).toISOString().slice(0, 10);
  return { from: `${date} 00:00:00`, to: `${next} 00:00:00` };
}

/** A name in a statement. */
export function quote(name: string): string {
  return `\`${name.replace(/[\\`]/g, "\\$&")}\``;
}

/** Selects a file's rows as the table's: `product_id`, which is in its path, is added. Needs `fileParameters`. */
export function selectFile(columns: readonly Column[]): string {
  const names = columns.map(({ name }) =>
    name === "product_id" ? "{product:String} AS product_id" : quote(name)
  );
  return `SELECT ${names.join(", ")}
    FROM s3({url:String}, {access_key:String}, {secret_key:String}, 'Parquet', {structure:String})`;
}

/**
 * The type under which a column is written: Parquet's own enums are bytes to many readers, so names are written as text.
 *
 * `fileType("Nullable(Enum8('buy' = 1, 'sell' = 2))")` is `Nullable(String)`.
 */
export function fileType(type: string): string {
  return type.replace(/Enum(?:8|16)\((?:'(?:[^'\\]|\\.)*' = -?\d+(?:, )?)+\)/g, "String");
}

/** What `selectFile` is run with. The keys are parameters: no statement, log line or error repeats them. */
export function fileParameters(
  archive: Pick<Archive, "s3" | "config">,
  columns: readonly Column[],
  file: Pick<Part, "product_id" | "key">,
): Record<string, string> {
  return {
    product: file.product_id,
    structure: columns.filter(({ name }) => name !== "product_id").map(({ name, type }) =>
      `${quote(name)} ${type}`
    )
      .join(", "),
    url: archive.s3.url(file.key),
    access_key: archive.config.S3_ACCESS_KEY,
    secret_key: archive.config.S3_SECRET_KEY,
  };
}

/**
 * The manifest of a table's day; undefined when the day isn't archived, or its archiving wasn't finished.
 *
 * @throws {ArchiveProblem} when it isn't a manifest
 */
export async function readManifest(
  archive: Archive,
  table: ArchivedTable,
  date: string,
): Promise<Manifest | undefined> {
  const key = manifestKey(dayFolder(archive.config.S3_PREFIX, archive.database, table, date));
  const text = await archive.s3.readText(key);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const result = manifest.safeParse(json);
  const belongs = result.success && isWhole(result.data) && result.data.table === table &&
    result.data.date === date && result.data.database === archive.database;
  if (!belongs) {
    throw new ArchiveProblem(
      `${table} ${date}: ${key} isn't a manifest of this day. Remove it, and archive again.`,
    );
  }
  return result.data;
}

/** Whether the sums are those of the files, and each product is there once: nobody took a file out of the list. */
function isWhole({ rows, bytes, parts }: Manifest): boolean {
  const sum = (of: "rows" | "bytes") => parts.reduce((total, file) => total + file[of], 0);
  return sum("rows") === rows && sum("bytes") === bytes &&
    new Set(parts.map(({ product_id }) => product_id)).size === parts.length;
}

async function writeManifest(archive: Archive, day: Manifest): Promise<void> {
  const key = manifestKey(dayFolder(archive.config.S3_PREFIX, archive.database, day.table, day.date));
  await archive.s3.write(key, `${JSON.stringify(day, undefined, 2)}\n`);
}

/**
 * Reads a product's file back: its bytes by our own client, its rows by ClickHouse.
 *
 * @throws {ArchiveProblem} when either isn't what the manifest says
 */
export async function verifyPart(archive: Archive, day: Manifest, file: Part): Promise<void> {
  const name = `${day.table} ${day.date} ${file.product_id}`;
  const object = await archive.s3.hash(file.key);
  if (object === undefined) throw new ArchiveProblem(`${name}: ${file.key} is missing in S3.`);
  if (object.bytes !== file.bytes || object.sha256 !== file.sha256) {
    throw new ArchiveProblem(
      `${name}: ${file.key} is damaged: ${object.bytes} bytes with SHA-256 ${object.sha256.slice(0, 16)}…, ` +
        `expected ${file.bytes} with ${file.sha256.slice(0, 16)}….`,
    );
  }
  const content = await readFileContent(archive, day, file);
  if (content?.rows !== file.rows || content.digest !== file.digest) {
    throw new ArchiveProblem(
      `${name}: ${file.key} holds ${content?.rows ?? 0} rows with digest ${content?.digest ?? "none"}, ` +
        `expected ${file.rows} with ${file.digest}.`,
    );
  }
}

/** Writes a product's rows of the day and reads them back. */
async function writePart(
  archive: Archive,
  day: Pick<Manifest, "table" | "date" | "columns">,
  stored: Content,
): Promise<Part> {
  const { warehouse, s3, config } = archive;
  const folder = dayFolder(config.S3_PREFIX, archive.database, day.table, day.date);
  const file = { product_id: stored.product_id, key: partKey(folder, stored.product_id) };
  const name = `${day.table} ${day.date} ${stored.product_id}`;
  const inFile = day.columns.filter(({ name }) => name !== "product_id");
  const written = day.columns.map(({ name, type }) => ({ name, type: fileType(type) }));
  for (let expected: Content | undefined = stored, attempt = 1; expected !== undefined; attempt++) {
    await warehouse.command({
      query:
        `INSERT INTO FUNCTION s3({url:String}, {access_key:String}, {secret_key:String}, 'Parquet', {structure:String})
              SELECT ${inFile.map(({ name }) => quote(name)).join(", ")} FROM ${quote(day.table)}
              WHERE product_id = {product:String} AND ${inDay}
              ORDER BY ${archivedTables[day.table].order.join(", ")}`,
      query_params: {
        ...fileParameters(archive, written, file),
        ...dayParameters(day.date),
      },
      clickhouse_settings: {
        ...patience,
        s3_truncate_on_insert: 1,
        output_format_parquet_string_as_string: 1,
        output_format_parquet_compression_method: "zstd",
        // One writer, or the rows would not be in order.
        max_insert_threads: "1",
      },
    });
    const content = await readFileContent(archive, day, file);
    if (content !== undefined && content.rows === expected.rows && content.digest === expected.digest) {
      const object = await s3.hash(file.key);
      if (object === undefined) throw new ArchiveProblem(`${file.key} was written and isn't there.`);
      return { ...content, ...file, ...object };
    }
    // Rows may have come in between; but then the table says so.
    const { table, date, columns } = day;
    const [now]: Content[] = await readContents(warehouse, table, date, columns, stored.product_id);
    if (attempt === 3 || now?.digest === expected.digest) {
      const found = content === undefined ? "nothing" : `${content.rows} rows with digest ${content.digest}`;
      throw new ArchiveProblem(
        `${name}: ${file.key} was read back as ${found}, expected ${expected.rows} with ${expected.digest}.`,
      );
    }
    expected = now;
  }
  throw new ArchiveProblem(`${name}: its rows went away while they were archived.`);
}

/** What `archiveDay` did or, with `dryRun`, would do. */
export interface DayResult {
  manifest: Manifest | undefined;
  written: number;
  kept: number;
  /** Rows in the archive of this day now. */
  rows: number;
}

/**
 * Archives a day of a table: what the archive doesn't have yet, or has differently. The manifest is written last.
 *
 * @param options.rewrite also what is unchanged, and what has lost rows since
 * @param options.onPart told of each product before it is written
 * @throws {ArchiveProblem} when the table has less than the archive
 */
export async function archiveDay(
  archive: Archive,
  table: ArchivedTable,
  date: string,
  options: { product?: string; rewrite: boolean; dryRun: boolean; onPart: (productId: string) => void },
): Promise<DayResult> {
  const { product, rewrite, dryRun, onPart } = options;
  const { warehouse, s3, config, database } = archive;
  const before = await readManifest(archive, table, date);
  const dropped = before?.dropped_at !== undefined;
  const columns = dropped ? before.columns : await readColumns(warehouse, table);
  const sameColumns = before === undefined || JSON.stringify(before.columns) === JSON.stringify(columns);
  const stored = await readContents(warehouse, table, date, columns, product);
  const archivedOf = new Map(before?.parts.map((file) => [file.product_id, file]));
  const storedOf = new Map(stored.map((content) => [content.product_id, content]));
  const products = product === undefined
    ? [...new Set([...archivedOf.keys(), ...storedOf.keys()])].sort()
    : archivedOf.has(product) || storedOf.has(product)
    ? [product]
    : [];

  const todo: Content[] = [];
  for (const id of products) {
    const [archived, content] = [archivedOf.get(id), storedOf.get(id)];
    const action = decide(archived, content, { dropped, rewrite, sameColumns });
    if (action === "write" && content !== undefined) todo.push(content);
    if (action !== "refuse") continue;
    const rows = content?.rows ?? 0;
    throw new ArchiveProblem(
      dropped
        ? `${table} ${date} ${id}: the day was archived and dropped, and the table now holds ${rows} rows that aren't ` +
          "those: restore the day first (`deno task restore`)."
        : `${table} ${date} ${id}: the archive holds ${archived?.rows} rows, the table only ${rows}: not overwritten. ` +
          "Archive what is left with --rewrite, if that is right.",
    );
  }
  if (!sameColumns && todo.length > 0 && todo.length < before.parts.length) {
    throw new ArchiveProblem(
      `${table} ${date}: the table's columns have changed since, and it no longer holds all products: archive the day ` +
        "without --product, or restore it first.",
    );
  }
  const parts = new Map(archivedOf);
  const kept = products.length - todo.length;
  if (kept > 0 && before !== undefined) await checkSizes(archive, before, todo);
  if (!dryRun) {
    for (const content of todo) {
      onPart(content.product_id);
      parts.set(content.product_id, await writePart(archive, { table, date, columns }, content));
    }
  }
  const files = [...parts.values()].sort((left, right) => left.product_id < right.product_id ? -1 : 1);
  const sum = (of: "rows" | "bytes") => files.reduce((total, file) => total + file[of], 0);
  const result = { written: todo.length, kept, rows: sum("rows") };
  if (dryRun || todo.length === 0) return { ...result, manifest: before };
  const day: Manifest = {
    version: 1,
    database,
    table,
    date,
    rows: sum("rows"),
    bytes: sum("bytes"),
    order: [...archivedTables[table].order],
    columns,
    parts: files,
    written_at: new Date().toISOString(),
    // What wasn't rewritten from the table may still be missing there.
    ...(before?.dropped_at !== undefined && todo.length < files.length && { dropped_at: before.dropped_at }),
  };
  await writeManifest(archive, day);
  const key = manifestKey(dayFolder(config.S3_PREFIX, database, table, date));
  if (await s3.readText(key) !== `${JSON.stringify(day, undefined, 2)}\n`) {
    throw new ArchiveProblem(`${table} ${date}: ${key} was read back differently.`);
  }
  return { ...result, manifest: day };
}

/** A cheap look at the files that are kept: there, and of their size. */
async function checkSizes(archive: Archive, day: Manifest, except: readonly Content[]): Promise<void> {
  const folder = dayFolder(archive.config.S3_PREFIX, archive.database, day.table, day.date);
  const sizes = new Map((await archive.s3.list(`${folder}/`)).map(({ key, bytes }) => [key, bytes]));
  for (const { key, bytes, product_id } of day.parts) {
    if (sizes.get(key) === bytes || except.some((content) => content.product_id === product_id)) continue;
    const found = sizes.get(key) === undefined
      ? "is missing in S3"
      : `has ${sizes.get(key)} bytes, expected ${bytes}`;
    throw new ArchiveProblem(
      `${day.table} ${day.date} ${product_id}: ${key} ${found}. Archive again with --rewrite.`,
    );
  }
}

/**
 * Drops the day's partition of a table whose partitions are days, once every file has been read back and the table holds
 * nothing else. The rolled-up tables stay.
 *
 * @returns how many rows went; 0 when the table holds none
 * @throws {ArchiveProblem} when anything differs; then nothing is dropped
 */
export async function dropDay(archive: Archive, day: Manifest): Promise<number> {
  const { warehouse } = archive;
  const { table, date } = day;
  const answer = await warehouse.query({
    query:
      "SELECT partition_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
    query_params: { table },
    format: "JSONEachRow",
  });
  const [row] = await answer.json<{ partition_key: string }>();
  if (row?.partition_key !== "toYYYYMMDD(time)") {
    throw new ArchiveProblem(
      `${table} ${date}: not dropped: its partitions are ${row?.partition_key}, not days.`,
    );
  }
  if (await isEmpty(warehouse, table, date)) return 0;
  for (const file of day.parts) await verifyPart(archive, day, file);
  // Read after the files: what came meanwhile is seen.
  const stored = await readContents(warehouse, table, date, day.columns);
  const equal = stored.length === day.parts.length && stored.every((content) => {
    const file = day.parts.find(({ product_id }) => product_id === content.product_id);
    return file?.rows === content.rows && file.digest === content.digest;
  });
  if (!equal) {
    throw new ArchiveProblem(
      `${table} ${date}: not dropped: the table isn't what the archive holds. Archive it again.`,
    );
  }
  // First on record, then done: a drop that was interrupted can't be taken for a table that was always empty.
  await writeManifest(archive, { ...day, dropped_at: new Date().toISOString() });
  await warehouse.command({
    query: `ALTER TABLE ${quote(table)} DROP PARTITION {partition:String}`,
    query_params: { partition: date.replaceAll("-", "") },
  });
  return stored.reduce((total, { rows }) => total + rows, 0);
}

/**
 * Reads everything that the archive holds of a day back.
 *
 * @param onPart told of each product before it is read
 * @returns the manifest, or undefined when there is nothing of that day
 * @throws {ArchiveProblem} for what is damaged, missing or unfinished
 */
export async function verifyDay(
  archive: Archive,
  table: ArchivedTable,
  date: string,
  options: { product?: string; onPart: (productId: string) => void },
): Promise<Manifest | undefined> {
  const day = await readManifest(archive, table, date);
  if (day === undefined) {
    const folder = dayFolder(archive.config.S3_PREFIX, archive.database, table, date);
    const [first] = await archive.s3.list(`${folder}/`);
    if (first === undefined) return undefined;
    throw new ArchiveProblem(
      `${table} ${date}: ${first.key} has no manifest beside it: the day wasn't finished. Archive it again.`,
    );
  }
  for (const file of day.parts) {
    if (options.product !== undefined && file.product_id !== options.product) continue;
    options.onPart(file.product_id);
    await verifyPart(archive, day, file);
  }
  return day;
}
