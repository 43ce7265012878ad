/**
 * A day of a table to S3: one sorted Parquet file a product, and a manifest that is written last. Written and read back by
 * ClickHouse itself (its s3() function); the bytes are hashed here, by another client. And the day dropped from the table.
 *
 * @module
 */

import {
  dayParameters,
  fileParameters,
  fileType,
  inDay,
  isEmpty,
  readColumns,
  readContents,
  readFileContent,
} from "./day_rows.ts";
import {
  type Archive,
  type ArchivedTable,
  archivedTables,
  ArchiveProblem,
  type Content,
  dayFolder,
  type Manifest,
  type Part,
  partKey,
  readManifest,
  writeManifest,
} from "./manifest.ts";
import { bulkRows, runWithKeys } from "./statements.ts";
import { verifyPart } from "./verify_day.ts";
import { quote } from "../clickhouse/quote.ts";

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
  const { clickhouse, database } = archive;
  const before = await readManifest(archive, table, date);
  const columns = before?.dropped_at !== undefined ? before.columns : await readColumns(clickhouse, table);
  const stored = await readContents(clickhouse, table, date, columns, product);
  const day = { table, date, columns };
  const { todo, kept } = planDay(day, before, stored, { ...(product !== undefined && { product }), rewrite });
  if (kept > 0 && before !== undefined) await assertSizes(archive, before, todo);
  const parts = new Map(before?.parts.map((file) => [file.product_id, file]));
  for (const content of dryRun ? [] : todo) {
    onPart(content.product_id);
    parts.set(content.product_id, await writePart(archive, day, content));
  }
  const files = [...parts.values()].sort((left, right) => left.product_id < right.product_id ? -1 : 1);
  const sum = (of: "rows" | "bytes") => files.reduce((total, file) => total + file[of], 0);
  const result = { written: todo.length, kept, rows: sum("rows") };
  if (dryRun || todo.length === 0) return { ...result, manifest: before };
  const manifest: Manifest = {
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
  await writeManifest(archive, manifest);
  return { ...result, manifest };
}

/**
 * Which products have to be written, and how many are left alone.
 *
 * @throws {ArchiveProblem} when the archive holds what the table hasn't
 */
function planDay(
  { table, date, columns }: Pick<Manifest, "table" | "date" | "columns">,
  before: Manifest | undefined,
  stored: readonly Content[],
  { product, rewrite }: { product?: string; rewrite: boolean },
): { todo: Content[]; kept: number } {
  const dropped = before?.dropped_at !== undefined;
  const sameColumns = before === undefined || JSON.stringify(before.columns) === JSON.stringify(columns);
  const archivedOf = new Map(before?.parts.map((file) => [file.product_id, file]));
  const storedOf = new Map(stored.map((content) => [content.product_id, content]));
  const products = [...new Set([...archivedOf.keys(), ...storedOf.keys()])].sort()
    .filter((id) => id === (product ?? id));
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
  return { todo, kept: products.length - todo.length };
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

/** Writes a product's rows of the day and reads them back. */
async function writePart(
  archive: Archive,
  day: Pick<Manifest, "table" | "date" | "columns">,
  stored: Content,
): Promise<Part> {
  const { clickhouse, s3, config } = archive;
  const folder = dayFolder(config.S3_PREFIX, archive.database, day.table, day.date);
  const file = { product_id: stored.product_id, key: partKey(folder, stored.product_id) };
  const name = `${day.table} ${day.date} ${stored.product_id}`;
  const inFile = day.columns.filter(({ name }) => name !== "product_id");
  const written = day.columns.map(({ name, type }) => ({ name, type: fileType(type) }));
  for (let expected: Content | undefined = stored, attempt = 1; expected !== undefined; attempt++) {
    await runWithKeys(
      clickhouse,
      `INSERT INTO FUNCTION s3({url:String}, {access_key:String}, {secret_key:String}, 'Parquet', {structure:String})
       SELECT ${inFile.map(({ name }) => quote(name)).join(", ")} FROM ${quote(day.table)}
       WHERE product_id = {product:String} AND ${inDay}
       ORDER BY ${archivedTables[day.table].order.join(", ")}`,
      { ...fileParameters(archive, written, file), ...dayParameters(day.date) },
      {
        s3_truncate_on_insert: 1,
        output_format_parquet_string_as_string: 1,
        output_format_parquet_compression_method: "zstd",
        // One writer, or the rows would not be in order.
        max_insert_threads: "1",
      },
    );
    const content = await readFileContent(archive, day, file);
    if (content !== undefined && content.rows === expected.rows && content.digest === expected.digest) {
      const object = await s3.hash(file.key);
      if (object === undefined) throw new ArchiveProblem(`${file.key} was written and isn't there.`);
      return { ...content, ...file, ...object };
    }
    // Rows may have come in between; but then the table says so.
    const { table, date, columns } = day;
    const [now]: Content[] = await readContents(clickhouse, table, date, columns, stored.product_id);
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

/** A cheap look at the files that are kept: there, and of their size. */
async function assertSizes(archive: Archive, day: Manifest, except: readonly Content[]): Promise<void> {
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
  const { clickhouse } = archive;
  const { table, date } = day;
  const [row] = await bulkRows<{ partition_key: string }>(
    clickhouse,
    "SELECT partition_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
    { table },
  );
  if (row?.partition_key !== "toYYYYMMDD(time)") {
    throw new ArchiveProblem(
      `${table} ${date}: not dropped: its partitions are ${
        row?.partition_key || `those of ${table}_local on each node of the cluster`
      }, not days.`,
    );
  }
  if (await isEmpty(clickhouse, table, date)) return 0;
  for (const file of day.parts) await verifyPart(archive, day, file);
  // Read after the files: what came meanwhile is seen.
  const stored = await readContents(clickhouse, table, date, day.columns);
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
  await clickhouse.command({
    query: `ALTER TABLE ${quote(table)} DROP PARTITION {partition:String}`,
    query_params: { partition: date.replaceAll("-", "") },
  });
  return stored.reduce((total, { rows }) => total + rows, 0);
}
