/**
 * The candles of one product and interval, and what the chart draws of them: candles, and whitespace where nothing was
 * traded. The chart's places are equally wide, so an interval without a place would be a gap that nobody sees.
 *
 * @module
 */

import type { Candle, Gap } from "./api_types.ts";
import type { Interval } from "../../lib/core/interval.ts";
import { microsOf } from "../../lib/core/time.ts";
import { placeOf, secondOf, secondsOf } from "./intervals.ts";

/** A candle with its start in seconds. */
export interface TimedCandle extends Candle {
  start: number;
}

/** A place on the time axis: a candle, a repeated close (`filled`), or nothing. */
export type ChartPlace =
  | { start: number; candle: TimedCandle }
  | { start: number; filled: string }
  | { start: number };

/** So many empty places in a row are drawn; a longer stretch without trades is cut there. */
export const longestRun = 1_000;

/** Places that were left out of the axis: from `from` up to `to`, in seconds. */
export interface Cut {
  from: number;
  to: number;
}

/** REST and stream overtake each other; a candle only gains trades, so the one with fewer is the older state. */
export function isOlder(candle: Candle, known: Candle | undefined): boolean {
  return known !== undefined && candle.trades < known.trades;
}

/**
 * Puts candles into a list that is sorted by time; one of the same time replaces, unless it is older.
 *
 * @returns a new list; candles whose time can't be read are left out
 */
export function merge(list: readonly TimedCandle[], more: readonly Candle[]): TimedCandle[] {
  const byStart = new Map(list.map((candle) => [candle.start, candle]));
  for (const candle of more) {
    const start = secondOf(candle.time);
    if (Number.isNaN(start) || candle.is_filled === true || isOlder(candle, byStart.get(start))) continue;
    byStart.set(start, { ...candle, start });
  }
  return [...byStart.values()].sort((left, right) => left.start - right.start);
}

/** The empty places after `from` and before `to` (both starts of intervals), cut in the middle when there are too many. */
export function between(from: number, to: number, interval: Interval): { starts: number[]; cut: Cut | null } {
  const count = Math.max(0, Math.round((to - from) / secondsOf(interval)) - 1);
  const starts: number[] = [];
  const half = longestRun / 2;
  for (let place = 1; place <= Math.min(count, count > longestRun ? half : count); place++) {
    starts.push(from + place * secondsOf(interval));
  }
  if (count <= longestRun) return { starts, cut: null };
  for (let place = half; place >= 1; place--) starts.push(to - place * secondsOf(interval));
  return { starts, cut: { from: from + half * secondsOf(interval), to: to - half * secondsOf(interval) } };
}

/**
 * All places from the first candle to the last.
 *
 * @param options.fill whether an empty place repeats the close before it; never inside a gap of the tape, where nobody
 * knows what was traded
 */
export function placesOf(
  list: readonly TimedCandle[],
  interval: Interval,
  options: { fill: boolean; gaps: readonly UnknownSpan[] },
): { places: ChartPlace[]; cuts: Cut[] } {
  const places: ChartPlace[] = [];
  const cuts: Cut[] = [];
  let before: TimedCandle | undefined;
  for (const candle of list) {
    if (before !== undefined) {
      const { starts, cut } = between(before.start, candle.start, interval);
      if (cut !== null) cuts.push(cut);
      for (const start of starts) places.push(emptyPlace(start, before.close, interval, options));
    }
    places.push({ start: candle.start, candle });
    before = candle;
  }
  return { places, cuts };
}

/**
 * The interval for an address that names none: a tape that has just begun would be a single candle of a minute.
 *
 * @param age how long ago the tape's first trade was, in seconds
 */
export function usualInterval(age: number): string {
  if (age >= 1_200) return "1m";
  return age >= 180 ? "5s" : "1s";
}

/** The place of an interval without trades. */
export function emptyPlace(
  start: number,
  close: string,
  interval: Interval,
  options: { fill: boolean; gaps: readonly UnknownSpan[] },
): ChartPlace {
  if (!options.fill) return { start };
  const inGap = options.gaps.some(({ from, to }) => from < start + secondsOf(interval) && to > start);
  return inGap ? { start } : { start, filled: close };
}

/** A stretch of time, in seconds with fraction, in which something isn't known, and what. */
export interface UnknownSpan {
  from: number;
  to: number;
  /** `trades`: numbered trades that aren't stored; `feed`: the feed was away, what was missed isn't known yet. */
  kind: "trades" | "feed";
  /** How many trades are missing; 0 for `feed`. */
  missing: number;
  /** A sentence for people. */
  text: string;
}

/** The gaps of a product from the API's list, oldest first. */
export function missingSpans(gaps: readonly Gap[], product: string): UnknownSpan[] {
  return gaps.flatMap((gap): UnknownSpan[] => {
    const from = microsOf(gap.after_time) / 1_000_000;
    const to = microsOf(gap.before_time) / 1_000_000;
    if (gap.product_id !== product || Number.isNaN(from) || Number.isNaN(to)) return [];
    const ids = gap.missing === 1
      ? `trade ${gap.first_missing}`
      : `trades ${gap.first_missing}–${gap.last_missing}`;
    const verb = gap.missing === 1 ? "is" : "are";
    const text = `${ids} ${verb} missing${gap.status ? ` (${gap.status})` : ""}`;
    return [{ from, to: Math.max(from, to), kind: "trades", missing: gap.missing, text }];
  }).sort((left, right) => left.from - right.from);
}

/** The first and the last place that a gap touches, as starts of intervals. */
export function spanPlaces(gap: UnknownSpan, interval: Interval): { first: number; last: number } {
  return { first: placeOf(gap.from, interval), last: placeOf(gap.to, interval) };
}
