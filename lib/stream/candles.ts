/**
 * Candles of one product and interval, kept up to date trade by trade. They say what the view `candles` says once the
 * same trades are stored: open and close by trade id, exact sums, every trade id once.
 *
 * @module
 */

import { isoMicros } from "../time.ts";
import { createTradeIds, type Run, type TradeIds } from "../trade_runs.ts";
import { formatDecimal, parseDecimal } from "./decimal.ts";
import type { Interval } from "./protocol.ts";

/** A trade as candles need it. Decimals are text, `time` is µs. */
export interface Trade {
  id: number;
  time: number;
  price: string;
  size: string;
  takerSide: "buy" | "sell";
}

/** What some trades of one candle come to. Units of 1e-18; `quoteVolume` of 1e-36. */
export interface Sums {
  firstId: number;
  lastId: number;
  open: bigint;
  high: bigint;
  low: bigint;
  close: bigint;
  volume: bigint;
  quoteVolume: bigint;
  buyVolume: bigint;
  trades: number;
}

/** Trades with the ids `firstId` … `lastId` without a hole, all of the candle that starts at `start` (µs). */
export interface SeedRun extends Sums {
  start: number;
}

/** A candle in the columns of the view, and whether its time is over. */
export interface CandleRow {
  time: string;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  quote_volume: string;
  buy_volume: string;
  sell_volume: string;
  trades: number;
  vwap: string;
  is_filled: false;
  closed: boolean;
}

/** See the module. */
export interface CandleKeeper {
  /**
   * Counts a trade that isn't counted yet.
   *
   * @returns the start of its candle (µs); undefined when it changed nothing: known, or older than what is kept
   */
  add(trade: Trade): number | undefined;
  /** The exchange's clock has come so far. @returns the starts of candles that are over now, oldest first */
  advance(time: number): number[];
  /** A kept candle. */
  row(start: number): CandleRow;
  /** The last `limit` candles, oldest first: history and those that are kept. */
  rows(limit: number): CandleRow[];
  /** The highest id that is counted; 0 when there is none. */
  readonly lastId: number;
}

/** Candles that a late trade can still change: the open one and those before it. */
export const keptCandles = 5;
const historyLength = 300;

/** The start of the candle that `time` lies in. */
export function candleStart(time: number, { step, origin }: Interval): number {
  return Math.floor((time - origin) / step) * step + origin;
}

/** Adds trades to others. The order of ids decides what opens and what closes. */
export function mergeSums(left: Sums, right: Sums): Sums {
  const earlier = left.firstId < right.firstId ? left : right;
  const later = left.lastId > right.lastId ? left : right;
  return {
    firstId: earlier.firstId,
    lastId: later.lastId,
    open: earlier.open,
    close: later.close,
    high: left.high > right.high ? left.high : right.high,
    low: left.low < right.low ? left.low : right.low,
    volume: left.volume + right.volume,
    quoteVolume: left.quoteVolume + right.quoteVolume,
    buyVolume: left.buyVolume + right.buyVolume,
    trades: left.trades + right.trades,
  };
}

/** What one trade comes to. */
export function sumsOf({ id, price, size, takerSide }: Trade): Sums {
  const exactPrice = parseDecimal(price);
  const volume = parseDecimal(size);
  return {
    firstId: id,
    lastId: id,
    open: exactPrice,
    high: exactPrice,
    low: exactPrice,
    close: exactPrice,
    volume,
    quoteVolume: exactPrice * volume,
    buyVolume: takerSide === "buy" ? volume : 0n,
    trades: 1,
  };
}

/** Sums as the view's columns. */
export function candleRow(start: number, sums: Sums, closed: boolean): CandleRow {
  return {
    time: isoMicros(start),
    open: formatDecimal(sums.open),
    high: formatDecimal(sums.high),
    low: formatDecimal(sums.low),
    close: formatDecimal(sums.close),
    volume: formatDecimal(sums.volume),
    quote_volume: formatDecimal(sums.quoteVolume, 36),
    buy_volume: formatDecimal(sums.buyVolume),
    sell_volume: formatDecimal(sums.volume - sums.buyVolume),
    trades: sums.trades,
    // 36 digits divided by 18 leave 18, cut: as in the view.
    vwap: formatDecimal(sums.quoteVolume / sums.volume),
    is_filled: false,
    closed,
  };
}

/**
 * @param options.history closed candles before `options.since`, oldest first
 * @param options.runs what is stored of the candles from `options.since` on
 * @param options.since the start of the oldest candle that is kept, µs
 */
export function createCandleKeeper(
  interval: Interval,
  options: { history: readonly CandleRow[]; runs: readonly SeedRun[]; since: number; now: number },
): CandleKeeper {
  const history = [...options.history];
  const kept = new Map<number, Sums>();
  const ids: TradeIds = createTradeIds(
    options.runs.map(({ firstId, lastId }): Run => ({ first: firstId, last: lastId })),
  );
  let since = options.since;
  let clock = 0;
  let lastId = 0;
  for (const { start, ...sums } of options.runs) put(start, sums);
  advance(options.now);

  function put(start: number, sums: Sums): void {
    const before = kept.get(start);
    kept.set(start, before === undefined ? sums : mergeSums(before, sums));
    lastId = Math.max(lastId, sums.lastId);
  }

  function advance(time: number): number[] {
    if (time <= clock) return [];
    const [before, after] = [candleStart(clock, interval), candleStart(time, interval)];
    clock = time;
    if (before === after) return [];
    const closed = [...kept.keys()].filter((start) => start >= before && start < after).sort(ascending);
    const oldest = after - (keptCandles - 1) * interval.step;
    for (const start of [...kept.keys()].sort(ascending)) {
      if (start >= oldest || closed.includes(start)) continue;
      history.push(candleRow(start, kept.get(start)!, true));
      kept.delete(start);
      since = start + interval.step;
    }
    history.splice(0, history.length - historyLength);
    return closed;
  }

  function row(start: number): CandleRow {
    const sums = kept.get(start);
    if (sums === undefined) throw new RangeError(`No candle starts at ${start}`);
    return candleRow(start, sums, start + interval.step <= clock);
  }

  return {
    add(trade) {
      const start = candleStart(trade.time, interval);
      if (start < since || !ids.add(trade.id)) return undefined;
      put(start, sumsOf(trade));
      return start;
    },
    advance,
    row,
    rows: (limit) => [...history, ...[...kept.keys()].sort(ascending).map(row)].slice(-limit),
    get lastId() {
      return lastId;
    },
  };
}

function ascending(left: number, right: number): number {
  return left - right;
}
