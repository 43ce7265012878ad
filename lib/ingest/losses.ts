/**
 * What Kafka lost, written down: as feed events that everybody can read, and so that no order book is built across the
 * loss (the view book_epochs reads them through book_losses).
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { retry } from "../core/retry.ts";
import { formatMicros, nowMicros } from "../core/time.ts";
import { batchName, deduplicationToken } from "../consume/batch_protocol.ts";
import type { Loss, Store } from "../consume/batch.ts";
import { insertBlock } from "./insert_block.ts";
import type { Row, Table } from "./rows.ts";
import { holdsPartition, holdsRows } from "./stored_rows.ts";
import { rows } from "../clickhouse/rows.ts";

/** The event's name in `feed_events`. */
export const lostEvent = "messages_lost";

/** A book that is known up to its last stored change. */
interface OpenBook {
  product_id: string;
  connection: string;
  /** The last change, by the exchange's clock and by ours: `YYYY-MM-DD hh:mm:ss.ffffff`. */
  time: string;
  received_at: string;
}

/**
 * Rows for `feed_events`: one of the loss itself, and one for each book of the partition that would go on across it.
 *
 * @param at now, in µs
 */
export function lossRows(loss: Loss, books: readonly OpenBook[], at: number): Row[] {
  const { topic, partition, range, reason } = loss;
  const what = range === undefined
    ? `${topic}/${partition}: ${reason}`
    : `offsets ${range.first} to ${range.last} of ${topic}/${partition} ${reason}`;
  const details = JSON.stringify({
    topic,
    partition,
    ...(range && { first: range.first, last: range.last, messages: range.last - range.first + 1 }),
  });
  const offset = range?.last ?? 0;
  const row = (time: string, product: string, received: string, connection: string): Row => [
    time,
    lostEvent,
    product,
    product === "" ? "" : "level2_batch",
    what,
    details,
    received,
    "consumer",
    connection,
    partition,
    offset,
  ];
  return [
    row(formatMicros(at), "", formatMicros(at), ""),
    ...books.map(({ product_id, connection, time, received_at }) =>
      row(time, product_id, received_at, connection)
    ),
  ];
}

/** The books of a partition whose end isn't known. */
async function openBooks(clickhouse: ClickHouseClient, partition: number): Promise<OpenBook[]> {
  const open = await rows<Record<"product_id" | "connection" | "valid_to", string>>(
    clickhouse,
    "SELECT product_id, connection, toString(valid_to) AS valid_to FROM book_epochs WHERE ended_by = 'open'",
  );
  const books: OpenBook[] = [];
  for (const book of open) {
    const found = await rows<OpenBook>(
      clickhouse,
      `SELECT product_id, connection, toString(max(book_changes.time)) AS time,
         toString(max(book_changes.received_at)) AS received_at
       FROM book_changes
       WHERE product_id = {product_id:String} AND connection = {connection:String}
         AND book_changes.time = {valid_to:DateTime64(6, 'UTC')} AND kafka_partition = {partition:UInt32}
       GROUP BY product_id, connection`,
      { ...book, partition },
    );
    books.push(...found);
  }
  return books;
}

/** What the store tells. */
export interface StoreEvents {
  /** A statement that ClickHouse didn't confirm and that is tried again. */
  onError: (what: string, error: unknown, waitMs: number) => void;
  /** Told of each loss, once it is written down. */
  onLoss: (loss: Loss) => void;
}

/** What is read. */
export interface StoreOptions extends StoreEvents {
  group: string;
  topic: string;
  /** The topic of the order books; no other holds any. */
  level2Topic: string;
}

/** What consuming asks of ClickHouse besides writing batches. */
export function openStore(
  clickhouse: ClickHouseClient,
  writer: { readonly restarts: number },
  { group, topic: marketTopic, level2Topic, onError, onLoss }: StoreOptions,
): Store {
  /** Where some message of each partition of a topic is soon stored. */
  const tablesOf = (topic: string): Table[] => [
    ...topic === level2Topic ? ["book_changes" as const] : [],
    ...topic === marketTopic ? ["trades", "heartbeats", "tickers"] as const : [],
  ];
  return {
    get restarts() {
      return writer.restarts;
    },
    async recordLoss(loss, signal) {
      const { topic, partition, range, logName } = loss;
      const write = async () => {
        // Only the order book lies in this topic, and its books end there.
        const books = topic === level2Topic ? await openBooks(clickhouse, partition) : [];
        const name = batchName(group, topic, partition, logName, range ?? { first: 0, last: 0 });
        const rows = lossRows(loss, books, nowMicros());
        await insertBlock(clickhouse, "feed_events", rows, deduplicationToken("lost", name), signal);
      };
      await retry(write, {
        signal,
        onError: (error, waitMs) => onError("writing down what Kafka lost", error, waitMs),
      });
      onLoss(loss);
    },
    holdsRows: (signal, of) =>
      retry(() => of ? holdsPartition(clickhouse, tablesOf(of.topic), of.partition) : holdsRows(clickhouse), {
        signal,
        onError: (error, waitMs) => onError("looking for rows", error, waitMs),
      }),
  };
}
