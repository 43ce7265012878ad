/**
 * A batch of rows: what is gathered of messages, how it is to be written, and what became of it.
 *
 * @module
 */

import type { Content } from "../consume/batch.ts";
import type { TopicMessage } from "../kafka/message.ts";
import { decodeRows, encodeRow } from "./frames/row_values.ts";
import { RowBytes } from "./frames/row_bytes.ts";
import { FrameScanner } from "./frames/scan_frame.ts";
import {
  addRows,
  columns,
  emptyRows,
  type Row,
  type Rows,
  type Table,
  tables,
  type TradeKey,
  tradeKey,
} from "./rows.ts";

/** A trade of a batch. */
export interface BatchTrade extends TradeKey {
  /** Its place among the batch's trades. */
  at: number;
}

/** Rows of one table that are inserted together. */
export interface Block {
  table: Table;
  /** How many rows. */
  count: number;
  /** In RowBinary. */
  bytes: Uint8Array;
  /** As values: where ClickHouse is asked which of them it has, which is seldom. */
  values(): Row[];
}

/** The rows of messages that are read one after the other, kept as the bytes that are sent. */
export class BatchRows {
  /** How many messages of each type; `rejected` is one. */
  readonly types = new Map<string, number>();
  /** When each message was received, in µs. */
  readonly receivedAt: number[] = [];
  readonly trades: BatchTrade[] = [];
  readonly #bytes = Object.fromEntries(tables.map((table) => [table, new RowBytes()])) as Record<
    Table,
    RowBytes
  >;
  /** Where each trade's row ends in its bytes. */
  readonly #tradeEnds: number[] = [];
  /** The trades to store, each with the name of its batch. */
  readonly #tradeBlock = new RowBytes();
  readonly #scanner = new FrameScanner();

  /** Rows that are there as values. */
  static of(rows: Rows): BatchRows {
    const batch = new BatchRows();
    batch.#addValues(rows);
    return batch;
  }

  /** How many rows. */
  get size(): number {
    let size = 0;
    for (const table of tables) size += this.#bytes[table].rows;
    return size;
  }

  /** Adds a message's rows. */
  add(message: TopicMessage): void {
    this.receivedAt.push(message.receivedAt);
    const type = this.#scan(message) ?? this.#validate(message);
    this.types.set(type, (this.types.get(type) ?? 0) + 1);
  }

  /** Forgets everything but its memory. */
  clear(): void {
    this.types.clear();
    for (const list of [this.receivedAt, this.trades, this.#tradeEnds]) list.length = 0;
    for (const table of tables) this.#bytes[table].clear();
  }

  /** A trade's row as values, without its batch. */
  tradeRow(trade: BatchTrade): Row {
    return decodeRows("trades", this.#tradeBytes(trade), columns.trades.length - 1)[0]!;
  }

  /** A table's rows. @param more rows beyond those of the messages */
  block(table: Exclude<Table, "trades">, more: readonly Row[] = []): Block {
    const own = this.#bytes[table];
    const { length, rows } = own;
    for (const row of more) encodeRow(own, table, row);
    const { bytes } = own;
    const block = { table, count: own.rows, bytes, values: () => decodeRows(table, bytes) };
    own.rewind(length, rows);
    return block;
  }

  /** The trades that are to be stored. @param name of the batch */
  tradeBlock(trades: readonly BatchTrade[], name: string): Block {
    const block = this.#tradeBlock;
    block.clear();
    for (const trade of trades) {
      block.append(this.#tradeBytes(trade));
      block.string(name);
    }
    const { bytes } = block;
    return { table: "trades", count: trades.length, bytes, values: () => decodeRows("trades", bytes) };
  }

  #tradeBytes({ at }: BatchTrade): Uint8Array {
    const from = at === 0 ? 0 : this.#tradeEnds[at - 1];
    return this.#bytes.trades.bytes.subarray(from, this.#tradeEnds[at]);
  }

  #scan(message: TopicMessage): string | undefined {
    const type = this.#scanner.scan(message.value, message, this.#bytes);
    if (type === undefined) return undefined;
    if (type === "match" || type === "last_match") this.#noteTrade(this.#scanner.trade);
    return type;
  }

  #validate(message: TopicMessage): string {
    const rows = emptyRows();
    const { type } = addRows(rows, message);
    this.#addValues(rows);
    return type;
  }

  #addValues(rows: Rows): void {
    for (const table of tables) {
      for (const row of rows[table]) {
        encodeRow(this.#bytes[table], table, row);
        if (table === "trades") this.#noteTrade(tradeKey(row));
      }
    }
  }

  #noteTrade({ productId, tradeId, micros }: TradeKey): void {
    this.trades.push({ productId, tradeId, micros, at: this.trades.length });
    this.#tradeEnds.push(this.#bytes.trades.length);
  }
}

/** Makes messages into rows. What is written and given back is used again. */
export interface RowContent extends Content<BatchRows> {
  /** Takes back a batch that is stored: nobody sends its bytes any more. */
  release(batch: BatchRows): void;
}

/** So many batches are kept for further use: the one that is written and the one that is gathered, of two partitions. */
const mostKept = 4;

/** Makes messages into rows. */
export function rowContent(): RowContent {
  const kept: BatchRows[] = [];
  return {
    start: () => kept.pop() ?? new BatchRows(),
    add(batch, message) {
      batch.add(message);
      return batch.size;
    },
    release(batch) {
      batch.clear();
      if (kept.length < mostKept) kept.push(batch);
    },
  };
}

/** What a batch became. */
export interface Written {
  /** Rows that ClickHouse has confirmed, by table; tables without rows are absent. */
  rows: Partial<Record<Table, number>>;
  /** Trades that were stored already and were not inserted again. */
  repeatedTrades: number;
  /** Trades under the number of a stored one that are not that trade: they are in `rejected`. */
  reusedNumbers: number;
  /** Of a batch that may have been stored before: the rows that weren't. */
  missing: number;
  /** Trades that were stored are not any more, the earliest in µs: the topic should be read again from there. */
  lostSince?: number;
}

/** What is known of a batch besides its rows. */
export interface BatchToWrite {
  /** Its name, the same after a crash as before it. */
  name: string;
  /** An earlier try may have stored some of its rows, however long ago: ClickHouse is asked for them first. */
  mayBeStored: boolean;
  /** It was committed before: all of it should be stored. */
  isCommitted?: boolean;
  /** No earlier process has written under this name. */
  isNewName?: boolean;
  /** Aborts when the batch isn't ours any more, or the process stops. */
  signal: AbortSignal;
  /** Where its messages lie. */
  topic?: string;
  /** Asked before each try to write whether the batch is still ours. */
  assertOwned?: () => Promise<void>;
}
