/**
 * All that the page knows, and how a message of the stream changes it. No DOM, no network.
 *
 * @module
 */

import { microsOf } from "../../lib/core/time.ts";
import type {
  Anomaly,
  Book,
  Candle,
  CompletenessHour,
  FeedEvent,
  Gap,
  Level,
  Product,
  Status,
  Ticker,
  Trade,
} from "./api_types.ts";
import { missingSpans, type UnknownSpan } from "./candles.ts";
import { compare } from "./decimal_math.ts";
import { digitsOf } from "./decimal_text.ts";
import type { Connection } from "./stream_connection.ts";
import type { StreamMessage } from "./stream_session.ts";
import { addTrades } from "./tape_rows.ts";
import type { View } from "./url_state.ts";

/** What can change, and is painted by itself. */
export type Part =
  | "view"
  | "products"
  | "tickers"
  | "price"
  | "tape"
  | "book"
  | "candles"
  | "gaps"
  | "anomalies"
  | "feed"
  | "status"
  | "hours"
  | "connection"
  | "latency"
  | "problems"
  | "sparklines";

/** The parts that look different in another view. */
export const viewParts: Part[] = [
  "view",
  "products",
  "tickers",
  "price",
  "tape",
  "book",
  "gaps",
  "anomalies",
  "feed",
  "status",
  "hours",
  "sparklines",
];

/** Where the newest price came from, and which way it went. */
export interface Last {
  price: string;
  trade_id: number;
  direction: -1 | 0 | 1;
}

/** The page's state. */
export interface State {
  view: View;
  /** The interval when the view names none. */
  usualInterval: string;
  products: Map<string, Product>;
  tickers: Map<string, Ticker>;
  /** The newest price of each product. */
  lasts: Map<string, Last>;
  /** Closes of the last 24 hours, oldest first. */
  sparklines: Map<string, number[]>;
  /** Of the product of the view, newest first. */
  tape: Trade[];
  book: Book | null;
  gaps: Gap[];
  /** When the feed was away, of the product of the view, since the page was opened. */
  outages: UnknownSpan[];
  anomalies: Anomaly[];
  events: FeedEvent[];
  hours: CompletenessHour[];
  status: Status | null;
  simulated: boolean;
  connection: Connection;
  /** What went wrong, by the part of the page that lacks its data. */
  problems: Map<string, string>;
  /** Messages since the page was opened. */
  received: number;
  /** Candles that changed and aren't drawn yet. */
  changedCandles: Candle[];
  /** When the stream last told of trouble, `performance.now()`; it doesn't tell when that is over. */
  refusedAt: number;
  /** received_at (µs) of the trades and tickers of the view that aren't painted yet. */
  unpainted: number[];
}

/** The state of a page that knows nothing yet. */
export function emptyState(view: View): State {
  return {
    view,
    usualInterval: "1m",
    products: new Map(),
    tickers: new Map(),
    lasts: new Map(),
    sparklines: new Map(),
    tape: [],
    book: null,
    gaps: [],
    outages: [],
    anomalies: [],
    events: [],
    hours: [],
    status: null,
    simulated: false,
    connection: { state: "connecting" },
    problems: new Map(),
    received: 0,
    changedCandles: [],
    refusedAt: 0,
    unpainted: [],
  };
}

/** The interval that is shown. */
export function intervalOf({ view, usualInterval }: State): string {
  return view.interval || usualInterval;
}

/** The fraction digits of prices and sizes of the product that is shown. */
export function shownDigits({ products, view }: State): { price: number; size: number } {
  const product = products.get(view.product);
  return { price: digitsOf(product?.quote_increment), size: digitsOf(product?.base_increment, 8) };
}

/** The address names a product that isn't on the tape. */
export function isUnknownProduct({ products, view }: State): boolean {
  return products.size > 0 && !products.has(view.product);
}

/** Where the product's tape has gaps or the feed was away; an outage that goes on reaches to `now` (seconds). */
export function unknownSpans({ gaps, outages, view }: State, now: number): UnknownSpan[] {
  const away = outages.map((outage) => outage.to === Infinity ? { ...outage, to: now } : outage);
  return [...missingSpans(gaps, view.product), ...away];
}

/** Forgets what the stream told of trouble once all has been well for a while. @returns whether there was something */
export function clearStreamProblem({ status, problems, refusedAt }: State, now: number): boolean {
  const isWell = status?.clickhouse?.ok && status.kafka?.ok && now - refusedAt > 10_000;
  return isWell ? problems.delete("stream") : false;
}

