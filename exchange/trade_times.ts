/**
 * When the trades of the simulated market happen, and which of them fill the same taker order.
 *
 * By time t, floor(rate × (s + warp(s))) trades were made, s being the seconds since `genesis` and warp a smooth
 * curve with a slope between -0.8 and 0.8: the market is now quiet, now busy, and the numbers are 1, 2, 3, …
 * without a gap. Time is cut into slots; the trades of a slot have hashed times in it.
 *
 * @module
 */

import { fraction, noise } from "./hash.ts";

/** 2026-01-01T00:00:00Z in µs: the market's first moment. */
export const genesis = Date.UTC(2026, 0, 1) * 1000;

/** Share of trades that fill the same taker order as the trade before. */
const cascade = 0.4;
/** Seconds of a wave of activity, and how much of the rate it adds or takes away. */
const waves: [number, number][] = [[20, 0.35], [600, 0.25], [14_400, 0.2]];
/** The bound of |warp| in seconds: noise has a slope of at most 3, so a wave's height is its share × length / 3. */
const maxWarp = 2 * waves.reduce((sum, [length, share]) => sum + length * share / 3, 0);

/** Tickers for each match: one for every taker order. */
export const tickersPerTrade = 1 - cascade;

/** When trades happen. */
export interface TradeTimes {
  /** Number of the last trade made at or before `time` (µs); 0 before the first. */
  count(time: number): number;
  /** Trade number `id`, from 1; undefined when there is no such number. */
  at(id: number): TradeTime | undefined;
}

/** When one trade happens. */
export interface TradeTime {
  /** µs since the epoch. */
  time: number;
  /** Number of the first fill of its taker order. */
  leader: number;
  /** The last fill of its taker order. */
  last: boolean;
}

/** The trades of a slot, in order of time. */
interface Slot {
  index: number;
  /** Number of the first of them. */
  first: number;
  times: Float64Array;
  leaders: Float64Array;
}

/**
 * The times of a market's trades.
 *
 * @param rate trades a second on average
 * @param key gives the key of a stream of hashes
 */
export function createTradeTimes(rate: number, key: (purpose: string) => number): TradeTimes {
  const keys = { time: key("time"), cascade: key("cascade") };
  const warped = createWarp(key);
  const start = warped(0);
  // About 60 trades in a slot, a slot never longer than a second.
  const length = Math.round(1e6 / 2 ** Math.max(0, Math.min(6, Math.ceil(Math.log2(rate / 64)))));
  /** The last slot asked for: trades are asked for one after the other. */
  let kept: Slot = { index: -1, first: 0, times: new Float64Array(0), leaders: new Float64Array(0) };

  const countBefore = (index: number) => Math.floor(rate * (warped(index * length / 1e6) - start));

  function slot(index: number): Slot {
    if (kept.index === index) return kept;
    const first = countBefore(index) + 1;
    const times = new Float64Array(countBefore(index + 1) - first + 1);
    for (let i = 0; i < times.length; i++) {
      times[i] = genesis + index * length + Math.floor(fraction(keys.time, first + i) * length);
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

  function slotOf(id: number): Slot {
    if (id >= kept.first && id < kept.first + kept.times.length) return kept;
    let low = Math.max(0, Math.floor((id / rate - maxWarp) * 1e6 / length) - 1);
    let high = Math.ceil((id / rate + maxWarp) * 1e6 / length) + 1;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (countBefore(middle) < id) low = middle;
      else high = middle;
    }
    return slot(low);
  }

  return {
    count(time) {
      if (time < genesis) return 0;
      const { first, times } = slot(Math.floor((time - genesis) / length));
      let n = 0;
      while (n < times.length && (times[n] ?? 0) <= time) n++;
      return first - 1 + n;
    },
    at(id) {
      const { first, times, leaders } = slotOf(id);
      const i = id - first;
      const time = times[i];
      const leader = leaders[i];
      if (time === undefined || leader === undefined) return undefined;
      return { time, leader, last: leaders[i + 1] !== leader };
    },
  };
}

/** Turns seconds since `genesis` into those of an evenly busy market: the real ones, stretched and squeezed. */
function createWarp(key: (purpose: string) => number): (seconds: number) => number {
  const keys = waves.map((_, i) => key(`wave ${i}`));
  return (seconds) => {
    let sum = seconds;
    for (let i = 0; i < waves.length; i++) {
      const [length, share] = waves[i] ?? [1, 0];
      sum += share * length / 3 * noise(keys[i] ?? 0, seconds / length);
    }
    return sum;
  };
}
