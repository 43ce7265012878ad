/**
 * Counting once, the rules (docs/decisions.md tells why):
 *
 * | step | committed offset | metadata | if the process dies after it |
 * |---|---|---|---|
 * | 1. fix the batch | a | log, `inflight: [a, b]` | a…b is read again; ClickHouse is asked which of its rows it has |
 * | 2. insert a…b, one block a table, with a token | a | unchanged | the same |
 * | 3. commit | b+1 | log, `before`: when message b was received | b+1 is the next message |
 *
 * Step 3 of a batch and step 1 of the next name the same offset: where the next batch is there already, one commit is both.
 *
 * Nothing here talks to a server.
 *
 * @module
 */

import type { OffsetRange } from "../kafka/offsets.ts";

/** A new log's name. A topic that was made anew, or lies in another cluster, is another log with the same offsets. */
export function newLog(): string {
  return crypto.randomUUID().slice(0, 8);
}

/** A batch's name, the same after a crash as before it: group, topic, partition, log and offsets. */
export function batchName(
  group: string,
  topic: string,
  partition: number,
  log: string,
  { first, last }: OffsetRange,
): string {
  return `${group}/${topic}/${partition}/${log}/${first}-${last}`;
}

/**
 * The token under which ClickHouse knows a batch's block again, in the table and in every view behind it. The group is
 * part of it: another group may read other offsets as one batch, or filter the same ones to other rows.
 *
 * @param again how often ClickHouse had confirmed the block and then didn't have it
 */
export function deduplicationToken(table: string, batch: string, again = 0): string {
  return `${table}/${batch}${again === 0 ? "" : `/${again}`}`;
}
