/**
 * Whole databases to S3 and back: ClickHouse's own BACKUP and RESTORE, and a record of each backup that is written last.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { z } from "zod";
import { patience, quote } from "./archive.ts";
import { migrate } from "./migrations.ts";
import type { S3, S3Config } from "./s3.ts";
import { FatalError } from "./service.ts";
import type { WarehouseConfig } from "./warehouse.ts";

const record = z.object({
  version: z.literal(1),
  name: z.string(),
  database: z.string(),
  /** The full backup that this one needs: absent from a full one. */
  base: z.string().optional(),
  created_at: z.string(),
  /** The tables that hold rows of their own; the views are in the backup too. */
  tables: z.array(z.string()),
  /** Of this backup's own objects, without its base. */
  bytes: z.number(),
  objects: z.number(),
});

/** A backup that was finished. */
export type Backup = z.output<typeof record>;

/** Where the backups of a database lie; `clickhouse` is a client of the server, in any database that exists. */
export interface Backups {
  clickhouse: ClickHouseClient;
  s3: S3;
  config: S3Config;
  database: string;
}

/** What a backup may be called: it becomes a part of a path. */
export const backupName = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** `2026-07-07T22:58:17.000Z` → `20260707T225817Z`: names sort by time. */
export function nameOf(now: Date): string {
  return now.toISOString().replace(/[-:]|\.\d+/g, "");
}

/** The full backup that a new one builds on: the newest. Increments are never built on, so that each needs only one other. */
export function newestFull(backups: readonly Backup[]): Backup | undefined {
  return backups.filter(({ base }) => base === undefined)
    .sort((left, right) => left.created_at < right.created_at ? -1 : 1).at(-1);
}

/** The finished backups of a database, oldest first. */
export async function listBackups({ s3, config, database }: Omit<Backups, "clickhouse">): Promise<Backup[]> {
  const folder = folderOf(config, database);
  const backups: Backup[] = [];
  for (const { key } of await s3.list(`${folder}/`)) {
    if (!key.endsWith(".json") || key.slice(folder.length + 1).includes("/")) continue;
    const text = await s3.readText(key);
    const result = record.safeParse(text === undefined ? undefined : parse(text));
    if (!result.success) throw new FatalError(`${key} in S3 isn't the record of a backup: remove it.`);
    backups.push(result.data);
  }
  return backups.sort((left, right) => left.created_at < right.created_at ? -1 : 1);
}

/**
 * Backs the database up, with all its tables, views and definitions but those of the Kafka engine.
 *
 * @param base the full backup whose unchanged parts aren't copied again
 * @throws {FatalError} when there is no such database, or the name is taken
 */
export async function createBackup(
  backups: Backups,
  name: string,
  base: Backup | undefined,
): Promise<Backup> {
  const { clickhouse, s3, config, database } = backups;
  const all = await readTables(clickhouse, database);
  if (all.length === 0) {
    throw new FatalError(
      `There is no database ${database} with tables (CLICKHOUSE_DATABASE): nothing to back up.`,
    );
  }
  const folder = `${folderOf(config, database)}/${name}`;
  // What a backup that was interrupted has left can't be finished, and nothing here deletes: take another name.
  if ((await s3.list(`${folder}/`)).length > 0) {
    throw new FatalError(
      `There is a backup ${name} of ${database} already, whole or unfinished: choose another --name.`,
    );
  }
  const to = "S3({url:String}, {access_key:String}, {secret_key:String})";
  const from = "S3({base_url:String}, {access_key:String}, {secret_key:String})";
  // With the credentials of the query for the base, none is written into the backup.
  const settings = base === undefined
    ? ""
    : `SETTINGS base_backup = ${from}, use_same_s3_credentials_for_base_backup = 1`;
  const created_at = new Date().toISOString();
  const tables = await readTables(clickhouse, database, "MergeTree");
  // The Kafka engine would read as soon as it is restored, and its definition holds the broker's password.
  const engine = all.filter((table) => table.startsWith("kafka_engine_"));
  const except = engine.length === 0
    ? ""
    : `EXCEPT TABLES ${engine.map((table) => `${quote(database)}.${quote(table)}`).join(", ")}`;
  await clickhouse.command({
    query: `BACKUP DATABASE ${quote(database)} ${except} TO ${to} ${settings}`,
    query_params: {
      ...addressOf(backups, name),
      ...(base !== undefined && { base_url: addressOf(backups, base.name).url }),
    },
    clickhouse_settings: patience,
  });
  const objects = await s3.list(`${folder}/`);
  const backup: Backup = {
    version: 1,
    name,
    database,
    ...(base !== undefined && { base: base.name }),
    created_at,
    tables,
    bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0),
    objects: objects.length,
  };
  await s3.write(`${folder}.json`, `${JSON.stringify(backup, undefined, 2)}\n`);
  return backup;
}

