/**
 * Which times are immutable: every trade of then is stored, so nothing of then can change.
 *
 * @module
 */

import { createSharedAnswers } from "../../core/shared_answer.ts";
import type { ReadClient } from "../read_client.ts";

/** Knows what is immutable. It never waits: what isn't known yet may change. */
export interface ImmutableTimes {
  /**
   * True when no trade of the time from `from` to `to` (µs) can come any more.
   *
   * @param more.end look up to here as well
   */
  isImmutable(product: string, from: number, to: number, more?: { end?: number | undefined }): boolean;
}

/** What is stored of a product. */
export interface StoredTimes {
  /** µs: the first and the newest stored trade. */
  first: number;
  last: number;
  /** The times of the stored trades on both sides of each gap. */
  gaps: [after: number, before: number][];
}

/** How long an answer is believed. */
const believedMs = 10_000;
/** A candle that ended a shorter time before the newest trade may be one whose insert is under way. */
const restMicros = 60_000_000;
/** More than an exchange has products. */
const maxKeys = 10_000;

/** @param now ms of a monotonic clock */
export function createImmutableTimes(clickhouse: ReadClient, now = () => performance.now()): ImmutableTimes {
  const stored = createSharedAnswers(async (product): Promise<StoredTimes | undefined> => {
    const [row] = await clickhouse.rows<StoredTimes>(
      `SELECT toUnixTimestamp64Micro(min(v.first_time)) AS first, toUnixTimestamp64Micro(max(v.last_time)) AS last,
        (SELECT groupArray((toUnixTimestamp64Micro(g.after_time), toUnixTimestamp64Micro(g.before_time)))
         FROM trade_gaps AS g WHERE g.product_id = {product:String}) AS gaps
       FROM trade_runs AS v WHERE v.product_id = {product:String} HAVING count() > 0`,
      { product },
    );
    return row;
  }, { freshMs: believedMs, staleMs: believedMs, maxKeys, now });

  return {
    isImmutable(product, from, to, { end = to } = {}) {
      const times = stored(product).known();
      return times !== undefined && isWithin(times, from, Math.max(to, end));
    },
  };
}

/** After the first trade, well before the newest, and no gap touches it. */
export function isWithin({ first, last, gaps }: StoredTimes, from: number, to: number): boolean {
  return from > first && to < last - restMicros &&
    gaps.every(([after, before]) => before < from || after >= to);
}