/** Forgets what belongs to the product that was shown. */
export function leaveProduct(state: State): void {
  state.tape = [];
  state.book = null;
  state.outages = [];
  state.changedCandles = [];
  state.unpainted = [];
}

/** Takes a price over when it isn't older than the one that is known. */
export function updatePrice(state: State, product: string, price: string, tradeId: number): boolean {
  const known = state.lasts.get(product);
  if (known !== undefined && tradeId < known.trade_id) return false;
  const moved = known === undefined ? 0 : compare(price, known.price);
  // An unchanged price keeps the colour of its last move.
  const direction = moved === 0 ? known?.direction ?? 0 : moved;
  state.lasts.set(product, { price, trade_id: tradeId, direction });
  return true;
}

const keptEvents = 200;

/**
 * Changes the state by a message.
 *
 * @returns the parts that changed; `candles_snapshot` and the event `gap` are also for the caller, who loads
 */
export function apply(state: State, message: StreamMessage): Part[] {
  state.received++;
  const product = message.product_id ?? "";
  const shown = product === state.view.product;
  switch (message.type) {
    case "ticker": {
      const ticker = message as unknown as Ticker;
      state.tickers.set(product, ticker);
      updatePrice(state, product, ticker.price, Number(ticker.trade_id ?? 0));
      if (shown) keepUnpainted(state, message);
      return shown ? ["tickers", "price"] : ["tickers"];
    }
    case "match":
    case "last_match": {
      if (!shown) return [];
      const trade = message as unknown as Trade;
      if (!addTrades(state.tape, [trade])) return [];
      updatePrice(state, product, trade.price, trade.trade_id);
      if (message.type === "match") keepUnpainted(state, message);
      return ["tape", "price"];
    }
    case "candles":
      if (!shown || message.interval !== intervalOf(state)) return [];
      keepCandle(state, message.candle as Candle);
      return ["candles"];
    case "book":
    case "book_snapshot":
      if (!shown) return [];
      state.book = {
        time: message.time ?? null,
        bids: message.bids as Level[],
        asks: message.asks as Level[],
      };
      return ["book"];
    case "book_invalid":
      if (!shown) return [];
      state.book = { time: null, bids: [], asks: [], reason: String(message.reason ?? "") };
      return ["book"];
    case "anomaly":
      state.anomalies = addAnomaly(state.anomalies, message as unknown as Anomaly);
      return ["anomalies"];
    case "feed_event":
      state.events = [message as unknown as FeedEvent, ...state.events].slice(0, keptEvents);
      state.outages = outagesAfter(state.outages, message as unknown as FeedEvent, state.view.product);
      return ["feed", "gaps"];
    default:
      return [];
  }
}

/** A candle that changes again before it is drawn is drawn once. */
function keepCandle(state: State, candle: Candle): void {
  const place = state.changedCandles.findIndex(({ time }) => time === candle.time);
  if (place < 0) state.changedCandles.push(candle);
  else state.changedCandles[place] = candle;
}

/** Hidden pages aren't painted: the list must not grow. */
function keepUnpainted(state: State, { received_at }: StreamMessage): void {
  const received = microsOf(received_at);
  if (!Number.isNaN(received) && state.unpainted.length < 5_000) state.unpainted.push(received);
}

/** Newest first; an anomaly that comes again replaces itself. */
export function addAnomaly(list: readonly Anomaly[], anomaly: Anomaly): Anomaly[] {
  const others = list.filter(({ product_id, time, kind }) =>
    product_id !== anomaly.product_id || time !== anomaly.time || kind !== anomaly.kind
  );
  return [anomaly, ...others].sort((left, right) => microsOf(right.time) - microsOf(left.time)).slice(
    0,
    keptEvents,
  );
}

/**
 * When the feed of a product was away: from `disconnected` to the next `subscribed` or `connected`. An outage that goes
 * on has the end Infinity.
 */
export function outagesAfter(
  outages: readonly UnknownSpan[],
  event: FeedEvent,
  product: string,
): UnknownSpan[] {
  const concerns = !event.product_id || event.product_id === product;
  const time = microsOf(event.time) / 1_000_000;
  if (!concerns || Number.isNaN(time)) return [...outages];
  const open = outages.find(({ to }) => to === Infinity);
  if (event.event === "disconnected") {
    if (open !== undefined) return [...outages];
    const text = `the feed was away${event.reason ? `: ${event.reason}` : ""}`;
    return [...outages, { from: time, to: Infinity, kind: "feed", missing: 0, text }];
  }
  if ((event.event !== "subscribed" && event.event !== "connected") || open === undefined) {
    return [...outages];
  }
  return outages.map((outage) => outage === open ? { ...outage, to: Math.max(time, outage.from) } : outage);
}
