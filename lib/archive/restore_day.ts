/**
 * From the archive back into a database. Rows go through the table, so that the views behind it see them; nothing counts
 * twice, however often it is begun.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { dayParameters, fileParameters, inDay, readContents, rowHash, selectFile } from "./day_rows.ts";
import { type Archive, ArchiveProblem, type Manifest, type Part } from "./manifest.ts";
import { bulkRows, rowsWithKeys, runWithKeys } from "./statements.ts";
import { verifyPart } from "./verify_day.ts";
import { quote } from "../clickhouse/quote.ts";
import { deletedAfterDays, readRetention } from "../clickhouse/retention.ts";
import { loadStoredTrades } from "../ingest/trade_runs.ts";
import { type Run, subtract } from "../core/id_ranges.ts";
import { rows } from "../clickhouse/rows.ts";

/** A trade's id divided by this names its block: at most so many rows are inserted at once. */
const blockIds = 100_000;

/** What became of a day, in rows. */
export interface Restored {
  inserted: number;
  /** They were stored already. */
  there: number;
}

/**
 * Restores a day of a table, all products or one. Every file is read back before the first row is written.
 *
 * @param target the database to write to, with the same migrations
 * @param options.onPart told of each product before it is written
 * @throws {ArchiveProblem} when a file isn't what the manifest says, or the table holds other rows
 */
export async function restoreDay(
  archive: Archive,
  day: Manifest,
  target: ClickHouseClient,
  options: { product?: string; dryRun: boolean; onPart: (productId: string) => void },
): Promise<Restored> {
  const files = day.parts.filter(({ product_id }) => product_id === (options.product ?? product_id));
  for (const file of files) await verifyPart(archive, day, file);
  const restored = { inserted: 0, there: 0 };
  for (const file of files) {
    options.onPart(file.product_id);
    const restore = { archive, day, file, target, dryRun: options.dryRun };
    const inserted = day.table === "trades" ? await restoreTrades(restore) : await restoreRows(restore);
    restored.inserted += inserted;
    restored.there += file.rows - inserted;
  }
  return restored;
}

/** A file of the archive on its way into a database. */
interface FileRestore {
  archive: Archive;
  day: Manifest;
  file: Part;
  target: ClickHouseClient;
  dryRun: boolean;
}

/**
 * Tables that aren't a ledger: a product's day is there, or it isn't. Views behind them keep the last or the greatest
 * value, so that they may see a row again. What an interrupted run has left is removed first.
 *
 * @returns how many rows were inserted, all or none
 */
async function restoreRows({ archive, day, file, target, dryRun }: FileRestore): Promise<number> {
  const { table, date, columns } = day;
  const where = `${table} ${date} ${file.product_id}`;
  const read = async () => (await readContents(target, table, date, columns, file.product_id))[0];
  const stored = await read();
  if (stored?.rows === file.rows && stored.digest === file.digest) return 0;
  const journal = openJournal(target, day, file);
  const whole = { first: 0, last: file.rows };
  const begun = (await journal.read(whole)).open;
  const parameters = { ...fileParameters(archive, columns, file), ...dayParameters(date) };
  if (stored !== undefined) {
    const foreign = begun ? await countForeign(target, day, parameters) : stored.rows;
    if (foreign > 0) {
      throw new ArchiveProblem(
        `${where}: the table holds ${stored.rows} rows that aren't those of the archive (${file.rows}): nothing restored. ` +
          "Restore --into another database, or remove them first.",
      );
    }
  }
  await assertKept(target, day);
  if (dryRun) return file.rows;
  if (!begun) await journal.note(whole, false);
  if (stored !== undefined) {
    await target.command({
      query: `DELETE FROM ${quote(table)} WHERE product_id = {product:String} AND ${inDay}`,
      query_params: { product: file.product_id, ...dayParameters(date) },
    });
  }
  await runWithKeys(
    target,
    `INSERT INTO ${quote(table)} (${columns.map(({ name }) => quote(name)).join(", ")}) ${
      selectFile(columns)
    }`,
    parameters,
    {
      // The same rows may have been here, and gone, before: they are no repetition.
      insert_deduplicate: 0,
      max_partitions_per_insert_block: "0",
    },
  );
  const now = await read();
  if (now?.rows !== file.rows || now.digest !== file.digest) {
    throw new ArchiveProblem(
      `${where}: restored as ${now?.rows ?? 0} rows with digest ${
        now?.digest ?? "none"
      }, expected ${file.rows} with ` +
        `${file.digest}: does something else write this day?`,
    );
  }
  await journal.note(whole, true);
  return file.rows;
}

/** A TTL would take what is restored at ClickHouse's next merge. */
async function assertKept(target: ClickHouseClient, { table, date }: Manifest): Promise<void> {
  const tables = await bulkRows<{ engine_full: string }>(
    target,
    `SELECT engine_full FROM system.tables
     WHERE database = currentDatabase() AND name IN ({table:String}, concat({table:String}, '_local'))`,
    { table },
  );
  for (const { engine_full } of tables) {
    const days = deletedAfterDays(readRetention(engine_full));
    if (days === undefined || Date.parse(date) + days * 86_400_000 > Date.now()) continue;
    throw new ArchiveProblem(
      `${table} ${date}: the table deletes rows after ${days} days: nothing restored. Restore --into a database that was ` +
        "migrated with CLICKHOUSE_BOOK_DAYS=0, or set that and run `deno task migrate` first.",
    );
  }
}

