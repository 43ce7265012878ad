/**
 * From a message of the topic to rows of the tables. Rows are arrays in the order of `columns`; decimals stay the
 * strings that the exchange sent, times become `YYYY-MM-DD hh:mm:ss.ffffff`.
 *
 * @module
 */

import { type Message, parseMessage } from "../feed/messages.ts";
import { formatMicros, parseMicros } from "../core/time.ts";
import type { TopicMessage } from "../kafka/message.ts";

const stamps = ["received_at", "source", "connection", "kafka_partition", "kafka_offset"] as const;

/** Table → the columns that a row fills. Columns that aren't named take their default. */
export const columns = {
  trades: [
    "product_id",
    "trade_id",
    "time",
    "price",
    "size",
    "taker_side",
    "sequence",
    "maker_order_id",
    "taker_order_id",
    ...stamps,
    "batch",
  ],
  tickers: [
    "product_id",
    "sequence",
    "time",
    "price",
    "best_bid",
    "best_bid_size",
    "best_ask",
    "best_ask_size",
    "taker_side",
    "trade_id",
    "last_size",
    "open_24h",
    "high_24h",
    "low_24h",
    "volume_24h",
    "volume_30d",
    ...stamps,
  ],
  book_changes: ["product_id", "time", "side", "price", "size", "is_snapshot", "position", ...stamps],
  heartbeats: ["product_id", "time", "sequence", "last_trade_id", ...stamps],
  products_state: [
    "product_id",
    "base_currency",
    "quote_currency",
    "base_increment",
    "quote_increment",
    "min_market_funds",
    "status",
    "status_message",
    "display_name",
    "trading_disabled",
    "post_only",
    "limit_only",
    "cancel_only",
    ...stamps,
  ],
  feed_events: ["time", "event", "product_id", "channel", "reason", "details", ...stamps],
  rejected: ["reason", "raw_base64", "kafka_topic", ...stamps],
} as const;

/** A table that the consumer writes. */
export type Table = keyof typeof columns;
export const tables = Object.keys(columns) as Table[];

/** What makes a trade the one trade: its product and its number. */
export interface TradeKey {
  productId: string;
  tradeId: number;
  /** When it happened, in µs. */
  micros: number;
}

/** The key of a trade's row. */
export function tradeKey(row: Row): TradeKey {
  const [productId, tradeId, time] = row as [string, number, string];
  return { productId, tradeId, micros: rowMicros(time) };
}

/** A row's time in µs. */
export function rowMicros(time: string): number {
  return parseMicros(`${time.replace(" ", "T")}Z`);
}

/** A row in the order of its table's columns. */
export type Row = readonly (string | number | boolean | null)[];

/** Rows by table. */
export type Rows = { [T in Table]: Row[] };

/** No rows yet. */
export function emptyRows(): Rows {
  return Object.fromEntries(tables.map((table) => [table, []])) as unknown as Rows;
}

/**
 * Adds a message's rows to `rows`: to its table, to `rejected` when it fails validation, to none when its type has
 * no table (acknowledgements and the like, which feed events tell already).
 *
 * @returns the message's type (`rejected` for what failed validation) and how many rows it became
 */
export function addRows(rows: Rows, message: TopicMessage): { type: string; rows: number } {
  const stamp: Row = [
    formatMicros(message.receivedAt),
    message.source,
    message.connection,
    message.partition,
    message.offset,
  ];
  const { message: parsed, reason } = parseMessage(message.value);
  if (parsed === undefined) {
    rows.rejected.push([reason, message.value.toBase64(), message.topic, ...stamp]);
    return { type: "rejected", rows: 1 };
  }
  return { type: parsed.type, rows: add(rows, parsed, stamp) };
}

function add(rows: Rows, message: Message, stamp: Row): number {
  switch (message.type) {
    case "match":
    case "last_match":
      return append(rows.trades, [tradeRow(message, stamp)]);
    case "ticker":
      return append(rows.tickers, [tickerRow(message, stamp)]);
    case "heartbeat":
      return append(rows.heartbeats, [heartbeatRow(message, stamp)]);
    case "snapshot":
      return append(rows.book_changes, snapshotRows(message, stamp));
    case "l2update":
      return append(rows.book_changes, updateRows(message, stamp));
    case "status":
      return append(rows.products_state, message.products.map((product) => productRow(product, stamp)));
    case "feed_event":
      return append(rows.feed_events, [feedEventRow(message, stamp)]);
    default:
      return 0;
  }
}

