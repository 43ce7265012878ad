/**
 * Messages that were received before → ClickHouse again, through the same decoding, the same rule 3 and the same inserts
 * as the consumer. What is written is on record in the table `replays`: a replay can be stopped, killed and repeated.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { retry, sleep } from "../core/retry.ts";
import { batchName } from "../consume/batch_protocol.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import { BatchRows } from "../ingest/batch_rows.ts";
import type { Table } from "../ingest/rows.ts";
import type { TopicMessage } from "../kafka/message.ts";
import { FatalError } from "../core/errors.ts";
import { BatchWriter } from "../ingest/batch_writer.ts";
import { createTradeIds, type TradeIds } from "../core/id_ranges.ts";
import { rows } from "../clickhouse/rows.ts";

/** What to replay and where to. */
export interface ReplayOptions {
  /** In the order in which they are to be written; a partition's offsets ascend. */
  messages: AsyncIterable<TopicMessage>;
  /** The name under which a topic's or a recording's progress is on record. */
  nameOf: (topic: string) => string;
  clickhouse: ClickHouseClient;
  /** A batch has about so many rows. */
  maxRows: number;
  /** Times as fast as the messages were received; Infinity doesn't wait. */
  speed: number;
  /** Stops after the batch under way. */
  signal: AbortSignal;
  onProgress: (result: Replayed) => void;
  /** Told of each statement that ClickHouse didn't confirm; it is tried again. */
  onError: (what: string, error: unknown, waitMs: number) => void;
}

/** What was done. */
export interface Replayed {
  /** Messages that were read. */
  messages: number;
  /** Of these, the ones that an earlier run of the same replay had written. */
  writtenBefore: number;
  rows: Partial<Record<Table, number>>;
  repeatedTrades: number;
  /** False when `signal` ended it. */
  complete: boolean;
}

/** A partition's batch in the making. */
interface Batch {
  key: Key;
  range: OffsetRange;
  rows: BatchRows;
  /** The range that it must have, because an earlier run may have written it. */
  inflight: OffsetRange | undefined;
}

interface Key {
  name: string;
  partition: number;
}

/** With a speed, what waits is written so often. */
const flushMs = 250;
const never = new AbortController().signal;

/**
 * Replays.
 *
 * @throws {FatalError} when a batch that an earlier run had begun isn't wholly among the messages
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { clickhouse, signal, speed, nameOf, maxRows, onError } = options;
  const writer = new BatchWriter(clickhouse, { onError });
  const journal = openJournal(clickhouse, onError);
  const batches = new Map<string, Batch>();
  const result: Replayed = { messages: 0, writtenBefore: 0, rows: {}, repeatedTrades: 0, complete: false };
  const clock = createPace(speed);
  let flushedAt = performance.now();

  async function write(batch: Batch): Promise<void> {
    const { key, range, inflight } = batch;
    batches.delete(`${key.name}/${key.partition}`);
    if (inflight === undefined) {
      await journal.note(key, range, false);
    } else if (inflight.first !== range.first || inflight.last !== range.last) {
      throw new FatalError(
        `${key.name}, partition ${key.partition}: ${inflight.first} to ${inflight.last} were being written when an ` +
          "earlier replay was killed, and may have landed. Replay a range that holds them all, or into another database.",
      );
    }
    const name = batchName("replay", key.name, key.partition, "replay", range);
    // Once begun a batch is finished: only Ctrl-C again and again ends the process in the middle of one.
    const written = await writer.write(batch.rows, {
      name,
      mayBeStored: inflight !== undefined,
      signal: never,
    });
    await journal.note(key, range, true);
    for (const [table, count] of Object.entries(written.rows) as [Table, number][]) {
      result.rows[table] = (result.rows[table] ?? 0) + count;
    }
    result.repeatedTrades += written.repeatedTrades;
  }

  async function writeAll(): Promise<void> {
    for (const batch of [...batches.values()]) await write(batch);
    flushedAt = performance.now();
  }

  for await (const message of options.messages) {
    if (signal.aborted) return result;
    options.onProgress(result);
    const waitMs = clock(message.receivedAt);
    if (waitMs > 0) {
      const isNothingInFlight = [...batches.values()].every(({ inflight }) => inflight === undefined);
      if (isNothingInFlight && performance.now() - flushedAt > flushMs) await writeAll();
      await sleep(waitMs, signal);
    }
    const { partition, offset } = message;
    const key = { name: nameOf(message.topic), partition };
    const { done, begun } = await journal.load(key);
    result.messages++;
    if (!done.add(offset)) {
      result.writtenBefore++;
      continue;
    }
    const inflight = begun.find(({ first, last }) => first <= offset && offset <= last);
    const id = `${key.name}/${partition}`;
    let batch = batches.get(id);
    if (batch !== undefined && batch.inflight !== inflight) {
      await write(batch);
      batch = undefined;
    }
    if (batch === undefined) {
      batch = { key, range: { first: offset, last: offset }, rows: new BatchRows(), inflight };
      batches.set(id, batch);
    }
    batch.range.last = offset;
    batch.rows.add(message);
    if (inflight === undefined ? batch.rows.size >= maxRows : offset === inflight.last) await write(batch);
  }
  if (signal.aborted) return result;
  await writeAll();
  return { ...result, complete: true };
}

/** Says how long to wait before a message that was received at `receivedAt` (µs), in ms. */
function createPace(speed: number): (receivedAt: number) => number {
  let start: { at: number; receivedAt: number } | undefined;
  return (receivedAt) => {
    if (speed === Infinity) return 0;
    start ??= { at: performance.now(), receivedAt };
    return start.at + (receivedAt - start.receivedAt) / 1000 / speed - performance.now();
  };
}

/** What earlier runs have written, and what they had begun. */
interface Written {
  done: TradeIds;
  begun: OffsetRange[];
}

function openJournal(clickhouse: ClickHouseClient, onError: ReplayOptions["onError"]) {
  const known = new Map<string, Written>();
  return {
    /** Read once; from then on the caller marks what it passes in `done`. */
    async load({ name, partition }: Key): Promise<Written> {
      const id = `${name}/${partition}`;
      const found = known.get(id);
      if (found !== undefined) return found;
      const ranges = await rows<OffsetRange & { done: boolean }>(
        clickhouse,
        `SELECT first, last, max(done) AS done FROM replays
         WHERE name = {name:String} AND partition = {partition:UInt32} GROUP BY first, last`,
        { name, partition },
      );
      const written: Written = {
        done: createTradeIds(ranges.filter(({ done }) => done)),
        begun: ranges.filter(({ done }) => !done).map(({ first, last }) => ({ first, last })),
      };
      known.set(id, written);
      return written;
    },
    async note({ name, partition }: Key, { first, last }: OffsetRange, done: boolean): Promise<void> {
      const values = [{ name, partition, first, last, done }];
      const insert = () => clickhouse.insert({ table: "replays", values, format: "JSONEachRow" });
      await retry(insert, {
        signal: never,
        onError: (error, waitMs) => onError("recording what is replayed", error, waitMs),
      });
    },
  };
}

/**
 * Simulated data never gets into the database of the real market.
 *
 * @param source of a message: feed, backfill, simulator, replay
 * @throws {FatalError}
 */
export function assertNotSimulated(source: string, database: string): void {
  if (database !== "market" || (source !== "simulator" && source !== "replay")) return;
  throw new FatalError(
    `This is simulated data (source ${source}), and market is the database of the real market: it stays there alone. ` +
      "Choose another one, such as --database market_replay.",
  );
}
