/**
 * Decimals stay text from the wire to the screen; what must be computed is computed in whole numbers of 10^-18.
 *
 * @module
 */

import { formatDecimal, parseDecimal } from "../../lib/core/decimal.ts";

const one = parseDecimal("1");

/** Which of two decimals is larger: -1, 0 or 1. */
export function compare(left: string, right: string): -1 | 0 | 1 {
  const difference = parseDecimal(left) - parseDecimal(right);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** `left + right`, exact. */
export function add(left: string, right: string): string {
  return formatDecimal(parseDecimal(left) + parseDecimal(right));
}

/** `left - right`, exact. */
export function subtract(left: string, right: string): string {
  return formatDecimal(parseDecimal(left) - parseDecimal(right));
}

/** The price between two others, cut to 18 fraction digits. */
export function middle(left: string, right: string): string {
  return formatDecimal((parseDecimal(left) + parseDecimal(right)) / 2n);
}

/** `(b A + a B) / (A + B)`: bid b of size B, ask a of size A, cut to 18 digits; null for an empty book. */
export function microprice(bid: string, bidSize: string, ask: string, askSize: string): string | null {
  const [b, B, a, A] = [parseDecimal(bid), parseDecimal(bidSize), parseDecimal(ask), parseDecimal(askSize)];
  return A + B === 0n ? null : formatDecimal((b * A + a * B) / (A + B));
}

/** `left / right` as a number, from the exact quotient; null where `right` is 0. */
export function ratio(left: string, right: string): number | null {
  const divisor = parseDecimal(right);
  return divisor === 0n ? null : Number(formatDecimal((parseDecimal(left) * one) / divisor));
}
