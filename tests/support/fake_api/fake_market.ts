/**
 * The made-up market: its products, what a price is at a second, and trades.
 *
 * @module
 */

import { isoMicros, nowMicros } from "../../../lib/core/time.ts";
import { chance, decimal } from "./chance.ts";

/** A product and what has happened to it since the start. */
export interface Market {
  id: string;
  /** Its price swings around this. */
  base: number;
  /** Digits of a price. */
  digits: number;
  /** Digits of a size or volume: the API's, at most 8. */
  sizeDigits: number;
  tradeId: number;
  sequence: number;
  /** The price now. */
  last: number;
  trades: Trade[];
}

/** A trade as the API's JSON has it, and its time in µs. */
export interface Trade {
  product_id: string;
  trade_id: number;
  time: string;
  micros: number;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
  received_at: string;
}

/** Product, price, digits of a price, digits of a size. */
const listed: [string, number, number, number][] = [
  ["BTC-USD", 63711.77, 2, 8],
  ["ETH-USD", 2362.75, 2, 8],
  ["SOL-USD", 142.11, 2, 8],
  ["XRP-USD", 2.1034, 4, 6],
  ["DOGE-USD", 0.17211, 5, 1],
  ["LTC-USD", 88.04, 2, 8],
  ["ADA-USD", 0.5811, 4, 8],
  ["LINK-USD", 13.412, 3, 2],
  ["AVAX-USD", 18.21, 2, 8],
  ["DOT-USD", 3.411, 3, 8],
  ["UNI-USD", 7.312, 3, 6],
  ["XLM-USD", 0.239112, 6, 8],
  ["SHIB-USD", 0.0000117, 8, 0],
  ["SUI-USD", 2.8312, 4, 1],
];

/** The products at second `started`, each with a few trades. */
export function createMarkets(started: number): Market[] {
  return listed.map(([id, base, digits, sizeDigits], place) => {
    const market: Market = {
      id,
      base,
      digits,
      sizeDigits,
      tradeId: 800_000_000 - place * 1_000_000,
      sequence: 1_000_000,
      last: base,
      trades: [],
    };
    market.last = priceAt(market, started);
    for (let count = 0; count < 3; count++) makeTrade(market);
    return market;
  });
}

/** What a product costs at a second since the epoch: slow and fast waves, and a little chance. */
export function priceAt({ id, base }: Market, second: number): number {
  const turn = chance(id) * 9;
  return base * Math.exp(
    0.013 * Math.sin(second / 9_000 + turn) + 0.005 * Math.sin(second / 1_311 + turn) +
      0.0016 * Math.sin(second / 197) + 0.0009 * (chance(id + Math.floor(second / 20)) - 0.5),
  );
}

/** Makes the product's next trade, now. Of very many only the newest are kept. */
export function makeTrade(market: Market): Trade {
  const now = nowMicros();
  market.tradeId++;
  market.sequence += 3;
  const drift = (chance(`${market.id}${market.tradeId}`) - 0.5) * market.base * 0.0002;
  market.last = Math.max(10 ** -market.digits, priceAt(market, now / 1e6) + drift);
  const roll = chance(`${market.tradeId}s`);
  const trade: Trade = {
    product_id: market.id,
    trade_id: market.tradeId,
    time: isoMicros(now - 25_000 - Math.floor(roll * 20_000)),
    micros: now,
    price: decimal(market.last, market.digits),
    size: decimal((0.0001 + roll ** 6 * 2) * 60_000 / market.base, market.sizeDigits),
    taker_side: drift > 0 ? "buy" : "sell",
    received_at: isoMicros(now),
  };
  market.trades.push(trade);
  if (market.trades.length > 20_000) market.trades.splice(0, 5_000);
  return trade;
}

/** A trade as a message of the stream and a row of `/api/trades`. */
export function matchOf({ micros: _, ...trade }: Trade, type = "match") {
  return { type, ...trade, side: trade.taker_side === "buy" ? "sell" : "buy", sequence: trade.trade_id * 3 };
}
