/**
 * A restored backup becomes one moment: what was stored after it is removed, what follows from other tables is made anew
 * from them, by their own materialized views, and all of it is proven. docs/decisions.md tells why this is exact.
 *
 * @module
 */

import type { TopicCut } from "./backup_moment.ts";
import { type Proof, proveCandles, proveTradeRuns, readProof } from "./backup_proof.ts";
import {
  empty,
  number,
  rebuildBook,
  rebuildTradeRuns,
  rebuildWhole,
  type RestoredDatabase,
} from "./backup_rebuild.ts";
import { bulkRows } from "./statements.ts";
import { quote } from "../clickhouse/quote.ts";
import { FatalError } from "../core/errors.ts";
import { lostEvent } from "../ingest/losses.ts";
import type { Table } from "../ingest/rows.ts";

/** Whose rows carry the offset of their message, and which of the two topics that is in. */
const stamped = {
  trades: "market",
  tickers: "market",
  heartbeats: "market",
  feed_events: "market",
  book_changes: "level2",
} as const satisfies Record<Exclude<Table, "rejected" | "products_state">, "market" | "level2">;

/**
 * Rows of one topic above the cut. Offsets alone don't say it: a topic that was made anew counts from 0, and its
 * predecessor's rows stay. Nothing above the cut was written before the moment.
 */
const aboveCut =
  "ingested_at >= {at:DateTime64(6, 'UTC')} AND kafka_offset >= {offsets:Array(UInt64)}[kafka_partition + 1]";

/**
 * Removes, makes anew, and proves.
 *
 * @throws {FatalError} when a table isn't what it should be by others: the backup can't be trusted
 */
export async function makeOneMoment(restored: RestoredDatabase): Promise<Proof> {
  await renumberParts(restored);
  const removed = await removeLater(restored);
  await rebuildTradeRuns(restored);
  for (const table of ["heartbeat_ends_state", "book_losses"]) {
    await rebuildWhole(restored, table);
  }
  const books = await rebuildBook(restored);
  const days = await proveCandles(restored);
  await proveTradeRuns(restored);
  return await readProof(restored, removed, days, books);
}

/**
 * A restored part keeps the number of the last mutation that it saw, while its new table counts mutations from 1: ClickHouse
 * takes the next ones for done and silently does nothing (seen with 26.7). Parts that come from another table begin anew.
 */
async function renumberParts({ clickhouse, database, onProgress }: RestoredDatabase): Promise<void> {
  const mutated = await bulkRows<{ table: string; partitions: string[] }>(
    clickhouse,
    `SELECT table, groupUniqArray(partition_id) AS partitions FROM system.parts
     WHERE database = {database:String} AND active AND data_version != min_block_number
     GROUP BY table ORDER BY table`,
    { database },
  );
  for (const { table, partitions } of mutated) {
    onProgress(`numbering the parts of ${table} anew`);
    const other = quote(`${table}_renumbered`);
    await clickhouse.command({ query: `CREATE TABLE ${other} AS ${quote(table)}` });
    for (const id of partitions) {
      await clickhouse.command({
        query: `ALTER TABLE ${other} ATTACH PARTITION ID '${id}' FROM ${quote(table)}`,
      });
      await clickhouse.command({
        query: `ALTER TABLE ${quote(table)} REPLACE PARTITION ID '${id}' FROM ${other}`,
      });
    }
    await clickhouse.command({ query: `DROP TABLE ${other} SYNC` });
  }
}

/** @returns table → rows that went */
async function removeLater(restored: RestoredDatabase): Promise<Map<string, number>> {
  const { clickhouse, moment, onProgress } = restored;
  const removed = new Map<string, number>();
  if (moment === undefined) return removed;
  async function remove(table: string, where: string, query_params: Record<string, unknown>): Promise<void> {
    onProgress(`removing what came after the backup's moment: ${table}`);
    const rows = await number(
      clickhouse,
      `SELECT count() AS value FROM ${table} WHERE ${where}`,
      query_params,
    );
    removed.set(table, (removed.get(table) ?? 0) + rows);
    if (rows === 0) return;
    await clickhouse.command({ query: `DELETE FROM ${table} WHERE ${where}`, query_params });
    const left = await number(
      clickhouse,
      `SELECT count() AS value FROM ${table} WHERE ${where}`,
      query_params,
    );
    if (left > 0) {
      throw new FatalError(`ClickHouse left ${left} rows of ${table} that it was told to delete.`);
    }
  }
  const { at } = moment;
  for (const [table, topic] of Object.entries(stamped)) {
    const own = table === "feed_events" ? `event != '${lostEvent}' AND ` : "";
    await remove(table, own + aboveCut, { at, offsets: moment[topic].offsets });
  }
  const cuts = new Map<string, TopicCut>([moment.market, moment.level2].map((cut) => [cut.topic, cut]));
  for (const { topic, offsets } of cuts.values()) {
    // What either topic had lost: whoever reads on from the cut finds it lost again.
    const lost = `event = '${lostEvent}' AND JSONExtractString(details, 'topic') = {topic:String}`;
    await remove("feed_events", `${lost} AND ${aboveCut}`, { at, offsets, topic });
    await remove("rejected", `kafka_topic = {topic:String} AND ${aboveCut}`, { at, offsets, topic });
  }
  // Computed from rows of which some are gone now: rollup computes them again.
  await remove("book_depth_1s_state", "computed_at >= {at:DateTime64(6, 'UTC')}", { at });
  await remove("anomalies_state", "detected_at >= {at:DateTime64(6, 'UTC')}", { at });
  const checked = await bulkRows<{ product_id: string; checked_to: string }>(
    clickhouse,
    `SELECT product_id, toString(least(max(anomalies_checked.checked_to), {at:DateTime64(6, 'UTC')})) AS checked_to
     FROM anomalies_checked GROUP BY product_id`,
    { at },
  );
  await empty(clickhouse, "anomalies_checked");
  if (checked.length > 0) {
    await clickhouse.insert({ table: "anomalies_checked", values: checked, format: "JSONEachRow" });
  }
  return removed;
}
