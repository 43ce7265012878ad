/**
 * The cluster form of the migrations: the same files of sql/, rewritten for CLICKHOUSE_CLUSTER. A table `x` becomes a
 * replicated `x_local` on every node and a Distributed `x` over them, sharded by product; materialized views go from local
 * to local table; all other views read the Distributed ones. docs/storage.md tells how to run a cluster.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { Migration } from "./sql_files.ts";
import { FatalError } from "../core/errors.ts";
import { tuples } from "./rows.ts";

/** Where the replicas of a table meet in Keeper; the server's macros fill in shard and replica. */
const replica = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";

const leadingComment = /^(?:\s*--.*(?:\n|$))*\s*/;
const createTable = /^CREATE TABLE IF NOT EXISTS (\w+)(?=[\s(])/;
const createView = /^(CREATE VIEW IF NOT EXISTS|CREATE OR REPLACE VIEW) (\w+)/;
const createMaterialized = /^CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+)/;
const alterTable = /^ALTER TABLE (\w+)/;
const engine = /^ENGINE = (\w*MergeTree)(?:\(([^()]*)\))?/m;

/**
 * The migrations as they are run on a cluster, the same when `cluster` is empty. Checksums stay those of the files.
 *
 * @param files all of them: a later file's views read the tables of an earlier one
 * @throws {FatalError} at a statement that has no cluster form, by name
 */
export function clusterForm(files: readonly Migration[], cluster: string): Migration[] {
  if (cluster === "") return [...files];
  const tables = shardingKeys(files.flatMap(({ statements }) => statements));
  return files.map((file) => ({
    ...file,
    statements: file.statements.flatMap((statement) => {
      const rewritten = clusterStatements(statement, cluster, tables);
      if (rewritten !== undefined) return rewritten;
      throw new FatalError(
        `sql/${file.name}.sql, at "${code(statement).split("\n")[0]}": this statement has no cluster form. ` +
          "Write it as CREATE TABLE … ENGINE = …MergeTree, CREATE VIEW, CREATE MATERIALIZED VIEW … TO or ALTER TABLE.",
      );
    }),
  }));
}

/** The tables that the statements make, each with what its rows are spread by; undefined where that can't be told. */
export function shardingKeys(statements: readonly string[]): Map<string, string | undefined> {
  const keys = new Map<string, string | undefined>();
  for (const text of statements.map(code)) {
    const name = createTable.exec(text)?.[1];
    if (name !== undefined) keys.set(name, shardingKey(text));
  }
  return keys;
}

/**
 * One statement's cluster form, in the order in which to run it; undefined when it has none.
 *
 * @param tables the names that are tables of ours, with what their rows are spread by
 */
export function clusterStatements(
  statement: string,
  cluster: string,
  tables: ReadonlyMap<string, string | undefined>,
): string[] | undefined {
  const comment = leadingComment.exec(statement)?.[0] ?? "";
  const text = code(statement);
  const on = `ON CLUSTER ${cluster}`;

  if (createTable.test(text)) {
    const name = createTable.exec(text)?.[1];
    const key = shardingKey(text);
    if (name === undefined || key === undefined || !engine.test(text)) return undefined;
    const local = text
      .replace(createTable, `CREATE TABLE IF NOT EXISTS $1_local ${on}`)
      .replace(
        engine,
        (_, family: string, args = "") =>
          `ENGINE = Replicated${family}(${[replica, ...(args === "" ? [] : [args])].join(", ")})`,
      );
    const distributed = `CREATE TABLE IF NOT EXISTS ${name} ${on} AS ${name}_local\n` +
      `ENGINE = Distributed('${cluster}', currentDatabase(), '${name}_local', cityHash64(${key}))`;
    return [comment + local, distributed];
  }
  if (createMaterialized.test(text)) {
    const local = text
      .replace(createMaterialized, `CREATE MATERIALIZED VIEW IF NOT EXISTS $1 ${on} TO $2_local`)
      // Columns may be named by their table: it keeps its name as an alias.
      .replace(
        /\b(FROM|JOIN) (\w+)( AS\b)?/g,
        (found, word: string, name: string, alias: string | undefined) =>
          tables.has(name) ? `${word} ${name}_local${alias ?? ` AS ${name}`}` : found,
      );
    return [comment + local];
  }
  if (createView.test(text)) {
    return [comment + text.replace(createView, `$1 $2 ${on}`)];
  }
  if (alterTable.test(text)) {
    const local = text.replace(alterTable, `ALTER TABLE $1_local ${on}`);
    // A Distributed table has columns, but neither settings nor partitions.
    return /\b(ADD|DROP|MODIFY|RENAME|COMMENT) COLUMN\b/.test(text)
      ? [comment + local, text.replace(alterTable, `ALTER TABLE $1 ${on}`)]
      : [comment + local];
  }
  return undefined;
}

