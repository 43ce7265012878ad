/**
 * Candles, kept in memory so that the page needn't wait for ClickHouse to plan a query (20 ms), and never older than two
 * seconds.
 *
 * The time is cut into cells: whole hours that hold whole candles. Trades are only ever added, each once, so a cell's
 * candles are right as long as their number of trades is the number that ClickHouse has for the cell's hours. One small
 * query, for all clients and products together and at most every 400 ms, asks for those numbers; a late trade (a filled
 * hole) changes the number of its hour, and the cell is read again. Cells without trades are never read.
 *
 * An answer holds every trade that was stored two seconds before it was asked for.
 *
 * @module
 */

import { formatMicros, isoMicros } from "../time.ts";
import type { TimeFormat } from "./columns.ts";
import type { Database } from "./database.ts";
import type { Interval } from "./parameters.ts";

/** A candle, ready to be sent. */
export interface Candle {
  /** µs. */
  start: number;
  iso: string;
  /** The JSON behind the time. */
  rest: string;
}

/** Which candles: those of `interval` that touch the time from `from` up to, but without, `to`. */
export interface CandlePage {
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
   * @returns whether the range holds more
   * @throws {Problem} when ClickHouse can't be asked
   */
  page(asked: CandlePage): Promise<{ candles: Candle[]; more: boolean }>;
  /** The start of the product's first hour with trades, in µs; undefined without trades. */
  firstHour(product: string): Promise<number | undefined>;
}

/** Columns of the view `candles`, without the time. */
export const candleColumns =
  "open, high, low, close, volume, quote_volume, buy_volume, sell_volume, trades, vwap, is_filled";

/** These queries are small and many: more threads would only take the processors from what answers. */
const small = "SETTINGS max_threads = 1";
const hourMicros = 3_600_000_000;
/** Numbers of trades older than this are asked for anew, while the old ones still serve … */
const refreshMs = 400;
/** … up to this age. */
const staleMs = 2000;
/** A cell that was right so long ago is read anew when it isn't any more. */
const rereadMs = 800;
/** Products that nobody asked for in this time are left out of the query. */
const watchedMs = 60_000;
/** Candles in memory, about 300 bytes each. */
const maxCandles = 500_000;
/** Read at once where nothing is known yet: a query of so many costs little more than one of a few. */
const blockCandles = 4000;

interface Cell {
  candles: Candle[];
  trades: number;
  /** When its query was sent. */
  readAt: number;
  /** The newest moment for which it was right. */
  rightAt: number;
}

interface Series {
  interval: Interval;
  /** Hours in a cell. */
  hours: number;
  /** Hours from 1970 to the first cell. */
  origin: number;
  cells: Map<number, Cell>;
  reading: Map<string, Promise<void>>;
  candles: number;
}

/** Trades per hour of a product. */
interface Hours {
  trades: Map<number, number>;
  total: number;
  first: number;
  last: number;
  askedAt: number;
}

