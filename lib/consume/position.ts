/**
 * Where to read a partition from, given what the group has committed and what the log still holds. Pure rules; the reader
 * asks the broker and acts.
 *
 * @module
 */

import type { Committed, OffsetRange } from "../kafka/offsets.ts";
import { FatalError } from "../core/errors.ts";
import type { LogRange } from "../kafka/log_range.ts";

/** How to read a partition. */
export interface Position {
  /** The log's name: part of each batch's name. */
  logName: string;
  /** True when nothing is known of this log: its name is new. */
  isNew: boolean;
  /** The first message to store. */
  next: number;
  /** Rows of messages below may be stored already: ClickHouse is asked for them before they are written. */
  askBelow: number;
  /** The batch of an earlier process that may have landed, as far as it is still there. */
  inflight?: OffsetRange;
  /** Messages that expired before they were read. */
  lost?: OffsetRange;
  /** When the message in front of `next` was received, in µs. */
  before?: number;
  /** Rows of messages that were received from then on, in µs, may be gone. */
  suspect?: number;
}

/** The group's place is behind the log's end: it belongs to another log, or the log has lost its end. */
export interface BeyondEnd {
  committed: number;
  high: number;
}

/**
 * Decides.
 *
 * | committed | read from | ask ClickHouse below |
 * |---|---|---|
 * | nothing | the log's start | its end, if the database holds anything |
 * | moved by another program | there | the log's end |
 * | a place whose messages have expired | the log's start; what lies between is lost | the end of the batch in flight, or what is noted |
 * | a place in the log | there | the same |
 * | a place beyond the log's end | nowhere | |
 *
 * @param newLog the name of the log if nothing is known of it
 * @param hasRows the database holds rows of some log
 */
export function findPosition(
  committed: Committed,
  { low, high }: LogRange,
  { newLog, hasRows }: { newLog: string; hasRows: boolean },
): Position | BeyondEnd {
  const { offset, log, before, inflight, ask = 0, suspect } = committed;
  if (offset < 0) return { logName: newLog, isNew: true, next: low, askBelow: hasRows ? high : low };
  if (offset > high) return { committed: offset, high };
  const next = Math.max(offset, low);
  const lost = offset < low ? { lost: { first: offset, last: low - 1 } } : {};
  if (log === undefined) return { logName: newLog, isNew: true, next, askBelow: high, ...lost };
  return {
    logName: log,
    isNew: false,
    next,
    askBelow: Math.max(next, Math.min(ask, high), inflight === undefined ? 0 : inflight.last + 1),
    ...(inflight !== undefined && inflight.last >= low && { inflight: { first: next, last: inflight.last } }),
    ...(before !== undefined && next === offset && { before }),
    ...(suspect !== undefined && { suspect }),
    ...lost,
  };
}

/** How far before its place a partition is verified at the start; further while rows were missing. In µs. */
export const verifyBeforeMicros = [30e6, 600e6, 7200e6, Infinity] as const;

/** @throws {FatalError} when the group's committed offset lies behind the log's end, with what to do */
export function assertInLog(
  position: Position | BeyondEnd,
  { group, topic, partition }: { group: string; topic: string; partition: number },
): asserts position is Position {
  if (!("committed" in position)) return;
  const { committed, high } = position;
  throw new FatalError(
    `Group ${group} has read ${topic}, partition ${partition}, up to offset ${committed}, and the log ends at ${high}: the ` +
      "topic was made anew or restored, or the broker has lost its end. `deno task topics --reset-group` makes the group " +
      "begin anew: what is stored already is not stored again.",
  );
}
