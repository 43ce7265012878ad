/**
 * One product's order book in memory. A side is an array sorted with the best price at its end, where nearly all
 * changes happen: an insertion moves only the levels that are better. Tens of thousands of levels are no burden.
 *
 * @module
 */

import { formatDecimal, parseDecimal } from "../core/decimal.ts";

/** [price, size] as decimals without trailing zeros. */
export type LevelText = [price: string, size: string];
export type Side = "bid" | "ask";

interface Level {
  price: bigint;
  size: bigint;
}

/** See the module. */
export interface OrderBook {
  /** Sets the size of a price; 0 removes it, also when it isn't there. */
  set(side: Side, price: string, size: string): void;
  /** The best `depth` levels, best first. */
  top(side: Side, depth: number): LevelText[];
}

/** A book of the levels given, in any order. */
export function createOrderBook(
  bids: readonly (readonly [string, string])[],
  asks: readonly (readonly [string, string])[],
): OrderBook {
  const sides = { bid: sorted(bids, 1n), ask: sorted(asks, -1n) };
  return {
    set(side, priceText, sizeText) {
      const levels = sides[side];
      const price = parseDecimal(priceText);
      const size = parseDecimal(sizeText);
      const at = place(levels, side === "bid" ? 1n : -1n, price);
      const found = levels[at]?.price === price;
      if (size === 0n) {
        if (found) levels.splice(at, 1);
      } else if (found) levels[at]!.size = size;
      else levels.splice(at, 0, { price, size });
    },
    top: (side, depth) =>
      sides[side].slice(-depth).reverse().map((
        { price, size },
      ) => [formatDecimal(price), formatDecimal(size)]),
  };
}

/** The last size of a price that is named twice wins, as with changes. */
function sorted(levels: readonly (readonly [string, string])[], sign: bigint): Level[] {
  const sizes = new Map(levels.map(([price, size]) => [parseDecimal(price), parseDecimal(size)]));
  return [...sizes].filter(([, size]) => size !== 0n).map(([price, size]) => ({ price, size }))
    .sort((left, right) => (left.price - right.price) * sign < 0n ? -1 : 1);
}

/** The index of the price, or where it belongs. */
function place(levels: readonly Level[], sign: bigint, price: bigint): number {
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((levels[middle]!.price - price) * sign < 0n) low = middle + 1;
    else high = middle;
  }
  return low;
}
