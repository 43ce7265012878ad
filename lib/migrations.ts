/**
 * Numbered SQL files, each applied once and recorded with its checksum in the table `migrations`.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import { retry } from "./backoff.ts";
import { clusterForm, requireCluster } from "./cluster.ts";
import type { Config } from "./config.ts";
import type { Logger } from "./log.ts";
import { FatalError } from "./service.ts";
import { openWarehouse, type WarehouseConfig } from "./warehouse.ts";

/** A file of sql/. */
export interface Migration {
  /** Its number and name, `001_trades`. */
  name: string;
  /** SHA-256 of the file, hexadecimal. */
  checksum: string;
  statements: string[];
}

/** A row of the table `migrations`. */
export interface Applied {
  name: string;
  checksum: string;
  /** UTC. */
  applied_at: string;
}

/** What is to be done with the files, given what was applied. */
export interface Plan {
  pending: Migration[];
  /** Why nothing may be applied: one line each, empty when all is well. */
  problems: string[];
}

/** Reads the migrations in the order of their numbers. Files with other names are not migrations. */
export async function readMigrations(folder = migrationsFolder): Promise<Migration[]> {
  const migrations: Migration[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !/^\d{3}_\w+\.sql$/.test(name)) continue;
    const text = await Deno.readTextFile(`${folder}/${name}`);
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    const checksum = new Uint8Array(digest).toHex();
    migrations.push({ name: name.slice(0, -4), checksum, statements: splitStatements(text) });
  }
  return migrations.sort((left, right) => left.name < right.name ? -1 : 1);
}

/** A statement ends with a semicolon at the end of a line. */
export function splitStatements(sql: string): string[] {
  return sql.split(/;[ \t]*$/m).map((statement) => statement.trim())
    .filter((statement) => statement.replace(/--.*$/gm, "").trim() !== "");
}

/** Compares files and records: what is pending, and what must not be. */
export function plan(files: readonly Migration[], applied: readonly Applied[]): Plan {
  const recorded = new Map(applied.map((record) => [record.name, record]));
  const newest = applied.map(({ name }) => name).sort().at(-1) ?? "";
  const pending = files.filter(({ name }) => !recorded.has(name));
  const problems = [
    ...files.flatMap(({ name, checksum }) => {
      const record = recorded.get(name);
      return record === undefined || record.checksum === checksum ? [] : [
        `sql/${name}.sql was changed after it was applied on ${record.applied_at}: put it back as it was, and write ` +
        "the change as a new file with the next number.",
      ];
    }),
    ...pending.filter(({ name }) => name < newest).map(({ name }) =>
      `sql/${name}.sql comes before ${newest}, which is applied already: give it the next number.`
    ),
    ...applied.filter(({ name }) => !files.some((file) => file.name === name)).map(({ name }) =>
      `${name} was applied, and sql/${name}.sql is missing: this tapehouse is older than the database. Update it.`
    ),
  ];
  return { pending, problems };
}

/** What was applied to the database, oldest first; nothing when there is no database yet. */
export async function readApplied(client: ClickHouseClient, database: string): Promise<Applied[]> {
  try {
    const answer = await client.query({
      query: `SELECT name, any(checksum) AS checksum, toString(min(applied_at)) AS applied_at
              FROM {database:Identifier}.migrations GROUP BY name ORDER BY name`,
      query_params: { database },
      format: "JSONEachRow",
    });
    return await answer.json<Applied>();
  } catch (error) {
    const missing = ["UNKNOWN_TABLE", "UNKNOWN_DATABASE"];
    if (error instanceof ClickHouseError && missing.includes(error.type ?? "")) return [];
    throw error;
  }
}

/** The migrations of this tapehouse. */
export const migrationsFolder = `${import.meta.dirname}/../sql`;

/** What was applied: see `Applied`. */
const createMigrations = `CREATE TABLE IF NOT EXISTS migrations
(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = MergeTree
ORDER BY name`;

