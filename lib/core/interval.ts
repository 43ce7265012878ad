/**
 * The intervals of candles: how they are written, how long they are, and where each begins.
 *
 * @module
 */

/** An interval; its candles begin at `origin` plus a multiple of `micros`. */
export interface Interval {
  /** As it is written: `5m`. */
  name: string;
  /** Its length in µs. */
  micros: number;
  /** µs since the epoch. */
  origin: number;
}

const day = 86_400_000_000;
/** The longest interval that is streamed, in µs. */
export const week = 7 * day;
const year = 366 * day;
const units: Record<string, number> = { s: 1_000_000, m: 60_000_000, h: 3_600_000_000, d: day, w: week };

/**
 * `"90s"` → its length; undefined when it isn't a whole number of s, m, h, d or w.
 *
 * @param longest in µs: a longer interval is none
 */
export function parseInterval(text: string, longest = year): Interval | undefined {
  const match = /^([1-9]\d{0,6})([smhdw])$/.exec(text);
  const unit = units[match?.[2] ?? ""];
  if (match === null || unit === undefined) return undefined;
  const micros = Number(match[1]) * unit;
  // Weeks begin on Monday; 1970-01-05 was one. As in the view candles.
  return micros > longest ? undefined : { name: text, micros, origin: match[2] === "w" ? 4 * day : 0 };
}

/** The start of the interval that `time` lies in, both in µs since the epoch. */
export function intervalStart(time: number, { micros, origin }: Interval): number {
  return Math.floor((time - origin) / micros) * micros + origin;
}
