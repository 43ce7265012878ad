/**
 * `deno task restore`: days from the archive, or a whole backup, into a database (docs/archive.md).
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Command } from "@commander-js/extra-typings";
import { type Moment, type MomentConfig, momentVariables } from "../lib/archive/backup_moment.ts";
import type { Proof } from "../lib/archive/backup_proof.ts";
import { findBackup } from "../lib/archive/backup_record.ts";
import {
  assertUntouched,
  hasTables,
  restoreBackup,
  type RestoreConfig,
} from "../lib/archive/backup_restore.ts";
import { rewindGroup } from "../lib/archive/backup_rewind.ts";
import { chooseDays, chooseTables } from "../lib/archive/day_choice.ts";
import { ArchiveProblem, readManifest } from "../lib/archive/manifest.ts";
import { restoreDay } from "../lib/archive/restore_day.ts";
import { bulkRows, clickhouseFailure, openBulkClient } from "../lib/archive/statements.ts";
import { runTask } from "../lib/process/task.ts";
import { lookup, readConfig } from "../lib/process/config.ts";
import { ConfigError, FatalError } from "../lib/core/errors.ts";
import { windowVariables } from "../lib/clickhouse/dedup_window.ts";
import { engineGroup } from "../lib/clickhouse/kafka_engine.ts";
import { assertMigrated, readApplied } from "../lib/clickhouse/migrations.ts";
import { bar, createProgressLine, type ProgressLine } from "../lib/process/progress.ts";
import { assertS3, openS3, type S3, s3Variables } from "../lib/archive/s3.ts";
import { clickhouseVariables } from "../lib/clickhouse/client.ts";

/** Gaps of more trades than REST serves in a day or so. */
const largeGap = 1_000_000;

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
  .option(
    "--rewind-group",
    "with --backup: point KAFKA_GROUP to the backup's moment, so that a consumer goes on there",
  )
  .option("--dry-run", "read everything back, write nothing")
  .allowExcessArguments(false)
  .exitOverride();

type Options = ReturnType<typeof program.opts>;

/** What both ways of restoring need. */
interface Context {
  config: RestoreConfig & MomentConfig;
  s3: S3;
  /** A client in a database that there always is … */
  server: ClickHouseClient;
  /** … and one in the database that is written, which may not be there yet. */
  target: ClickHouseClient;
  /** Whose archive or backup is restored, and into which database. */
  database: string;
  into: string;
  progress: ProgressLine;
}

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  assertTogether(options);
  const config = readConfig([...clickhouseVariables, ...windowVariables, ...s3Variables, ...momentVariables]);
  assertS3(config);
  const { CLICKHOUSE_DATABASE: into } = options.into === undefined ? config : readInto(options.into);
  const context: Context = {
    config,
    s3: openS3(config),
    server: openBulkClient({ ...config, CLICKHOUSE_DATABASE: "default" }),
    target: openBulkClient({ ...config, CLICKHOUSE_DATABASE: into }),
    database: config.CLICKHOUSE_DATABASE,
    into,
    progress: createProgressLine(),
  };
  try {
    await context.s3.assertBucket();
    if (options.backup === undefined) return await restoreDays(context, options);
    await restoreWhole(context, options.backup, options.rewindGroup ?? false);
  } catch (error) {
    throw clickhouseFailure(error, config);
  } finally {
    context.progress.end();
    await context.target.close();
    await context.server.close();
  }
});

/** @throws {ConfigError} for options that don't go together */
function assertTogether(options: Options): void {
  if (options.backup !== undefined) {
    const other = (["date", "from", "to", "table", "product", "dryRun"] as const).find((name) =>
      options[name] !== undefined
    );
    if (other !== undefined) {
      throw new ConfigError("--backup is restored whole: it goes with --into and --rewind-group only");
    }
  } else if (options.rewindGroup) {
    throw new ConfigError(
      "--rewind-group goes with --backup: days of the archive have no place in the topics",
    );
  } else if (options.date === undefined && options.from === undefined) {
    throw new ConfigError("Say what to restore: --date, --from, or --backup");
  }
}

/**
 * Days of the archive; a day that can't be restored doesn't keep the others from it.
 *
 * @returns the exit code
 */
async function restoreDays(context: Context, options: Options): Promise<number> {
  const { config, s3, server, target, database, into, progress } = context;
  const { product, dryRun = false } = options;
  const days = chooseDays(options, new Date());
  const tables = chooseTables(options.table);
  await assertMigrated(await readApplied(server, into), into);
  // The files are read by the target's server.
  const archive = { clickhouse: target, s3, config, database };
  const total = days.length * tables.length;
  const gapsBefore = await readLargeGaps(target);
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
  if (!dryRun) warnOfGaps(gapsBefore, await readLargeGaps(target), into);
  return failed > 0 ? 1 : 0;
}

