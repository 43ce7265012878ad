/**
 * A database to S3: ClickHouse's own BACKUP, checked by restoring it, and a record that is written last. BACKUP takes each
 * table at a moment of its own; the record's `moment` is what makes them one again (lib/archive/backup_one_moment.ts).
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import { type Moment, readClock } from "./backup_moment.ts";
import {
  addressOf,
  atAddress,
  type Backup,
  backupFolder,
  type Backups,
  writeRecord,
} from "./backup_record.ts";
import { bulkRows, runWithKeys } from "./statements.ts";
import { readApplied, unfinishedRestore } from "../clickhouse/migrations.ts";
import { quote } from "../clickhouse/quote.ts";
import { FatalError } from "../core/errors.ts";
import { tuples } from "../clickhouse/rows.ts";

/**
 * Backs the database up, with all its tables, views and definitions but those of the Kafka engine, and checks what lies in
 * S3 by restoring what is new into a database beside it for a moment.
 *
 * @param base the full backup whose unchanged parts aren't copied again
 * @param readMoment how far the topics are stored, read before anything is copied; undefined to back up without Kafka
 * @throws {FatalError} when there is no such database, the name is taken, or the backup can't be one moment or isn't sound;
 *   it has no record then, and counts as unfinished
 */
export async function createBackup(
  backups: Backups,
  name: string,
  base: Backup | undefined,
  readMoment: (() => Promise<Moment>) | undefined,
): Promise<Backup> {
  const { clickhouse, s3, database } = backups;
  const all = await readTables(clickhouse, database);
  await assertCanBackUp(backups, name, all);
  await dropLeftChecks(backups);
  const created_at = new Date().toISOString();
  const moment = await readMoment?.();
  const clock = await startClock(clickhouse, moment?.at);
  const candles_only = await readCandlesOnly(clickhouse, database);
  const tables = (await readTables(clickhouse, database, "MergeTree")).filter((table) => !isPassing(table));
  await copyDatabase(backups, name, base, all);
  if (moment !== undefined) {
    await clock.assertSteady();
    await assertNoReplays(clickhouse, database, moment.at);
  }
  const folder = backupFolder(backups, name);
  const objects = await s3.list(`${folder}/`);
  const backup: Backup = {
    version: 2,
    name,
    database,
    ...(base !== undefined && { base: base.name }),
    created_at,
    tables,
    ...(moment !== undefined && { moment }),
    candles_only,
    bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0),
    objects: objects.length,
  };
  await assertRestorable(
    backups,
    backup,
    partitionsOf(objects.map(({ key }) => key), `${folder}/data/${database}/`),
  );
  await writeRecord(backups, backup);
  return backup;
}

/** @throws {FatalError} when there is nothing whole to back up, or the name is taken */
async function assertCanBackUp(backups: Backups, name: string, tables: readonly string[]): Promise<void> {
  const { clickhouse, s3, database } = backups;
  if (tables.length === 0) {
    throw new FatalError(
      `There is no database ${database} with tables (CLICKHOUSE_DATABASE): nothing to back up.`,
    );
  }
  const unfinished = unfinishedRestore(await readApplied(clickhouse, database), database);
  if (unfinished !== undefined) throw new FatalError(unfinished);
  const folder = backupFolder(backups, name);
  // What a backup that was interrupted has left can't be finished, and nothing here deletes: take another name.
  if ((await s3.list(`${folder}/`)).length > 0 || (await s3.readText(`${folder}.json`)) !== undefined) {
    throw new FatalError(
      `There is a backup ${name} of ${database} already, whole or unfinished: choose another --name.`,
    );
  }
}