/** All rows of a product on one shard; what has no product goes by the first column of its order key. */
function shardingKey(text: string): string | undefined {
  if (/^ {4}product_id /m.test(text)) return "product_id";
  return /\bORDER BY \(?(\w+)/.exec(text)?.[1];
}

/** A statement without the comment on its top. */
function code(statement: string): string {
  return statement.replace(leadingComment, "");
}

/** What is sent to every node of the cluster; nothing when there is none. */
export function onCluster(cluster: string): string {
  return cluster === "" ? "" : ` ON CLUSTER ${cluster}`;
}

/** What every user who writes or reads must have in a profile (deploy/cluster/users.xml), and why. */
const required = {
  // Otherwise an insert is confirmed when it lies in a queue, and a repeated trade isn't seen yet.
  distributed_foreground_insert: "1",
  // Otherwise a view that joins two tables is refused as soon as there are two shards.
  distributed_product_mode: "global",
};

/**
 * Checks that the server knows the cluster and that the user has the settings without which trades would count twice.
 *
 * @param clickhouse a client in a database that exists
 * @throws {FatalError} saying what to set
 */
export async function assertCluster(clickhouse: ClickHouseClient, cluster: string): Promise<void> {
  const [row] = await tuples<[nodes: number, settings: [string, string][]]>(
    clickhouse,
    `SELECT (SELECT count() FROM system.clusters WHERE cluster = {cluster:String}),
       (SELECT groupArray((name, value)) FROM system.settings WHERE name IN {names:Array(String)})`,
    { cluster, names: Object.keys(required) },
  );
  const [nodes = 0, settings = []] = row ?? [];
  if (nodes === 0) {
    throw new FatalError(
      `CLICKHOUSE_CLUSTER=${cluster}: the server knows no such cluster. Its configuration must name it in ` +
        "remote_servers: see deploy/cluster/server.xml.",
    );
  }
  const values = new Map(settings);
  const wrong = Object.entries(required).filter(([name, value]) => values.get(name) !== value);
  if (wrong.length === 0) return;
  throw new FatalError(
    `CLICKHOUSE_CLUSTER=${cluster}: the user's settings profile must have ${
      wrong.map(([name, value]) => `${name} = ${value} (it is ${values.get(name)})`).join(" and ")
    }: see deploy/cluster/users.xml.`,
  );
}

/** What a Distributed table spreads its rows over. */
export interface LocalTable {
  cluster: string;
  /** The table of each node. */
  name: string;
}

/**
 * The local tables behind a table; undefined for a table of a single server.
 *
 * @param clickhouse a client in the table's database
 */
export async function findLocalTable(
  clickhouse: ClickHouseClient,
  table: string,
): Promise<LocalTable | undefined> {
  const [row] = await tuples<[engine: string]>(
    clickhouse,
    "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
    { table },
  );
  const [, cluster, name] = /^Distributed\('(\w+)', '[^']*', '(\w+)'/.exec(row?.[0] ?? "") ?? [];
  return cluster === undefined || name === undefined ? undefined : { cluster, name };
}
