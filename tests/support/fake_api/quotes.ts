/**
 * What a product is quoted at now: its order book and its ticker.
 *
 * @module
 */

import { isoMicros, nowMicros } from "../../../lib/core/time.ts";
import { candlesUntil } from "./candles.ts";
import { chance, decimal } from "./chance.ts";
import { type Market, priceAt } from "./fake_market.ts";
import type { World } from "./world.ts";

/** The order book, `depth` levels a side. */
export function bookOf(market: Market, depth: number) {
  const tick = 10 ** -market.digits;
  const mid = Math.round(market.last / tick);
  const spread = 1 + Math.floor(chance(`${market.id}${market.sequence >> 4}`) * 3);
  const level = (side: string, place: number): [string, string] => {
    const away = Math.ceil(place * (1 + place / 9) * Math.max(1, mid / 60_000));
    const price = side === "bid" ? mid - spread - away : mid + spread + away;
    const roll = chance(`${market.id}${price}${side}${market.sequence >> 5}`);
    const size = (0.02 + roll ** 4 * 3 + place / 40) * 60_000 / market.base / 4;
    return [decimal(price * tick, market.digits), decimal(size, Math.min(8, market.sizeDigits))];
  };
  const levels = (side: string) => Array.from({ length: depth }, (_, place) => level(side, place));
  return {
    product_id: market.id,
    time: isoMicros(nowMicros()),
    age_ms: 40,
    bids: levels("bid"),
    asks: levels("ask"),
  };
}

/** The ticker, with the day's figures. */
export function tickerOf(world: World, market: Market) {
  const day = candlesUntil(world, market, 3600, Date.now() / 1000, 24).data;
  return {
    type: "ticker",
    product_id: market.id,
    time: isoMicros(nowMicros() - 30_000),
    received_at: isoMicros(nowMicros()),
    price: decimal(market.last, market.digits),
    open_24h: decimal(priceAt(market, world.started - 86_400), market.digits),
    high_24h: decimal(Math.max(...day.map(({ high }) => Number(high))), market.digits),
    low_24h: decimal(Math.min(...day.map(({ low }) => Number(low))), market.digits),
    volume_24h: decimal(
      day.reduce((sum, { volume }) => sum + Number(volume), 0),
      Math.min(8, market.sizeDigits),
    ),
    sequence: market.sequence,
    trade_id: market.tradeId,
  };
}
