/**
 * Reads what the archive holds back: the bytes by our own client, the rows by ClickHouse.
 *
 * @module
 */

import { readFileContent } from "./day_rows.ts";
import {
  type Archive,
  type ArchivedTable,
  ArchiveProblem,
  dayFolder,
  type Manifest,
  type Part,
  readManifest,
} from "./manifest.ts";

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
