/**
 * Candles of the made-up market, of any interval.
 *
 * @module
 */

import { isoMicros } from "../../../lib/core/time.ts";
import { chance, decimal } from "./chance.ts";
import { type Market, priceAt } from "./fake_market.ts";
import { gapsOf, type World } from "./world.ts";

/** Seconds of an interval such as `5m`; null when it is none. */
export function secondsOf(interval: string): number | null {
  const match = /^([1-9]\d*)([smhdw])$/.exec(interval);
  const unit = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 }[match?.[2] ?? ""];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}

/**
 * The candle that begins at `start`; null without a trade. What ended before the server's start is made up, later it
 * comes from the trades.
 */
export function candleAt(world: World, market: Market, start: number, step: number) {
  const trades = market.trades.filter(({ micros }) => micros >= start * 1e6 && micros < (start + step) * 1e6);
  const past = pastSeconds(world, market, start, step);
  const made = past > 0 ? [0, 0.2, 0.4, 0.6, 0.8, 0.99] : [];
  const prices = made.map((share) => priceAt(market, start + share * past));
  prices.push(...trades.map(({ price }) => Number(price)));
  if (prices.length === 0) return null;
  const size = made.length > 0 ? (0.2 + chance(`${market.id}${start}v`) ** 3 * 6) * step / 10 : 0;
  const volume = size + trades.reduce((sum, trade) => sum + Number(trade.size), 0);
  const digits = Math.min(8, market.sizeDigits);
  return {
    time: isoMicros(start * 1e6),
    open: decimal(prices[0] ?? 0, market.digits),
    high: decimal(Math.max(...prices), market.digits),
    low: decimal(Math.min(...prices), market.digits),
    close: decimal(prices.at(-1) ?? 0, market.digits),
    volume: decimal(volume, digits),
    quote_volume: String(Number((volume * market.base).toFixed(market.digits))),
    buy_volume: decimal(volume * 0.52, digits),
    sell_volume: decimal(volume * 0.48, digits),
    trades: made.length * 7 + trades.length,
    vwap: decimal(prices.reduce((sum, price) => sum + price, 0) / prices.length, market.digits + 6),
    is_filled: false,
  };
}

/** Seconds of an interval that are made up: none within a gap, nor now and then where nobody traded. */
function pastSeconds(world: World, market: Market, start: number, step: number): number {
  const isMissing = gapsOf(world, market).some(({ after_time, before_time }) =>
    Date.parse(after_time) / 1000 <= start && Date.parse(before_time) / 1000 >= start + step
  );
  const isQuiet = step < 60 ? chance(`${market.id}${start}q`) < 0.25 : chance(`${market.id}${start}`) < 0.01;
  return isMissing || isQuiet ? 0 : Math.min(start + step, world.started) - start;
}

/** Candles of the last `limit` intervals up to second `to`, the oldest first, and the cursor of those before them. */
export function candlesUntil(world: World, market: Market, step: number, to: number, limit: number) {
  const end = Math.floor(to / step) * step;
  const oldest = world.started - 90 * 86_400;
  const data: NonNullable<ReturnType<typeof candleAt>>[] = [];
  let start = end;
  for (; start > end - limit * step && start > oldest; start -= step) {
    const candle = candleAt(world, market, start, step);
    if (candle !== null) data.unshift(candle);
  }
  return { data, next: start > oldest ? String(start + step) : null };
}
