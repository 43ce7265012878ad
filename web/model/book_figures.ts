/**
 * What is computed from a book: exact where it is a price or a size.
 *
 * @module
 */

import type { Book, Level } from "./api_types.ts";
import { formatDecimal, parseDecimal } from "../../lib/core/decimal.ts";
import { add, microprice, middle, ratio, subtract } from "./decimal_math.ts";

/** The figures of a book's best level; sizes and prices as decimals. */
interface BookFigures {
  spread: string;
  mid: string;
  microprice: string | null;
  /** 10 000 × spread / mid. */
  spreadBps: number | null;
  /** (B − A) / (B + A) of the best levels' sizes, from -1 to 1; null where both are 0. */
  imbalance: number | null;
}

/** Null when a side is empty. */
export function figuresOf({ bids, asks }: Pick<Book, "bids" | "asks">): BookFigures | null {
  const [bid] = bids;
  const [ask] = asks;
  if (bid === undefined || ask === undefined) return null;
  const spread = subtract(ask[0], bid[0]);
  const mid = middle(bid[0], ask[0]);
  const share = ratio(spread, mid);
  const sizes = add(bid[1], ask[1]);
  return {
    spread,
    mid,
    microprice: microprice(bid[0], bid[1], ask[0], ask[1]),
    spreadBps: share === null ? null : share * 10_000,
    imbalance: ratio(subtract(bid[1], ask[1]), sizes),
  };
}

/** The levels with the sum of the sizes up to each. */
export function cumulated(levels: readonly Level[]): { price: string; size: string; sum: string }[] {
  let sum = 0n;
  return levels.map(([price, size]) => {
    sum += parseDecimal(size);
    return { price, size, sum: formatDecimal(sum) };
  });
}
