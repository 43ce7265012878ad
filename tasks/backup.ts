/**
 * `deno task backup`: the database to S3 by ClickHouse's BACKUP, incremental after the first, checked when it is made
 * (docs/archive.md).
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { assertRestorable, createBackup } from "../lib/archive/backup.ts";
import { momentVariables, readMoment } from "../lib/archive/backup_moment.ts";
import {
  type Backup,
  backupName,
  findBackup,
  listBackups,
  nameOf,
  newestFull,
} from "../lib/archive/backup_record.ts";
import { clickhouseFailure, openBulkClient } from "../lib/archive/statements.ts";
import { runTask } from "../lib/process/task.ts";
import { readConfig } from "../lib/process/config.ts";
import { ConfigError } from "../lib/core/errors.ts";
import { assertS3, openS3, s3Variables } from "../lib/archive/s3.ts";
import { clickhouseVariables } from "../lib/clickhouse/client.ts";

const program = new Command("deno task backup")
  .description("Back the database up to S3: what is new since the newest full backup, or everything.")
  .option("--full", "everything")
  .option("--name <name>", "what to call it (default: the time)")
  .option("--without-kafka", "don't note how far the topics are stored: Kafka is away for good")
  .option("--list", "list the backups instead")
  .option("--check <name>", "read a backup back instead, all of it")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const { full = false, list = false, withoutKafka = false, check, name = nameOf(new Date()) } = options;
  if (!backupName.test(name)) throw new ConfigError(`--name ${name}: expected letters, digits, _, . or -`);
  if ((list || check !== undefined) && (full || withoutKafka || options.name !== undefined)) {
    throw new ConfigError("--list and --check make no backup: leave --full, --name and --without-kafka out");
  }
  const config = readConfig([...clickhouseVariables, ...s3Variables, ...momentVariables]);
  assertS3(config);
  const database = config.CLICKHOUSE_DATABASE;
  const clickhouse = openBulkClient({ ...config, CLICKHOUSE_DATABASE: "default" });
  const backups = { clickhouse, s3: openS3(config), config, database };
  try {
    await backups.s3.assertBucket();
    if (check !== undefined) {
      const backup = await findBackup(backups, check);
      await assertRestorable(backups, backup);
      console.log(`${describe(backup)}  read back: ${backup.tables.length} tables can be restored`);
      return;
    }
    const known = await listBackups(backups);
    if (list) {
      if (known.length === 0) console.log(`no backup of ${database} yet`);
      for (const backup of known) console.log(describe(backup));
      return;
    }
    const moment = withoutKafka ? undefined : () => readMoment(clickhouse, database, config);
    console.log(describe(await createBackup(backups, name, full ? undefined : newestFull(known), moment)));
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    await clickhouse.close();
  }
});

function describe({ name, base, bytes, created_at, moment }: Backup): string {
  const kind = base === undefined ? "full" : `since ${base}`;
  const kafka = moment === undefined ? "  without Kafka" : "";
  return `${name}  ${created_at}  ${kind}  ${bytes.toLocaleString("en-US")} bytes${kafka}`;
}
