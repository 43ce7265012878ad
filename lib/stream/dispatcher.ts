/**
 * The live messages, one by one: checked, sent under their channel once, and handed to candles and books. What
 * repeats (two producers, `last_match`, a replay) is told by trade id and by sequence.
 *
 * @module
 */

import type { FeedEventMessage, Heartbeat, Match, Ticker } from "../feed/messages.ts";
import { parseMessage } from "../feed/messages.ts";
import { isoMicros, parseMicros } from "../core/time.ts";
import { createTradeIds, type TradeIds } from "../core/id_ranges.ts";
import type { Hub } from "./hub.ts";
import type { LiveBook } from "./live_book.ts";
import type { LiveCandles, LiveTrade } from "./live_candles.ts";
import type { LiveMessage } from "./live_reader.ts";

/** Who is handed trades, clocks and ends. */
export interface LiveTargets {
  candles: Pick<LiveCandles, "add" | "advance">;
  book: Pick<LiveBook, "lose" | "endConnection">;
}

interface Product {
  ids: TradeIds;
  lastId: number;
  lastMatch: object | undefined;
  ticker: (Ticker & { received_at: string }) | undefined;
  heartbeat: number;
  recent: LiveTrade[];
  clock: number;
}

/** Longer than ClickHouse usually lags behind the topic. */
const recentMicros = 60e6;
const recentTrades = 20_000;
/** Runs of trade ids that are remembered to know a repetition. */
const maxRuns = 2000;

/** See the module. */
export class Dispatcher {
  readonly #hub: Hub;
  readonly #live: () => LiveTargets;
  readonly #products = new Map<string, Product>();

  /** @param live is handed what it follows */
  constructor(hub: Hub, live: () => LiveTargets) {
    this.#hub = hub;
    this.#live = live;
  }

  /** A message of the topic of the feed. */
  handle(live: LiveMessage): void {
    const { message } = parseMessage(live.value);
    // The consumer puts what fails validation into the table `rejected`.
    if (message === undefined) return;
    if (message.type === "match" || message.type === "last_match") this.#handleMatch(message, live);
    else if (message.type === "ticker") this.#handleTicker(message, live);
    else if (message.type === "heartbeat") this.#handleHeartbeat(message, live);
    else if (message.type === "feed_event") this.#handleEvent(message, live);
    else if (message.type === "status") { for (const { id } of message.products) this.#productOf(id); }
  }

  /** Keeps which products there are, and nothing else; nobody can go on across that. */
  forget(): void {
    this.#hub.breakOff();
    for (const id of this.#products.keys()) this.#products.set(id, newProduct());
  }

  /** Products of which a message has come. */
  products(): Iterable<string> {
    return this.#products.keys();
  }

  /** Whether a message of the product has come. */
  knows(product: string): boolean {
    return this.#products.has(product);
  }

  /** The newest trade, in the fields of `last_match`. */
  lastMatch(product: string): object | undefined {
    return this.#products.get(product)?.lastMatch;
  }

  /** The newest ticker, in the fields of its message. */
  lastTicker(product: string): object | undefined {
    const ticker = this.#products.get(product)?.ticker;
    return ticker && withoutType(ticker);
  }

  /** Trades of the last seconds, in order of arrival. */
  recent(product: string): readonly LiveTrade[] {
    return this.#products.get(product)?.recent ?? [];
  }

  /** The exchange's time of the newest trade or heartbeat, µs; 0 before the first. */
  clock(product: string): number {
    return this.#products.get(product)?.clock ?? 0;
  }

  #productOf(id: string): Product {
    const found = this.#products.get(id);
    if (found) return found;
    const product = newProduct();
    this.#products.set(id, product);
    return product;
  }

  #handleMatch(match: Match, { receivedAt }: LiveMessage): void {
    const { product_id, trade_id, price, size } = match;
    const product = this.#productOf(product_id);
    if (!product.ids.add(trade_id)) return;
    // The oldest runs go first: what they name comes back last, if ever.
    if (product.ids.runs.length > maxRuns) product.ids = createTradeIds(product.ids.runs.slice(-maxRuns / 2));
    const late = trade_id < product.lastId;
    const time = parseMicros(match.time);
    const takerSide = match.side === "sell" ? "buy" : "sell";
    const trade: LiveTrade = { id: trade_id, time, price, size, takerSide, receivedAt, late };
    remember(product, trade);
    const fields = {
      ...withoutType(match),
      taker_side: takerSide,
      received_at: isoMicros(receivedAt),
      ...(late ? { backfilled: true } : {}),
    };
    this.#hub.publish([`matches ${product_id}`], "match", fields);
    if (!late) {
      product.lastId = trade_id;
      product.lastMatch = fields;
      product.clock = Math.max(product.clock, time);
    }
    this.#live().candles.add(product_id, trade);
  }

  #handleTicker(message: Ticker, { receivedAt }: LiveMessage): void {
    const product = this.#productOf(message.product_id);
    const last = product.ticker;
    const ticker = {
      ...message,
      time: message.time ?? isoMicros(receivedAt),
      received_at: isoMicros(receivedAt),
    };
    // A second connection says the same again; an exchange that was set back numbers anew, at a later time.
    if (last && ticker.sequence <= last.sequence && ticker.time <= (last.time ?? "")) return;
    product.ticker = ticker;
    this.#hub.publish([`ticker ${message.product_id}`], "ticker", withoutType(ticker));
  }

  #handleHeartbeat(message: Heartbeat, { receivedAt }: LiveMessage): void {
    const { product_id } = message;
    const product = this.#productOf(product_id);
    const time = parseMicros(message.time);
    if (time <= product.heartbeat) return;
    product.heartbeat = time;
    product.clock = Math.max(product.clock, time);
    this.#hub.publish([`heartbeat ${product_id}`], "heartbeat", {
      ...withoutType(message),
      received_at: isoMicros(receivedAt),
    });
    this.#live().candles.advance(product_id, time);
  }

  #handleEvent(message: FeedEventMessage, { receivedAt, connection }: LiveMessage): void {
    this.#hub.publish(["feed_events "], "feed_event", {
      ...withoutType(message),
      connection,
      received_at: isoMicros(receivedAt),
    });
    const { event, reason = "", product_id, details } = message;
    if (event === "disconnected") {
      this.#live().book.endConnection(connection, `the connection has ended: ${reason}`);
    }
    const type = details?.type;
    if (event === "frame_too_large" && product_id && (type === "snapshot" || type === "l2update")) {
      this.#live().book.lose(connection, product_id, reason);
    }
  }
}

function newProduct(): Product {
  return {
    ids: createTradeIds(),
    lastId: 0,
    lastMatch: undefined,
    ticker: undefined,
    heartbeat: 0,
    recent: [],
    clock: 0,
  };
}

/** Adds a trade to those of the last seconds. */
function remember(product: Product, trade: LiveTrade): void {
  const { receivedAt } = trade;
  product.recent.push(trade);
  const oldest = product.recent[0];
  const isLong = product.recent.length > recentTrades;
  if (isLong || (oldest && receivedAt - oldest.receivedAt > 2 * recentMicros)) {
    const kept = product.recent.filter((other) => receivedAt - other.receivedAt <= recentMicros);
    product.recent = kept.slice(-recentTrades / 2);
  }
}

function withoutType<T extends { type: string }>({ type: _, ...fields }: T): Omit<T, "type"> {
  return fields;
}
