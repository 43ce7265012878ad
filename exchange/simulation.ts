/**
 * The simulated market as a source of frames.
 *
 * @module
 */

import { nowMicros } from "../lib/core/time.ts";
import { delisted, type Product, productRow, products as allProducts, statusFrame } from "./products.ts";
import type { Change } from "./simulated_book.ts";
import { heartbeatFrame, matchFrame, snapshotFrame, tickerFrame, updateFrame } from "./simulated_frames.ts";
import { bookOf, dayOf, type ListedProduct, listProduct, tradeOf } from "./listed_product.ts";
import type { Channel, Frame, Source } from "./source.ts";
import { tickersPerTrade } from "./trade_times.ts";

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

/**
 * Opens the simulated market.
 *
 * @throws {RangeError} when a product isn't listed or the rate isn't positive
 */
export function createSimulation(options: SimulationOptions = {}): Source {
  const { seed = "tapehouse", clock = nowMicros } = options;
  const listed = options.products?.map(find) ?? allProducts;
  const scale = scaleOf(listed, options.rate);
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
  const listings = new Map(
    listed.map((product) => [product.id, listProduct(product, seed, product.rate * scale, at)]),
  );

  function listingOf(product: string): ListedProduct {
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
      return openingOf(listingOf(product), channel);
    },
    firstTrade: () => 1,
    lastTrade: (product) => listingOf(product).id,
    lastTradeBefore(product, time) {
      const listing = listingOf(product);
      return Math.min(listing.id, listing.market.count(time - 1));
    },
    trade: (product, id) => tradeOf(listingOf(product), id),
    book: (product) => bookOf(listingOf(product)),
    day: (product) => dayOf(listingOf(product), at),
  };
}

function find(id: string): Product {
  const product = allProducts.find((product) => product.id === id);
  if (product) return product;
  const known = allProducts.map((product) => product.id).join(", ");
  throw new RangeError(`The simulated exchange doesn't list ${JSON.stringify(id)}: expected any of ${known}`);
}

/** By how much the products' own rates are multiplied so that all together make `rate` messages a second. */
function scaleOf(listed: readonly Product[], rate: number | undefined): number {
  const usual = listed.reduce((sum, product) => sum + product.rate, 0);
  const scale = rate === undefined ? 1 : rate / (1 + tickersPerTrade) / usual;
  if (!(scale > 0)) throw new RangeError(`The rate must be a positive number of messages/s: ${rate}`);
  return scale;
}

/** What a new subscriber gets first. */
function openingOf(listing: ListedProduct, channel: Exclude<Channel, "status" | "heartbeat">): Frame[] {
  if (channel === "level2_batch") return [snapshotFrame(listing)];
  if (listing.id === 0) return [];
  const trade = listing.market.trade(listing.id);
  return channel === "matches"
    ? [matchFrame(listing, trade, "last_match")]
    : [tickerFrame(listing, trade, channel)];
}

/** Adds the frames of one product with from < time ≤ to, in order of time. */
function pullProduct(
  listing: ListedProduct,
  from: number,
  to: number,
  wanted: (channel: Channel, product: string) => boolean,
  frames: Frame[],
): void {
  const { market } = listing;
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
  if (!Object.values(want).includes(true)) {
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
      const changes = turnBook(listing);
      if (changes.length > 0) frames.push(updateFrame(listing, changes, turn));
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

/** Moves the book on to its next state, and tells what changed. */
function turnBook(listing: ListedProduct): Change[] {
  const { books } = listing;
  const before = listing.near ?? books.near(listing.tick);
  listing.tick++;
  listing.near = books.near(listing.tick);
  return books.changes(before, listing.near);
}
