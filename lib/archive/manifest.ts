/**
 * What the archive consists of: its tables, the keys of its objects, and the manifest of a table's day.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { z } from "zod";
import type { Table } from "../ingest/rows.ts";
import type { S3, S3Config } from "./s3.ts";

/**
 * The tables that are archived. `order`: how a product's rows are sorted in its file. `undigested`: what a restored row
 * doesn't keep, because it names the insert and not the trade, and what the table forgets sooner than the archive. What has no product (`rejected`) or no day
 * (`products_state`, the rolled-up states) is in the backups only.
 */
export const archivedTables = {
  trades: {
    order: ["trade_id"],
    undigested: ["batch", "maker_order_id", "taker_order_id"],
    droppable: false,
  },
  tickers: { order: ["time", "kafka_offset"], undigested: [], droppable: false },
  book_changes: { order: ["time", "kafka_offset", "position"], undigested: [], droppable: true },
  heartbeats: { order: ["time", "kafka_offset"], undigested: [], droppable: false },
  feed_events: { order: ["time", "event", "kafka_offset"], undigested: [], droppable: false },
} as const satisfies Record<Exclude<Table, "rejected" | "products_state">, unknown>;

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
  clickhouse: ClickHouseClient;
  s3: S3;
  config: S3Config;
  /** Of the names in the archive; the tables are those of `clickhouse`. */
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

/** Writes the manifest of a day, whatever was there, and reads it back. */
export async function writeManifest(archive: Archive, day: Manifest): Promise<void> {
  const key = manifestKey(dayFolder(archive.config.S3_PREFIX, archive.database, day.table, day.date));
  await archive.s3.write(key, `${JSON.stringify(day, undefined, 2)}\n`);
}
