/**
 * A batch of rows: what is gathered of messages, how it is to be written, and what became of it.
 *
 * @module
 */

import type { Content } from "../consume/batch.ts";
import type { TopicMessage } from "../kafka/message.ts";
import { addRows, emptyRows, type Rows, type Table } from "./rows.ts";

/** The rows of messages that are read one after the other. */
export interface RowBatch {
  rows: Rows;
  /** How many rows. */
  size: number;
  /** When each message was received, in µs. */
  receivedAt: number[];
}

/**
 * Makes messages into rows.
 *
 * @param onMessage told of each message and its type; `rejected` is one
 */
export function rowContent(onMessage: (message: TopicMessage, type: string) => void): Content<RowBatch> {
  return {
    start: () => ({ rows: emptyRows(), size: 0, receivedAt: [] }),
    add(batch, message) {
      const { type, rows } = addRows(batch.rows, message);
      batch.receivedAt.push(message.receivedAt);
      onMessage(message, type);
      return batch.size += rows;
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
