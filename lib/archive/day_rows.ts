/**
 * The rows of a table's day: those that ClickHouse holds, and those of a product's Parquet file in S3, read by
 * ClickHouse's s3() function. Both are counted and digested in the same way.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import {
  type Archive,
  type ArchivedTable,
  archivedTables,
  type Column,
  type Content,
  type Manifest,
  type Part,
} from "./manifest.ts";
import { bulkRows, rowsWithKeys } from "./statements.ts";
import { quote } from "../clickhouse/quote.ts";
import { FatalError } from "../core/errors.ts";

/** The condition of a day's rows; needs `dayParameters`. */
export const inDay = "time >= {from:DateTime64(6, 'UTC')} AND time < {to:DateTime64(6, 'UTC')}";

/** The bounds of a day for `{from}` and `{to}`. */
export function dayParameters(date: string): { from: string; to: string } {
  const next = new Date(Date.parse(date) + 86_400_000).toISOString().slice(0, 10);
  return { from: `${date} 00:00:00`, to: `${next} 00:00:00` };
}

/**
 * The digest of rows in the columns that are named, as an aggregate of 16 hexadecimal digits: the sum, modulo 2^64, of the
 * rows' hashes. Their order doesn't matter, and a row that is there twice counts twice. As RowBinary an absent value
 * differs from every value, and the bytes don't depend on how a column is stored.
 *
 * @param columns expressions, separated by commas
 */
export function digestOf(columns: string): string {
  return `lower(leftPad(hex(sum(${rowHash(columns)})), 16, '0'))`;
}

/** The hash of one row, of which `digestOf` is the sum. */
export function rowHash(columns: string): string {
  return `cityHash64(formatRow('RowBinary', ${columns}))`;
}

/**
 * The columns of a table, in their order, without those that hold nothing of their own.
 *
 * @throws {FatalError} when there is no such table
 */
export async function readColumns(clickhouse: ClickHouseClient, table: string): Promise<Column[]> {
  const columns = await bulkRows<Column>(
    clickhouse,
    `SELECT name, type FROM system.columns
     WHERE database = currentDatabase() AND table = {table:String}
       AND default_kind NOT IN ('ALIAS', 'EPHEMERAL', 'MATERIALIZED')
     ORDER BY position`,
    { table },
  );
  if (columns.length > 0) return columns;
  throw new FatalError(`The database has no table ${table}: run \`deno task migrate\` first.`);
}

/** Whether the table holds no row of a day. */
export async function isEmpty(
  clickhouse: ClickHouseClient,
  table: ArchivedTable,
  date: string,
): Promise<boolean> {
  const found = await bulkRows(
    clickhouse,
    `SELECT 1 FROM ${quote(table)} WHERE ${inDay} LIMIT 1`,
    dayParameters(date),
  );
  return found.length === 0;
}

/** Counts and digests the rows of a day, product by product in their order; with `product` only its rows. */
export async function readContents(
  clickhouse: ClickHouseClient,
  table: ArchivedTable,
  date: string,
  columns: readonly Column[],
  product?: string,
): Promise<Content[]> {
  return await queryContents(
    clickhouse,
    table,
    columns,
    `${quote(table)} WHERE ${inDay}${product === undefined ? "" : " AND product_id = {product:String}"}`,
    { ...dayParameters(date), ...(product !== undefined && { product }) },
  );
}

/** The same of a product's file, as ClickHouse reads it from S3; undefined when it holds no row. */
export async function readFileContent(
  archive: Archive,
  day: Pick<Manifest, "table" | "columns">,
  file: Pick<Part, "product_id" | "key">,
): Promise<Content | undefined> {
  const [content] = await queryContents(
    archive.clickhouse,
    day.table,
    day.columns,
    `(${selectFile(day.columns)})`,
    fileParameters(archive, day.columns, file),
  );
  return content;
}

async function queryContents(
  clickhouse: ClickHouseClient,
  table: ArchivedTable,
  columns: readonly Column[],
  from: string,
  query_params: Record<string, unknown>,
): Promise<Content[]> {
  const undigested: readonly string[] = archivedTables[table].undigested;
  const names = columns.map(({ name }) => name);
  const digested = names.filter((name) => !undigested.includes(name)).map(quote).join(", ");
  const ranged = names.filter((name) => ["time", "trade_id", "sequence", "kafka_offset"].includes(name));
  const ranges = ranged.map((name) => `(toString(min(${name})), toString(max(${name})))`).join(", ");
  const contents = await rowsWithKeys<
    { product_id: string; rows: number; digest: string; ranges: [string, string][] }
  >(
    clickhouse,
    `SELECT product_id, count() AS rows, ${digestOf(digested)} AS digest, [${ranges}] AS ranges
     FROM ${from} GROUP BY product_id ORDER BY product_id`,
    query_params,
  );
  return contents.map(({ ranges, ...content }) => ({
    ...content,
    ranges: Object.fromEntries(ranged.map((name, index) => [name, ranges[index] ?? ["", ""]])),
  }));
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
 * The type under which a column is written: Parquet's own enums and UUIDs are bytes to many readers, so both are written as
 * text.
 *
 * `fileType("Nullable(Enum8('buy' = 1, 'sell' = 2))")` is `Nullable(String)`.
 */
export function fileType(type: string): string {
  return type.replace(/\bUUID\b/, "String").replace(
    /Enum(?:8|16)\((?:'(?:[^'\\]|\\.)*' = -?\d+(?:, )?)+\)/g,
    "String",
  );
}

/** The parameters of `selectFile`, keys of S3 among them: for `rowsWithKeys` and `runWithKeys` only. */
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