/** @param now ms of a monotonic clock */
export function createCandleCache(
  database: Database,
  now: () => number = () => performance.now(),
): CandleCache {
  const allSeries = new Map<string, Series>();
  const allHours = new Map<string, Hours>();
  /** Product → when it was last asked for. */
  const watched = new Map<string, number>();
  let refreshing: Promise<void> | undefined;

  /** The numbers of a product's trades, at most `staleMs` old. */
  async function hoursOf(product: string): Promise<Hours> {
    watched.set(product, now());
    const age = () => now() - (allHours.get(product)?.askedAt ?? -Infinity);
    if (age() > staleMs) {
      while (refreshing) await refreshing.catch(() => {});
      if (age() > staleMs) await refresh();
    } else if (age() > refreshMs && !refreshing) {
      refresh().catch(() => {});
    }
    return allHours.get(product) ?? noHours(-Infinity);
  }

  function refresh(): Promise<void> {
    if (refreshing) return refreshing;
    const askedAt = now();
    for (const [product, at] of watched) if (askedAt - at > watchedMs) watched.delete(product);
    const products = new Set(watched.keys());
    refreshing = readHours(products, askedAt).finally(() => refreshing = undefined);
    return refreshing;
  }

  async function readHours(products: ReadonlySet<string>, askedAt: number): Promise<void> {
    const recent = Math.floor(Date.now() / 3_600_000) - 1;
    const rows = await database.rows<{ product_id: string; total: number; recent: [number, number][] }>(
      `SELECT v.product_id AS product_id, sum(v.trades) AS total,
         groupArrayIf((intDiv(toUnixTimestamp(v.time), 3600), v.trades), v.time >= {since:DateTime64(6, 'UTC')}) AS recent
       FROM candles_1h AS v WHERE v.product_id IN {products:Array(String)} GROUP BY product_id
       ${small}`,
      { products: [...products], since: formatMicros(recent * hourMicros) },
    );
    const byProduct = new Map(rows.map((row) => [row.product_id, row]));
    await Promise.all([...products].map(async (product) => {
      const { total = 0, recent = [] } = byProduct.get(product) ?? {};
      const hours = allHours.get(product) ?? noHours(askedAt);
      for (const [hour, trades] of recent) setHour(hours, hour, trades);
      hours.askedAt = askedAt;
      // A trade of an older hour came, or everything was deleted.
      allHours.set(product, hours.total === total ? hours : await readAllHours(product));
    }));
  }

  async function readAllHours(product: string): Promise<Hours> {
    const hours = noHours(now());
    const rows = await database.rows<{ hour: number; trades: number }>(
      `SELECT intDiv(toUnixTimestamp(v.time), 3600) AS hour, v.trades AS trades
       FROM candles_1h AS v WHERE v.product_id = {product:String} ${small}`,
      { product },
    );
    for (const { hour, trades } of rows) setHour(hours, hour, trades);
    return hours;
  }

  function seriesOf(product: string, interval: Interval): Series {
    const name = `${interval.name} ${product}`;
    const series = allSeries.get(name) ?? newSeries(interval);
    // The one that was asked for longest ago stands first.
    allSeries.delete(name);
    allSeries.set(name, series);
    return series;
  }

  /** Sees to it that the cells, oldest first, are right. */
  async function prepare(
    product: string,
    series: Series,
    hours: Hours,
    cells: readonly number[],
  ): Promise<void> {
    const missing = cells.filter((index) => !series.cells.has(index));
    const block = Math.max(1, Math.floor(blockCandles / candlesOfCell(series)));
    const reads = [...new Set(missing.map((index) => Math.floor(index / block)))].map((number) => {
      const first = Math.max(number * block, cellOf(series, hours.first * hourMicros));
      const last = Math.min((number + 1) * block - 1, cellOf(series, hours.last * hourMicros));
      return read(product, series, first, last);
    });
    const wrong = cells.filter((index) => {
      const cell = series.cells.get(index);
      return cell !== undefined && !isRight(series, hours, index) && now() - cell.rightAt > rereadMs;
    });
    const [first, last] = [wrong[0], wrong.at(-1)];
    if (first !== undefined && last !== undefined) {
      const reading = read(product, series, first, last);
      if (wrong.every((index) => now() - (series.cells.get(index)?.rightAt ?? 0) <= staleMs)) {
        reading.catch(() => {});
      } else reads.push(reading);
    }
    await Promise.all(reads);
  }

  function read(product: string, series: Series, first: number, last: number): Promise<void> {
    const name = `${first} ${last}`;
    const running = series.reading.get(name);
    if (running) return running;
    const done = readCells(product, series, first, last).finally(() => series.reading.delete(name));
    series.reading.set(name, done);
    return done;
  }

  async function readCells(product: string, series: Series, first: number, last: number): Promise<void> {
    const readAt = now();
    const text = await database.text(
      `SELECT toUnixTimestamp64Micro(v.time) AS time, ${candleColumns}
       FROM candles(product = {product:String}, interval = {interval:String},
         from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}) AS v
       ORDER BY v.time ${small} FORMAT JSONEachRow`,
      {
        product,
        interval: series.interval.name,
        from: formatMicros(cellStart(series, first)),
        to: formatMicros(cellStart(series, last + 1)),
      },
    );
    for (let index = first; index <= last; index++) {
      series.candles -= series.cells.get(index)?.candles.length ?? 0;
      series.cells.delete(index);
    }
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const { trades, ...candle } = parseCandle(line);
      const index = cellOf(series, candle.start);
      let cell = series.cells.get(index);
      if (cell === undefined) {
        series.cells.set(index, cell = { candles: [], trades: 0, readAt, rightAt: readAt });
      }
      cell.candles.push(candle);
      cell.trades += trades;
      series.candles++;
    }
    forget();
  }

  /** Keeps memory bounded. */
  function forget(): void {
    let candles = 0;
    for (const series of allSeries.values()) candles += series.candles;
    for (const [name, series] of allSeries) {
      if (candles <= maxCandles) return;
      candles -= series.candles;
      allSeries.delete(name);
    }
  }

  return {
    async page({ product, interval, from, to, limit, newest }) {
      const hours = await hoursOf(product);
      const series = seriesOf(product, interval);
      const indexes = cellsWithTrades(series, hours, from, to, newest);
      const found: Candle[][] = [];
      let count = 0;
      // At first as many cells as hold the page when no candle is missing, then more each time.
      let step = Math.ceil((limit + 1) / candlesOfCell(series)) + 1;
      while (count <= limit) {
        const cells = take(indexes, step);
        if (cells.length === 0) break;
        await prepare(product, series, hours, newest ? cells.toReversed() : cells);
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

function noHours(askedAt: number): Hours {
  return { trades: new Map(), total: 0, first: Infinity, last: -Infinity, askedAt };
}

function setHour(hours: Hours, hour: number, trades: number): void {
  hours.total += trades - (hours.trades.get(hour) ?? 0);
  hours.trades.set(hour, trades);
  hours.first = Math.min(hours.first, hour);
  hours.last = Math.max(hours.last, hour);
}

function newSeries(interval: Interval): Series {
  const hour = hourMicros / 1_000_000;
  const seconds = interval.micros / 1_000_000;
  // The least common multiple of the interval and an hour.
  const hours = seconds / greatestDivisor(seconds, hour);
  // Weeks start on Monday, 1970-01-05.
  const origin = interval.name.endsWith("w") ? 96 : 0;
  return { interval, hours, origin, cells: new Map(), reading: new Map(), candles: 0 };
}

/** When none is missing. */
function candlesOfCell({ hours, interval }: Series): number {
  return hours * hourMicros / interval.micros;
}

function greatestDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestDivisor(right, left % right);
}

/** Whether a cell's candles are those of the trades that ClickHouse had when the hours were asked for. */
function isRight(series: Series, hours: Hours, index: number): boolean {
  const cell = series.cells.get(index);
  if (cell === undefined) return false;
  const trades = tradesIn(series, hours, index);
  // More than were there: fine when they came after the hours were asked for. Fewer: the insert was under way.
  const isRight = cell.trades === trades || (cell.trades > trades && cell.readAt >= hours.askedAt);
  if (isRight) cell.rightAt = Math.max(cell.rightAt, hours.askedAt);
  return isRight;
}

function tradesIn(series: Series, hours: Hours, index: number): number {
  const start = series.origin + index * series.hours;
  if (series.hours === 1) return hours.trades.get(start) ?? 0;
  let trades = 0;
  const end = Math.min(start + series.hours, hours.last + 1);
  for (let hour = Math.max(start, hours.first); hour < end; hour++) trades += hours.trades.get(hour) ?? 0;
  return trades;
}

/** The cells that touch a range and have trades, from the oldest or from the newest. */
function* cellsWithTrades(
  series: Series,
  hours: Hours,
  from: number,
  to: number,
  newest: boolean,
): Generator<number, undefined> {
  if (hours.trades.size === 0 || from >= to) return;
  const first = Math.max(cellOf(series, from), cellOf(series, hours.first * hourMicros));
  const last = Math.min(cellOf(series, to - 1), cellOf(series, hours.last * hourMicros));
  for (let step = 0; step <= last - first; step++) {
    const index = newest ? last - step : first + step;
    if (tradesIn(series, hours, index) > 0) yield index;
  }
}

/** The next ones; unlike a loop that breaks off, it leaves the generator open. */
function take(indexes: Generator<number, undefined>, count: number): number[] {
  const taken: number[] = [];
  while (taken.length < count) {
    const { value, done } = indexes.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

function cellOf(series: Series, micros: number): number {
  return Math.floor((micros / hourMicros - series.origin) / series.hours);
}

function cellStart(series: Series, index: number): number {
  return (series.origin + index * series.hours) * hourMicros;
}

/** `{"time":1783465097000000,"open":…,"trades":12,…}` */
function parseCandle(line: string): Candle & { trades: number } {
  const comma = line.indexOf(",");
  const start = Number(line.slice(line.indexOf(":") + 1, comma));
  const trades = Number(/"trades":(\d+)/.exec(line)?.[1]);
  return { start, iso: isoMicros(start), rest: line.slice(comma), trades };
}

/** A candle as a row of the answer. */
export function candleJson({ start, iso, rest }: Candle, timeFormat: TimeFormat): string {
  return timeFormat === "iso" ? `{"time":"${iso}"${rest}` : `{"time":${start}${rest}`;
}
