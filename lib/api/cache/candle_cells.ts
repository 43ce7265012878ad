/**
 * Cells: whole hours that hold whole candles of an interval, and whether what is kept of one still holds.
 *
 * @module
 */

import { isoMicros } from "../../core/time.ts";
import type { TimeFormat } from "../columns.ts";
import type { Interval } from "../../core/interval.ts";
import { hourMicros, type TradeHours } from "./trade_hours.ts";

/** A candle, ready to be sent. */
export interface Candle {
  /** µs. */
  start: number;
  iso: string;
  /** The JSON behind the time. */
  rest: string;
}

/** The candles of a few hours. */
export interface Cell {
  candles: Candle[];
  trades: number;
  /** When its query was sent. */
  readAt: number;
  /** The newest moment at which it agreed with ClickHouse. */
  freshAt: number;
}

/** The candles of a product in one interval. */
export interface CellSeries {
  interval: Interval;
  /** Hours in a cell. */
  hours: number;
  /** Hours from 1970 to the first cell. */
  origin: number;
  cells: Map<number, Cell>;
  /** Over all cells. */
  candles: number;
}

export function newSeries(interval: Interval): CellSeries {
  const hour = hourMicros / 1_000_000;
  const seconds = interval.micros / 1_000_000;
  // The least common multiple of the interval and an hour.
  const hours = seconds / greatestDivisor(seconds, hour);
  const origin = interval.origin / hourMicros;
  return { interval, hours, origin, cells: new Map(), candles: 0 };
}

/** When none is missing. */
export function candlesOfCell({ hours, interval }: CellSeries): number {
  return hours * hourMicros / interval.micros;
}

function greatestDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestDivisor(right, left % right);
}

/** The cell of a time. */
function cellOf(series: CellSeries, micros: number): number {
  return Math.floor((micros / hourMicros - series.origin) / series.hours);
}

/** Where a cell begins, in µs. */
export function cellStart(series: CellSeries, index: number): number {
  return (series.origin + index * series.hours) * hourMicros;
}

/** The first and the last cell that have trades. */
export function outerCells(series: CellSeries, hours: TradeHours): { first: number; last: number } {
  return {
    first: cellOf(series, hours.first * hourMicros),
    last: cellOf(series, hours.last * hourMicros),
  };
}

/** Whether a cell's candles are those of the trades that ClickHouse had when the hours were asked for. */
export function isFresh(series: CellSeries, hours: TradeHours, index: number): boolean {
  const cell = series.cells.get(index);
  if (cell === undefined) return false;
  const trades = tradesIn(series, hours, index);
  // More than were there: fine when they came after the hours were asked for. Fewer: the insert was under way.
  const isFresh = cell.trades === trades || (cell.trades > trades && cell.readAt >= hours.askedAt);
  if (isFresh) cell.freshAt = Math.max(cell.freshAt, hours.askedAt);
  return isFresh;
}

function tradesIn(series: CellSeries, hours: TradeHours, index: number): number {
  const start = series.origin + index * series.hours;
  if (series.hours === 1) return hours.trades.get(start) ?? 0;
  let trades = 0;
  const end = Math.min(start + series.hours, hours.last + 1);
  for (let hour = Math.max(start, hours.first); hour < end; hour++) trades += hours.trades.get(hour) ?? 0;
  return trades;
}

/** The cells that touch a range (µs) and have trades, from the oldest or from the newest. */
export function* cellsWithTrades(
  series: CellSeries,
  hours: TradeHours,
  range: { from: number; to: number; newest: boolean },
): Generator<number, undefined> {
  const { from, to, newest } = range;
  if (hours.trades.size === 0 || from >= to) return;
  const outer = outerCells(series, hours);
  const first = Math.max(cellOf(series, from), outer.first);
  const last = Math.min(cellOf(series, to - 1), outer.last);
  for (let step = 0; step <= last - first; step++) {
    const index = newest ? last - step : first + step;
    if (tradesIn(series, hours, index) > 0) yield index;
  }
}

/** Puts the rows of a query, JSON lines of whole cells from `first` to `last`, in the place of what was kept of these. */
export function replaceCells(
  series: CellSeries,
  { first, last }: { first: number; last: number },
  lines: string,
  readAt: number,
): void {
  for (let index = first; index <= last; index++) {
    series.candles -= series.cells.get(index)?.candles.length ?? 0;
    series.cells.delete(index);
  }
  for (const line of lines.split("\n")) {
    if (line === "") continue;
    const { trades, ...candle } = parseCandle(line);
    const index = cellOf(series, candle.start);
    let cell = series.cells.get(index);
    if (cell === undefined) {
      series.cells.set(index, cell = { candles: [], trades: 0, readAt, freshAt: readAt });
    }
    cell.candles.push(candle);
    cell.trades += trades;
    series.candles++;
  }
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
