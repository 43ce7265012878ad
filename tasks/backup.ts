/**
 * `deno task backup`: the database to S3 by ClickHouse's BACKUP, incremental after the first (docs/archive.md).
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { clickhouseFailure, openPatientWarehouse } from "../lib/archive.ts";
import { backupName, createBackup, listBackups, nameOf, newestFull } from "../lib/backup.ts";
import { runTask } from "../lib/cli.ts";
import { ConfigError, readConfig } from "../lib/config.ts";
import { openS3, requireS3, s3Variables } from "../lib/s3.ts";
import { warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task backup")
  .description("Back the database up to S3: what is new since the newest full backup, or everything.")
  .option("--full", "everything")
  .option("--name <name>", "what to call it (default: the time)")
  .option("--list", "list the backups instead")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const { full = false, list = false, name = nameOf(new Date()) } = program.parse(Deno.args, { from: "user" })
    .opts();
  if (!backupName.test(name)) throw new ConfigError(`--name ${name}: expected letters, digits, _, . or -`);
  const config = readConfig([...warehouseVariables, ...s3Variables]);
  requireS3(config);
  const database = config.CLICKHOUSE_DATABASE;
  const clickhouse = openPatientWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const backups = { clickhouse, s3: openS3(config), config, database };
  try {
    await backups.s3.checkBucket();
    const known = await listBackups(backups);
    if (list) {
      if (known.length === 0) console.log(`no backup of ${database} yet`);
      for (const backup of known) console.log(describe(backup));
      return;
    }
    console.log(describe(await createBackup(backups, name, full ? undefined : newestFull(known))));
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    await clickhouse.close();
  }
});

function describe(
  backup: { name: string; base?: string | undefined; bytes: number; created_at: string },
): string {
  const kind = backup.base === undefined ? "full" : `since ${backup.base}`;
  return `${backup.name}  ${backup.created_at}  ${kind}  ${backup.bytes.toLocaleString("en-US")} bytes`;
}
