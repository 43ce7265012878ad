/**
 * How long rows are kept and where they lie: the TTLs and the storage policy that `deno task migrate` sets where they
 * differ from the configuration. docs/storage.md has the reasons.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { onCluster } from "./cluster.ts";
import { type Config, type Variable } from "../process/config.ts";
import { ConfigError, FatalError } from "../core/errors.ts";
import { tuples } from "./rows.ts";

/** What retention depends on. */
export const retentionVariables = [
  "CLICKHOUSE_CLUSTER",
  "CLICKHOUSE_BOOK_DAYS",
  "CLICKHOUSE_ORDER_ID_DAYS",
  "CLICKHOUSE_STORAGE_POLICY",
  "CLICKHOUSE_COLD_AFTER_DAYS",
] as const satisfies readonly Variable[];

/** The part of the configuration that says how long rows are kept. */
export type RetentionConfig = Config<(typeof retentionVariables)[number]>;

/** What the days of the book are deleted from. */
const bookTables = [
  "book_changes",
  "book_levels",
  "book_snapshots",
] as const;
/** What grows with the feed, and moves to the cold volume. */
const largeTables = ["trades", "tickers", "heartbeats", "book_changes"] as const;
/** Of trades: what is most of their bytes and is asked for rarely. */
const orderIds = ["maker_order_id", "taker_order_id"] as const;

/** How a table should be, or is. */
export interface Retention {
  /** As ClickHouse writes it, without the word TTL; empty when rows stay. */
  ttl: string;
  /** Column → since when its values are NULL, as ClickHouse writes it; empty when they stay. */
  columns: Readonly<Record<string, string>>;
  /** A part is dropped as a whole once all its rows are old, and never rewritten for that. */
  wholeParts: boolean;
  /** Empty: whatever it is. */
  policy: string;
}

/** A table that differs, what will be set, and how. */
export interface RetentionChange {
  table: string;
  /** For people: `rows are deleted after 31 days`. */
  change: string;
  statements: string[];
}

/**
 * What each table should have. An epoch of the book is known while its snapshot is stored, so snapshots go first, and what
 * an epoch reads a day later: no book is ever built from a part of its changes. Order ids go month by month, as trades are
 * partitioned: a part is rewritten once for that, and not again and again for each day that has become old.
 *
 * @throws {ConfigError} when the values contradict each other
 */
export function wantedRetention(config: RetentionConfig): Map<string, Retention> {
  const { CLICKHOUSE_BOOK_DAYS: days, CLICKHOUSE_STORAGE_POLICY: policy, CLICKHOUSE_COLD_AFTER_DAYS: cold } =
    config;
  const idDays = config.CLICKHOUSE_ORDER_ID_DAYS;
  const idTtl = idDays === 0 ? "" : `toLastDayOfMonth(time) + toIntervalDay(${idDays + 1})`;
  if (cold > 0 && policy === "") {
    throw new ConfigError(
      `CLICKHOUSE_COLD_AFTER_DAYS=${cold} needs CLICKHOUSE_STORAGE_POLICY: the name of a policy with a volume cold.`,
    );
  }
  return new Map([...new Set([...bookTables, ...largeTables])].map((table) => {
    const own = days === 0 || !isIn(bookTables, table) ? 0 : table === "book_snapshots" ? days : days + 1;
    const large = isIn(largeTables, table);
    // What goes before it would move needn't move.
    const moves = large && cold > 0 && (own === 0 || cold < own);
    return [table, {
      ttl: [
        ...(moves ? [`toDateTime(time) + toIntervalDay(${cold}) TO VOLUME 'cold'`] : []),
        ...(own > 0 ? [`toDateTime(time) + toIntervalDay(${own})`] : []),
      ].join(", "),
      columns: table === "trades" ? Object.fromEntries(orderIds.map((column) => [column, idTtl])) : {},
      // Snapshots of all days lie in one part.
      wholeParts: own > 0 && table !== "book_snapshots",
      policy: large ? policy : "",
    }];
  }));
}

function isIn<T extends string>(names: readonly T[], name: string): name is T {
  return (names as readonly string[]).includes(name);
}

