/**
 * What must be in ClickHouse, computed from raw frames by other code than tapehouse's own: plain JSON, bigint decimals.
 *
 * @module
 */

/** Columns by name, as text; decimals without trailing zeros, as ClickHouse prints them. */
export type ExpectedRow = Record<string, string>;

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

/** Candle views, and the seconds of their intervals. */
export const intervals = { candles_1s: 1, candles_1m: 60, candles_1h: 3600, candles_1d: 86400 } as const;

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
    const { product_id } = frame;
    const time = frame.time?.replace("T", " ").replace("Z", "");
    if (frame.type === "match" || frame.type === "last_match") {
      const key = `${product_id}/${frame.trade_id}`;
      if (seen.has(key)) continue;
      seen.add(key);
      expected.trades.push({
        product_id,
        trade_id: String(frame.trade_id),
        time,
        price: trim(frame.price),
        size: trim(frame.size),
        taker_side: frame.side === "buy" ? "sell" : "buy",
        sequence: String(frame.sequence),
        maker_order_id: String(frame.maker_order_id),
        taker_order_id: String(frame.taker_order_id),
      });
    } else if (frame.type === "heartbeat") {
      const { sequence, last_trade_id } = frame;
      expected.heartbeats.push({
        product_id,
        time,
        sequence: String(sequence),
        last_trade_id: String(last_trade_id),
      });
    } else if (frame.type === "ticker") {
      const decimals = [
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
      ].map((name) => [name, frame[name] === undefined ? "" : trim(frame[name])]);
      expected.tickers.push({
        product_id,
        time,
        sequence: String(frame.sequence),
        price: trim(frame.price),
        taker_side: String(frame.side ?? ""),
        trade_id: String(frame.trade_id ?? ""),
        ...Object.fromEntries(decimals),
      });
    } else if (frame.type === "l2update") {
      (frame.changes as [string, string, string][]).forEach(([side, price, size], position) =>
        expected.book_changes.push({
          product_id,
          time,
          side: side === "buy" ? "bid" : "ask",
          price: trim(price),
          size: trim(size),
          is_snapshot: "false",
          position: String(position),
        })
      );
    } else if (frame.type === "snapshot") {
      const levels = [
        ...(frame.bids as [string, string][]).map((level) => ["bid", ...level]),
        ...(frame.asks as [string, string][]).map((level) => ["ask", ...level]),
      ];
      levels.forEach(([side = "", price, size], position) =>
        expected.book_changes.push({
          product_id,
          time,
          side,
          price: trim(price),
          size: trim(size),
          is_snapshot: "true",
          position: String(position),
        })
      );
    }
  }
  return expected;
}

/** A candle as text, as `candleQuery` returns it. */
export function expectedCandles(trades: readonly ExpectedRow[], seconds: number): ExpectedRow[] {
  const groups = Map.groupBy(trades, ({ product_id, time = "" }) => {
    const unix = Date.parse(`${time.slice(0, 19).replace(" ", "T")}Z`) / 1000;
    const start = new Date((unix - unix % seconds) * 1000).toISOString();
    return `${product_id}|${start.slice(0, 10)} ${start.slice(11, 19)}.000000`;
  });
  return [...groups].map(([key, group]) => {
    const [product_id = "", time = ""] = key.split("|");
    const inOrder = [...group].sort((left, right) => Number(left.trade_id) - Number(right.trade_id));
    const prices = inOrder.map(({ price }) => scaled(price));
    const sizes = inOrder.map(({ size }) => scaled(size));
    const sum = (wanted: (row: ExpectedRow) => boolean) =>
      inOrder.reduce((total, row, index) => wanted(row) ? total + (sizes[index] ?? 0n) : total, 0n);
    const volume = sum(() => true);
    const quoteVolume = prices.reduce((total, price, index) => total + price * (sizes[index] ?? 0n), 0n);
    return {
      product_id,
      time,
      open: inOrder[0]?.price ?? "",
      high: unscaled(prices.reduce((a, b) => a > b ? a : b), 18),
      low: unscaled(prices.reduce((a, b) => a < b ? a : b), 18),
      close: inOrder.at(-1)?.price ?? "",
      volume: unscaled(volume, 18),
      quote_volume: unscaled(quoteVolume, 36),
      buy_volume: unscaled(sum(({ taker_side }) => taker_side === "buy"), 18),
      sell_volume: unscaled(sum(({ taker_side }) => taker_side === "sell"), 18),
      trades: String(inOrder.length),
      // 36 digits divided by 18 leave 18: the cut of bigint division is the view's own.
      vwap: unscaled(quoteVolume / volume, 18),
    };
  });
}

/** How ClickHouse is asked for candles. */
export function candleQuery(view: string): string {
  const decimals = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "buy_volume",
    "sell_volume",
    "vwap",
  ];
  const columns = decimals.map((name) => `toString(${name}) AS ${name}`).join(", ");
  // The views' columns are aggregates: a subquery keeps the names apart.
  return `SELECT product_id, toString(time) AS time, ${columns}, toString(trades) AS trades FROM (SELECT * FROM ${view})`;
}

/** Rows in one order, each as one line of JSON with sorted keys: equal sets are equal lists. */
export function canonical(rows: readonly ExpectedRow[]): string[] {
  return rows.map((row) =>
    JSON.stringify(Object.fromEntries(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1)))
  )
    .sort();
}

function trim(decimal: unknown): string {
  const text = String(decimal);
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

function scaled(decimal = ""): bigint {
  const [whole = "0", fraction = ""] = decimal.split(".");
  return BigInt(whole + fraction.padEnd(18, "0"));
}

function unscaled(value: bigint, digits: number): string {
  const text = value.toString().padStart(digits + 1, "0");
  return trim(`${text.slice(0, -digits)}.${text.slice(-digits)}`);
}
