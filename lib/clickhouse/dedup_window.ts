/**
 * How many blocks ClickHouse knows again by their token. What a late or repeated batch may have stored is asked of the
 * tables themselves (stored_rows.ts); the window is for two tries of one batch that ClickHouse works on at the same time:
 * an insert whose answer was lost, and the next one.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { onCluster } from "./cluster.ts";
import { type Config, type Variable } from "../process/config.ts";
import { ConfigError, FatalError } from "../core/errors.ts";
import { tuples } from "./rows.ts";

/** What the window depends on. */
export const windowVariables = [
  "KAFKA_PARTITIONS",
  "CONSUMER_FLUSH_MS",
] as const satisfies readonly Variable[];

/** A window holds the blocks of so long, in seconds: many times what a statement may take. */
const wantedSeconds = 900;
const neededSeconds = 120;
/** More would cost more memory than it is worth: about 200 bytes a block and table. */
const largest = 1_000_000;
const smallest = 10_000;

/** The windows of a table, whatever engine the server makes of it. */
export interface Windows {
  /** MergeTree: in blocks. */
  plain: number;
  /** ReplicatedMergeTree and SharedMergeTree: in blocks, and in seconds. */
  replicated: number;
  seconds: number;
}

/**
 * The blocks that the partitions of a topic write into one table in `seconds`.
 *
 * @param partitions of a topic
 * @param flushMs a partition's batch is written so often
 */
export function blocksIn(seconds: number, partitions: number, flushMs: number): number {
  return Math.ceil(partitions * seconds * 1000 / flushMs);
}

/**
 * The window to set.
 *
 * @throws {ConfigError} when no window could hold so many blocks
 */
export function wantedWindow(config: Config<(typeof windowVariables)[number]>): number {
  const { KAFKA_PARTITIONS: partitions, CONSUMER_FLUSH_MS: flushMs } = config;
  const blocks = blocksIn(wantedSeconds, partitions, flushMs);
  if (blocks <= largest) return Math.max(smallest, blocks);
  throw new ConfigError(
    `KAFKA_PARTITIONS=${partitions} with CONSUMER_FLUSH_MS=${flushMs}: ${blocks} blocks in ${
      wantedSeconds / 60
    } minutes are ` +
      `more than a table can know again (${largest}). Set CONSUMER_FLUSH_MS to ${
        Math.ceil(blocksIn(wantedSeconds, partitions, 1) / largest)
      } or more.`,
  );
}

/** A table's windows, from `engine_full` of system.tables; ClickHouse's own where none are set. */
export function readWindows(engineFull: string): Windows {
  const setting = (name: string, otherwise: number) => {
    const found = new RegExp(`(?:^|[\\s,])${name} = (\\d+)`).exec(engineFull);
    return found === null ? otherwise : Number(found[1]);
  };
  return {
    plain: setting("non_replicated_deduplication_window", 0),
    replicated: setting("replicated_deduplication_window", 10_000),
    seconds: setting("replicated_deduplication_window_seconds", 3600),
  };
}

/** Raises each table's windows to what the configuration wants; never lowers one. Returns the tables that it changed. */
export async function setWindows(
  clickhouse: ClickHouseClient,
  config: Config<(typeof windowVariables)[number]>,
  cluster = "",
): Promise<string[]> {
  const wanted = wantedWindow(config);
  const changed: string[] = [];
  for (const [table, { plain, replicated }] of await tableWindows(clickhouse)) {
    if (plain >= wanted && replicated >= wanted) continue;
    await clickhouse.command({
      query: `ALTER TABLE ${table}${onCluster(cluster)} MODIFY SETTING
              non_replicated_deduplication_window = ${wanted}, replicated_deduplication_window = ${wanted}`,
    });
    changed.push(table);
  }
  return changed;
}

/**
 * Checks that the windows hold what the topics' partitions write.
 *
 * @param partitions of a topic, as it is
 * @throws {FatalError} naming a table that forgets too early, and what to do
 */
export async function assertWindows(
  clickhouse: ClickHouseClient,
  partitions: number,
  flushMs: number,
): Promise<void> {
  const needed = blocksIn(neededSeconds, partitions, flushMs);
  for (const [table, { plain, replicated, seconds, isReplicated }] of await tableWindows(clickhouse)) {
    const window = isReplicated ? replicated : plain;
    if (window >= needed && (!isReplicated || seconds >= neededSeconds)) continue;
    throw new FatalError(
      `Table ${table} knows ${window} blocks again${
        isReplicated ? `, for ${seconds} s` : ""
      }, and ${partitions} partitions ` +
        `with CONSUMER_FLUSH_MS=${flushMs} write ${needed} in ${
          neededSeconds / 60
        } minutes: set KAFKA_PARTITIONS=` +
        `${partitions} and run \`deno task migrate\`, or raise CONSUMER_FLUSH_MS.`,
    );
  }
}

async function tableWindows(
  clickhouse: ClickHouseClient,
): Promise<[table: string, windows: Windows & { isReplicated: boolean }][]> {
  const tables = await tuples<[name: string, engine: string, whole: string]>(
    clickhouse,
    `SELECT name, engine, engine_full FROM system.tables
     WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND position(engine_full, 'deduplication_window') > 0
     ORDER BY name`,
  );
  return tables.map(([name, engine, whole]) => [
    name,
    { ...readWindows(whole), isReplicated: /^(Replicated|Shared)/.test(engine) },
  ]);
}
