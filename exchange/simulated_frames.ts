/**
 * The frames of the simulated exchange, with fields and decimals as Coinbase writes them.
 *
 * @module
 */

import type { Change, Levels } from "./simulated_book.ts";
import { figuresOf, type ListedProduct } from "./listed_product.ts";
import type { MarketTrade } from "./simulated_market.ts";
import type { Frame } from "./source.ts";
import { iso, padded, snapshotText, trimmed } from "./text.ts";

/** The `match` frame of a trade, or the `last_match` that a new subscriber gets. */
export function matchFrame(
  { market }: ListedProduct,
  trade: MarketTrade,
  type: "match" | "last_match",
): Frame {
  const { id, priceDigits, sizeDigits } = market.product;
  const text =
    `{"type":"${type}","trade_id":${trade.id},"maker_order_id":"${trade.makerOrder}","taker_order_id":"${trade.takerOrder}","side":"${trade.side}","size":"${
      trimmed(trade.size, sizeDigits)
    }","price":"${
      trimmed(trade.price, priceDigits)
    }","product_id":"${id}","sequence":${trade.sequence},"time":"${iso(trade.time)}"}`;
  return { channel: "matches", product: id, type, tradeId: type === "match" ? trade.id : 0, text };
}

/** The `heartbeat` frame at `time` (µs): it names the last trade told. */
export function heartbeatFrame({ market, id }: ListedProduct, time: number): Frame {
  const product = market.product.id;
  const text = `{"type":"heartbeat","last_trade_id":${id},"product_id":"${product}","sequence":${
    market.sequenceAfter(id)
  },"time":"${iso(time)}"}`;
  return { channel: "heartbeat", product, type: "heartbeat", tradeId: 0, text };
}

/** The `ticker` frame after a trade. Its `side` is the taker's, unlike that of a match. */
export function tickerFrame(
  listing: ListedProduct,
  trade: MarketTrade,
  channel: "ticker" | "ticker_batch",
): Frame {
  const { market, books } = listing;
  const { id, priceDigits, sizeDigits } = market.product;
  const [[bid, bidSize], [ask, askSize]] = books.best(market.tick(trade.time));
  const { open, low, high, volume, volume30 } = figuresOf(listing, Math.floor(trade.time / 1e6));
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

/** The `snapshot` frame of the listing's book. */
export function snapshotFrame({ market, books, tick }: ListedProduct): Frame {
  const { id, priceDigits, sizeDigits } = market.product;
  const { bids, asks } = books.full(books.near(tick));
  const side = (levels: Levels) => levelsText(levels, priceDigits, sizeDigits);
  const text = snapshotText(id, side(bids), side(asks), market.tickTime(tick));
  return { channel: "level2_batch", product: id, type: "snapshot", tradeId: 0, text };
}

/** The `l2update` frame of some changes at `time` (µs). */
export function updateFrame({ market }: ListedProduct, changes: Change[], time: number): Frame {
  const { id, priceDigits, sizeDigits } = market.product;
  const list = changes.map(({ side, price, size }) =>
    `["${side}","${padded(price, priceDigits)}","${padded(size, sizeDigits)}"]`
  ).join();
  const text = `{"type":"l2update","product_id":"${id}","changes":[${list}],"time":"${iso(time)}"}`;
  return { channel: "level2_batch", product: id, type: "l2update", tradeId: 0, text };
}

/** Levels as Coinbase writes them: `[["63514.60","0.20000000"], …]`. */
export function levelsText(levels: Levels, priceDigits: number, sizeDigits: number): string {
  return `[${
    levels.map(([price, size]) => `["${padded(price, priceDigits)}","${padded(size, sizeDigits)}"]`).join()
  }]`;
}
