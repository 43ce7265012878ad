/**
 * The order book of the simulated market, a pure function too: the book of any moment can be made, and an update
 * is the difference of two of them.
 *
 * Around the best prices lie `nearLevels` places a side, at fixed prices and with sizes that change from time to
 * time; some are empty. Farther away lie the product's deep levels, whose sizes never change. A level comes and
 * goes as the market moves.
 *
 * @module
 */

import { hash, keyOf } from "./hash.ts";
import type { Market } from "./simulated_market.ts";

/** Places a side near the best prices. */
const nearLevels = 150;

/** [price in ticks, size in units], best first. */
export type Levels = [number, number][];

/** The part of the book that changes. */
export interface Near {
  bids: Levels;
  asks: Levels;
  /** The deep bids lie below this price (ticks) … */
  deepBelow: number;
  /** … and the deep asks from this price on. */
  deepFrom: number;
}

/** A price and its new size; 0 when the level is gone. */
export interface Change {
  side: "buy" | "sell";
  price: number;
  size: number;
}

/** The books of one market. `tick` numbers the states as in `Market.tick`. */
export interface Books {
  /** The best bid and the best ask. */
  best(tick: number): [[number, number], [number, number]];
  near(tick: number): Near;
  /** What turns the book `before` into the book `after`; every price at most once a side. */
  changes(before: Near, after: Near): Change[];
  /** The whole book, best first. */
  full(near: Near): { bids: Levels; asks: Levels };
}

// Sizes relative to the average trade; a few levels hold a hundred times the usual.
const sizes = Array.from({ length: 256 }, (_, i) => 0.05 * Math.exp(7 * (i / 255) ** 3));

/** Opens the order books of a market. */
export function createBooks(market: Market, seed: string): Books {
  const near = createNear(market, seed);
  const deep = createDeep(market, seed);
  /** The deep asks end at three times the usual price. */
  const deepEnd = Math.round(usualPrice(market) * 3);
  return {
    best: near.best,
    near: near.book,
    changes(before, after) {
      return [
        ...sideChanges("buy", before.bids, after.bids, {
          removed: deep(after.deepBelow, before.deepBelow),
          added: deep(before.deepBelow, after.deepBelow),
        }),
        ...sideChanges("sell", before.asks, after.asks, {
          removed: deep(before.deepFrom, after.deepFrom),
          added: deep(after.deepFrom, before.deepFrom),
        }),
      ];
    },
    full({ bids, asks, deepBelow, deepFrom }) {
      return {
        bids: [...bids, ...deep(0, deepBelow).reverse()],
        asks: [...asks, ...deep(deepFrom, deepEnd)],
      };
    },
  };
}

const keyFor = ({ product }: Market, seed: string, purpose: string) =>
  keyOf(seed, product.id, "book", purpose);

/** In ticks. */
const usualPrice = ({ product }: Market) => product.price * 10 ** product.priceDigits;

/** The size, in units, that a hash stands for. */
function sizeFrom(h: number, meanSize: number): number {
  return Math.max(1, Math.round(meanSize * (sizes[h & 255] ?? 1) * (1 + (h >>> 8) / 2 ** 24)));
}

/** The best prices and the places around them. */
function createNear(market: Market, seed: string): { best: Books["best"]; book: Books["near"] } {
  const key = (purpose: string) => keyFor(market, seed, purpose);
  const keys = { best: key("best"), place: key("place"), period: key("period"), size: key("size") };
  const spacing = Math.max(1, Math.round(usualPrice(market) * 1e-5));

  const priceOf = (level: number) => level * spacing + hash(keys.place, level) % spacing;

  /** 0 for an empty place. A place keeps its size for 1 to 32 s. */
  function sizeAt(level: number, tick: number): number {
    const habit = hash(keys.period, level);
    const period = 20 << habit % 6;
    const h = hash(keys.size ^ level, Math.floor((tick + (habit >>> 8)) / period));
    return h >>> 30 === 0 ? 0 : sizeFrom(h, market.meanSize);
  }

  function best(tick: number): [[number, number], [number, number]] {
    const { bid, ask } = market.touch(tick);
    const period = Math.floor(tick / 8);
    const sizeOf = (price: number) => sizeFrom(hash(keys.best ^ price, period), market.meanSize);
    return [[bid, sizeOf(bid)], [ask, sizeOf(ask)]];
  }

  function book(tick: number): Near {
    const [bestBid, bestAsk] = best(tick);
    const [[bid], [ask]] = [bestBid, bestAsk];
    const bids: Levels = [bestBid];
    const asks: Levels = [bestAsk];
    let level = Math.floor(bid / spacing);
    const lowest = Math.max(1, level - nearLevels);
    for (; level >= lowest; level--) {
      const price = priceOf(level);
      const size = price < bid ? sizeAt(level, tick) : 0;
      if (size > 0) bids.push([price, size]);
    }
    level = Math.floor(ask / spacing);
    const end = level + nearLevels;
    for (; level < end; level++) {
      const price = priceOf(level);
      const size = price > ask ? sizeAt(level, tick) : 0;
      if (size > 0) asks.push([price, size]);
    }
    return { bids, asks, deepBelow: lowest * spacing, deepFrom: end * spacing };
  }

  return { best, book };
}

/** Tells the deep levels with from ≤ price < to, upwards. */
function createDeep(market: Market, seed: string): (from: number, to: number) => Levels {
  const keys = { place: keyFor(market, seed, "deep place"), size: keyFor(market, seed, "deep size") };
  const spacing = Math.max(1, Math.round(usualPrice(market) / market.product.deepLevels));
  return (from, to) => {
    const levels: Levels = [];
    for (let level = Math.max(1, Math.floor(from / spacing)); level * spacing < to; level++) {
      const price = level * spacing + hash(keys.place, level) % spacing;
      if (price < from || price >= to) continue;
      levels.push([price, sizeFrom(hash(keys.size, level), market.meanSize)]);
    }
    return levels;
  };
}

/**
 * What changes on one side of the book.
 *
 * @param before the near levels, best first, as they were …
 * @param after … and as they are
 * @param deep the deep levels that leave the book and those that enter it
 */
function sideChanges(
  side: Change["side"],
  before: Levels,
  after: Levels,
  deep: { removed: Levels; added: Levels },
): Change[] {
  // A price can leave one part of the book and enter the other: the last word counts.
  const changed = new Map<number, number>();
  for (const [price] of deep.removed) changed.set(price, 0);
  const better = side === "buy" ? (a: number, b: number) => a > b : (a: number, b: number) => a < b;
  let i = 0;
  for (const [price, size] of after) {
    let old = before[i];
    while (old && better(old[0], price)) {
      changed.set(old[0], 0);
      old = before[++i];
    }
    if (old?.[0] !== price) changed.set(price, size);
    else {
      i++;
      if (old[1] !== size) changed.set(price, size);
    }
  }
  for (const [price] of before.slice(i)) changed.set(price, 0);
  for (const [price, size] of deep.added) changed.set(price, size);
  return Array.from(changed, ([price, size]) => ({ side, price, size }));
}
