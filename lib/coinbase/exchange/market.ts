/**
 * The simulated market: a pure function of (seed, product, rate, time). Nothing is remembered, so any trade can
 * be made again from its number, a restarted exchange goes on where the clock is, and two exchanges agree.
 *
 * Numbers of trades. By time t, floor(rate × (s + warp(s))) trades were made, s being the seconds since
 * `genesis` and warp a smooth curve with a slope between -0.8 and 0.8: the market is now quiet, now busy, and the
 * numbers are 1, 2, 3, … without a hole. Time is cut into slots; the trades of a slot have hashed times in it.
 *
 * Price. p × exp(sum of value noises), each octave twice as long and √2 as high as the one before: a Brownian
 * path with the volatility of the product, for spans from a second to months.
 *
 * @module
 */

import { fraction, hash, keyOf, noise, uuid } from "./hash.ts";
import type { Product } from "./products.ts";

/** 2026-01-01T00:00:00Z in µs: the market's first moment. */
export const genesis = Date.UTC(2026, 0, 1) * 1000;

/** µs between two states of the order book; trades in between meet the same book. */
export const bookInterval = 50_000;

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
/** Share of trades that fill the same taker order as the trade before. */
const cascade = 0.4;
/** Seconds of a wave of activity, and how much of the rate it adds or takes away. */
const waves: [number, number][] = [[20, 0.35], [600, 0.25], [14_400, 0.2]];
/** The bound of |warp| in seconds: noise has a slope of at most 3, so a wave's height is its share × length / 3. */
const maxWarp = 2 * waves.reduce((sum, [length, share]) => sum + length * share / 3, 0);

/** Tickers for each match: one for every taker order. */
export const tickersPerTrade = 1 - cascade;

/**
 * Opens the market of a product.
 *
 * @param rate trades a second on average, `product.rate` by default; another rate is another market
 */
export function createMarket(product: Product, seed: string, rate = product.rate): Market {
  const key = (purpose: string) => keyOf(seed, product.id, purpose);
  const keys = {
    time: key("time"),
    cascade: key("cascade"),
    side: key("side"),
    size: key("size"),
    sizeClass: key("size class"),
    maker: key("maker"),
    taker: key("taker"),
    spread: key("spread"),
  };
  const warpKeys = waves.map((_, i) => key(`wave ${i}`));
  const priceKeys = Array.from({ length: octaves }, (_, i) => key(`price ${i}`));
  const phase = hash(key("phase"), 0) % bookInterval;
  const firstSequence = 1_000_000_000 + hash(key("sequence"), 0);
  const ticksPerUnit = 10 ** product.priceDigits;
  // Measured: with this height the noises together have the standard deviation asked for (market_test.ts).
  const height = 0.74 * product.volatility / Math.sqrt(yearSeconds);
  const meanSize = product.funds / product.price * 10 ** product.sizeDigits;
  // About 60 trades in a slot, a slot never longer than a second.
  const slot = Math.round(1e6 / 2 ** Math.max(0, Math.min(6, Math.ceil(Math.log2(rate / 64)))));

  /** Seconds of an evenly busy market: the real ones, stretched and squeezed. */
  function warped(seconds: number): number {
    let sum = seconds;
    for (let i = 0; i < waves.length; i++) {
      const [length, share] = waves[i] ?? [1, 0];
      sum += share * length / 3 * noise(warpKeys[i] ?? 0, seconds / length);
    }
    return sum;
  }
  const start = warped(0);
  const countBefore = (index: number) => Math.floor(rate * (warped(index * slot / 1e6) - start));

  /** The trades of a slot; the last ones asked for are kept because trades are asked for one after the other. */
  let kept = { index: -1, first: 0, times: new Float64Array(0), leaders: new Float64Array(0) };
  function trades(index: number) {
    if (kept.index === index) return kept;
    const first = countBefore(index) + 1;
    const times = new Float64Array(countBefore(index + 1) - first + 1);
    for (let i = 0; i < times.length; i++) {
      times[i] = genesis + index * slot + Math.floor(fraction(keys.time, first + i) * slot);
    }
    times.sort();
    const leaders = new Float64Array(times.length);
    for (let i = 0; i < times.length; i++) {
      const follows = i > 0 && fraction(keys.cascade, first + i) < cascade;
      leaders[i] = follows ? leaders[i - 1] ?? 0 : first + i;
      if (follows) times[i] = times[i - 1] ?? 0;
    }
    kept = { index, first, times, leaders };
    return kept;
  }

  function slotOf(id: number): number {
    if (id >= kept.first && id < kept.first + kept.times.length) return kept.index;
    let low = Math.max(0, Math.floor((id / rate - maxWarp) * 1e6 / slot) - 1);
    let high = Math.ceil((id / rate + maxWarp) * 1e6 / slot) + 1;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (countBefore(middle) < id) low = middle;
      else high = middle;
    }
    return low;
  }

  function count(time: number): number {
    if (time < genesis) return 0;
    const { first, times } = trades(Math.floor((time - genesis) / slot));
    let n = 0;
    while (n < times.length && (times[n] ?? 0) <= time) n++;
    return first - 1 + n;
  }

  let keptTouch: Touch & { tick: number } = { tick: -1, bid: 0, ask: 0 };
  function touch(tick: number): Touch {
    if (keptTouch.tick === tick) return keptTouch;
    const seconds = tick * bookInterval / 1e6;
    let log = 0;
    for (let i = 0; i < octaves; i++) {
      const length = 2 ** i;
      log += height * Math.sqrt(length) * noise(priceKeys[i] ?? 0, seconds / length);
    }
    const bid = Math.max(1, Math.floor(product.price * ticksPerUnit * Math.exp(log)));
    // The spread is one tick most of the time, and changes every two seconds at most.
    const wide = hash(keys.spread, Math.floor(tick / 40));
    keptTouch = { tick, bid, ask: bid + (wide % 4 === 0 ? 2 + (wide >>> 8) % 4 : 1) };
    return keptTouch;
  }

  function size(id: number): number {
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
  }

  const tick = (time: number) => Math.floor((time - genesis - phase) / bookInterval);

  return {
    product,
    rate,
    meanSize,
    count,
    touch,
    tick,
    tickTime: (tick) => genesis + phase + tick * bookInterval,
    sequenceAfter: (id) => firstSequence + id * 24 + 12,
    trade(id) {
      const { first, times, leaders } = trades(slotOf(id));
      const at = id - first;
      const time = times[at];
      const leader = leaders[at];
      if (time === undefined || leader === undefined) {
        throw new RangeError(`${product.id} has no trade ${id}: expected a whole number from 1`);
      }
      const side = hash(keys.side, leader) & 1 ? "sell" : "buy";
      const { bid, ask } = touch(tick(time));
      return {
        id,
        time,
        price: side === "sell" ? ask : bid,
        size: size(id),
        side,
        sequence: firstSequence + id * 24 + hash(keys.maker, id) % 12,
        makerOrder: uuid(keys.maker, id),
        takerOrder: uuid(keys.taker, leader),
        last: leaders[at + 1] !== leader,
      };
    },
  };
}
