/**
 * `deno task archive`: days of tables as sorted Parquet in S3, read back, and dropped when that is asked for
 * (docs/archive.md).
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { archiveDay, dropDay } from "../lib/archive/archive_day.ts";
import { chooseDays, chooseTables, lastDroppable } from "../lib/archive/day_choice.ts";
import { readColumns, readContents } from "../lib/archive/day_rows.ts";
import { type Archive, type ArchivedTable, archivedTables, ArchiveProblem } from "../lib/archive/manifest.ts";
import { clickhouseFailure, openBulkClient } from "../lib/archive/statements.ts";
import { verifyDay } from "../lib/archive/verify_day.ts";
import { runTask } from "../lib/process/task.ts";
import { readConfig } from "../lib/process/config.ts";
import { ConfigError } from "../lib/core/errors.ts";
import { bar, createProgressLine } from "../lib/process/progress.ts";
import { assertS3, openS3, s3Variables } from "../lib/archive/s3.ts";
import { clickhouseVariables } from "../lib/clickhouse/client.ts";

const program = new Command("deno task archive")
  .description("Write days (UTC) of tables to S3 as sorted Parquet, a file a product, and read them back.")
  .option("--date <day>", "the day, such as 2026-07-07 (default: all of --back)")
  .option("--from <day>", "the first of several days")
  .option("--to <day>", "the last of them (default: yesterday)")
  .option(
    "--back <days>",
    "without --date and --from: the last so many days, of which only what has changed is written",
    "7",
  )
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

/** What a run is asked for. */
interface Plan {
  /** UTC, oldest first. */
  days: string[];
  tables: ArchivedTable[];
  product: string | undefined;
  drop: boolean;
  keepDays: number;
  rewrite: boolean;
  verify: boolean;
  dryRun: boolean;
}

/** Where a day's work is told. */
interface Report {
  /** A line that stays. */
  say(line: string): void;
  /** Told of each product before it is written or read. */
  onPart(productId: string): void;
}

await runTask(async () => {
  const now = new Date();
  const plan = readPlan(now);
  const config = readConfig([...clickhouseVariables, ...s3Variables]);
  assertS3(config);
  const clickhouse = openBulkClient(config);
  const s3 = openS3(config);
  const archive: Archive = { clickhouse, s3, config, database: config.CLICKHOUSE_DATABASE };
  const progress = createProgressLine();
  const total = plan.days.length * plan.tables.length;
  let done = 0;
  let problems = 0;
  function say(line: string): void {
    progress.end();
    console.log(line);
  }
  try {
    await s3.assertBucket();
    for (const date of plan.days) {
      for (const table of plan.tables) {
        const onPart = (id: string) => progress.show(() => `${bar(done / total)}  ${table} ${date} ${id}`);
        try {
          if (plan.verify) await verify(archive, table, date, plan, { say, onPart });
          else await write(archive, table, date, plan, { say, onPart }, now);
        } catch (error) {
          if (!(error instanceof ArchiveProblem)) throw error;
          // One bad day doesn't keep the others from being safe.
          progress.end();
          console.error(error.message);
          problems++;
        }
        done++;
      }
    }
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    progress.end();
    await clickhouse.close();
  }
  if (problems === 0) return;
  console.error(`${problems} of ${total} table-days have a problem; nothing of them was dropped.`);
  return 1;
});

/** @throws {ConfigError} for options that are wrong, or don't go together */
function readPlan(now: Date): Plan {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const { product, drop = false, rewrite = false, verify = false, dryRun = false } = options;
  const tables = chooseTables(options.table);
  if (!/^\d{1,5}$/.test(options.keepDays)) {
    throw new ConfigError(`--keep-days ${options.keepDays}: expected a whole number of days`);
  }
  if (!/^[1-9]\d{0,4}$/.test(options.back)) {
    throw new ConfigError(`--back ${options.back}: expected a number of days, 1 or more`);
  }
  const keepDays = Number(options.keepDays);
  // With --drop the day is among them that isn't kept any more.
  const back = Math.max(Number(options.back), drop ? keepDays + 1 : 1);
  const days = chooseDays(options, now, back);
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
  return { days, tables, product, drop, keepDays, rewrite, verify, dryRun };
}

/** Reads a table's day back, and compares it with the table. */
async function verify(
  archive: Archive,
  table: ArchivedTable,
  date: string,
  { product }: Plan,
  { say, onPart }: Report,
): Promise<void> {
  const { clickhouse } = archive;
  const day = await verifyDay(archive, table, date, { ...(product !== undefined && { product }), onPart });
  const files = day?.parts.filter(({ product_id }) => product_id === (product ?? product_id));
  if (day === undefined || files === undefined || files.length === 0) return;
  const rows = files.reduce((total, file) => total + file.rows, 0);
  const columns = await readColumns(clickhouse, table);
  const same = JSON.stringify(columns) === JSON.stringify(day.columns);
  const stored = same ? await readContents(clickhouse, table, date, columns, product) : [];
  const equal =
    stored.filter(({ product_id, digest }) =>
      files.some((file) => file.product_id === product_id && file.digest === digest)
    ).length;
  const compared = !same
    ? "not compared: the table's columns have changed"
    : stored.length === 0
    ? "none of it in the table"
    : `${equal} of ${stored.length} products as in the table`;
  say(`${table} ${date}: ${counted(rows)} in ${files.length} files, read back, ${compared}`);
}

/** Archives a table's day, and drops it when that is asked for. */
async function write(
  archive: Archive,
  table: ArchivedTable,
  date: string,
  { product, drop, keepDays, rewrite, dryRun }: Plan,
  { say, onPart }: Report,
  now: Date,
): Promise<void> {
  const { manifest, written, kept, rows } = await archiveDay(archive, table, date, {
    ...(product !== undefined && { product }),
    rewrite,
    dryRun,
    onPart,
  });
  const would = dryRun ? "would be archived" : "archived and read back";
  if (written > 0) {
    const all = dryRun ? "" : `, ${counted(rows)} in all`;
    say(`${table} ${date}: ${written} products ${would}, ${kept} unchanged${all}`);
  } else if (kept > 0) say(`${table} ${date}: unchanged, ${counted(rows)}`);
  if (!drop || !archivedTables[table].droppable || manifest === undefined) return;
  if (date > lastDroppable(keepDays, now)) {
    return say(`${table} ${date}: kept in the table (--keep-days ${keepDays})`);
  }
  if (dryRun) return say(`${table} ${date}: would be read back and dropped`);
  const dropped = await dropDay(archive, manifest);
  if (dropped > 0) say(`${table} ${date}: read back once more, ${counted(dropped)} dropped from the table`);
}

function counted(rows: number): string {
  return `${rows.toLocaleString("en-US")} rows`;
}
