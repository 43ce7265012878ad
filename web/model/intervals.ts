/**
 * The intervals of the page: what may be typed, what is offered, and their places on the chart, which counts in seconds
 * since the epoch.
 *
 * @module
 */

import { type Interval, intervalStart, parseInterval, week } from "../../lib/core/interval.ts";
import { microsOf } from "../../lib/core/time.ts";

/** A minute: what is drawn before anything is chosen. */
export const minuteInterval: Interval = { name: "1m", micros: 60_000_000, origin: 0 };

/** The intervals that have a button. */
export const offeredIntervals = ["1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d", "1w"];

/** `" 4H "` → 4h; null when it is none, or longer than a week: longer ones aren't streamed. */
export function readInterval(text: string): Interval | null {
  return parseInterval(text.trim().toLowerCase(), week) ?? null;
}

/** The length of an interval in seconds. */
export function secondsOf({ micros }: Interval): number {
  return micros / 1_000_000;
}

/** The start of the interval that holds `second`, both in seconds since the epoch. */
export function placeOf(second: number, interval: Interval): number {
  return intervalStart(second * 1_000_000, interval) / 1_000_000;
}

/** The whole second since the epoch that an ISO time lies in; NaN when it isn't one. */
export function secondOf(iso: string | null | undefined): number {
  return Math.floor(microsOf(iso) / 1_000_000);
}
