/**
 * The simulated market: a pure function of (seed, product, rate, time). Nothing is remembered, so any trade can
 * be made again from its number, a restarted exchange goes on where the clock is, and two exchanges agree.
 *
 * Times and numbers of trades: see trade_times.ts.
 *
 * Price. p × exp(sum of value noises), each octave twice as long and √2 as high as the one before: a Brownian
 * path with the volatility of the product, for spans from a second to months.
 *
 * @module
 */

import { fraction, hash, keyOf, noise, uuid } from "./hash.ts";
import type { Product } from "./products.ts";
import { createTradeTimes, genesis } from "./trade_times.ts";

/** µs between two states of the order book; trades in between meet the same book. */
const bookInterval = 50_000;

/** One trade. Prices are in ticks of the quote increment, sizes in units of the base increment. */
export interface MarketTrade {
  id: number;
  /** µs since the epoch. */
  time: number;
  price: number;
  size: number;
  /** The maker's side, as Coinbase writes it: "sell" means that the taker bought. */
  side: "buy" | "sell";
  sequence: number;
  makerOrder: string;
  takerOrder: string;
  /** The last fill of its taker order: a ticker follows. */
  last: boolean;
}

/** The best prices of the order book in ticks. */
export interface Touch {
  bid: number;
  ask: number;
}

/** One product's market. */
export interface Market {
  product: Product;
  /** Trades a second on average. */
  rate: number;
  /** Number of the last trade made at or before `time` (µs); 0 before the first. */
  count(time: number): number;
  /** Trade number `id`, from 1. */
  trade(id: number): MarketTrade;
  /** The state of the book that is valid at `time`. */
  tick(time: number): number;
  /** When that state begins (µs). */
  tickTime(tick: number): number;
  touch(tick: number): Touch;
  /** The sequence after trade `id` and before the next one. */
  sequenceAfter(id: number): number;
  /** Average size of a trade in units of the base increment. */
  meanSize: number;
}

const yearSeconds = 365 * 86400;
const octaves = 24;
/** Sequence numbers that a trade takes; its own is in the first half of them. */
const sequencesPerTrade = 24;

/**
 * Opens the market of a product.
 *
 * @param rate trades a second on average, `product.rate` by default; another rate is another market
 */
export function createMarket(product: Product, seed: string, rate = product.rate): Market {
  const key = (purpose: string) => keyOf(seed, product.id, purpose);
  const keys = { side: key("side"), maker: key("maker"), taker: key("taker") };
  const phase = hash(key("phase"), 0) % bookInterval;
  const firstSequence = 1_000_000_000 + hash(key("sequence"), 0);
  const meanSize = product.funds / product.price * 10 ** product.sizeDigits;
  const times = createTradeTimes(rate, key);
  const touch = createTouch(product, key);
  const sizeOf = createSizes(meanSize, key);

  const tick = (time: number) => Math.floor((time - genesis - phase) / bookInterval);

  return {
    product,
    rate,
    meanSize,
    count: times.count,
    touch,
    tick,
    tickTime: (tick) => genesis + phase + tick * bookInterval,
    sequenceAfter: (id) => firstSequence + id * sequencesPerTrade + sequencesPerTrade / 2,
    trade(id) {
      const at = times.at(id);
      if (!at) throw new RangeError(`${product.id} has no trade ${id}: expected a whole number from 1`);
      const { time, leader, last } = at;
      const side = hash(keys.side, leader) & 1 ? "sell" : "buy";
      const { bid, ask } = touch(tick(time));
      return {
        id,
        time,
        price: side === "sell" ? ask : bid,
        size: sizeOf(id),
        side,
        sequence: firstSequence + id * sequencesPerTrade + hash(keys.maker, id) % (sequencesPerTrade / 2),
        makerOrder: uuid(keys.maker, id),
        takerOrder: uuid(keys.taker, leader),
        last,
      };
    },
  };
}

/** Tells the best prices of a state of the book; those asked for last are kept. */
function createTouch(product: Product, key: (purpose: string) => number): (tick: number) => Touch {
  const spreadKey = key("spread");
  const priceKeys = Array.from({ length: octaves }, (_, i) => key(`price ${i}`));
  const ticksPerUnit = 10 ** product.priceDigits;
  // Measured: with this height the noises together have the standard deviation asked for (simulated_market_test.ts).
  const height = 0.74 * product.volatility / Math.sqrt(yearSeconds);

  /** The logarithm of the price, relative to the product's usual one. */
  function logPrice(seconds: number): number {
    let log = 0;
    for (let i = 0; i < octaves; i++) {
      const length = 2 ** i;
      log += height * Math.sqrt(length) * noise(priceKeys[i] ?? 0, seconds / length);
    }
    return log;
  }

  let kept: Touch & { tick: number } = { tick: -1, bid: 0, ask: 0 };
  return (tick) => {
    if (kept.tick === tick) return kept;
    const log = logPrice(tick * bookInterval / 1e6);
    const bid = Math.max(1, Math.floor(product.price * ticksPerUnit * Math.exp(log)));
    // The spread is one tick most of the time, and changes every two seconds at most.
    const wide = hash(spreadKey, Math.floor(tick / 40));
    kept = { tick, bid, ask: bid + (wide % 4 === 0 ? 2 + (wide >>> 8) % 4 : 1) };
    return kept;
  };
}

/** Tells the size of a trade in units of the base increment. */
function createSizes(meanSize: number, key: (purpose: string) => number): (id: number) => number {
  const keys = { size: key("size"), sizeClass: key("size class") };
  return (id) => {
    const kind = fraction(keys.sizeClass, id);
    const h = hash(keys.size, id);
    if (kind < 0.08) return 1 + h % 12; // dust: a few units, down to 0.00000001 BTC
    // A sum of four uniforms is nearly normal (deviation 0.577); its exponential has a heavy tail.
    const normal = ((h & 255) + (h >>> 8 & 255) + (h >>> 16 & 255) + (h >>> 24)) / 255 - 2;
    const units = Math.max(1, Math.round(meanSize * 0.377 * Math.exp(2.6 * normal)));
    if (kind > 0.16 || units < 100) return units;
    // People like round sizes: keep the leading digit.
    const magnitude = 10 ** Math.floor(Math.log10(units));
    return Math.floor(units / magnitude) * magnitude;
  };
}
