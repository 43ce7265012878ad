/**
 * A frame's time, read from its bytes.
 *
 * @module
 */

import { colon, dot, minus, nine, zero } from "./json_cursor.ts";

/** Days of each month. */
const daysIn = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

/**
 * `2026-07-07T22:58:17.123456Z` → µs since the epoch. Digits beyond the sixth are cut off.
 *
 * @returns -1 where it isn't such a time from 1970 to 2105
 */
export function microsAt(bytes: Uint8Array, from: number, to: number): number {
  // Shorter than 2026-07-07T22:58:17Z.
  if (to - from < 20 || bytes[to - 1] !== 0x5a) return -1;
  const isMarked = bytes[from + 4] === minus && bytes[from + 7] === minus && bytes[from + 10] === 0x54 &&
    bytes[from + 13] === colon && bytes[from + 16] === colon;
  if (!isMarked) return -1;
  const year = twoDigits(bytes, from) * 100 + twoDigits(bytes, from + 2);
  const month = twoDigits(bytes, from + 5);
  const day = twoDigits(bytes, from + 8);
  const hour = twoDigits(bytes, from + 11);
  const minute = twoDigits(bytes, from + 14);
  const second = twoDigits(bytes, from + 17);
  // Two digits that aren't make NaN, and NaN is in no range.
  const isInRange = year >= 1970 && year < 2106 && month >= 1 && month <= 12 && day >= 1 &&
    day <= lastDay(year, month) && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 &&
    second < 60;
  if (!isInRange) return -1;
  let fraction = 0;
  let unit = 100_000;
  if (to - from > 20) {
    if (bytes[from + 19] !== dot || to - from === 21) return -1;
    for (let at = from + 20; at < to - 1; at++) {
      const code = bytes[at]!;
      if (code < zero || code > nine) return -1;
      fraction += (code - zero) * unit;
      unit = unit === 1 ? 0 : unit / 10;
    }
  }
  return ((daysBefore(year, month) + day - 1) * 86_400 + hour * 3600 + minute * 60 + second) * 1e6 +
    fraction;
}

function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - zero;
  const ones = bytes[at + 1]! - zero;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : NaN;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

function lastDay(year: number, month: number): number {
  return month === 2 && isLeap(year) ? 29 : daysIn[month - 1]!;
}

/** Days from 1970-01-01 to the first of a month; the last answer is kept, for frames of one month come together. */
let lastMonth = { year: 0, month: 0, days: 0 };
function daysBefore(year: number, month: number): number {
  if (lastMonth.year === year && lastMonth.month === month) return lastMonth.days;
  let days = 0;
  for (let each = 1970; each < year; each++) days += isLeap(each) ? 366 : 365;
  for (let each = 1; each < month; each++) days += lastDay(year, each);
  lastMonth = { year, month, days };
  return days;
}
