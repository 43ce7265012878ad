/**
 * What the texts of options on a command line mean. Each throws an `InvalidArgumentError`, which commander prints behind the
 * option's name.
 *
 * @module
 */

import { InvalidArgumentError } from "@commander-js/extra-typings";
import { parseDuration, parseTime } from "./time.ts";

/** A whole number in these bounds, both included. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (/^\d+$/.test(text) && number >= least && number <= most) return number;
    throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`);
  };
}

/** `2`, `0.5` */
export function positiveNumber(text: string): number {
  const number = Number(text);
  if (number > 0 && number < Infinity) return number;
  throw new InvalidArgumentError("Expected a positive number.");
}

/** How many times as fast: `2`, `0.5`; `max` is Infinity. */
export function speed(text: string): number {
  if (text === "max") return Infinity;
  const number = Number(text);
  if (number > 0 && number < Infinity) return number;
  throw new InvalidArgumentError("Expected a positive number, or max.");
}

/** `500ms`, `30s`, `5m`, `2h` → ms. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new InvalidArgumentError("Expected a duration such as 30s, 5m or 2h.");
}

/** The same, but nothing shorter than a second. */
export function longDuration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1000) return ms;
  throw new InvalidArgumentError("Expected a duration of at least a second, such as 30s, 5m or 2h.");
}

/** `2026-07-01`, `2026-07-01T12:00Z` → µs since the epoch. */
export function moment(text: string): number {
  const micros = parseTime(text);
  if (micros !== undefined) return micros;
  throw new InvalidArgumentError("Expected a date or a time such as 2026-07-01 or 2026-07-01T12:00Z.");
}
