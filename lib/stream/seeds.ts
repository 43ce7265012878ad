/**
 * What a subscription starts with, read from ClickHouse: the newest ticker and trade, candles, the book. Each is one
 * statement, so that it is one moment of the tape.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { formatMicros, parseMicros } from "../time.ts";
import type { CandleRow, SeedRun } from "./candles.ts";
import { parseDecimal } from "./decimal.ts";
import type { Interval } from "./protocol.ts";

type Row = Record<string, string | null>;

/** No start is worth more of the server's time than this. */
const limitSeconds = 20;

async function rows(
  warehouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown>,
  seconds = limitSeconds,
  signal?: AbortSignal,
): Promise<Row[]> {
  const deadline = AbortSignal.timeout(seconds * 1000);
  const answer = await warehouse.query({
    query,
    query_params: params,
    format: "JSONEachRow",
    abort_signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  });
  return await answer.json();
}

/** ClickHouse's `2026-07-07 22:58:17.123456` → `2026-07-07T22:58:17.123456Z`. */
function iso(time: string): string {
  return `${time.slice(0, 10)}T${time.slice(11)}Z`;
}

/** All products that have a status row or a trade. */
export async function loadProducts(warehouse: ClickHouseClient): Promise<Set<string>> {
  const found = await rows(
    warehouse,
    "SELECT product_id FROM products UNION DISTINCT SELECT DISTINCT product_id FROM trade_runs",
    {},
    // A client waits for its acknowledgement.
    3,
  );
  return new Set(found.map(({ product_id }) => String(product_id)));
}

