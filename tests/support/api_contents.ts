/**
 * What stands in the databases of tests/support/api_fixture.ts: two products, one with a gap.
 *
 * @module
 */

import { formatMicros, parseMicros } from "../../lib/core/time.ts";

/** A trade of the fixture: ids 1 to 240 of BTC-USD, every 30 s from 10:00; 51 to 60 aren't stored. */
export interface FixtureTrade {
  trade_id: number;
  /** µs */
  time: number;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
}

/** When the first trade was made, in µs. */
export const start = parseMicros("2026-07-07T10:00:00Z");

/** All of BTC-USD, those that are missing too. */
export const allTrades: FixtureTrade[] = Array.from({ length: 240 }, (_, index) => ({
  trade_id: index + 1,
  time: start + index * 30_000_000,
  price: (1000 + index % 7).toString().replace(/(\d)$/, ".$1").replace(/\.0$/, ""),
  size: "0.25",
  taker_side: index % 3 === 0 ? "buy" : "sell",
}));

/** The gap. */
export const isMissing = ({ trade_id }: FixtureTrade) => trade_id > 50 && trade_id <= 60;

type Row = Record<string, unknown>;

const received = {
  received_at: "2026-07-07 10:00:01.5",
  source: "feed",
  connection: "c1",
  kafka_partition: 0,
};

/** Rows of the table trades: received after 20 ms, stored after two minutes. */
export function tradeRows(product: string, trades: readonly FixtureTrade[]): Row[] {
  return trades.map((trade) => ({
    ...trade,
    product_id: product,
    time: formatMicros(trade.time),
    received_at: formatMicros(trade.time + 20_000),
    ingested_at: formatMicros(trade.time + 120_000),
    source: "feed",
    connection: "c1",
    batch: `b${trade.trade_id}`,
  }));
}

const ethTrades: FixtureTrade[] = [
  { trade_id: 1, time: start + 123_456, price: "2000.000000000000000001", size: "3", taker_side: "buy" },
];

const productRow = {
  product_id: "BTC-USD",
  base_currency: "BTC",
  quote_currency: "USD",
  base_increment: "0.00000001",
  quote_increment: "0.01",
  min_market_funds: "1",
  status: "online",
  status_message: "",
  display_name: "BTC/USD",
  ...received,
};

const tickerRows = [0, 500_000].map((after, index) => ({
  product_id: "BTC-USD",
  sequence: 7 + index,
  time: formatMicros(start + after),
  price: "110.5",
  best_bid: "110",
  best_bid_size: "2",
  best_ask: "111",
  best_ask_size: "0.5",
  taker_side: "sell",
  trade_id: index + 1,
  last_size: "0.25",
  open_24h: "100",
  high_24h: "120",
  low_24h: "90",
  volume_24h: "1234.5",
  kafka_offset: index,
  ...received,
}));

const levels = [["bid", "110", "2"], ["bid", "109", "4"], ["ask", "111", "0.5"], ["ask", "112", "6"]];
const bookRows = levels.map(([side, price, size], position) => ({
  product_id: "BTC-USD",
  time: "2026-07-07 10:00:00",
  side,
  price,
  size,
  is_snapshot: true,
  position,
  kafka_offset: 1,
  ...received,
}));

/** All of it, in the order in which it is stored. */
export const contents: [table: string, rows: Row[]][] = [
  ["trades", tradeRows("BTC-USD", allTrades.filter((trade) => !isMissing(trade)))],
  ["trades", tradeRows("ETH-USD", ethTrades)],
  ["products_state", [productRow]],
  ["tickers", tickerRows],
  ["book_changes", bookRows],
];
