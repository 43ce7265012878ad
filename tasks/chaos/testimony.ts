/**
 * What the witness says at the end: each message that it has seen must be stored, once, unless a loss on record covers
 * it.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { rows } from "../../lib/clickhouse/rows.ts";
import { lostEvent } from "../../lib/ingest/losses.ts";

/** Message type → the table that it fills. */
export const tableOf = {
  ticker: "tickers",
  heartbeat: "heartbeats",
  l2update: "book_changes",
  snapshot: "book_changes",
  feed_event: "feed_events",
} as const;
type WitnessedTable = (typeof tableOf)[keyof typeof tableOf];
const witnessedTables = [...new Set(Object.values(tableOf))];

/** One message that was seen. `log` counts how often the topics had been made anew by then. */
export type Seen = [
  table: WitnessedTable,
  log: number,
  topic: string,
  partition: number,
  offset: number,
  receivedAt: number,
];

/** How a log of a topic ended: it was deleted, and this was committed of it. */
export interface Ended {
  /** By ClickHouse's clock, in µs. */
  at: number;
  /** `TOPIC/PARTITION` → the group's place. */
  committed: Map<string, number>;
}

/** What the comparison found. */
export interface Testimony {
  /** Messages that were seen, by table. */
  seen: Record<string, number>;
  /** Of those, the ones that are not stored and that a loss on record covers. */
  lostOnRecord: number;
  /** Losses on record. */
  losses: number;
  /** One line each. */
  problems: string[];
}

/** Compares what was seen with what is stored. */
export async function testify(
  clickhouse: ClickHouseClient,
  seen: readonly Seen[],
  ended: readonly Ended[],
): Promise<Testimony> {
  const doubles = await findDoubles(clickhouse);
  const missing = await findMissing(clickhouse, seen);
  const losses = await readLosses(clickhouse);
  const unexplained = missing.filter((message) => !isOnRecord(message, losses, ended));
  return {
    seen: Object.fromEntries(
      witnessedTables.map((table) => [table, seen.filter(([name]) => name === table).length]),
    ),
    lostOnRecord: missing.length - unexplained.length,
    losses: losses.length,
    problems: [...doubles, ...witnessedTables.flatMap((table) => unexplainedLine(table, unexplained))],
  };
}

/** What is missing of a table without a loss on record, as one line; none when nothing is. */
function unexplainedLine(table: WitnessedTable, unexplained: readonly Seen[]): string[] {
  const found = unexplained.filter(([name]) => name === table);
  const [first] = found;
  if (first === undefined) return [];
  const [, log, topic, partition, offset, at] = first;
  return [
    `${table}: ${found.length} messages were in the topic, are not stored, and no loss is on record; the first is ` +
    `offset ${offset} of ${topic}/${partition}, log ${log + 1}, received at ${
      new Date(at / 1000).toISOString()
    }; the last offset ${found.at(-1)?.[4]} of log ${(found.at(-1)?.[1] ?? 0) + 1}`,
  ];
}

/** Rows that are there more than once: one line for each table that has some. */
async function findDoubles(clickhouse: ClickHouseClient): Promise<string[]> {
  const keys: Record<WitnessedTable, string> = {
    tickers: "kafka_partition, kafka_offset, received_at",
    heartbeats: "kafka_partition, kafka_offset, received_at",
    book_changes: "kafka_partition, kafka_offset, received_at, position",
    feed_events: "kafka_partition, kafka_offset, received_at, event, product_id, connection, reason",
  };
  const problems: string[] = [];
  for (const [table, key] of Object.entries(keys)) {
    const [row] = await rows<{ rows: number; distinct: number }>(
      clickhouse,
      `SELECT count() AS rows, uniqExact(${key}) AS distinct FROM ${table}`,
    );
    if (row === undefined || row.rows === row.distinct) continue;
    problems.push(`${table}: ${row.rows} rows for ${row.distinct} different ones: some are double`);
  }
  return problems;
}

/** The messages that are not stored. */
async function findMissing(clickhouse: ClickHouseClient, seen: readonly Seen[]): Promise<Seen[]> {
  await storeSeen(clickhouse, seen);
  const missing: Seen[] = [];
  for (const table of witnessedTables) {
    const found = await rows<
      { log: number; topic: string; partition: number; offset: number; received_at: number }
    >(
      clickhouse,
      `SELECT DISTINCT log, topic, partition, offset, received_at FROM witnessed WHERE name = '${table}'
       AND (partition, offset, received_at) NOT IN
         (SELECT kafka_partition, kafka_offset, toUnixTimestamp64Micro(${table}.received_at) FROM ${table})
       ORDER BY log, topic, partition, offset`,
    );
    for (const row of found) {
      missing.push([table, row.log, row.topic, row.partition, row.offset, row.received_at]);
    }
  }
  return missing;
}

/** Puts what was seen into a table of its own, `witnessed`. */
async function storeSeen(clickhouse: ClickHouseClient, seen: readonly Seen[]): Promise<void> {
  await clickhouse.command({ query: "DROP TABLE IF EXISTS witnessed" });
  await clickhouse.command({
    query: `CREATE TABLE witnessed (name LowCardinality(String), log UInt32, topic LowCardinality(String),
      partition UInt32, offset UInt64, received_at Int64) ENGINE = MergeTree ORDER BY (name, partition, offset)`,
  });
  const size = 200_000;
  for (let from = 0; from < seen.length; from += size) {
    await clickhouse.insert({
      table: "witnessed",
      values: seen.slice(from, from + size),
      format: "JSONCompactEachRow",
    });
  }
}

/** A loss as `feed_events` tells it. */
export interface RecordedLoss {
  topic: string;
  partition: number;
  /** Absent when it isn't known which messages they were. */
  first?: number;
  last?: number;
  /** By ClickHouse's clock, in µs: the services' may be moved. */
  at: number;
}

async function readLosses(clickhouse: ClickHouseClient): Promise<RecordedLoss[]> {
  const found = await rows<{ details: string; at: number }>(
    clickhouse,
    `SELECT details, toUnixTimestamp64Micro(ingested_at) AS at FROM feed_events
     WHERE event = '${lostEvent}' AND product_id = ''`,
  );
  return found.map(({ details, at }) => ({ ...JSON.parse(details), at }));
}

/** True when a loss covers the message: of its own log, and of it or of whatever that log took with it. */
export function isOnRecord(
  [, log, topic, partition, offset]: Seen,
  losses: readonly RecordedLoss[],
  ended: readonly Ended[],
): boolean {
  const from = log === 0 ? 0 : ended[log - 1]!.at;
  const end = ended[log];
  return losses.some((loss) => {
    if (loss.topic !== topic || loss.partition !== partition) return false;
    // The end of a log is told when the next one is found; which messages it took with it nobody can know.
    if (loss.first === undefined || loss.last === undefined) {
      return end !== undefined && loss.at >= end.at &&
        offset >= (end.committed.get(`${topic}/${partition}`) ?? 0);
    }
    return loss.at >= from && (end === undefined || loss.at <= end.at + 60e6) &&
      offset >= loss.first && offset <= loss.last;
  });
}
