/**
 * What the REST API and the stream send. Decimals are texts, times ISO with microseconds, trade ids safe integers.
 *
 * @module
 */

/** GET /api/products; the increments are null for a product whose status was never seen. */
export interface Product {
  product_id: string;
  display_name?: string | null;
  base_currency?: string | null;
  quote_currency?: string | null;
  base_increment: string | null;
  quote_increment: string | null;
  status?: string | null;
  trading_disabled?: boolean | null;
}

/** GET /api/ticker and the channel `ticker`; only what the page reads. */
export interface Ticker {
  product_id: string;
  time: string;
  received_at?: string;
  price: string;
  open_24h?: string | null;
  high_24h?: string | null;
  low_24h?: string | null;
  volume_24h?: string | null;
  trade_id?: number | null;
}

/** GET /api/trades and the channel `matches`. */
export interface Trade {
  trade_id: number;
  time: string;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
}

/** GET /api/ohlc and the channel `candles`. */
export interface Candle {
  time: string;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  buy_volume?: string;
  sell_volume?: string;
  trades: number;
  vwap: string | null;
  is_filled?: boolean;
}

/** A price and the size there. */
export type Level = [price: string, size: string];

/** GET /api/book and the channel `book`; best level first. */
export interface Book {
  time: string | null;
  bids: Level[];
  asks: Level[];
  reason?: string | null;
}

/** GET /api/gaps: the trades first_missing to last_missing aren't stored; the neighbours' times. */
export interface Gap {
  product_id: string;
  first_missing: number;
  last_missing: number;
  missing: number;
  after_time: string;
  before_time: string;
  status?: string | null;
}

/** GET /api/anomalies and the channel `anomalies`. */
export interface Anomaly {
  product_id: string;
  time: string;
  kind: string;
  severity?: string | null;
  score?: number | null;
  explanation?: string | null;
}

/** GET /api/completeness: a product's hour. */
export interface CompletenessHour {
  product_id: string;
  hour: string;
  trades: number;
  expected: number;
  ratio: number;
  open_gaps: number;
  filled_gaps?: number;
  filled_trades?: number;
  status: string;
}

/** What happened to the feed, as it travels in the topic. */
export interface FeedEvent {
  event: string;
  time: string;
  product_id?: string | null;
  channel?: string | null;
  reason?: string | null;
  details?: unknown;
}

/** Two percentiles of a hop. */
export interface Hop {
  p50_ms: number | null;
  p99_ms: number | null;
}

/** A product's part of the status. */
export interface ProductStatus {
  product_id: string;
  last_trade_at: string | null;
  last_received_at: string | null;
  completeness_24h: number | null;
  open_gaps: number;
  missing_trades: number;
}

/** GET /api/status. */
export interface Status {
  version?: string;
  simulated: boolean;
  database?: string;
  time?: string;
  freshness?: { exchange_to_received?: Hop | null; received_to_stored?: Hop | null } | null;
  lag?: number | null;
  rows_per_second?: { trades?: number | null; tickers?: number | null; book_changes?: number | null } | null;
  products: ProductStatus[];
  stream?: Record<string, unknown> | null;
  clickhouse?: { ok: boolean; version?: string | null; reason?: string } | null;
  kafka?: { ok: boolean } | null;
}
