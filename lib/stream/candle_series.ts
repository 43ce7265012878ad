/**
 * Candles of one product and interval, kept up to date trade by trade. They say what the view `candles` says once the
 * same trades are stored: open and close by trade id, exact sums, every trade id once.
 *
 * @module
 */

import { isoMicros } from "../core/time.ts";
import { createTradeIds, type Run, type TradeIds } from "../core/id_ranges.ts";
import { formatDecimal, parseDecimal } from "../core/decimal.ts";
import { type Interval, intervalStart } from "../core/interval.ts";

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

/** Trades with the ids `firstId` … `lastId` without a gap, all of the candle that starts at `start` (µs). */
export interface StoredRun extends Sums {
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

/** Candles that a late trade can still change: the open one and those before it. */
export const keptCandles = 5;
const historyLength = 300;

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
function candleRow(start: number, sums: Sums, closed: boolean): CandleRow {
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

/** What a series begins with. */
export interface SeriesStart {
  /** Closed candles before `since`, oldest first. */
  history: readonly CandleRow[];
  /** What is stored of the candles from `since` on. */
  runs: readonly StoredRun[];
  /** The start of the oldest candle that is kept, µs. */
  since: number;
  /** The exchange's clock, µs. */
  now: number;
}

/** See the module. */
export class CandleSeries {
  readonly #interval: Interval;
  readonly #history: CandleRow[];
  readonly #kept = new Map<number, Sums>();
  readonly #ids: TradeIds;
  #since: number;
  #clock = 0;
  #lastId = 0;

  constructor(interval: Interval, { history, runs, since, now }: SeriesStart) {
    this.#interval = interval;
    this.#history = [...history];
    this.#ids = createTradeIds(runs.map(({ firstId, lastId }): Run => ({ first: firstId, last: lastId })));
    this.#since = since;
    for (const { start, ...sums } of runs) this.#put(start, sums);
    this.advance(now);
  }

  /** The highest id that is counted; 0 when there is none. */
  get lastId(): number {
    return this.#lastId;
  }

  /**
   * Counts a trade that isn't counted yet.
   *
   * @returns the start of its candle (µs); undefined when it changed nothing: known, or older than what is kept
   */
  add(trade: Trade): number | undefined {
    const start = intervalStart(trade.time, this.#interval);
    if (start < this.#since || !this.#ids.add(trade.id)) return undefined;
    this.#put(start, sumsOf(trade));
    return start;
  }

  /** The exchange's clock has come so far. @returns the starts of candles that are over now, oldest first */
  advance(time: number): number[] {
    if (time <= this.#clock) return [];
    const before = intervalStart(this.#clock, this.#interval);
    const after = intervalStart(time, this.#interval);
    this.#clock = time;
    if (before === after) return [];
    const starts = this.#starts();
    const closed = starts.filter((start) => start >= before && start < after);
    const oldest = after - (keptCandles - 1) * this.#interval.micros;
    for (const start of starts) {
      if (start >= oldest || closed.includes(start)) continue;
      this.#history.push(candleRow(start, this.#kept.get(start)!, true));
      this.#kept.delete(start);
      this.#since = start + this.#interval.micros;
    }
    this.#history.splice(0, this.#history.length - historyLength);
    return closed;
  }

  /** A kept candle. */
  row(start: number): CandleRow {
    const sums = this.#kept.get(start);
    if (sums === undefined) throw new RangeError(`No candle starts at ${start}`);
    return candleRow(start, sums, start + this.#interval.micros <= this.#clock);
  }

  /** The last `limit` candles, oldest first: history and those that are kept. */
  rows(limit: number): CandleRow[] {
    return [...this.#history, ...this.#starts().map((start) => this.row(start))].slice(-limit);
  }

  #put(start: number, sums: Sums): void {
    const before = this.#kept.get(start);
    this.#kept.set(start, before === undefined ? sums : mergeSums(before, sums));
    this.#lastId = Math.max(this.#lastId, sums.lastId);
  }

  /** Of the kept candles, oldest first. */
  #starts(): number[] {
    return [...this.#kept.keys()].sort((left, right) => left - right);
  }
}