function append(rows: Row[], more: readonly Row[]): number {
  for (const row of more) rows.push(row);
  return more.length;
}

type Of<T extends Message["type"]> = Extract<Message, { type: T }>;

function tradeRow(message: Of<"match" | "last_match">, stamp: Row): Row {
  return [
    message.product_id,
    message.trade_id,
    plainTime(message.time),
    message.price,
    message.size,
    takerSide(message.side),
    message.sequence ?? 0,
    uuidOrNull(message.maker_order_id),
    uuidOrNull(message.taker_order_id),
    ...stamp,
  ];
}

/** As ClickHouse writes it; null for what isn't a UUID: no trade has to wait for an id that is of another kind. */
function uuidOrNull(text: string | undefined): string | null {
  return text !== undefined && uuid.test(text) ? text.toLowerCase() : null;
}

const uuid = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

function tickerRow(message: Of<"ticker">, stamp: Row): Row {
  return [
    message.product_id,
    message.sequence,
    message.time === undefined ? receivedAt(stamp) : plainTime(message.time),
    message.price,
    message.best_bid ?? null,
    message.best_bid_size ?? null,
    message.best_ask ?? null,
    message.best_ask_size ?? null,
    // A ticker's side is the taker's already: "sell" when the last trade hit the bid.
    message.side ?? null,
    message.trade_id ?? null,
    message.last_size ?? null,
    message.open_24h ?? null,
    message.high_24h ?? null,
    message.low_24h ?? null,
    message.volume_24h ?? null,
    message.volume_30d ?? null,
    ...stamp,
  ];
}

function heartbeatRow(message: Of<"heartbeat">, stamp: Row): Row {
  return [
    message.product_id,
    plainTime(message.time),
    message.sequence,
    message.last_trade_id,
    ...stamp,
  ];
}

/** Bids, then asks, each row with its place in the message. */
function snapshotRows(message: Of<"snapshot">, stamp: Row): Row[] {
  const time = message.time === undefined ? receivedAt(stamp) : plainTime(message.time);
  const levels = [
    ...message.bids.map((level) => ["bid", ...level] as const),
    ...message.asks.map((level) => ["ask", ...level] as const),
  ];
  return levels.map((
    [side, price, size],
    at,
  ) => [message.product_id, time, side, price, size, true, at, ...stamp]);
}

function updateRows(message: Of<"l2update">, stamp: Row): Row[] {
  const time = message.time === undefined ? receivedAt(stamp) : plainTime(message.time);
  return message.changes.map(([side, price, size], at) => {
    const bookSide = side === "buy" ? "bid" : "ask";
    return [message.product_id, time, bookSide, price, size, false, at, ...stamp];
  });
}

function productRow(product: Of<"status">["products"][number], stamp: Row): Row {
  return [
    product.id,
    product.base_currency,
    product.quote_currency,
    product.base_increment,
    product.quote_increment,
    product.min_market_funds ?? null,
    product.status,
    product.status_message ?? "",
    product.display_name ?? "",
    product.trading_disabled ?? false,
    product.post_only ?? false,
    product.limit_only ?? false,
    product.cancel_only ?? false,
    ...stamp,
  ];
}

function feedEventRow(message: Of<"feed_event">, stamp: Row): Row {
  return [
    plainTime(message.time),
    message.event,
    message.product_id ?? "",
    message.channel ?? "",
    message.reason ?? "",
    message.details ? JSON.stringify(message.details) : "",
    ...stamp,
  ];
}

/** Where the exchange sent no time. */
function receivedAt(stamp: Row): string {
  return stamp[0] as string;
}

/** `2026-07-07T22:58:17.123456789Z` → `2026-07-07 22:58:17.123456`: text to text, no clock in between. */
function plainTime(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, Math.min(iso.length - 1, 26))}`;
}

/** Coinbase's match says which side the **maker** was on; the taker was on the other. */
function takerSide(makerSide: "buy" | "sell"): "buy" | "sell" {
  return makerSide === "sell" ? "buy" : "sell";
}