/** Rows of the product's day that aren't in the file. */
async function countForeign(
  target: ClickHouseClient,
  day: Manifest,
  query_params: Record<string, string>,
): Promise<number> {
  const hash = rowHash(day.columns.map(({ name }) => quote(name)).join(", "));
  return await count(
    target,
    `SELECT count() AS count FROM ${quote(day.table)} WHERE product_id = {product:String} AND ${inDay}
     AND ${hash} NOT IN (SELECT ${hash} FROM (${selectFile(day.columns)}))`,
    query_params,
  );
}

/**
 * Trades count once: rules 2 and 3 of *Counting once* (docs/decisions.md). A trade that is stored isn't inserted; each
 * block has a name and a token, is on record before and after it is written, and is the same block when it comes again.
 *
 * @returns how many trades were inserted
 */
async function restoreTrades({ archive, day, file, target, dryRun }: FileRestore): Promise<number> {
  const { columns, date } = day;
  const journal = openJournal(target, day, file);
  const parameters = fileParameters(archive, columns, file);
  const blocks = await rowsWithKeys<Run>(
    target,
    `SELECT min(trade_id) AS first, max(trade_id) AS last FROM (${selectFile(columns)})
     GROUP BY intDiv(trade_id, ${blockIds}) ORDER BY first`,
    parameters,
  );
  let inserted = 0;
  for (const block of blocks) {
    const { open, done } = await journal.read(block);
    // A block that was finished, and whose trades are gone since, is another block.
    const batch = `${journal.name}/${block.first}-${block.last}/${done}`;
    const { stored } = await loadStoredTrades(target, [file.product_id], batch);
    const missing = subtract([block], stored.get(file.product_id)?.runs ?? []);
    if (missing.length === 0 && !open) continue;
    const ranges = missing.map(({ first, last }) => `(trade_id BETWEEN ${first} AND ${last})`).join(" OR ") ||
      "0";
    inserted += await count(
      target,
      `SELECT count() AS count FROM (${selectFile(columns)}) WHERE ${ranges}`,
      parameters,
    );
    if (dryRun) continue;
    if (!open) await journal.note(block, false);
    const names = columns.map(({ name }) => quote(name));
    await runWithKeys(
      target,
      `INSERT INTO trades (${names.join(", ")})
       SELECT ${names.map((name) => name === "`batch`" ? "{batch:String}" : name).join(", ")}
       FROM (${selectFile(columns)}) WHERE ${ranges} ORDER BY trade_id`,
      { ...parameters, batch },
      {
        insert_deduplication_token: `trades/${batch}`,
        insert_deduplicate: 1,
        deduplicate_blocks_in_dependent_materialized_views: 1,
        // Several blocks under one token would be taken for one.
        max_insert_threads: "1",
        max_insert_block_size: "10000000",
        min_insert_block_size_rows: "10000000",
        min_insert_block_size_bytes: "0",
      },
    );
    await journal.note(block, true);
  }
  if (!dryRun) await assertRestored(archive, target, day, file, date);
  return inserted;
}

/** Every trade of the file must be in the table now, once. */
async function assertRestored(
  archive: Archive,
  target: ClickHouseClient,
  day: Manifest,
  file: Part,
  date: string,
): Promise<void> {
  const there = await count(
    target,
    `SELECT count() AS count FROM trades WHERE product_id = {product:String} AND ${inDay}
     AND trade_id IN (SELECT trade_id FROM (${selectFile(day.columns)}))`,
    { ...fileParameters(archive, day.columns, file), ...dayParameters(date) },
  );
  if (there === file.rows) return;
  throw new ArchiveProblem(
    `trades ${date} ${file.product_id}: ${there} of the archive's ${file.rows} are in the table. The candles and trade_runs ` +
      "count trades that were removed from it: restore --into another database, or a backup.",
  );
}

async function count(
  target: ClickHouseClient,
  query: string,
  query_params: Record<string, string>,
): Promise<number> {
  const [row] = await rowsWithKeys<{ count: number }>(target, query, query_params);
  return row?.count ?? 0;
}

/** What is on record of a file's restore, in the table `replays`. */
function openJournal(target: ClickHouseClient, { database, table, date }: Manifest, file: Part) {
  const name = `restore/${database}/${table}/${date}/${file.product_id}/${file.sha256.slice(0, 16)}`;
  return {
    name,
    /** Whether the range was begun and not finished, and how often it was finished. */
    async read({ first, last }: Run): Promise<{ open: boolean; done: number }> {
      const [row] = await rows<{ begun: number; finished: number }>(
        target,
        `SELECT countIf(NOT done) AS begun, countIf(done) AS finished FROM replays
         WHERE name = {name:String} AND first = {first:UInt64} AND last = {last:UInt64}`,
        { name, first, last },
      );
      return { open: (row?.begun ?? 0) > (row?.finished ?? 0), done: row?.finished ?? 0 };
    },
    async note({ first, last }: Run, done: boolean): Promise<void> {
      await target.insert({
        table: "replays",
        values: [{ name, partition: 0, first, last, done }],
        format: "JSONEachRow",
      });
    },
  };
}
