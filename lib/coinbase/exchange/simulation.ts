/**
 * The simulated market as a source of frames.
 *
 * @module
 */

import { nowMicros } from "../../time.ts";
import { type Books, createBooks, levelsText, type Near, updateFrame } from "./book.ts";
import { createMarket, type Market, type MarketTrade, tickersPerTrade } from "./market.ts";
import { delisted, type Product, productRow, products as allProducts, statusFrame } from "./products.ts";
import type { Channel, Day, Frame, Source, Trade } from "./source.ts";
import { iso, padded, trimmed } from "./text.ts";

/** What to simulate. */
export interface SimulationOptions {
  /** Another seed, another market. @default "tapehouse" */
  seed?: string;
  /** The products to list. @default all of products.ts */
  products?: readonly string[];
  /**
   * Matches and tickers a second over all products together, on average. Another rate is another market.
   * @default what the products' habits come to
   */
  rate?: number;
  /** The clock in µs since the epoch. @default the wall clock */
  clock?: () => number;
}

/** How far one pull moves at most, so that a process that slept catches up in small steps. */
const longestStep = 1e6;
const daySeconds = 86400;
/** High and low of a day are taken from the best bid every five minutes. */
const daySample = 300 * 1e6;

interface Listing {
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

/** Prices in ticks, volumes as text. */
interface Figures {
  second: number;
  open: number;
  low: number;
  high: number;
  volume: string;
  volume30: string;
}

/**
 * Opens the simulated market.
 *
 * @throws {RangeError} when a product isn't listed or the rate isn't positive
 */
export function createSimulation(options: SimulationOptions = {}): Source {
  const { seed = "tapehouse", clock = nowMicros } = options;
  const listed = options.products?.map(find) ?? allProducts;
  const usual = listed.reduce((sum, product) => sum + product.rate, 0);
  const scale = options.rate === undefined ? 1 : options.rate / (1 + tickersPerTrade) / usual;
  if (!(scale > 0)) throw new RangeError(`The rate must be a positive number of messages/s: ${options.rate}`);
  const rows = listed.map(({ id, priceDigits, sizeDigits }) => productRow(id, priceDigits, sizeDigits));
  const status: Frame = {
    channel: "status",
    product: "",
    type: "status",
    tradeId: 0,
    text: statusFrame(rows),
  };
  /** Everything up to here (µs) was pulled. */
  let at = clock();
  const listings = new Map(listed.map((product): [string, Listing] => {
    const market = createMarket(product, seed, product.rate * scale);
    const id = market.count(at);
    return [product.id, {
      market,
      books: createBooks(market, seed),
      id,
      tick: market.tick(at),
      near: undefined,
      batched: id,
      range: { sample: -1, low: 0, high: 0 },
      figures: { second: -1, open: 0, low: 0, high: 0, volume: "", volume30: "" },
    }];
  }));

  function listingOf(product: string): Listing {
    const listing = listings.get(product);
    if (!listing) throw new RangeError(`${product} isn't listed`);
    return listing;
  }

  return {
    name: "simulator",
    products: rows,
    delisted,
    patient: false,
    now: clock,
    start() {},
    pull(wanted) {
      const from = at;
      at = Math.max(at, Math.min(clock(), at + longestStep));
      const frames: Frame[] = [];
      for (const listing of listings.values()) pullProduct(listing, from, at, wanted, frames);
      if (Math.floor(at / 5e6) > Math.floor(from / 5e6) && wanted("status", "")) frames.push(status);
      return frames;
    },
    opening(channel, product) {
      if (channel === "status") return [status];
      if (channel === "heartbeat") return [];
      const listing = listingOf(product);
      if (channel === "level2_batch") return [snapshot(listing)];
      if (listing.id === 0) return [];
      const trade = listing.market.trade(listing.id);
      return channel === "matches"
        ? [matchFrame(listing, trade, "last_match")]
        : [tickerFrame(listing, trade, channel)];
    },
    firstTrade: () => 1,
    lastTrade: (product) => listingOf(product).id,
    lastTradeBefore(product, time) {
      const listing = listingOf(product);
      return Math.min(listing.id, listing.market.count(time - 1));
    },
    trade: (product, id) => tradeRow(listingOf(product).market, id),
    book(product) {
      const { books, market, tick, id } = listingOf(product);
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
    },
    day: (product) => day(listingOf(product), at),
  };
}

function find(id: string): Product {
  const product = allProducts.find((product) => product.id === id);
  if (product) return product;
  const known = allProducts.map((product) => product.id).join(", ");
  throw new RangeError(`The simulated exchange doesn't list ${JSON.stringify(id)}: expected any of ${known}`);
}

/** Adds the frames of one product with from < time ≤ to, in order of time. */
function pullProduct(
  listing: Listing,
  from: number,
  to: number,
  wanted: (channel: Channel, product: string) => boolean,
  frames: Frame[],
): void {
  const { market, books } = listing;
  const product = market.product.id;
  const want = {
    ticker: wanted("ticker", product),
    batch: wanted("ticker_batch", product),
    matches: wanted("matches", product),
    heartbeat: wanted("heartbeat", product),
    book: wanted("level2_batch", product),
  };
  const last = market.count(to);
  if (!want.book) {
    listing.near = undefined;
    listing.tick = market.tick(to);
  }
  if (!want.ticker && !want.matches && !want.heartbeat && !want.book && !want.batch) {
    listing.id = last;
    return;
  }
  /** Trades up to and including `time`. */
  function trades(time: number) {
    while (listing.id < last) {
      const trade = market.trade(listing.id + 1);
      if (trade.time > time) return;
      listing.id++;
      if (want.matches) frames.push(matchFrame(listing, trade, "match"));
      if (want.ticker && trade.last) frames.push(tickerFrame(listing, trade, "ticker"));
    }
  }
  let beat = (Math.floor(from / 1e6) + 1) * 1e6;
  for (;;) {
    const turn = want.book ? market.tickTime(listing.tick + 1) : Infinity;
    if (Math.min(turn, beat) > to) break;
    if (turn <= beat) {
      // A trade at the very moment of the turn meets the new book.
      trades(turn - 1);
      const before = listing.near ?? books.near(listing.tick);
      listing.tick++;
      listing.near = books.near(listing.tick);
      const changes = books.changes(before, listing.near);
      if (changes.length > 0) {
        const text = updateFrame(market, changes, turn);
        frames.push({ channel: "level2_batch", product, type: "l2update", tradeId: 0, text });
      }
      continue;
    }
    trades(beat);
    if (want.heartbeat) frames.push(heartbeatFrame(listing, beat));
    if (want.batch && listing.batched < listing.id) {
      listing.batched = listing.id;
      frames.push(tickerFrame(listing, market.trade(listing.id), "ticker_batch"));
    }
    beat += 1e6;
  }
  trades(to);
}

function snapshot({ market, books, tick }: Listing): Frame {
  const { id, priceDigits, sizeDigits } = market.product;
  const { bids, asks } = books.full(books.near(tick));
  const text = `{"type":"snapshot","product_id":"${id}","asks":${
    levelsText(asks, priceDigits, sizeDigits)
  },"bids":${levelsText(bids, priceDigits, sizeDigits)},"time":"${iso(market.tickTime(tick))}"}`;
  return { channel: "level2_batch", product: id, type: "snapshot", tradeId: 0, text };
}

function matchFrame({ market }: Listing, trade: MarketTrade, type: "match" | "last_match"): Frame {
  const { id, priceDigits, sizeDigits } = market.product;
  const text =
    `{"type":"${type}","trade_id":${trade.id},"maker_order_id":"${trade.makerOrder}","taker_order_id":"${trade.takerOrder}","side":"${trade.side}","size":"${
      trimmed(trade.size, sizeDigits)
    }","price":"${
      trimmed(trade.price, priceDigits)
    }","product_id":"${id}","sequence":${trade.sequence},"time":"${iso(trade.time)}"}`;
  return { channel: "matches", product: id, type, tradeId: type === "match" ? trade.id : 0, text };
}

function heartbeatFrame({ market, id }: Listing, time: number): Frame {
  const product = market.product.id;
  const text = `{"type":"heartbeat","last_trade_id":${id},"product_id":"${product}","sequence":${
    market.sequenceAfter(id)
  },"time":"${iso(time)}"}`;
  return { channel: "heartbeat", product, type: "heartbeat", tradeId: 0, text };
}

/** `side` of a ticker is the taker's, unlike that of a match. */
function tickerFrame(listing: Listing, trade: MarketTrade, channel: "ticker" | "ticker_batch"): Frame {
  const { market, books } = listing;
  const { id, priceDigits, sizeDigits } = market.product;
  const [[bid, bidSize], [ask, askSize]] = books.best(market.tick(trade.time));
  const { open, low, high, volume, volume30 } = figures(listing, Math.floor(trade.time / 1e6));
  const price = trimmed(trade.price, priceDigits);
  const text =
    `{"type":"ticker","sequence":${trade.sequence},"product_id":"${id}","price":"${price}","open_24h":"${
      trimmed(open, priceDigits)
    }","volume_24h":"${volume}","low_24h":"${trimmed(Math.min(low, trade.price), priceDigits)}","high_24h":"${
      trimmed(Math.max(high, trade.price), priceDigits)
    }","volume_30d":"${volume30}","best_bid":"${padded(bid, priceDigits)}","best_bid_size":"${
      padded(bidSize, sizeDigits)
    }","best_ask":"${padded(ask, priceDigits)}","best_ask_size":"${padded(askSize, sizeDigits)}","side":"${
      trade.side === "sell" ? "buy" : "sell"
    }","time":"${iso(trade.time)}","trade_id":${trade.id},"last_size":"${trimmed(trade.size, sizeDigits)}"}`;
  return { channel, product: id, type: "ticker", tradeId: 0, text };
}

/**
 * The day's figures at a second (seconds since the epoch). `open` is the price of the last trade 24 hours before,
 * exactly. The volumes are the number of trades, which is exact, times the average size; high and low are those of
 * the best bid every five minutes: summing up 600 000 trades for each ticker would cost too much.
 */
function figures(listing: Listing, second: number): Figures {
  if (listing.figures.second === second) return listing.figures;
  const { market } = listing;
  const time = second * 1e6;
  const count = market.count(time);
  const before = market.count(time - daySeconds * 1e6);
  const sample = Math.floor(time / daySample);
  if (listing.range.sample !== sample) {
    const range = { sample, low: Infinity, high: 0 };
    for (let i = sample - daySeconds * 1e6 / daySample; i < sample; i++) {
      const { bid } = market.touch(Math.max(0, market.tick(i * daySample)));
      range.low = Math.min(range.low, bid);
      range.high = Math.max(range.high, bid);
    }
    listing.range = range;
  }
  const open = count === 0 ? market.touch(0).bid : market.trade(Math.max(1, before)).price;
  const volume = (trades: number) => padded(Math.round(trades * market.meanSize), market.product.sizeDigits);
  listing.figures = {
    second,
    open,
    low: Math.min(open, listing.range.low),
    high: Math.max(open, listing.range.high),
    volume: volume(count - before),
    volume30: volume(count - market.count(time - 30 * daySeconds * 1e6)),
  };
  return listing.figures;
}

function day(listing: Listing, time: number): Day {
  const { priceDigits } = listing.market.product;
  const { open, low, high, volume, volume30 } = figures(listing, Math.floor(time / 1e6));
  const last = listing.id > 0 ? listing.market.trade(listing.id).price : open;
  return {
    open: trimmed(open, priceDigits),
    low: trimmed(Math.min(low, last), priceDigits),
    high: trimmed(Math.max(high, last), priceDigits),
    volume,
    volume30,
  };
}

function tradeRow(market: Market, id: number): Trade {
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