/** BACKUP of all that belongs into it; `all` names the tables and views that there are. */
async function copyDatabase(
  backups: Backups,
  name: string,
  base: Backup | undefined,
  all: readonly string[],
): Promise<void> {
  const { clickhouse, database } = backups;
  // With the credentials of the query for the base, none is written into the backup.
  const settings = base === undefined
    ? ""
    : "SETTINGS base_backup = S3({base_url:String}, {access_key:String}, {secret_key:String}), " +
      "use_same_s3_credentials_for_base_backup = 1";
  // The Kafka engine would read as soon as it is restored, and its definition holds the broker's password.
  const left = all.filter((table) => table.startsWith("kafka_engine_") || isPassing(table));
  const except = left.length === 0
    ? ""
    : `EXCEPT TABLES ${left.map((table) => `${quote(database)}.${quote(table)}`).join(", ")}`;
  await runWithKeys(
    clickhouse,
    `BACKUP DATABASE ${quote(database)} ${except} TO ${atAddress} ${settings}`,
    {
      ...addressOf(backups, name),
      ...(base !== undefined && { base_url: addressOf(backups, base.name).url }),
    },
    // Each object is looked at when it is written.
    { s3_check_objects_after_upload: 1 },
  );
}

/** Rows are told apart by ClickHouse's clock: it must not be set back while the backup is made. */
async function startClock(clickhouse: ClickHouseClient, at: string | undefined) {
  const millis = (text: string) => Date.parse(`${text.replace(" ", "T")}Z`);
  const started = performance.now();
  const first = millis(at ?? await readClock(clickhouse));
  return {
    /** @throws {FatalError} */
    async assertSteady(): Promise<void> {
      const elapsed = millis(await readClock(clickhouse)) - first;
      const behind = performance.now() - started - elapsed;
      if (behind < 1000) return;
      throw new FatalError(
        `ClickHouse's clock was set back by ${
          Math.round(behind / 1000)
        } s while the backup was made: it isn't one moment. ` +
          "Make another one.",
      );
    },
  };
}

/** A replay, or a restore of days, writes rows whose offsets aren't those of the group: no cut could tell them apart. */
async function assertNoReplays(clickhouse: ClickHouseClient, database: string, at: string): Promise<void> {
  const [open] = await bulkRows<{ name: string }>(
    clickhouse,
    `SELECT name FROM {database:Identifier}.replays
     GROUP BY name, partition, first, last
     HAVING max(at) >= {at:DateTime64(6, 'UTC')}
       OR countIf(NOT done) > countIf(done) AND max(at) >= {at:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR
     LIMIT 1`,
    { database, at },
  );
  if (open === undefined) return;
  throw new FatalError(
    `A replay or a restore wrote into ${database} while it was backed up (${open.name}): let it end, and make another backup.`,
  );
}

/** Months whose trades somebody has removed: their candles can't be made anew. */
async function readCandlesOnly(clickhouse: ClickHouseClient, database: string): Promise<string[]> {
  const months = await bulkRows<{ partition: string }>(
    clickhouse,
    `SELECT partition FROM system.parts
     WHERE database = {database:String} AND active AND table IN ('candle_states', 'trades')
     GROUP BY partition
     HAVING countIf(table = 'trades') = 0 AND max(modification_time) < now('UTC') - INTERVAL 1 DAY
     ORDER BY partition`,
    { database },
  );
  return months.map(({ partition }) => partition);
}

/** Tables that others need for a moment: tasks/stats.ts, and the consumer when it mends candles (lib/ingest/reconcile.ts). */
export function isPassing(table: string): boolean {
  return /^(volatility_metrics_staging_|repair_[0-9a-f]{32}$)/.test(table);
}

/**
 * Which partitions of which tables objects belong to: only their files are new in an increment.
 *
 * @param folder where the tables lie: `…/data/market/`; keys of other objects are left out
 */
export function partitionsOf(keys: readonly string[], folder: string): Map<string, string[]> {
  const found = new Map<string, Set<string>>();
  for (const key of keys) {
    if (!key.startsWith(folder)) continue;
    const [table = "", part = ""] = key.slice(folder.length).split("/");
    // A part is called partition_first_last_level.
    const partition = part.replace(/(_\d+)+$/, "");
    if (partition === "" || partition === part) continue;
    found.set(table, (found.get(table) ?? new Set()).add(partition));
  }
  return new Map([...found].map(([table, partitions]) => [table, [...partitions].sort()]));
}