/** A backup, its proof, and the group's place. */
async function restoreWhole(context: Context, name: string, rewinds: boolean): Promise<void> {
  const { config, s3, server, database, into, progress } = context;
  const backups = { clickhouse: server, s3, config, database };
  const { moment } = await findBackup(backups, name);
  if (rewinds) await assertCanRewind(context, name, moment);
  if (rewinds && await hasTables(backups, into)) {
    await assertUntouched(backups, name, into);
  } else {
    const { tables, proof } = await restoreBackup(
      backups,
      name,
      into,
      (what) => progress.show(() => what),
    );
    progress.end();
    for (const line of describeProof(proof)) console.log(line);
    console.log(`backup ${name} of ${database} restored into ${into}: ${tables} tables and views`);
  }
  if (moment === undefined) {
    console.log("made without Kafka: the tables agree; where a consumer would have to go on isn't known");
  } else if (rewinds) {
    for (const line of await rewindGroup(moment, config)) console.log(line);
  } else {
    for (const line of describeMoment(moment, name, into, database)) console.log(line);
  }
}

/**
 * Better known now than after the hours of a restore.
 *
 * @throws {FatalError} when the group can't be pointed to the moment, or belongs to a database that is still there
 */
async function assertCanRewind(
  { config, server, database, into }: Context,
  name: string,
  moment: Moment | undefined,
): Promise<void> {
  if (moment === undefined) {
    throw new FatalError(
      `Backup ${name} was made without Kafka: it doesn't say where a consumer would go on.`,
    );
  }
  const group = config.KAFKA_GROUP;
  const isSame = [group, engineGroup(group)].includes(moment.group);
  if (into !== database && isSame && await hasTables({ clickhouse: server }, database)) {
    throw new FatalError(
      `Group ${moment.group} writes into ${database}, which is still there, and ${into} needs one of its own: set ` +
        "KAFKA_GROUP to a new name.",
    );
  }
  await rewindGroup(moment, config, { dryRun: true });
}

/** A line a table: rows, digest, what was removed, what it was compared with. */
function describeProof({ lines, doubles, gaps, missing }: Proof): string[] {
  const wide = Math.max(...lines.map(({ table }) => table.length));
  return [
    ...lines.map(({ table, rows, digest, removed, proven }) =>
      [
        table.padEnd(wide),
        counted(rows).padStart(18),
        digest,
        [proven, removed > 0 ? `${counted(removed)} after the moment removed` : ""].filter(Boolean).join(
          "; ",
        ),
      ].join("  ").trimEnd()
    ),
    doubles === 0
      ? "every trade is stored once"
      : `${doubles} trades are stored twice, as they were when it was made`,
    gaps === 0
      ? "no trade is missing"
      : `${gaps} gaps, ${missing.toLocaleString("en-US")} trades missing: backfill fills them`,
  ];
}

/** Which moment it is, and what to do to go on from it. */
function describeMoment(moment: Moment, name: string, into: string, database: string): string[] {
  const places = [moment.market, moment.level2].map(({ topic, offsets }) => `${topic} ${offsets.join(", ")}`);
  const copy = into === database
    ? ""
    : `KAFKA_GROUP=<a new name> deno task restore --backup ${name} --into ${into}`;
  return [
    `its moment: ${moment.at} (UTC), first offsets that aren't in it: ${places.join("; ")}`,
    "to go on live, stop consumer.ts and run: " +
    `${copy || `deno task restore --backup ${name}`} --rewind-group`,
  ];
}

interface LargeGap {
  product_id: string;
  first: string;
  last: string;
  ids: string;
}

async function readLargeGaps(target: ClickHouseClient): Promise<LargeGap[]> {
  return await bulkRows<LargeGap>(
    target,
    `SELECT product_id, toString(first_missing) AS first, toString(last_missing) AS last, toString(missing) AS ids
     FROM trade_gaps WHERE missing > ${largeGap} ORDER BY product_id, first_missing`,
  );
}

/** What is missing between an old day and the tape counts as a gap from now on. */
function warnOfGaps(before: readonly LargeGap[], after: readonly LargeGap[], into: string): void {
  for (const { product_id, first, last, ids } of after) {
    if (before.some((gap) => gap.product_id === product_id && gap.last === last && gap.first === first)) {
      continue;
    }
    console.error(
      `warning: ${product_id}: the tape of ${into} begins earlier now, and trades ${first} to ${last} ` +
        `(${
          Number(ids).toLocaleString("en-US")
        }) count as missing. Restore the days between, or restore --into a ` +
        "database that no backfill watches.",
    );
  }
}

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
