/**
 * The files of sql/, each recorded with its checksum in the table `migrations` when it is applied: tables once, views
 * whenever they change.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { assertCluster, clusterForm, onCluster } from "./cluster.ts";
import type { Config } from "../process/config.ts";
import { setWindows, type windowVariables } from "./dedup_window.ts";
import type { Logger } from "../process/log.ts";
import { isView, type Migration, readMigrations } from "./sql_files.ts";
import { FatalError } from "../core/errors.ts";
import { type ClickHouseConfig, explainClickHouseError, isMissingTable, openClickHouse } from "./client.ts";
import { retryForever } from "../core/retry_forever.ts";
import { rows } from "./rows.ts";

/** What the table `migrations` says of a file. */
export interface Applied {
  name: string;
  checksum: string;
  /** When it was applied last, UTC. */
  applied_at: string;
}

/** What is to be done with the files, given what was applied. */
export interface Plan {
  pending: Migration[];
  /** Why nothing may be applied: one line each, empty when all is well. */
  problems: string[];
}

/** Compares files and records: what is pending, and what must not be. */
export function plan(files: readonly Migration[], applied: readonly Applied[]): Plan {
  const recorded = new Map(applied.map((record) => [record.name, record]));
  const isPending = (file: Migration) => {
    const record = recorded.get(file.name);
    return record === undefined || (isView(file) && record.checksum !== file.checksum);
  };
  const pending = files.filter(isPending);
  const whole = unfinishedRestore(applied) ?? earlierSchema(applied);
  if (whole !== undefined) return { pending, problems: [whole] };
  const tables = files.filter((file) => !isView(file));
  const appliedTables = applied.filter((record) => !isView(record));
  const newest = appliedTables.map(({ name }) => name).sort().at(-1) ?? "";
  const problems = [
    ...tables.flatMap(({ name, checksum }) => {
      const record = recorded.get(name);
      return record === undefined || record.checksum === checksum ? [] : [
        `sql/${name}.sql was changed after it was applied on ${record.applied_at}: put it back as it was, and write ` +
        "the change as a new file with the next number.",
      ];
    }),
    ...tables.filter(({ name }) => !recorded.has(name) && name < newest).map(({ name }) =>
      `sql/${name}.sql comes before ${newest}, which is applied already: give it the next number.`
    ),
    ...appliedTables.filter(({ name }) => !tables.some((file) => file.name === name)).map(({ name }) =>
      `${name} was applied, and sql/${name}.sql is missing: this tapehouse is older than the database. Update it.`
    ),
  ];
  return { pending, problems };
}

/** The first few names, and how many more there are. */
export function listNames(migrations: readonly Pick<Migration, "name">[]): string {
  const shown = migrations.slice(0, 3).map(({ name }) => name).join(", ");
  return migrations.length > 3 ? `${shown} and ${migrations.length - 3} more` : shown;
}

/** What to do with a database that was made before sql/ had tables/ and views/; undefined for all others. */
function earlierSchema(applied: readonly Applied[]): string | undefined {
  const old = applied.filter(({ name }) => !name.includes("/"));
  return old.length === 0 ? undefined : (
    `This database was made by an earlier tapehouse (${
      listNames(old)
    }), and its tables can't be changed into today's: ` +
    "set CLICKHOUSE_DATABASE to a new name, run `deno task migrate`, and fill it with `deno task replay --topic`."
  );
}

/** In the place of a migration's name: a backup is being restored, and isn't proven yet. */
const restoring = "restoring ";

/** Notes that a database isn't to be used before `unmarkRestoring`. */
export async function markRestoring(clickhouse: ClickHouseClient, backup: string): Promise<void> {
  const values = [{ name: restoring + backup, checksum: "" }];
  await clickhouse.insert({ table: "migrations", values, format: "JSONEachRow" });
}

/** Everything is restored and proven. */
export async function unmarkRestoring(clickhouse: ClickHouseClient, backup: string): Promise<void> {
  await clickhouse.command({
    query: "DELETE FROM migrations WHERE name = {name:String}",
    query_params: { name: restoring + backup },
  });
}

/** What to do with a database whose restore didn't end; undefined when there was none, or it did. */
export function unfinishedRestore(applied: readonly Applied[], database = "this one"): string | undefined {
  const record = applied.find(({ name }) => name.startsWith(restoring));
  return record &&
    `The restore of backup ${record.name.slice(restoring.length)} into this database didn't end, or still ` +
      `runs: let it end, or remove the database (DROP DATABASE ${database}) and restore again.`;
}

/** What was applied to the database, oldest first; nothing when there is no database yet. */
export async function readApplied(clickhouse: ClickHouseClient, database: string): Promise<Applied[]> {
  try {
    return await rows<Applied>(
      clickhouse,
      `SELECT name, argMax(checksum, record.applied_at) AS checksum, toString(max(record.applied_at)) AS applied_at
       FROM {database:Identifier}.migrations AS record GROUP BY name ORDER BY name`,
      { database },
    );
  } catch (error) {
    if (isMissingTable(error)) return [];
    throw error;
  }
}