/**
 * Creates the database where it is missing and applies what is pending.
 *
 * ClickHouse has no transaction around DDL: every statement is written so that it can run again (IF NOT EXISTS), and a
 * migration that failed halfway is simply applied again.
 *
 * @param config with CLICKHOUSE_CLUSTER the tables are made in their cluster form
 * @param onApplied told the name of each migration that was applied
 * @returns how many were applied now
 * @throws {FatalError} when a file was changed after it was applied, the database has the other form, or ClickHouse
 *   refuses a statement
 */
export async function migrate(
  config: WarehouseConfig & Partial<Config<"CLICKHOUSE_CLUSTER">>,
  onApplied: (name: string) => void,
): Promise<number> {
  const database = config.CLICKHOUSE_DATABASE;
  const cluster = config.CLICKHOUSE_CLUSTER ?? "";
  // The database may not be there yet, so this client starts in one that is.
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const warehouse = openWarehouse(config);
  try {
    if (cluster !== "") await requireCluster(server, cluster);
    const files = clusterForm(await readMigrations(), cluster);
    const { pending, problems } = plan(files, await readApplied(server, database));
    if (problems.length > 0) throw new FatalError(problems.join("\n"));
    await requireForm(server, database, cluster);
    await server.command({
      query: `CREATE DATABASE IF NOT EXISTS {database:Identifier}${onCluster(cluster)}`,
      query_params: { database },
    });
    const [journal] = clusterForm(
      [{ name: "migrations", checksum: "", statements: [createMigrations] }],
      cluster,
    );
    for (const query of journal?.statements ?? []) await warehouse.command({ query });
    for (const migration of pending) {
      await apply(warehouse, migration);
      onApplied(migration.name);
    }
    return pending.length;
  } finally {
    await warehouse.close();
    await server.close();
  }
}

/** What is sent to every node of the cluster; nothing when there is none. */
export function onCluster(cluster: string): string {
  return cluster === "" ? "" : ` ON CLUSTER ${cluster}`;
}

/** Tables of one form can't become those of the other. */
async function requireForm(server: ClickHouseClient, database: string, cluster: string): Promise<void> {
  const answer = await server.query({
    query: "SELECT engine FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
    query_params: { database },
    format: "JSONEachRow",
  });
  const [table] = await answer.json<{ engine: string }>();
  if (table === undefined || (table.engine === "Distributed") === (cluster !== "")) return;
  throw new FatalError(
    cluster === ""
      ? `Database ${database} has the tables of a cluster: set CLICKHOUSE_CLUSTER to its name.`
      : `Database ${database} has the tables of a single server, and CLICKHOUSE_CLUSTER=${cluster} needs a database of ` +
        "its own: set CLICKHOUSE_DATABASE to a new name and replay or restore into it (docs/storage.md).",
  );
}

async function apply(warehouse: ClickHouseClient, migration: Migration): Promise<void> {
  for (const statement of migration.statements) {
    await warehouse.command({ query: statement }).catch((error) => {
      const head = statement.replace(/^(--.*\n)+/, "").split("\n")[0];
      throw new FatalError(`sql/${migration.name}.sql, at "${head}": ${error.message}`);
    });
  }
  await warehouse.insert({
    table: "migrations",
    values: [{ name: migration.name, checksum: migration.checksum }],
    format: "JSONEachRow",
  });
}

/**
 * Waits until ClickHouse answers, then checks that every migration is applied.
 *
 * @throws {FatalError} saying what to run when one is missing
 */
export async function requireSchema(
  client: ClickHouseClient,
  database: string,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const applied = await retry(() => readApplied(client, database), {
    signal,
    onError: (error, waitMs) =>
      log.error("ClickHouse doesn't answer, trying again", { error, wait_ms: Math.round(waitMs) }),
  });
  await refuseUnmigrated(applied, database);
}

/** @throws {FatalError} saying what to run when a migration is missing, or was changed after it was applied */
export async function refuseUnmigrated(applied: readonly Applied[], database: string): Promise<void> {
  const { pending, problems } = plan(await readMigrations(), applied);
  if (problems[0] !== undefined) throw new FatalError(problems[0]);
  if (pending.length === 0) return;
  throw new FatalError(
    `Database ${database} lacks ${
      pending.map(({ name }) => name).join(", ")
    }: run \`deno task migrate\` first.`,
  );
}
