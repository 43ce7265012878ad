/**
 * Which times are settled: every trade of then is stored, so nothing of then can change.
 *
 * @module
 */

import type { Database } from "./database.ts";

/** Knows what is settled. It never waits: what isn't known yet isn't settled. */
export interface Settled {
  /**
   * True when no trade of the time from `from` to `to` (µs) can come any more.
   *
   * @param more.end look up to here as well
   */
  isSettled(product: string, from: number, to: number, more?: { end?: number | undefined }): boolean;
}

interface Known {
  /** µs: the first and the newest stored trade. */
  first: number;
  last: number;
  /** The times of the stored trades on both sides of each hole. */
  gaps: [after: number, before: number][];
  at: number;
}

/** How long an answer is believed. */
const believedMs = 10_000;
/** A candle that ended a shorter time before the newest trade may be one whose insert is under way. */
const restMicros = 60_000_000;

/** @param now ms of a monotonic clock */
export function createSettled(database: Database, now = () => performance.now()): Settled {
  const products = new Map<string, Known>();
  const asking = new Set<string>();

  async function ask(product: string): Promise<void> {
    const at = now();
    const rows = await database.rows<{ first: number; last: number; gaps: [number, number][] }>(
      `SELECT toUnixTimestamp64Micro(min(v.first_time)) AS first, toUnixTimestamp64Micro(max(v.last_time)) AS last,
        (SELECT groupArray((toUnixTimestamp64Micro(g.after_time), toUnixTimestamp64Micro(g.before_time)))
         FROM trade_gaps AS g WHERE g.product_id = {product:String}) AS gaps
       FROM trade_runs AS v WHERE v.product_id = {product:String} HAVING count() > 0`,
      { product },
    );
    for (const row of rows) products.set(product, { ...row, at });
  }

  return {
    isSettled(product, from, to, { end = to } = {}) {
      const known = products.get(product);
      const isOld = known === undefined || now() - known.at > believedMs;
      if (isOld && !asking.has(product)) {
        asking.add(product);
        ask(product).catch(() => {}).finally(() => asking.delete(product));
      }
      return known !== undefined && !isOld && isWithin(known, from, Math.max(to, end));
    },
  };
}

/** After the first trade, well before the newest, and no hole touches it. */
export function isWithin(known: Omit<Known, "at">, from: number, to: number): boolean {
  return from > known.first && to < known.last - restMicros &&
    known.gaps.every(([after, before]) => before < from || after >= to);
}
