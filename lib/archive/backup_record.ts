/**
 * The backups of a database in S3: where each lies, and the record that is written when it is finished.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { z } from "zod";
import { momentSchema } from "./backup_moment.ts";
import type { S3, S3Config } from "./s3.ts";
import { FatalError } from "../core/errors.ts";

const record = z.object({
  version: z.literal(2),
  name: z.string(),
  database: z.string(),
  /** The full backup that this one needs: absent from a full one. */
  base: z.string().optional(),
  created_at: z.string(),
  /** The tables that hold rows of their own; the views are in the backup too. */
  tables: z.array(z.string()),
  /** How far the topics were stored when it began; absent when it was made without Kafka. */
  moment: momentSchema.optional(),
  /** Months (`YYYYMM`) of which candles are stored and, since somebody removed them, no trades. */
  candles_only: z.array(z.string()),
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

/** `a/backups/market`: the folder of a database's backups and their records. */
function folderOf({ config, database }: Pick<Backups, "config" | "database">): string {
  return `${config.S3_PREFIX}/backups/${database}`;
}

/** `a/backups/market/20260707T225817Z`: the folder of a backup's objects; its record lies beside it. */
export function backupFolder(backups: Pick<Backups, "config" | "database">, name: string): string {
  return `${folderOf(backups)}/${name}`;
}

/** Where a backup lies, as BACKUP and RESTORE take it. Needs `addressOf`. */
export const atAddress = "S3({url:String}, {access_key:String}, {secret_key:String})";

/** The parameters of `atAddress`, keys of S3 among them: for `runWithKeys` only. */
export function addressOf(backups: Omit<Backups, "clickhouse">, name: string): Record<string, string> {
  const { s3, config } = backups;
  return {
    url: s3.url(backupFolder(backups, name)),
    access_key: config.S3_ACCESS_KEY,
    secret_key: config.S3_SECRET_KEY,
  };
}

/**
 * The finished backups of a database, oldest first.
 *
 * @throws {FatalError} when what lies there isn't a record
 */
export async function listBackups(backups: Omit<Backups, "clickhouse">): Promise<Backup[]> {
  const { s3 } = backups;
  const folder = folderOf(backups);
  const found: Backup[] = [];
  for (const { key } of await s3.list(`${folder}/`)) {
    if (!key.endsWith(".json") || key.slice(folder.length + 1).includes("/")) continue;
    const text = await s3.readText(key);
    const result = record.safeParse(text === undefined ? undefined : parse(text));
    if (!result.success) throw new FatalError(`${key} in S3 isn't the record of a backup: remove it.`);
    found.push(result.data);
  }
  return found.sort((left, right) => left.created_at < right.created_at ? -1 : 1);
}

/**
 * A finished backup by its name.
 *
 * @throws {FatalError} when it, or the one that it needs, isn't there
 */
export async function findBackup(backups: Omit<Backups, "clickhouse">, name: string): Promise<Backup> {
  const all = await listBackups(backups);
  const backup = all.find((one) => one.name === name);
  if (backup === undefined) {
    const names = all.map((one) => one.name).slice(-5).join(", ") || "none";
    throw new FatalError(
      `There is no finished backup ${name} of ${backups.database}. There are (newest last): ${names}.`,
    );
  }
  if (backup.base !== undefined && !all.some((one) => one.name === backup.base)) {
    throw new FatalError(`Backup ${name} needs the full backup ${backup.base}, which isn't there any more.`);
  }
  return backup;
}

/** Writes the record of a backup, by which it counts as finished. */
export async function writeRecord(backups: Omit<Backups, "clickhouse">, backup: Backup): Promise<void> {
  await backups.s3.write(
    `${backupFolder(backups, backup.name)}.json`,
    `${JSON.stringify(backup, undefined, 2)}\n`,
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
