/**
 * `deno task restore`: days from the archive, or a whole backup, into a database (docs/archive.md).
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { ArchiveProblem, clickhouseFailure, openPatientWarehouse, readManifest } from "../lib/archive.ts";
import { chooseDays, chooseTables } from "../lib/archive_choice.ts";
import { restoreDay } from "../lib/archive_restore.ts";
import { restoreBackup } from "../lib/backup.ts";
import { runTask } from "../lib/cli.ts";
import { ConfigError, lookup, readConfig } from "../lib/config.ts";
import { readApplied, refuseUnmigrated } from "../lib/migrations.ts";
import { bar, createProgressLine } from "../lib/progress_line.ts";
import { openS3, requireS3, s3Variables } from "../lib/s3.ts";
import { FatalError } from "../lib/service.ts";
import { warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task restore")
  .description("Bring days (UTC) of the archive, or a backup, back from S3.")
  .option("--date <day>", "the day, such as 2026-07-07")
  .option("--from <day>", "the first of several days")
  .option("--to <day>", "the last of them (default: yesterday)")
  .option("--table <names>", "separated by commas (default: all)")
  .option("--product <id>", "only this product")
  .option("--backup <name>", "a backup instead of days; `deno task backup --list` names them")
  .option(
    "--into <database>",
    "write there (default: CLICKHOUSE_DATABASE, which always says what is restored)",
  )
  .option("--dry-run", "read everything back, write nothing")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const { product, backup, dryRun = false } = options;
  if (backup !== undefined) {
    const other = (["date", "from", "to", "table", "product", "dryRun"] as const).find((name) =>
      options[name] !== undefined
    );
    if (other !== undefined) throw new ConfigError("--backup is restored whole: it goes with --into only");
  } else if (options.date === undefined && options.from === undefined) {
    throw new ConfigError("Say what to restore: --date, --from, or --backup");
  }
  const config = readConfig([...warehouseVariables, ...s3Variables]);
  requireS3(config);
  const database = config.CLICKHOUSE_DATABASE;
  const { CLICKHOUSE_DATABASE: into } = options.into === undefined ? config : readInto(options.into);
  const server = openPatientWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const target = openPatientWarehouse({ ...config, CLICKHOUSE_DATABASE: into });
  const s3 = openS3(config);
  const progress = createProgressLine();
  try {
    await s3.checkBucket();
    if (backup !== undefined) {
      const tables = await restoreBackup({ clickhouse: server, s3, config, database }, backup, into);
      console.log(`backup ${backup} of ${database} restored into ${into}: ${tables} tables and views`);
      return;
    }
    const days = chooseDays(options, new Date());
    const tables = chooseTables(options.table);
    await refuseUnmigrated(await readApplied(server, into), into);
    // The files are read by the target's server.
    const archive = { warehouse: target, s3, config, database };
    const total = days.length * tables.length;
    let done = 0;
    let found = 0;
    let failed = 0;
    for (const date of days) {
      for (const table of tables) {
        try {
          const day = await readManifest(archive, table, date);
          const wanted = day?.parts.some(({ product_id }) => product_id === (product ?? product_id));
          if (day !== undefined && wanted) {
            found++;
            const { inserted, there } = await restoreDay(archive, day, target, {
              ...(product !== undefined && { product }),
              dryRun,
              onPart: (id) => progress.show(() => `${bar(done / total)}  ${table} ${date} ${id}`),
            });
            progress.end();
            const did = dryRun ? "would be restored" : "restored";
            console.log(
              `${table} ${date}: ${counted(inserted)} ${did} into ${into}, ${counted(there)} were there`,
            );
          }
        } catch (error) {
          if (!(error instanceof ArchiveProblem)) throw error;
          progress.end();
          console.error(error.message);
          failed++;
        }
        done++;
      }
    }
    if (found === 0 && failed === 0) {
      throw new FatalError(`The archive of ${database} holds nothing of what was asked for.`);
    }
    if (failed > 0) return 1;
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    progress.end();
    await target.close();
    await server.close();
  }
});

/** @throws {ConfigError} when it can't be a database's name */
function readInto(into: string) {
  try {
    return readConfig(["CLICKHOUSE_DATABASE"], lookup({ CLICKHOUSE_DATABASE: into }));
  } catch {
    throw new ConfigError(`--into ${into}: expected letters, digits or _`);
  }
}

function counted(rows: number): string {
  return `${rows.toLocaleString("en-US")} rows`;
}
