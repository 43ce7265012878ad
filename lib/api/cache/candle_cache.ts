/**
 * Candles, kept in memory so that the page needn't wait for ClickHouse to plan a query (20 ms), and never older than two
 * seconds.
 *
 * The time is cut into cells: whole hours that hold whole candles. Trades are only ever added, each once, so a cell's
 * candles are right as long as their number of trades is the number that ClickHouse has for the cell's hours. One small
 * query, for all clients and products together and at most every 400 ms, asks for those numbers; a late trade (a filled
 * gap) changes the number of its hour, and the cell is read again. Cells without trades are never read.
 *
 * An answer holds every trade that was stored two seconds before it was asked for.
 *
 * @module
 */

import { ourselves } from "../../core/fair_queue.ts";
import { formatMicros } from "../../core/time.ts";
import type { Interval } from "../../core/interval.ts";
import { type Asker, shareQueries } from "../lanes.ts";
import type { ReadClient } from "../read_client.ts";
import {
  type Candle,
  candlesOfCell,
  type CellSeries,
  cellStart,
  cellsWithTrades,
  isFresh,
  newSeries,
  outerCells,
  replaceCells,
} from "./candle_cells.ts";
import { createTradeHours, hourMicros, small, staleMs, type TradeHours } from "./trade_hours.ts";

/** Which candles: those of `interval` that touch the time from `from` up to, but without, `to`. */
export interface CandleRange {
  product: string;
  interval: Interval;
  from: number;
  to: number;
  limit: number;
  /** Take the newest of the range instead of the oldest. */
  newest: boolean;
}

/** Gives candles. */
export interface CandleCache {
  /**
   * At most `limit` candles, oldest first.
   *
   * @param client on whose account candles are read that aren't kept yet
   * @returns whether the range holds more
   * @throws {Problem} when ClickHouse can't be asked, or the client asks for too much at once
   */
  page(range: CandleRange, client?: string): Promise<{ candles: Candle[]; more: boolean }>;
  /** The start of the product's first hour with trades, in µs; undefined without trades. */
  firstHour(product: string): Promise<number | undefined>;
}

/** Columns of the view `candles`, without the time. */
const candleColumns =
  "open, high, low, close, volume, quote_volume, buy_volume, sell_volume, trades, vwap, is_filled";

/** A cell that agreed with ClickHouse so long ago is read anew when it doesn't any more. */
const rereadMs = 800;
/** Read at once where nothing is known yet: a query of so many costs little more than one of a few. */
const blockCandles = 4000;

/** A series of cells and what is being read of it. */
interface Series extends CellSeries {
  product: string;
  /** First and last cell → the query that is under way. */
  reading: Map<string, { asker: Asker; done: Promise<void> }>;
}

/**
 * @param options.maxCandles kept in memory, about 300 bytes each @default {500_000}
 * @param options.now ms of a monotonic clock
 */
export function createCandleCache(
  clickhouse: ReadClient,
  options: { maxCandles?: number; now?: () => number } = {},
): CandleCache {
  const { maxCandles = 500_000, now = () => performance.now() } = options;
  const hoursOf = createTradeHours(clickhouse, now);
  const kept = new Map<string, Series>();

  function seriesOf(product: string, interval: Interval): Series {
    const name = `${interval.name} ${product}`;
    const series = kept.get(name) ?? { ...newSeries(interval), product, reading: new Map() };
    // The one that was asked for longest ago stands first.
    kept.delete(name);
    kept.set(name, series);
    return series;
  }

  /** Keeps memory bounded. */
  function evict(): void {
    let candles = 0;
    for (const series of kept.values()) candles += series.candles;
    for (const [name, series] of kept) {
      if (candles <= maxCandles) return;
      candles -= series.candles;
      kept.delete(name);
    }
  }

  return {
    async page({ product, interval, limit, ...range }, client = ourselves) {
      const { from, to, newest } = range;
      const hours = await hoursOf(product);
      const series = seriesOf(product, interval);
      const indexes = cellsWithTrades(series, hours, range);
      const found: Candle[][] = [];
      let count = 0;
      // At first as many cells as hold the page when no candle is missing, then more each time.
      let step = Math.ceil((limit + 1) / candlesOfCell(series)) + 1;
      while (count <= limit) {
        const cells = nextIndexes(indexes, step);
        if (cells.length === 0) break;
        const oldestFirst = newest ? cells.toReversed() : cells;
        await makeFresh(series, hours, oldestFirst, { clickhouse, client, now, onRead: evict });
        for (const index of cells) {
          const all = series.cells.get(index)?.candles ?? [];
          const touching = all.filter(({ start }) => start + interval.micros > from && start < to);
          found.push(touching);
          count += touching.length;
        }
        step *= 2;
      }
      const candles = (newest ? found.toReversed() : found).flat();
      return {
        candles: newest ? candles.slice(-limit) : candles.slice(0, limit),
        more: candles.length > limit,
      };
    },
    async firstHour(product) {
      const { first } = await hoursOf(product);
      return first === Infinity ? undefined : first * hourMicros;
    },
  };
}

