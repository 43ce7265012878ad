/**
 * A product that the simulated exchange lists: its market, how far its frames have come, and its figures of a day.
 *
 * @module
 */

import type { Product } from "./products.ts";
import { type Books, createBooks, type Near } from "./simulated_book.ts";
import { createMarket, type Market } from "./simulated_market.ts";
import type { Book, Day, Trade } from "./source.ts";
import { iso, padded, trimmed } from "./text.ts";

const daySeconds = 86400;
/** High and low of a day are taken from the best bid every five minutes. */
const daySample = 300 * 1e6;

/** A product's market, and what of it was pulled. */
export interface ListedProduct {
  market: Market;
  books: Books;
  /** The last trade and the last state of the book that were sent or passed over. */
  id: number;
  tick: number;
  /** The book of `tick`, when somebody follows it. */
  near: Near | undefined;
  /** The last trade a `ticker_batch` told of. */
  batched: number;
  /** Low and high of the day up to a sample, kept while it is the newest. */
  range: { sample: number; low: number; high: number };
  /** The day's figures of the last second that was asked for. */
  figures: Figures;
}

/** The figures of 24 hours (30 days): prices in ticks, volumes as text. */
export interface Figures {
  second: number;
  open: number;
  low: number;
  high: number;
  volume: string;
  volume30: string;
}

/**
 * Lists a product: all up to `time` (µs) is passed over.
 *
 * @param rate trades a second on average
 */
export function listProduct(product: Product, seed: string, rate: number, time: number): ListedProduct {
  const market = createMarket(product, seed, rate);
  const id = market.count(time);
  return {
    market,
    books: createBooks(market, seed),
    id,
    tick: market.tick(time),
    near: undefined,
    batched: id,
    range: { sample: -1, low: 0, high: 0 },
    figures: { second: -1, open: 0, low: 0, high: 0, volume: "", volume30: "" },
  };
}

/** A trade as REST has it. */
export function tradeOf({ market }: ListedProduct, id: number): Trade {
  const { priceDigits, sizeDigits } = market.product;
  const trade = market.trade(id);
  return {
    trade_id: id,
    side: trade.side,
    size: trimmed(trade.size, sizeDigits),
    price: trimmed(trade.price, priceDigits),
    time: iso(trade.time),
  };
}

/** The book as REST has it. */
export function bookOf({ books, market, tick, id }: ListedProduct): Book {
  const { priceDigits, sizeDigits } = market.product;
  const { bids, asks } = books.full(books.near(tick));
  const text = ([price, size]: [number, number]): [string, string] => [
    padded(price, priceDigits),
    padded(size, sizeDigits),
  ];
  return {
    bids: bids.map(text),
    asks: asks.map(text),
    sequence: market.sequenceAfter(id),
    time: market.tickTime(tick),
  };
}

/** The figures of the 24 hours before `time` (µs) as REST has them. */
export function dayOf(listing: ListedProduct, time: number): Day {
  const { priceDigits } = listing.market.product;
  const { open, low, high, volume, volume30 } = figuresOf(listing, Math.floor(time / 1e6));
  const last = listing.id > 0 ? listing.market.trade(listing.id).price : open;
  return {
    open: trimmed(open, priceDigits),
    low: trimmed(Math.min(low, last), priceDigits),
    high: trimmed(Math.max(high, last), priceDigits),
    volume,
    volume30,
  };
}

/**
 * The day's figures at a second (seconds since the epoch). `open` is the price of the last trade 24 hours before,
 * exactly. The volumes are the number of trades, which is exact, times the average size; high and low are those of
 * the best bid every five minutes: summing up 600 000 trades for each ticker would cost too much.
 */
export function figuresOf(listing: ListedProduct, second: number): Figures {
  if (listing.figures.second === second) return listing.figures;
  const { market } = listing;
  const time = second * 1e6;
  const count = market.count(time);
  const before = market.count(time - daySeconds * 1e6);
  const { low, high } = rangeOf(listing, Math.floor(time / daySample));
  const open = count === 0 ? market.touch(0).bid : market.trade(Math.max(1, before)).price;
  const volume = (trades: number) => padded(Math.round(trades * market.meanSize), market.product.sizeDigits);
  listing.figures = {
    second,
    open,
    low: Math.min(open, low),
    high: Math.max(open, high),
    volume: volume(count - before),
    volume30: volume(count - market.count(time - 30 * daySeconds * 1e6)),
  };
  return listing.figures;
}

/** Low and high of the 24 hours before a sample. */
function rangeOf(listing: ListedProduct, sample: number): ListedProduct["range"] {
  if (listing.range.sample === sample) return listing.range;
  const { market } = listing;
  const range = { sample, low: Infinity, high: 0 };
  for (let i = sample - daySeconds * 1e6 / daySample; i < sample; i++) {
    const { bid } = market.touch(Math.max(0, market.tick(i * daySample)));
    range.low = Math.min(range.low, bid);
    range.high = Math.max(range.high, bid);
  }
  listing.range = range;
  return range;
}
