/**
 * What consuming hands to the handler of batches, and what it asks of it.
 *
 * @module
 */

import type { Kafka } from "kafkajs";
import type { TopicMessage } from "../kafka/message.ts";
import type { OffsetRange } from "../kafka/offsets.ts";
import type { FaultPoint } from "../process/fault_point.ts";
import type { Logger } from "../process/log.ts";

/** Which batch it is: the same after a crash as before it. */
export interface BatchId {
  topic: string;
  partition: number;
  /** The log that the offsets belong to. */
  logName: string;
  range: OffsetRange;
  /** An earlier process may have stored some of it already. */
  mayBeStored: boolean;
  /** It was committed: all of it must be stored, and is only looked at. */
  isCommitted: boolean;
  /** No earlier process has written under this log's name. */
  isNewName: boolean;
  /** Messages of the partition behind it. */
  lag: number;
  /** When its first message was received, in µs. */
  receivedAt: number;
}

/** A batch, to be written by the handler between `begin` and `commit`. `B` is what its messages were made into. */
export interface Batch<B> extends BatchId {
  content: B;
  /** Aborts when the batch isn't ours any more, or the process stops. */
  signal: AbortSignal;
  /** Puts on record that the batch may land from now on: step 1 of batch_protocol.ts. */
  begin(): Promise<void>;
  /**
   * Asks the broker whether the batch is still ours; to be called before each statement that writes, for this process may
   * have slept since. Aborts `signal` when it isn't.
   */
  assertOwned(): Promise<void>;
  /**
   * To be called once all of it is stored. That is put on record together with the next batch's beginning, or by itself
   * when none follows soon: step 3 of batch_protocol.ts.
   */
  commit(found: Found): Promise<void>;
}

/** What was found of a batch that may have been stored before. */
export interface Found {
  /** Rows that were missing although the batch was committed, or could have been. */
  missing: number;
  /** Trades that were stored are not any more, the earliest in µs. */
  lostSince?: number;
}

/** Messages that the topic lost before they were read, or a log that took the place of another. */
export interface Loss {
  topic: string;
  partition: number;
  logName: string;
  /** The messages; absent when it isn't known which they were. */
  range?: OffsetRange;
  reason: string;
}

/** Makes messages into a batch's content. */
export interface Content<B> {
  start(): B;
  /** Adds a message; returns the content's size so far, in the unit of `maxSize`. */
  add(content: B, message: TopicMessage): number;
}

/** What is asked of where batches are stored, besides storing them. */
export interface Store {
  /** Writes down that messages are lost; again changes nothing. Keeps trying until it is written. */
  recordLoss(loss: Loss, signal: AbortSignal): Promise<void>;
  /** True when rows of any log may be stored; of a partition, when some of its messages are. */
  holdsRows(signal: AbortSignal, of?: { topic: string; partition: number }): Promise<boolean>;
  /** Grows when what was confirmed may be gone, for the server was started anew. */
  readonly restarts: number;
}

/** What to read and how. */
export interface ConsumeOptions<B> {
  kafka: Kafka;
  group: string;
  topics: readonly string[];
  content: Content<B>;
  store: Store;
  /** A batch of a partition is begun when its content has this size … */
  maxSize: number;
  /** … or so long after the one before it, whatever comes first. */
  flushMs: number;
  /** A killed member's partitions are handed over after so long. */
  sessionMs: number;
  signal: AbortSignal;
  log: Logger;
  /**
   * Told when the group has given us our partitions (true), and when nothing that is known of them holds any more
   * (false): what was written without being committed may be written again, here or elsewhere.
   *
   * @param partitions topic → partitions that the group gave us last; another object each time
   */
  onAssigned(assigned: boolean, partitions: Record<string, number[]>): void;
  /** Called between the steps of each batch; may take its time, so that a test can end the process there. */
  onStep?: (point: FaultPoint, batch: BatchId) => Promise<void>;
  /** Told of each fetch that brought messages: when its first one was received, in µs, and where it ends. */
  onRead?: (
    of: { topic: string; partition: number; offset: number; receivedAt: number; end: number },
  ) => void;
}

/**
 * Writes a batch: `begin`, write so that writing it again changes nothing, `commit`. Keeps trying until it is written.
 * Called for several partitions at once.
 *
 * @throws when `batch.signal` aborts
 */
export type BatchHandler<B> = (batch: Batch<B>) => Promise<void>;
