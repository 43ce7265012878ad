/**
 * `deno task archive`: days of tables as sorted Parquet in S3, read back, and dropped when that is asked for
 * (docs/archive.md).
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import {
  type Archive,
  archiveDay,
  archivedTables,
  ArchiveProblem,
  clickhouseFailure,
  dropDay,
  lastDroppable,
  openPatientWarehouse,
  readColumns,
  readContents,
  verifyDay,
} from "../lib/archive.ts";
import { chooseDays, chooseTables } from "../lib/archive_choice.ts";
import { runTask } from "../lib/cli.ts";
import { ConfigError, readConfig } from "../lib/config.ts";
import { bar, createProgressLine } from "../lib/progress_line.ts";
import { openS3, requireS3, s3Variables } from "../lib/s3.ts";
import { warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task archive")
  .description("Write days (UTC) of tables to S3 as sorted Parquet, a file a product, and read them back.")
  .option("--date <day>", "the day, such as 2026-07-07 (default: yesterday)")
  .option("--from <day>", "the first of several days")
  .option("--to <day>", "the last of them (default: yesterday)")
  .option(
    "--table <names>",
    `of ${Object.keys(archivedTables).join(", ")}, separated by commas (default: all)`,
  )
  .option("--product <id>", "only this product")
  .option("--drop", "drop what was archived from book_changes, days older than --keep-days")
  .option("--keep-days <days>", "how many whole days stay", "7")
  .option("--rewrite", "also what is archived already and unchanged")
  .option("--verify", "write nothing: read what is in S3 back and compare")
  .option("--dry-run", "say what would be done")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const { product, drop = false, rewrite = false, verify = false, dryRun = false } = options;
  const now = new Date();
  const days = chooseDays(options, now);
  const tables = chooseTables(options.table);
  if (!/^\d{1,5}$/.test(options.keepDays)) {
    throw new ConfigError(`--keep-days ${options.keepDays}: expected a whole number of days`);
  }
  if (drop && product !== undefined) {
    throw new ConfigError("--drop takes whole days, with all products: leave --product out");
  }
  const stays = tables.filter((table) => !archivedTables[table].droppable);
  if (drop && options.table !== undefined && stays.length > 0) {
    throw new ConfigError(`--drop: ${stays.join(", ")} can't be dropped by the day; only book_changes can`);
  }
  if (verify && (drop || rewrite)) {
    throw new ConfigError("--verify writes nothing: leave --drop and --rewrite out");
  }

  const config = readConfig([...warehouseVariables, ...s3Variables]);
  requireS3(config);
  const warehouse = openPatientWarehouse(config);
  const s3 = openS3(config);
  const archive: Archive = { warehouse, s3, config, database: config.CLICKHOUSE_DATABASE };
  const progress = createProgressLine();
  const problems: string[] = [];
  const last = lastDroppable(Number(options.keepDays), now);
  const total = days.length * tables.length;
  let done = 0;

  /** One table's day; prints what was done. */
  async function work(table: (typeof tables)[number], date: string): Promise<void> {
    const onPart = (id: string) => progress.show(() => `${bar(done / total)}  ${table} ${date} ${id}`);
    const part = { ...(product !== undefined && { product }), onPart };
    if (verify) {
      const day = await verifyDay(archive, table, date, part);
      const files = day?.parts.filter(({ product_id }) => product === undefined || product_id === product);
      if (day === undefined || files === undefined || files.length === 0) return;
      const rows = files.reduce((total, file) => total + file.rows, 0);
      const columns = await readColumns(warehouse, table);
      const same = JSON.stringify(columns) === JSON.stringify(day.columns);
      const stored = same ? await readContents(warehouse, table, date, columns, product) : [];
      const equal = stored.filter(({ product_id, digest }) =>
        files.some((file) =>
          file.product_id === product_id && file.digest === digest
        )
      ).length;
      const compared = !same
        ? "not compared: the table's columns have changed"
        : stored.length === 0
        ? "none of it in the table"
        : `${equal} of ${stored.length} products as in the table`;
      say(`${table} ${date}: ${counted(rows)} in ${files.length} files, read back, ${compared}`);
      return;
    }
    const { manifest, written, kept, rows } = await archiveDay(archive, table, date, {
      ...part,
      rewrite,
      dryRun,
    });
    const would = dryRun ? "would be archived" : "archived and read back";
    if (written > 0) {
      const all = dryRun ? "" : `, ${counted(rows)} in all`;
      say(`${table} ${date}: ${written} products ${would}, ${kept} unchanged${all}`);
    } else if (kept > 0) say(`${table} ${date}: unchanged, ${counted(rows)}`);
    if (!drop || !archivedTables[table].droppable || manifest === undefined) return;
    if (date > last) return say(`${table} ${date}: kept in the table (--keep-days ${options.keepDays})`);
    if (dryRun) return say(`${table} ${date}: would be read back and dropped`);
    const gone = await dropDay(archive, manifest);
    if (gone > 0) say(`${table} ${date}: read back once more, ${counted(gone)} dropped from the table`);
  }

  function say(line: string): void {
    progress.end();
    console.log(line);
  }

  try {
    await s3.checkBucket();
    for (const date of days) {
      for (const table of tables) {
        try {
          await work(table, date);
        } catch (error) {
          if (!(error instanceof ArchiveProblem)) throw error;
          // One bad day doesn't keep the others from being safe.
          progress.end();
          console.error(error.message);
          problems.push(error.message);
        }
        done++;
      }
    }
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    progress.end();
    await warehouse.close();
  }
  if (problems.length === 0) return;
  console.error(`${problems.length} of ${total} table-days have a problem; nothing of them was dropped.`);
  return 1;
});

function counted(rows: number): string {
  return `${rows.toLocaleString("en-US")} rows`;
}