/** What a table has, from `engine_full` and `create_table_query` of system.tables. */
export function readRetention(engineFull: string, createQuery = ""): Retention {
  return {
    ttl: / TTL (.*?)(?= SETTINGS |$)/s.exec(engineFull)?.[1] ?? "",
    columns: Object.fromEntries(
      [...createQuery.matchAll(/`(\w+)` [^`]*? TTL ([^`]*?)(?=, `)/g)].map((
        [, column = "", ttl = ""],
      ) => [column, ttl]),
    ),
    wholeParts: /\bttl_only_drop_parts = (1|true)\b/.test(engineFull),
    policy: /\bstorage_policy = '(\w*)'/.exec(engineFull)?.[1] ?? "",
  };
}

/** After how many days rows are deleted; undefined when they stay. */
export function deletedAfterDays({ ttl }: Retention): number | undefined {
  const [, days] = /toIntervalDay\((\d+)\)(?! TO )/.exec(ttl) ?? [];
  return days === undefined ? undefined : Number(days);
}

/** What is to be done so that a table is as wanted; undefined when nothing is. */
export function retentionChange(
  table: string,
  wanted: Retention,
  present: Retention,
  cluster: string,
): RetentionChange | undefined {
  const alter = `ALTER TABLE ${localTable(table, cluster)}${onCluster(cluster)}`;
  const changes: string[] = [];
  const statements: string[] = [];
  if (wanted.policy !== "" && wanted.policy !== present.policy) {
    changes.push(`lies in storage policy ${wanted.policy}`);
    statements.push(`${alter} MODIFY SETTING storage_policy = '${wanted.policy}'`);
  }
  if (wanted.wholeParts && !present.wholeParts) {
    changes.push("old rows go by whole parts");
    statements.push(`${alter} MODIFY SETTING ttl_only_drop_parts = 1`);
  }
  if (wanted.ttl !== present.ttl) {
    changes.push(wanted.ttl === "" ? "rows stay for ever" : explain(wanted.ttl));
    statements.push(wanted.ttl === "" ? `${alter} REMOVE TTL` : `${alter} MODIFY TTL ${wanted.ttl}`);
  }
  for (const [column, ttl] of Object.entries(wanted.columns)) {
    if (ttl === (present.columns[column] ?? "")) continue;
    const action = ttl === "" ? "REMOVE TTL" : `TTL ${ttl}`;
    changes.push(
      `${column} ${ttl === "" ? "stays for ever" : `goes with its month, ${daysOf(ttl) - 1} days later`}`,
    );
    statements.push(`${alter} MODIFY COLUMN ${column} ${action}`);
  }
  return statements.length === 0 ? undefined : { table, change: changes.join(", "), statements };
}

/** What of a table is ALTERed. */
function localTable(table: string, cluster: string): string {
  return cluster === "" ? table : `${table}_local`;
}

function daysOf(ttl: string): number {
  return Number(/toIntervalDay\((\d+)\)/.exec(ttl)?.[1]);
}

function explain(ttl: string): string {
  return [...ttl.matchAll(/toIntervalDay\((\d+)\)( TO VOLUME)?/g)].map(([, days, moves]) =>
    moves === undefined ? `rows are deleted after ${days} days` : `rows move to cold after ${days} days`
  ).join(", ");
}

/**
 * What differs. Tables that aren't there yet are new, so all of theirs does.
 *
 * @param clickhouse a client in a database that exists
 * @throws {ConfigError} when the values contradict each other; {FatalError} when the server doesn't know the storage policy
 */
export async function planRetention(
  clickhouse: ClickHouseClient,
  database: string,
  config: RetentionConfig,
): Promise<RetentionChange[]> {
  const wanted = wantedRetention(config);
  const cluster = config.CLICKHOUSE_CLUSTER;
  await assertPolicy(clickhouse, config.CLICKHOUSE_STORAGE_POLICY);
  const present = new Map(
    (await tuples<[name: string, engine: string, create: string]>(
      clickhouse,
      "SELECT name, engine_full, create_table_query FROM system.tables WHERE database = {database:String}",
      { database },
    )).map(([name, engine, create]) => [name, readRetention(engine, create)]),
  );
  return [...wanted].flatMap(([table, retention]) =>
    retentionChange(
      table,
      retention,
      present.get(localTable(table, cluster)) ?? readRetention(""),
      cluster,
    ) ?? []
  );
}

async function assertPolicy(clickhouse: ClickHouseClient, policy: string): Promise<void> {
  if (policy === "") return;
  const found = await tuples<[volume: string]>(
    clickhouse,
    "SELECT volume_name FROM system.storage_policies WHERE policy_name = {policy:String}",
    { policy },
  );
  const volumes = found.flat();
  if (volumes.includes("cold")) return;
  throw new FatalError(
    `CLICKHOUSE_STORAGE_POLICY=${policy}: the server knows ${
      volumes.length === 0 ? "no such policy" : `its volumes ${volumes.join(", ")}, and none of them is cold`
    }. See deploy/cluster/storage.xml.`,
  );
}

/**
 * Sets what differs. All of it may be interrupted and repeated.
 *
 * @param clickhouse a client in the database
 * @returns what was set
 * @throws {FatalError} as `planRetention` does, and when ClickHouse refuses a statement
 */
export async function setRetention(
  clickhouse: ClickHouseClient,
  database: string,
  config: RetentionConfig,
): Promise<RetentionChange[]> {
  const changes = await planRetention(clickhouse, database, config);
  for (const { table, statements } of changes) {
    for (const query of statements) {
      await clickhouse.command({ query }).catch((error) => {
        throw new FatalError(`${table}, at "${query}": ${error.message}`);
      });
    }
  }
  return changes;
}