/**
 * Restores a backup into a database that has no tables yet; it is created where it is missing.
 *
 * In place the definitions are those of the backup. Under another name they come from the migrations and only rows are
 * restored, for ClickHouse 26 renames a view's tables and loses their aliases, so that the view can't be read.
 *
 * @returns how many tables and views are in it now
 * @throws {FatalError} when the backup, or the one that it needs, isn't there or is damaged, or the database holds tables
 */
export async function restoreBackup(
  backups: Backups & { config: S3Config & WarehouseConfig },
  name: string,
  into: string,
): Promise<number> {
  const { clickhouse, database } = backups;
  const all = await listBackups(backups);
  const backup = all.find((one) => one.name === name);
  if (backup === undefined) {
    const names = all.map((one) => one.name).slice(-5).join(", ") || "none";
    throw new FatalError(
      `There is no finished backup ${name} of ${database}. There are (newest last): ${names}.`,
    );
  }
  if (backup.base !== undefined && !all.some((one) => one.name === backup.base)) {
    throw new FatalError(`Backup ${name} needs the full backup ${backup.base}, which isn't there any more.`);
  }
  const there = await readTables(clickhouse, into);
  if (there.length > 0) {
    throw new FatalError(
      `Database ${into} holds ${there.length} tables and views: restore --into another one, or remove it first ` +
        `(DROP DATABASE ${into}).`,
    );
  }
  let what = `DATABASE ${quote(database)}`;
  if (into !== database) {
    await migrate({ ...backups.config, CLICKHOUSE_DATABASE: into }, () => {});
    what = backup.tables.filter((table) => table !== "migrations")
      .map((table) => `TABLE ${quote(database)}.${quote(table)} AS ${quote(into)}.${quote(table)}`).join(
        ", ",
      );
  }
  await clickhouse.command({
    query: `RESTORE ${what} FROM S3({url:String}, {access_key:String}, {secret_key:String})
            SETTINGS use_same_s3_credentials_for_base_backup = 1, allow_different_database_def = 1,
              allow_different_table_def = 1`,
    query_params: addressOf(backups, name),
    clickhouse_settings: patience,
  });
  for (const table of backup.tables) {
    if (await isSound(clickhouse, into, table)) continue;
    throw new FatalError(
      `Backup ${name} is damaged: ${table} was restored into ${into}, and its files aren't what their checksums say. ` +
        `Remove it (DROP DATABASE ${into}), and restore another backup.`,
    );
  }
  return (await readTables(clickhouse, into)).length;
}

/** RESTORE looks at the sizes of files only; a table's parts carry checksums of their own. */
async function isSound(clickhouse: ClickHouseClient, database: string, table: string): Promise<boolean> {
  const answer = await clickhouse.query({
    query: `CHECK TABLE ${quote(database)}.${quote(table)}`,
    format: "JSONCompactEachRow",
    clickhouse_settings: { check_query_single_value_result: 1 },
  });
  const [row] = await answer.json<[number]>();
  return row?.[0] === 1;
}

function folderOf(config: S3Config, database: string): string {
  return `${config.S3_PREFIX}/backups/${database}`;
}

function addressOf({ s3, config, database }: Backups, name: string): Record<string, string> {
  return {
    url: s3.url(`${folderOf(config, database)}/${name}`),
    access_key: config.S3_ACCESS_KEY,
    secret_key: config.S3_SECRET_KEY,
  };
}

/** The names of tables and views; with `engine` only of those whose engine's name ends so. */
async function readTables(clickhouse: ClickHouseClient, database: string, engine = ""): Promise<string[]> {
  const answer = await clickhouse.query({
    query: `SELECT name FROM system.tables
            WHERE database = {database:String} AND endsWith(engine, {engine:String}) ORDER BY name`,
    query_params: { database, engine },
    format: "JSONEachRow",
  });
  return (await answer.json<{ name: string }>()).map(({ name }) => name);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
