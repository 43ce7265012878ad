/**
 * The stranger's market: its products with their trades and order books, and the messages that tell of them.
 *
 * @module
 */

/** From 0 up to 1. */
export type Random = () => number;

/** A trade as it was made. Price in cents, size in 10^-8. */
export interface Deal {
  id: number;
  /** As text, with µs. */
  time: string;
  /** Since the epoch. */
  second: number;
  cents: bigint;
  units: bigint;
  makerSide: "buy" | "sell";
}

/** A product and all that has happened to it. */
export interface Listing {
  id: string;
  deals: Deal[];
  firstId: number;
  cents: bigint;
  sequence: number;
  /** Sizes by price. */
  book: { bids: Map<bigint, bigint>; asks: Map<bigint, bigint> };
}

/** A candle of one minute, exact: what the exchange's own trades come to. */
export interface MinuteCandle {
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  trades: number;
}

/** A small generator (mulberry32): the same seed, the same chance. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Cents as the exchange writes a price. */
export const money = (cents: bigint) => `${cents / 100n}.${String(cents % 100n).padStart(2, "0")}`;
/** 10^-8 as the exchange writes a size. */
export const amount = (units: bigint) =>
  `${units / 100_000_000n}.${String(units % 100_000_000n).padStart(8, "0")}`;
/** A time in ms as the exchange writes it: with µs, which are `micros`. */
const timeText = (ms: number, micros = 0) =>
  new Date(ms).toISOString().replace("Z", `${String(micros).padStart(3, "0")}Z`);

/** A product with 40 levels on each side of its book and no trade yet. */
export function createListing(id: string, index: number): Listing {
  const cents = 6_000_000n / BigInt(index * 9 + 1);
  const book: Listing["book"] = { bids: new Map(), asks: new Map() };
  for (let level = 1n; level <= 40n; level++) {
    book.bids.set(cents - level * 3n, 1_000_000n * level);
    book.asks.set(cents + level * 3n, 1_200_000n * level);
  }
  return { id, deals: [], firstId: 5_000_000 + index * 1_000_000, cents, sequence: 100_000, book };
}

/** Makes the product's next trade, at `now` in ms. */
export function makeDeal(listing: Listing, now: number, random: Random): Deal {
  const moved = listing.cents + BigInt(Math.floor(random() * 21) - 10);
  listing.cents = moved > 1000n ? moved : 1000n;
  const made: Deal = {
    id: listing.firstId + listing.deals.length,
    time: timeText(now, Math.floor(random() * 1000)),
    second: Math.floor(now / 1000),
    cents: listing.cents,
    units: BigInt(1 + Math.floor(random() * 300_000_000)),
    makerSide: random() < 0.5 ? "buy" : "sell",
  };
  listing.deals.push(made);
  listing.sequence += 1 + Math.floor(random() * 9);
  return made;
}

/** Changes up to four levels of a book; the message that says so. */
export function changeBook(listing: Listing, now: number, random: Random): object {
  const changes = Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
    const isBid = random() < 0.5;
    const side = isBid ? listing.book.bids : listing.book.asks;
    const levels = [...side.keys()];
    const price = levels[Math.floor(random() * levels.length)]!;
    const units = random() < 0.1 && levels.length > 20 ? 0n : BigInt(1 + Math.floor(random() * 90_000_000));
    if (units === 0n) side.delete(price);
    else side.set(price, units);
    return [isBid ? "buy" : "sell", money(price), amount(units)];
  });
  return { type: "l2update", product_id: listing.id, changes, time: timeText(now) };
}

/** A book as it is now. */
export function snapshotOf({ id, book }: Listing): object {
  const levels = (side: Map<bigint, bigint>, sign: bigint) =>
    [...side].toSorted(([a], [b]) => Number((a - b) * sign)).map(([price, units]) => [
      money(price),
      amount(units),
    ]);
  return {
    type: "snapshot",
    product_id: id,
    asks: levels(book.asks, 1n),
    bids: levels(book.bids, -1n),
    time: timeText(Date.now()),
  };
}

/** A trade as the channel `matches` tells it. */
export function matchOf(listing: Listing, made: Deal, type: "match" | "last_match"): object {
  const order = (salt: number) =>
    `${String(made.id).padStart(8, "0")}-0000-4000-8000-${String(salt).padStart(12, "0")}`;
  return {
    type,
    trade_id: made.id,
    maker_order_id: order(1),
    taker_order_id: order(2),
    side: made.makerSide,
    size: amount(made.units),
    price: money(made.cents),
    product_id: listing.id,
    sequence: listing.sequence,
    time: made.time,
  };
}

/** The ticker after a trade. */
export function tickerOf(listing: Listing, made: Deal): object {
  return {
    type: "ticker",
    sequence: listing.sequence,
    product_id: listing.id,
    price: money(made.cents),
    open_24h: money(made.cents),
    volume_24h: "1000.5",
    low_24h: money(made.cents - 500n),
    high_24h: money(made.cents + 500n),
    volume_30d: "30000.25",
    best_bid: money(made.cents - 1n),
    best_bid_size: "0.5",
    best_ask: money(made.cents + 1n),
    best_ask_size: "0.25",
    side: made.makerSide === "sell" ? "buy" : "sell",
    time: made.time,
    trade_id: made.id,
    last_size: amount(made.units),
  };
}

/** The newest trade id, as the exchange says it once a second. */
export function heartbeatOf({ id, deals, firstId, sequence }: Listing): object {
  return {
    type: "heartbeat",
    sequence,
    last_trade_id: deals.at(-1)?.id ?? firstId - 1,
    product_id: id,
    time: timeText(Date.now()),
  };
}

/** A product's candles of one minute, by the second of their begin. */
export function minutesOf({ deals }: Listing): Map<number, MinuteCandle> {
  const byMinute = Map.groupBy(deals, ({ second }) => second - second % 60);
  return new Map([...byMinute].map(([minute, group]) => {
    const prices = group.map(({ cents }) => cents).toSorted((a, b) => Number(a - b));
    return [minute, {
      open: money(group[0]!.cents),
      high: money(prices.at(-1)!),
      low: money(prices[0]!),
      close: money(group.at(-1)!.cents),
      volume: amount(group.reduce((sum, { units }) => sum + units, 0n)),
      trades: group.length,
    }];
  }));
}
