/**
 * What must be in ClickHouse, computed from raw frames by other code than tapehouse's own: plain JSON, bigint decimals.
 *
 * @module
 */

import { createCandles, type TextRow, trimmed } from "../../lib/ops/proof.ts";

export type ExpectedRow = TextRow;

/** The rows of each table, sorted. */
export interface Expected {
  trades: ExpectedRow[];
  tickers: ExpectedRow[];
  book_changes: ExpectedRow[];
  heartbeats: ExpectedRow[];
}

/** How ClickHouse is asked for the same. */
export const queries: Record<keyof Expected, string> = {
  trades:
    `SELECT product_id, toString(trade_id) AS trade_id, toString(time) AS time, toString(price) AS price,
    toString(size) AS size, toString(taker_side) AS taker_side, toString(sequence) AS sequence, maker_order_id,
    taker_order_id FROM trades`,
  tickers:
    `SELECT product_id, toString(sequence) AS sequence, toString(time) AS time, toString(price) AS price,
    ifNull(toString(best_bid), '') AS best_bid, ifNull(toString(best_bid_size), '') AS best_bid_size,
    ifNull(toString(best_ask), '') AS best_ask, ifNull(toString(best_ask_size), '') AS best_ask_size,
    ifNull(toString(taker_side), '') AS taker_side, ifNull(toString(trade_id), '') AS trade_id,
    ifNull(toString(last_size), '') AS last_size, ifNull(toString(open_24h), '') AS open_24h,
    ifNull(toString(high_24h), '') AS high_24h, ifNull(toString(low_24h), '') AS low_24h,
    ifNull(toString(volume_24h), '') AS volume_24h, ifNull(toString(volume_30d), '') AS volume_30d FROM tickers`,
  book_changes: `SELECT product_id, toString(time) AS time, toString(side) AS side, toString(price) AS price,
    toString(size) AS size, toString(is_snapshot) AS is_snapshot, toString(position) AS position FROM book_changes`,
  heartbeats: `SELECT product_id, toString(time) AS time, toString(sequence) AS sequence,
    toString(last_trade_id) AS last_trade_id FROM heartbeats`,
};

interface RawFrame {
  type: string;
  product_id: string;
  time: string;
  [field: string]: unknown;
}

/** The rows that frames become. A trade that was sent several times is expected once. */
export function expectedRows(frames: readonly string[]): Expected {
  const expected: Expected = { trades: [], tickers: [], book_changes: [], heartbeats: [] };
  const seen = new Set<string>();
  for (const text of frames) {
    const frame: RawFrame = JSON.parse(text);
    if (frame.type === "match" || frame.type === "last_match") {
      const key = `${frame.product_id}/${frame.trade_id}`;
      if (!seen.has(key)) expected.trades.push(tradeRow(frame));
      seen.add(key);
    } else if (frame.type === "heartbeat") {
      expected.heartbeats.push(heartbeatRow(frame));
    } else if (frame.type === "ticker") {
      expected.tickers.push(tickerRow(frame));
    } else if (frame.type === "l2update" || frame.type === "snapshot") {
      expected.book_changes.push(...bookRows(frame));
    }
  }
  return expected;
}

/** Product and time, as each table has them. */
function commonOf({ product_id, time }: RawFrame) {
  return { product_id, time: time?.replace("T", " ").replace("Z", "") };
}

function tradeRow(frame: RawFrame): ExpectedRow {
  return {
    ...commonOf(frame),
    trade_id: String(frame.trade_id),
    price: trim(frame.price),
    size: trim(frame.size),
    taker_side: frame.side === "buy" ? "sell" : "buy",
    sequence: String(frame.sequence),
    maker_order_id: String(frame.maker_order_id),
    taker_order_id: String(frame.taker_order_id),
  };
}

function heartbeatRow(frame: RawFrame): ExpectedRow {
  const { sequence, last_trade_id } = frame;
  return { ...commonOf(frame), sequence: String(sequence), last_trade_id: String(last_trade_id) };
}

/** Of a ticker's decimals those that a frame may lack. */
const tickerDecimals = [
  "best_bid",
  "best_bid_size",
  "best_ask",
  "best_ask_size",
  "last_size",
  "open_24h",
  "high_24h",
  "low_24h",
  "volume_24h",
  "volume_30d",
];

function tickerRow(frame: RawFrame): ExpectedRow {
  const decimals = tickerDecimals.map((name) => [name, frame[name] === undefined ? "" : trim(frame[name])]);
  return {
    ...commonOf(frame),
    sequence: String(frame.sequence),
    price: trim(frame.price),
    taker_side: String(frame.side ?? ""),
    trade_id: String(frame.trade_id ?? ""),
    ...Object.fromEntries(decimals),
  };
}

/** A row a level: of a snapshot the bids before the asks. */
function bookRows(frame: RawFrame): ExpectedRow[] {
  const isSnapshot = frame.type === "snapshot";
  const levels: string[][] = isSnapshot
    ? [
      ...(frame.bids as [string, string][]).map((level) => ["bid", ...level]),
      ...(frame.asks as [string, string][]).map((level) => ["ask", ...level]),
    ]
    : (frame.changes as [string, string, string][]).map(([side, ...level]) => [
      side === "buy" ? "bid" : "ask",
      ...level,
    ]);
  return levels.map(([side = "", price, size], position) => ({
    ...commonOf(frame),
    side,
    price: trim(price),
    size: trim(size),
    is_snapshot: String(isSnapshot),
    position: String(position),
  }));
}

/** The candles of `trades`, as text. */
export function expectedCandles(trades: readonly ExpectedRow[], seconds: number): ExpectedRow[] {
  const byProduct = Map.groupBy(trades, ({ product_id = "" }) => product_id);
  return [...byProduct].flatMap(([productId, group]) => {
    const candles = createCandles(productId, seconds);
    const inOrder = [...group].sort((left, right) => Number(left.trade_id) - Number(right.trade_id));
    for (const { time = "", price = "", size = "", taker_side } of inOrder) {
      candles.add({ time, price, size, takerSide: taker_side === "buy" ? "buy" : "sell" });
    }
    return candles.rows();
  });
}

function trim(decimal: unknown): string {
  return trimmed(String(decimal));
}