/**
 * Restores a backup, or parts of it, into a database for a moment, and lets ClickHouse compare every file with its
 * checksum: what can't be restored is no backup.
 *
 * @param only table → the ids of partitions to look at; everything when absent
 * @throws {FatalError} naming the table that can't be restored or is damaged
 */
export async function assertRestorable(
  backups: Backups,
  backup: Backup,
  only?: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  const { clickhouse, database } = backups;
  const beside = `${checkPrefix(database)}${crypto.randomUUID().replaceAll("-", "")}`;
  const tables = backup.tables.filter((table) => only === undefined || only.has(table));
  if (tables.length === 0) return;
  const copies = tables.map((table) => {
    const ids = only?.get(table)?.map((id) => `ID '${id}'`).join(", ");
    return `TABLE ${quote(database)}.${quote(table)} AS ${quote(beside)}.${quote(table)}` +
      (ids === undefined ? "" : ` PARTITIONS ${ids}`);
  });
  await clickhouse.command({ query: `CREATE DATABASE ${quote(beside)}` });
  try {
    await runWithKeys(
      clickhouse,
      `RESTORE ${copies.join(", ")} ${fromAddress}`,
      addressOf(backups, backup.name),
    ).catch((error) => {
      if (!(error instanceof ClickHouseError)) throw error;
      throw new FatalError(
        `Backup ${backup.name} can't be restored: ${error.message.replace(/\s+/g, " ").slice(0, 300)}`,
      );
    });
    for (const table of tables) {
      if (await isSound(clickhouse, beside, table)) continue;
      throw new FatalError(
        `Backup ${backup.name} is damaged: the files of ${table} aren't what their checksums say. Make another one.`,
      );
    }
  } finally {
    await clickhouse.command({ query: `DROP DATABASE ${quote(beside)} SYNC` });
  }
}

/** Databases in which a backup is checked begin with this. */
function checkPrefix(database: string): string {
  return `${database}_backup_check_`;
}

/** What a backup that was killed has left on the server. */
async function dropLeftChecks({ clickhouse, database }: Backups): Promise<void> {
  const left = await bulkRows<{ name: string }>(
    clickhouse,
    "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})",
    { prefix: checkPrefix(database) },
  );
  for (const { name } of left) await clickhouse.command({ query: `DROP DATABASE ${quote(name)} SYNC` });
}

/** The end of a RESTORE; needs `addressOf`. */
export const fromAddress = `FROM ${atAddress} ` +
  "SETTINGS use_same_s3_credentials_for_base_backup = 1, allow_different_database_def = 1, " +
  "allow_different_table_def = 1";

/**
 * Whether the files of a table are what their checksums say: RESTORE looks at sizes only, and a table's parts carry
 * checksums of their own.
 */
export async function isSound(
  clickhouse: ClickHouseClient,
  database: string,
  table: string,
): Promise<boolean> {
  const query = `CHECK TABLE ${quote(database)}.${quote(table)}`;
  const settings = { check_query_single_value_result: 1 } as const;
  const [row] = await tuples<[isSound: number]>(clickhouse, query, {}, { settings });
  return row?.[0] === 1;
}

/** The names of a database's tables and views; with `engine` only of those whose engine's name ends so. */
export async function readTables(
  clickhouse: ClickHouseClient,
  database: string,
  engine = "",
): Promise<string[]> {
  const tables = await bulkRows<{ name: string }>(
    clickhouse,
    `SELECT name FROM system.tables
     WHERE database = {database:String} AND endsWith(engine, {engine:String}) ORDER BY name`,
    { database, engine },
  );
  return tables.map(({ name }) => name);
}