/** The newest ticker in Coinbase's fields, or nothing. */
export async function loadTicker(
  warehouse: ClickHouseClient,
  product: string,
): Promise<Record<string, unknown> | undefined> {
  const decimals = [
    "price",
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
  const [row] = await rows(
    warehouse,
    `SELECT toString(sequence) AS sequence, toString(time) AS at, toString(received_at) AS received,
      toString(taker_side) AS side, toString(trade_id) AS id, ${
      decimals.map((name) => `toString(${name}) AS ${name}_text`).join(", ")
    } FROM tickers WHERE product_id = {product:String} ORDER BY tickers.time DESC, tickers.sequence DESC LIMIT 1`,
    { product },
  );
  if (row === undefined) return undefined;
  const optional = decimals.filter((name) => row[`${name}_text`] !== null)
    .map((name) => [name, row[`${name}_text`]]);
  return {
    product_id: product,
    sequence: Number(row.sequence),
    time: iso(String(row.at)),
    received_at: iso(String(row.received)),
    ...Object.fromEntries(optional),
    ...(row.side === null ? {} : { side: row.side }),
    ...(row.id === null ? {} : { trade_id: Number(row.id) }),
  };
}

/** The newest trade in Coinbase's fields and `taker_side`, or nothing. */
export async function loadLastMatch(
  warehouse: ClickHouseClient,
  product: string,
): Promise<Record<string, unknown> | undefined> {
  const [row] = await rows(
    warehouse,
    `SELECT toString(trade_id) AS id, toString(time) AS at, toString(received_at) AS received,
      toString(price) AS price_text, toString(size) AS size_text, toString(taker_side) AS side,
      toString(sequence) AS number, maker_order_id, taker_order_id
    FROM trades WHERE product_id = {product:String} ORDER BY trades.trade_id DESC LIMIT 1`,
    { product },
  );
  if (row === undefined) return undefined;
  return {
    trade_id: Number(row.id),
    maker_order_id: row.maker_order_id,
    taker_order_id: row.taker_order_id,
    side: row.side === "buy" ? "sell" : "buy",
    size: row.size_text,
    price: row.price_text,
    product_id: product,
    sequence: Number(row.number),
    time: iso(String(row.at)),
    received_at: iso(String(row.received)),
    taker_side: row.side,
  };
}

/** The newest stored trade's id and time (µs); zeros without one. */
export async function loadLastTrade(
  warehouse: ClickHouseClient,
  product: string,
): Promise<{ id: number; time: number }> {
  const [row] = await rows(
    warehouse,
    `SELECT toString(trade_id) AS id, toString(time) AS at
    FROM trades WHERE product_id = {product:String} ORDER BY trades.trade_id DESC LIMIT 1`,
    { product },
  );
  return row === undefined
    ? { id: 0, time: 0 }
    : { id: Number(row.id), time: parseMicros(iso(String(row.at))) };
}

/** The last `limit` closed candles that start before `before` (µs), oldest first. */
export async function loadHistory(
  warehouse: ClickHouseClient,
  product: string,
  name: string,
  interval: Interval,
  before: number,
  limit: number,
): Promise<CandleRow[]> {
  const found = await rows(
    warehouse,
    `SELECT toString(time) AS start, toString(open) AS o, toString(high) AS h, toString(low) AS l,
      toString(close) AS c, toString(volume) AS v, toString(quote_volume) AS q, toString(buy_volume) AS b,
      toString(sell_volume) AS s, toString(trades) AS n, toString(vwap) AS w
    FROM candles(product = {product:String}, interval = {interval:String}, from = {from:DateTime64(6, 'UTC')},
      to = {to:DateTime64(6, 'UTC')})
    ORDER BY time`,
    {
      product,
      interval: name,
      from: formatMicros(Math.max(0, before - limit * interval.step)),
      to: formatMicros(before),
    },
  );
  return found.map((row) => ({
    time: iso(String(row.start)),
    open: String(row.o),
    high: String(row.h),
    low: String(row.l),
    close: String(row.c),
    volume: String(row.v),
    quote_volume: String(row.q),
    buy_volume: String(row.b),
    sell_volume: String(row.s),
    trades: Number(row.n),
    vwap: String(row.w),
    is_filled: false,
    closed: true,
  }));
}

/** What is stored of the candles from `since` (µs, a candle's start) on, in runs of ids without a hole. */
export async function loadRuns(
  warehouse: ClickHouseClient,
  product: string,
  interval: Interval,
  since: number,
): Promise<SeedRun[]> {
  const found = await rows(
    warehouse,
    `SELECT toString(start) AS start_us, toString(min(trade_id)) AS first_id, toString(max(trade_id)) AS last_id,
      toString(argMin(price, trade_id)) AS o, toString(max(price)) AS h, toString(min(price)) AS l,
      toString(argMax(price, trade_id)) AS c, toString(sum(size)) AS v,
      toString(sum(toDecimal256(price, 18) * toDecimal256(size, 18))) AS q,
      toString(sumIf(size, taker_side = 'buy')) AS b, toString(count()) AS n
    FROM
    (
      SELECT trade_id, price, size, taker_side,
        intDiv(toUnixTimestamp64Micro(time) - {origin:Int64}, {step:Int64}) * {step:Int64} + {origin:Int64} AS start,
        toInt64(trade_id) - toInt64(row_number() OVER (PARTITION BY start ORDER BY trade_id)) AS run
      FROM trades
      WHERE product_id = {product:String} AND time >= {since:DateTime64(6, 'UTC')}
    )
    GROUP BY start, run
    ORDER BY start, run`,
    { product, since: formatMicros(since), step: interval.step, origin: interval.origin },
  );
  return found.map((row) => ({
    start: Number(row.start_us),
    firstId: Number(row.first_id),
    lastId: Number(row.last_id),
    open: parseDecimal(String(row.o)),
    high: parseDecimal(String(row.h)),
    low: parseDecimal(String(row.l)),
    close: parseDecimal(String(row.c)),
    volume: parseDecimal(String(row.v)),
    quoteVolume: parseDecimal(String(row.q), 36),
    buyVolume: parseDecimal(String(row.b)),
    trades: Number(row.n),
  }));
}

/** A book, and up to which message of its partition it is complete. */
export interface BookSeed {
  connection: string;
  /** The Kafka offset of the newest message that is in. */
  offset: number;
  /** The exchange's time of the newest change, µs. */
  time: number;
  bids: [string, string][];
  asks: [string, string][];
}

/** The newest book of a product whose connection isn't known to have ended, as the view `book_now`; or nothing. */
export async function loadBook(warehouse: ClickHouseClient, product: string): Promise<BookSeed | undefined> {
  const found = await rows(
    warehouse,
    `WITH
      (
        SELECT (any(CAST(connection AS String)), any(first_change), count(), any(valid_to))
        FROM book_epoch_now(product = {product:String})
      ) AS epoch
    SELECT epoch.1 AS connection_name, toString(epoch.4) AS valid_to, toString(side) AS level_side,
      toString(price) AS level_price, toString(argMax(levels.size, change)) AS level_size,
      toString(max(change)) AS last_change
    FROM book_levels_1d AS levels
    WHERE product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
    GROUP BY side, price`,
    { product },
  );
  const [first] = found;
  if (first === undefined) return undefined;
  const seed: BookSeed = {
    connection: String(first.connection_name),
    offset: 0,
    time: parseMicros(iso(String(first.valid_to))),
    bids: [],
    asks: [],
  };
  for (const { level_side, level_price, level_size, last_change } of found) {
    seed.offset = Math.max(seed.offset, Number(BigInt(String(last_change)) >> 20n));
    // Removed levels too say how far the book is complete.
    if (level_size === "0") continue;
    seed[level_side === "bid" ? "bids" : "asks"].push([String(level_price), String(level_size)]);
  }
  return seed;
}

/** Anomalies that were found, or are seen otherwise, since (ClickHouse's time text), oldest first, in the view's columns. */
export async function loadAnomalies(
  warehouse: ClickHouseClient,
  since: string,
  signal: AbortSignal,
): Promise<Record<string, unknown>[]> {
  return await rows(
    warehouse,
    // Not detected_at: that is when the search began, which may take longer than anybody looks back.
    `SELECT * FROM anomalies AS v WHERE v.updated_at >= {since:DateTime64(6, 'UTC')} ORDER BY v.updated_at LIMIT 1000`,
    { since },
    limitSeconds,
    signal,
  );
}