/** What was applied: see `Applied`. */
const createMigrations = `CREATE TABLE IF NOT EXISTS migrations
(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = MergeTree
ORDER BY name`;

/**
 * Creates the database where it is missing and applies what is pending.
 *
 * ClickHouse has no transaction around DDL: every statement is written so that it can run again (IF NOT EXISTS, OR
 * REPLACE), and a file that failed halfway is simply applied again.
 *
 * @param config with CLICKHOUSE_CLUSTER the tables are made in their cluster form; how many blocks they know again is
 *   derived from KAFKA_PARTITIONS and CONSUMER_FLUSH_MS
 * @param onApplied told the name of each file of tables that was applied, then those of the views
 * @returns how many were applied now
 * @throws {FatalError} when a file was changed after it was applied, the database has the other form, or ClickHouse
 *   refuses a statement
 */
export async function migrate(
  config: ClickHouseConfig & Partial<Config<"CLICKHOUSE_CLUSTER" | (typeof windowVariables)[number]>>,
  onApplied: (name: string) => void,
): Promise<number> {
  const database = config.CLICKHOUSE_DATABASE;
  const cluster = config.CLICKHOUSE_CLUSTER ?? "";
  // The database may not be there yet, so this client starts in one that is.
  const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const clickhouse = openClickHouse(config);
  try {
    if (cluster !== "") await assertCluster(server, cluster);
    const files = clusterForm(await readMigrations(), cluster);
    const { pending, problems } = plan(files, await readApplied(server, database));
    if (problems.length > 0) throw new FatalError(problems.join("\n"));
    await assertForm(server, database, cluster);
    await server.command({
      query: `CREATE DATABASE IF NOT EXISTS {database:Identifier}${onCluster(cluster)}`,
      query_params: { database },
    });
    const [journal] = clusterForm(
      [{ name: "migrations", checksum: "", statements: [createMigrations] }],
      cluster,
    );
    for (const query of journal?.statements ?? []) await clickhouse.command({ query });
    for (const migration of pending.filter((file) => !isView(file))) {
      await apply(clickhouse, [migration]);
      onApplied(migration.name);
    }
    const views = pending.filter(isView);
    await apply(clickhouse, views);
    if (views.length > 0) onApplied(listNames(views));
    const { KAFKA_PARTITIONS = 1, CONSUMER_FLUSH_MS = 250 } = config;
    await setWindows(clickhouse, { KAFKA_PARTITIONS, CONSUMER_FLUSH_MS }, cluster);
    return pending.length;
  } finally {
    await clickhouse.close();
    await server.close();
  }
}

/** Tables of one form can't become those of the other. */
async function assertForm(clickhouse: ClickHouseClient, database: string, cluster: string): Promise<void> {
  const [table] = await rows<{ engine: string }>(
    clickhouse,
    "SELECT engine FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
    { database },
  );
  if (table === undefined || (table.engine === "Distributed") === (cluster !== "")) return;
  throw new FatalError(
    cluster === ""
      ? `Database ${database} has the tables of a cluster: set CLICKHOUSE_CLUSTER to its name.`
      : `Database ${database} has the tables of a single server, and CLICKHOUSE_CLUSTER=${cluster} needs a database of ` +
        "its own: set CLICKHOUSE_DATABASE to a new name and replay or restore into it (docs/storage.md).",
  );
}

/** Runs the files' statements, then records them. */
async function apply(clickhouse: ClickHouseClient, migrations: readonly Migration[]): Promise<void> {
  for (const { name, statements } of migrations) {
    for (const statement of statements) {
      await clickhouse.command({ query: statement }).catch((error) => {
        const head = statement.replace(/^(--.*\n)+/, "").split("\n")[0];
        throw new FatalError(`sql/${name}.sql, at "${head}": ${error.message}`);
      });
    }
  }
  if (migrations.length === 0) return;
  await clickhouse.insert({
    table: "migrations",
    values: migrations.map(({ name, checksum }) => ({ name, checksum })),
    format: "JSONEachRow",
  });
}

/**
 * Waits until ClickHouse answers, then checks that every migration is applied.
 *
 * @throws {FatalError} saying what to run when one is missing
 */
export async function waitForSchema(
  clickhouse: ClickHouseClient,
  database: string,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const applied = await retryForever("ClickHouse doesn't answer", () => readApplied(clickhouse, database), {
    signal,
    log,
    explain: explainClickHouseError,
  });
  await assertMigrated(applied, database);
}

/** @throws {FatalError} saying what to run when a migration is missing, or was changed after it was applied */
export async function assertMigrated(applied: readonly Applied[], database: string): Promise<void> {
  const { pending, problems } = plan(await readMigrations(), applied);
  if (problems[0] !== undefined) throw new FatalError(problems[0]);
  if (pending.length === 0) return;
  throw new FatalError(
    `Database ${database} lacks ${listNames(pending)}: run \`deno task migrate\` first.`,
  );
}