/** How cells are read, and on whose account. */
interface Reading {
  clickhouse: ReadClient;
  client: string;
  now: () => number;
  onRead: () => void;
}

/** Sees to it that the cells, oldest first, are as ClickHouse has them. */
async function makeFresh(
  series: Series,
  hours: TradeHours,
  cells: readonly number[],
  reading: Reading,
): Promise<void> {
  const { now } = reading;
  const missing = cells.filter((index) => !series.cells.has(index));
  const block = Math.max(1, Math.floor(blockCandles / candlesOfCell(series)));
  const outer = outerCells(series, hours);
  const reads = [...new Set(missing.map((index) => Math.floor(index / block)))].map((number) => {
    const first = Math.max(number * block, outer.first);
    const last = Math.min((number + 1) * block - 1, outer.last);
    return read(series, first, last, reading);
  });
  const old = cells.filter((index) => {
    const cell = series.cells.get(index);
    return cell !== undefined && !isFresh(series, hours, index) && now() - cell.freshAt > rereadMs;
  });
  const [first, last] = [old[0], old.at(-1)];
  if (first !== undefined && last !== undefined) {
    const reread = read(series, first, last, reading);
    // While all of them still are young enough, nobody waits.
    if (old.every((index) => now() - (series.cells.get(index)?.freshAt ?? 0) <= staleMs)) {
      reread.catch(() => {});
    } else reads.push(reread);
  }
  await Promise.all(reads);
}

/** Once for all who want the same. */
function read(series: Series, first: number, last: number, reading: Reading): Promise<void> {
  const name = `${first} ${last}`;
  const asker: Asker = { client: reading.client, lane: "shared" };
  const running = series.reading.get(name);
  if (running && shareQueries.mayJoin(running.asker, asker)) {
    return running.done.catch((error) => {
      if (shareQueries.isPersonal(error)) return read(series, first, last, reading);
      throw error;
    });
  }
  const done = readCells(series, first, last, asker, reading).finally(() => {
    if (series.reading.get(name)?.done === done) series.reading.delete(name);
  });
  series.reading.set(name, { asker, done });
  return done;
}

async function readCells(
  series: Series,
  first: number,
  last: number,
  asker: Asker,
  { clickhouse, now, onRead }: Reading,
): Promise<void> {
  const readAt = now();
  const lines = await clickhouse.text(
    `SELECT toUnixTimestamp64Micro(v.time) AS time, ${candleColumns}
     FROM candles(product = {product:String}, interval = {interval:String},
       from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}) AS v
     ORDER BY v.time ${small} FORMAT JSONEachRow`,
    {
      product: series.product,
      interval: series.interval.name,
      from: formatMicros(cellStart(series, first)),
      to: formatMicros(cellStart(series, last + 1)),
    },
    asker,
  );
  replaceCells(series, { first, last }, lines, readAt);
  onRead();
}

/** The next ones; unlike a loop that breaks off, it leaves the generator open. */
function nextIndexes(indexes: Generator<number, undefined>, count: number): number[] {
  const taken: number[] = [];
  while (taken.length < count) {
    const { value, done } = indexes.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}
