/**
 * What stands on the time axis, and which of its places change when a candle does or the clock goes on.
 *
 * @module
 */

import type { Interval } from "../../lib/core/interval.ts";
import type { Candle } from "./api_types.ts";
import {
  between,
  type ChartPlace,
  type Cut,
  emptyPlace,
  isOlder,
  merge,
  placesOf,
  type TimedCandle,
  type UnknownSpan,
} from "./candles.ts";
import { minuteInterval, placeOf, secondOf, secondsOf } from "./intervals.ts";

/** The places of one product and interval. */
export interface ChartPlaces {
  interval: Interval;
  /** Oldest first. */
  list: TimedCandle[];
  byStart: Map<number, TimedCandle>;
  /** The start of the last place; null without places. */
  newest: number | null;
  gaps: readonly UnknownSpan[];
  /** Whether an empty place repeats the close before it. */
  fill: boolean;
}

/** A place that is drawn anew; its neighbours, because the line of the VWAP joins them. */
export interface PlaceChange {
  place: ChartPlace;
  before: ChartPlace | undefined;
  after: ChartPlace | undefined;
  /** Whether it isn't the last one on the axis. */
  isHistorical: boolean;
}

/** A longer jump of the clock isn't followed place by place: the next candle brings what lies between. */
const longestJump = 120;

/** An axis without places. */
export function emptyPlaces(): ChartPlaces {
  return { interval: minuteInterval, list: [], byStart: new Map(), newest: null, gaps: [], fill: false };
}

/** Empties the axis for another product or interval. */
export function resetPlaces(places: ChartPlaces, interval: Interval): void {
  Object.assign(places, { ...emptyPlaces(), interval, gaps: places.gaps, fill: places.fill });
}

/** Adds candles of a page or a snapshot, in any order; they are laid out after that. */
export function addCandles(places: ChartPlaces, more: readonly Candle[]): void {
  places.list = merge(places.list, more);
}

/** All places from the first candle to the last. */
export function layOut(places: ChartPlaces): { places: ChartPlace[]; cuts: Cut[] } {
  const drawn = placesOf(places.list, places.interval, places);
  places.newest = drawn.places.at(-1)?.start ?? null;
  places.byStart = new Map(places.list.map((candle) => [candle.start, candle]));
  return drawn;
}

/**
 * A candle as it changes.
 *
 * @returns what is drawn anew, nothing for an older state of the candle; null when it has to be added like a page
 */
export function updateCandle(places: ChartPlaces, candle: Candle): PlaceChange[] | null {
  const { list, byStart } = places;
  const start = secondOf(candle.time);
  if (Number.isNaN(start) || isOlder(candle, byStart.get(start))) return [];
  const last = list.at(-1);
  if (last === undefined || (start < last.start && !byStart.has(start))) return null;
  const changes = start > (places.newest ?? 0) ? reach(places, start) : [];
  if (changes === null) return null;
  const timed = { ...candle, start };
  // Empty places may already stand behind it: the clock went on before the trade was here.
  changes.push(changeOf(places, { start, candle: timed }, start < (places.newest ?? 0)));
  if (start > last.start) list.push(timed);
  else list[list.findLastIndex((each) => each.start === start)] = timed;
  places.newest = Math.max(places.newest ?? 0, start);
  byStart.set(start, timed);
  return changes;
}

/** The clock goes on, whether something is traded or not; `now` in seconds. */
export function tickPlaces(places: ChartPlaces, now: number): PlaceChange[] {
  const { interval, newest } = places;
  const current = placeOf(now, interval);
  if (newest === null || current <= newest) return [];
  return (current - newest) / secondsOf(interval) > longestJump ? [] : reach(places, current) ?? [];
}

/** The starts of the first and the last place; null while there are none. */
export function rangeOf({ list, newest }: ChartPlaces): { first: number; last: number } | null {
  const first = list[0]?.start;
  return first === undefined || newest === null ? null : { first, last: newest };
}

/** How many places there are from the first candle to the last place. */
export function lengthOf(places: ChartPlaces): number {
  const range = rangeOf(places);
  return range === null ? 0 : Math.round((range.last - range.first) / secondsOf(places.interval)) + 1;
}

/** Appends empty places up to, not including, `start`. Null when the axis has to be cut: then all is drawn anew. */
function reach(places: ChartPlaces, start: number): PlaceChange[] | null {
  const { interval, newest } = places;
  if (newest === null) return null;
  const { starts, cut } = between(newest, start, interval);
  if (cut !== null) return null;
  const close = places.list.at(-1)?.close ?? "0";
  const changes = starts.map((each) => changeOf(places, emptyPlace(each, close, interval, places), false));
  places.newest = starts.at(-1) ?? newest;
  return changes;
}

function changeOf(places: ChartPlaces, place: ChartPlace, isHistorical: boolean): PlaceChange {
  const { interval, byStart } = places;
  const before = byStart.get(place.start - secondsOf(interval));
  return {
    place,
    before: before && { start: before.start, candle: before },
    after: placeAfter(places, place.start),
    isHistorical,
  };
}

function placeAfter({ interval, byStart, newest }: ChartPlaces, start: number): ChartPlace | undefined {
  const next = start + secondsOf(interval);
  if (newest === null || next > newest) return undefined;
  const candle = byStart.get(next);
  return candle === undefined ? { start: next } : { start: next, candle };
}
