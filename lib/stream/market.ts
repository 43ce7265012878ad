/**
 * The messages of the tap, one by one: checked, sent under their channel once, and handed to candles and books. What
 * repeats (two producers, `last_match`, a replay) is told by trade id and by sequence.
 *
 * @module
 */

import type { FeedEventMessage, Heartbeat, Match, Ticker } from "../coinbase/messages.ts";
import { parseMessage } from "../coinbase/messages.ts";
import { isoMicros, parseMicros } from "../time.ts";
import { createTradeIds, type TradeIds } from "../trade_runs.ts";
import type { Hub } from "./hub.ts";
import type { LiveBook } from "./live_book.ts";
import type { LiveCandles, TapTrade } from "./live_candles.ts";
import type { TapMessage } from "./tap.ts";

/** What is known of the products from the tap alone. */
export interface Market {
  /** A message of the market's topic. */
  take(message: TapMessage): void;
  /** Products that the tap has spoken of. */
  products(): Iterable<string>;
  knows(product: string): boolean;
  /** The newest trade (`last_match`) and ticker, in the fields of their messages. */
  lastMatch(product: string): object | undefined;
  lastTicker(product: string): object | undefined;
  /** Trades of the last seconds, in order of arrival. */
  recent(product: string): readonly TapTrade[];
  /** The exchange's time of the newest trade or heartbeat, µs; 0 before the first. */
  clock(product: string): number;
}

interface Product {
  ids: TradeIds;
  lastId: number;
  lastMatch: object | undefined;
  ticker: (Ticker & { received_at: string }) | undefined;
  heartbeat: number;
  recent: TapTrade[];
  clock: number;
}

/** Longer than ClickHouse usually lags behind the topic. */
const recentMicros = 60e6;
const recentTrades = 20_000;
/** Runs of trade ids that are remembered to know a repetition. */
const maxRuns = 2000;

/** @param live is handed what it follows */
export function createMarket(hub: Hub, live: () => { candles: LiveCandles; book: LiveBook }): Market {
  const products = new Map<string, Product>();

  function productOf(id: string): Product {
    const known = products.get(id);
    if (known) return known;
    const product: Product = {
      ids: createTradeIds(),
      lastId: 0,
      lastMatch: undefined,
      ticker: undefined,
      heartbeat: 0,
      recent: [],
      clock: 0,
    };
    products.set(id, product);
    return product;
  }

  function takeMatch(match: Match, { receivedAt }: TapMessage): void {
    const { product_id, trade_id } = match;
    const product = productOf(product_id);
    if (!product.ids.add(trade_id)) return;
    // The oldest runs go first: what they name comes back last, if ever.
    if (product.ids.runs.length > maxRuns) product.ids = createTradeIds(product.ids.runs.slice(-maxRuns / 2));
    const late = trade_id < product.lastId;
    const time = parseMicros(match.time);
    const takerSide = match.side === "sell" ? "buy" : "sell";
    const { price, size } = match;
    const trade: TapTrade = { id: trade_id, time, price, size, takerSide, receivedAt, late };
    product.recent.push(trade);
    const oldest = product.recent[0];
    if (
      product.recent.length > recentTrades || (oldest && receivedAt - oldest.receivedAt > 2 * recentMicros)
    ) {
      const kept = product.recent.filter((other) => receivedAt - other.receivedAt <= recentMicros);
      product.recent = kept.slice(-recentTrades / 2);
    }
    const fields = {
      ...withoutType(match),
      taker_side: takerSide,
      received_at: isoMicros(receivedAt),
      ...(late ? { backfilled: true } : {}),
    };
    hub.publish([`matches ${product_id}`], "match", fields);
    if (!late) {
      product.lastId = trade_id;
      product.lastMatch = fields;
      product.clock = Math.max(product.clock, time);
    }
    live().candles.add(product_id, trade);
  }

  function takeTicker(message: Ticker, { receivedAt }: TapMessage): void {
    const product = productOf(message.product_id);
    const last = product.ticker;
    const ticker = {
      ...message,
      time: message.time ?? isoMicros(receivedAt),
      received_at: isoMicros(receivedAt),
    };
    // A second connection says the same again; an exchange that was set back numbers anew, at a later time.
    if (last && ticker.sequence <= last.sequence && ticker.time <= (last.time ?? "")) return;
    product.ticker = ticker;
    hub.publish([`ticker ${message.product_id}`], "ticker", withoutType(ticker));
  }

  function takeHeartbeat(message: Heartbeat, { receivedAt }: TapMessage): void {
    const { product_id } = message;
    const product = productOf(product_id);
    const time = parseMicros(message.time);
    if (time <= product.heartbeat) return;
    product.heartbeat = time;
    product.clock = Math.max(product.clock, time);
    hub.publish([`heartbeat ${product_id}`], "heartbeat", {
      ...withoutType(message),
      received_at: isoMicros(receivedAt),
    });
    live().candles.advance(product_id, time);
  }

  function takeEvent(message: FeedEventMessage, { receivedAt, connection }: TapMessage): void {
    hub.publish(["feed_events "], "feed_event", {
      ...withoutType(message),
      connection,
      received_at: isoMicros(receivedAt),
    });
    const { event, reason = "", product_id, details } = message;
    if (event === "disconnected") {
      live().book.endConnection(connection, `the connection has ended: ${reason}`);
    }
    const type = details?.type;
    if (event === "frame_too_large" && product_id && (type === "snapshot" || type === "l2update")) {
      live().book.lose(connection, product_id, reason);
    }
  }

  return {
    take(tapMessage) {
      const { message } = parseMessage(tapMessage.value);
      // The consumer puts what fails validation into the table `rejected`.
      if (message === undefined) return;
      if (message.type === "match" || message.type === "last_match") takeMatch(message, tapMessage);
      else if (message.type === "ticker") takeTicker(message, tapMessage);
      else if (message.type === "heartbeat") takeHeartbeat(message, tapMessage);
      else if (message.type === "feed_event") takeEvent(message, tapMessage);
      else if (message.type === "status") { for (const { id } of message.products) productOf(id); }
    },
    products: () => products.keys(),
    knows: (product) => products.has(product),
    lastMatch: (product) => products.get(product)?.lastMatch,
    lastTicker(product) {
      const ticker = products.get(product)?.ticker;
      return ticker && withoutType(ticker);
    },
    recent: (product) => products.get(product)?.recent ?? [],
    clock: (product) => products.get(product)?.clock ?? 0,
  };
}

function withoutType<T extends { type: string }>({ type: _, ...fields }: T): Omit<T, "type"> {
  return fields;
}
