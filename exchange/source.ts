/**
 * What the exchange's server needs to know of a market, be it simulated or replayed.
 *
 * @module
 */

import type { ProductRow } from "./products.ts";

/** The channels that need no key. */
export const channels = [
  "level2_batch",
  "ticker",
  "ticker_batch",
  "matches",
  "heartbeat",
  "status",
] as const;

/** A channel that needs no key. */
export type Channel = (typeof channels)[number];

/** A message of the feed. */
export interface Frame {
  channel: Channel;
  /** Empty on `status`. */
  product: string;
  /** The message's type: `match`, `l2update`, … */
  type: string;
  /** The trade that a `match` tells of; 0 on all others. */
  tradeId: number;
  /** What goes over the wire. */
  text: string;
}

/** A trade as `GET /products/{id}/trades` lists it; `side` is the maker's. */
export interface Trade {
  trade_id: number;
  side: string;
  size: string;
  price: string;
  time: string;
}

/** The order book: `[price, size]`, best first. */
export interface Book {
  bids: [string, string][];
  asks: [string, string][];
  sequence: number;
  /** µs since the epoch. */
  time: number;
}

/** Figures of the last 24 hours (30 days), decimals as strings. */
export interface Day {
  open: string;
  high: string;
  low: string;
  volume: string;
  volume30: string;
}

/** A market to serve. `product` is always one of `products`. */
export interface Source {
  name: "simulator" | "replay";
  products: readonly ProductRow[];
  delisted: readonly string[];
  /** Whether the market waits while a reader is slow, instead of moving with the clock. */
  patient: boolean;
  /** The market's clock in µs since the epoch. */
  now(): number;
  /** Somebody listens: a replay begins. Called with every subscription. */
  start(): void;
  /** Moves the market on to now, and returns the frames of the channels and products that somebody wants. */
  pull(wanted: (channel: Channel, product: string) => boolean): Frame[];
  /** What a new subscriber gets first: snapshot, last ticker, last match, as of the last `pull`. */
  opening(channel: Channel, product: string): Frame[];
  /** The oldest trade that can be asked for. */
  firstTrade(product: string): number;
  /** The last trade made; `firstTrade - 1` when there is none. */
  lastTrade(product: string): number;
  /** The last trade made before `time` (µs), at least `firstTrade - 1`, at most `lastTrade`. */
  lastTradeBefore(product: string, time: number): number;
  /** Any trade from `firstTrade` to `lastTrade`. */
  trade(product: string, id: number): Trade;
  book(product: string): Book;
  day(product: string): Day;
}
