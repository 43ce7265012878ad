/**
 * A backup from S3 into a database: ClickHouse's own RESTORE, after which all tables are made one moment and proven.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { fromAddress, isPassing, isSound, readTables } from "./backup.ts";
import type { Moment } from "./backup_moment.ts";
import { makeOneMoment } from "./backup_one_moment.ts";
import type { Proof } from "./backup_proof.ts";
import { addressOf, type Backup, type Backups, findBackup } from "./backup_record.ts";
import type { S3Config } from "./s3.ts";
import { bulkRows, openBulkClient, runWithKeys } from "./statements.ts";
import type { ClickHouseConfig } from "../clickhouse/client.ts";
import type { windowVariables } from "../clickhouse/dedup_window.ts";
import {
  markRestoring,
  migrate,
  readApplied,
  unfinishedRestore,
  unmarkRestoring,
} from "../clickhouse/migrations.ts";
import { quote } from "../clickhouse/quote.ts";
import { FatalError } from "../core/errors.ts";
import type { Config } from "../process/config.ts";

/** What a restore has made. */
export interface RestoredBackup {
  /** Tables and views. */
  tables: number;
  moment: Moment | undefined;
  proof: Proof;
}

/** What a restore reads; another database is migrated with it. */
export type RestoreConfig = S3Config & ClickHouseConfig & Config<(typeof windowVariables)[number]>;

/**
 * Restores a backup into a database that has no tables yet, makes it one moment and proves it. The database is created where
 * it is missing; until all is proven, no service and no migration accepts it.
 *
 * In place the definitions are those of the backup. Under another name they come from the migrations and only rows are
 * restored, for ClickHouse 26 renames a view's tables and loses their aliases, so that the view can't be read.
 *
 * @param into the database; `backups.database` for in place
 * @param onProgress told what is done, now and then
 * @throws {FatalError} when the backup, or the one that it needs, isn't there or is damaged, or the database holds tables
 */
export async function restoreBackup(
  backups: Backups & { config: RestoreConfig },
  name: string,
  into: string,
  onProgress: (what: string) => void = () => {},
): Promise<RestoredBackup> {
  const { clickhouse, database, config } = backups;
  const backup = await findBackup(backups, name);
  await assertEmpty(clickhouse, into);
  const restored = openBulkClient({ ...config, CLICKHOUSE_DATABASE: into });
  try {
    onProgress(`restoring ${name}`);
    if (into === database) await restoreInPlace(backups, name, restored);
    else await restoreBeside(backups, backup, into, restored);
    for (const table of backup.tables) {
      onProgress(`checking the files of ${table}`);
      if (await isSound(clickhouse, into, table)) continue;
      throw new FatalError(
        `Backup ${name} is damaged: ${table} was restored into ${into}, and its files aren't what their checksums say. ` +
          `Remove it (DROP DATABASE ${into}), and restore another backup.`,
      );
    }
    const proof = await makeOneMoment({
      clickhouse: restored,
      database: into,
      moment: backup.moment,
      candlesOnly: backup.candles_only,
      onProgress,
    });
    await restored.insert({
      table: "replays",
      values: [{ name: journalName(name), partition: 0, first: 0, last: 0, done: true }],
      format: "JSONEachRow",
    });
    await unmarkRestoring(restored, name);
    return { tables: (await readTables(clickhouse, into)).length, moment: backup.moment, proof };
  } finally {
    await restored.close();
  }
}

/** @throws {FatalError} when the database holds tables */
async function assertEmpty(clickhouse: ClickHouseClient, into: string): Promise<void> {
  const there = await readTables(clickhouse, into);
  if (there.length === 0) return;
  const unfinished = unfinishedRestore(await readApplied(clickhouse, into), into);
  throw new FatalError(
    unfinished ??
      `Database ${into} holds ${there.length} tables and views: restore --into another one, or remove it first ` +
        `(DROP DATABASE ${into}).`,
  );
}

/** Definitions and rows from the backup, the table of migrations first: it says that the restore isn't finished. */
async function restoreInPlace(backups: Backups, name: string, restored: ClickHouseClient): Promise<void> {
  const { clickhouse, database } = backups;
  const migrations = `${quote(database)}.migrations`;
  const address = addressOf(backups, name);
  await clickhouse.command({ query: `CREATE DATABASE IF NOT EXISTS ${quote(database)}` });
  await runWithKeys(clickhouse, `RESTORE TABLE ${migrations} ${fromAddress}`, address);
  await markRestoring(restored, name);
  await runWithKeys(
    clickhouse,
    `RESTORE DATABASE ${quote(database)} EXCEPT TABLES ${migrations} ${fromAddress}`,
    address,
  );
  // One that was made after the backup had looked for them.
  for (const table of (await readTables(clickhouse, database)).filter(isPassing)) {
    await restored.command({ query: `DROP TABLE ${quote(table)} SYNC` });
  }
}

/** Definitions from the migrations, rows from the backup. */
async function restoreBeside(
  backups: Backups & { config: RestoreConfig },
  backup: Backup,
  into: string,
  restored: ClickHouseClient,
): Promise<void> {
  const { clickhouse, database, config } = backups;
  await migrate({ ...config, CLICKHOUSE_DATABASE: into }, () => {});
  await markRestoring(restored, backup.name);
  const copies = backup.tables.filter((table) => table !== "migrations")
    .map((table) => `TABLE ${quote(database)}.${quote(table)} AS ${quote(into)}.${quote(table)}`);
  await runWithKeys(
    clickhouse,
    `RESTORE ${copies.join(", ")} ${fromAddress}`,
    addressOf(backups, backup.name),
  );
}

/** Under this name a restore is on record in `replays`. */
function journalName(backup: string): string {
  return `backup/${backup}`;
}

/**
 * Whether a database is what a restore of this backup has left: proven, and nothing was stored in it since.
 *
 * @throws {FatalError} saying why it isn't
 */
export async function assertUntouched(
  { clickhouse }: Pick<Backups, "clickhouse">,
  name: string,
  into: string,
): Promise<void> {
  const unfinished = unfinishedRestore(await readApplied(clickhouse, into), into);
  if (unfinished !== undefined) throw new FatalError(unfinished);
  const [restored] = await bulkRows<{ at: string }>(
    clickhouse,
    "SELECT toString(max(at)) AS at FROM {into:Identifier}.replays WHERE name = {name:String} GROUP BY name",
    { into, name: journalName(name) },
  );
  if (restored === undefined) {
    throw new FatalError(
      `Database ${into} wasn't restored from backup ${name}: restore it --into another one.`,
    );
  }
  for (const table of ["trades", "tickers", "heartbeats", "book_changes", "feed_events", "rejected"]) {
    const [since] = await bulkRows<{ rows: string }>(
      clickhouse,
      `SELECT count() AS rows FROM {into:Identifier}.{table:Identifier}
       WHERE ingested_at >= {at:DateTime64(6, 'UTC')}`,
      { into, table, at: restored.at },
    );
    if (Number(since?.rows) === 0) continue;
    throw new FatalError(
      `Rows were stored in ${into} since backup ${name} was restored (${table}): its moment is over. Restore it --into ` +
        "another database.",
    );
  }
}

/** Whether there is a database with tables. */
export async function hasTables(
  { clickhouse }: Pick<Backups, "clickhouse">,
  database: string,
): Promise<boolean> {
  return (await readTables(clickhouse, database)).length > 0;
}
