/**
 * What a subscription starts with, read from ClickHouse: the newest ticker and trade, candles, the book. Each is one
 * statement, so that it is one moment of the tape.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { rows } from "../clickhouse/rows.ts";
import { formatMicros, parseMicros } from "../core/time.ts";
import type { CandleRow, StoredRun } from "./candle_series.ts";
import { parseDecimal } from "../core/decimal.ts";
import type { Interval } from "../core/interval.ts";
import { tickerDecimals } from "../feed/messages.ts";

/**
 * Reads from ClickHouse what topics start with: a few at once, of one client fewer, each in turn.
 *
 * @throws the signal's reason when it fires while this waits
 */
export type ReadSnapshot = <T>(client: string, load: () => Promise<T>, signal?: AbortSignal) => Promise<T>;

type Row = Record<string, string | null>;

/** No start is worth more of the server's time than this. */
const limitSeconds = 10;
/** How long an answer may be on its way beyond that. */
const extraMs = 2000;

/** The rows of a query within a time; inserts come first. */
function snapshotRows(
  clickhouse: ClickHouseClient,
  query: string,
  params: Record<string, unknown>,
  seconds = limitSeconds,
  signal?: AbortSignal,
): Promise<Row[]> {
  const deadline = AbortSignal.timeout(seconds * 1000 + extraMs);
  return rows(clickhouse, query, params, {
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    // As lib/api/query_settings.ts.
    settings: {
      readonly: "2",
      max_execution_time: seconds,
      max_threads: 2,
      max_memory_usage: "500000000",
      priority: "2",
      low_priority_query_wait_time_ms: "2",
      memory_overcommit_ratio_denominator: "100000000",
      cancel_http_readonly_queries_on_client_close: 1,
    },
  });
}

/** ClickHouse's `2026-07-07 22:58:17.123456` → `2026-07-07T22:58:17.123456Z`. */
function iso(time: string): string {
  return `${time.slice(0, 10)}T${time.slice(11)}Z`;
}

/** All products that the tape knows. */
export async function loadProducts(clickhouse: ClickHouseClient): Promise<Set<string>> {
  const found = await snapshotRows(
    clickhouse,
    "SELECT product_id FROM known_products",
    {},
    // A client waits for its acknowledgement.
    3,
  );
  return new Set(found.map(({ product_id }) => String(product_id)));
}

/** The newest ticker in Coinbase's fields, or nothing. */
export async function loadTicker(
  clickhouse: ClickHouseClient,
  product: string,
): Promise<Record<string, unknown> | undefined> {
  const [row] = await snapshotRows(
    clickhouse,
    `SELECT toString(sequence) AS sequence, toString(time) AS at, toString(received_at) AS received,
      toString(taker_side) AS side, toString(trade_id) AS id, ${
      tickerDecimals.map((name) => `toString(${name}) AS ${name}_text`).join(", ")
    } FROM tickers WHERE product_id = {product:String} ORDER BY tickers.time DESC, tickers.sequence DESC LIMIT 1`,
    { product },
  );
  if (row === undefined) return undefined;
  const optional = tickerDecimals.filter((name) => row[`${name}_text`] !== null)
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
  clickhouse: ClickHouseClient,
  product: string,
): Promise<Record<string, unknown> | undefined> {
  const [row] = await snapshotRows(
    clickhouse,
    `SELECT toString(trade_id) AS id, toString(time) AS at, toString(received_at) AS received,
      toString(price) AS price_text, toString(size) AS size_text, toString(taker_side) AS side,
      toString(sequence) AS number, maker_order_id, taker_order_id
    FROM trades WHERE product_id = {product:String} ORDER BY trades.trade_id DESC LIMIT 1`,
    { product },
  );
  if (row === undefined) return undefined;
  return {
    trade_id: Number(row.id),
    ...(row.maker_order_id === null ? {} : { maker_order_id: row.maker_order_id }),
    ...(row.taker_order_id === null ? {} : { taker_order_id: row.taker_order_id }),
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
  clickhouse: ClickHouseClient,
  product: string,
): Promise<{ id: number; time: number }> {
  const [row] = await snapshotRows(
    clickhouse,
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
  clickhouse: ClickHouseClient,
  product: string,
  name: string,
  interval: Interval,
  before: number,
  limit: number,
): Promise<CandleRow[]> {
  const found = await snapshotRows(
    clickhouse,
    `SELECT toString(time) AS start, toString(open) AS o, toString(high) AS h, toString(low) AS l,
      toString(close) AS c, toString(volume) AS v, toString(quote_volume) AS q, toString(buy_volume) AS b,
      toString(sell_volume) AS s, toString(trades) AS n, toString(vwap) AS w
    FROM candles(product = {product:String}, interval = {interval:String}, from = {from:DateTime64(6, 'UTC')},
      to = {to:DateTime64(6, 'UTC')})
    ORDER BY time`,
    {
      product,
      interval: name,
      from: formatMicros(Math.max(0, before - limit * interval.micros)),
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

/** What is stored of the candles from `since` (µs, a candle's start) on, in runs of ids without a gap. */
export async function loadRuns(
  clickhouse: ClickHouseClient,
  product: string,
  interval: Interval,
  since: number,
): Promise<StoredRun[]> {
  const found = await snapshotRows(
    clickhouse,
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
    { product, since: formatMicros(since), step: interval.micros, origin: interval.origin },
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
export interface StoredBook {
  connection: string;
  /** The Kafka offset of the newest message that is in. */
  offset: number;
  /** The exchange's time of the newest change, µs. */
  time: number;
  bids: [string, string][];
  asks: [string, string][];
}

/** The newest book of a product whose connection isn't known to have ended, as the view `book_now`; or nothing. */
export async function loadBook(
  clickhouse: ClickHouseClient,
  product: string,
): Promise<StoredBook | undefined> {
  const found = await snapshotRows(
    clickhouse,
    `WITH
      (
        SELECT (any(CAST(connection AS String)), any(first_change), count(), any(valid_to))
        FROM book_epoch_now(product = {product:String})
      ) AS epoch
    SELECT epoch.1 AS connection_name, toString(epoch.4) AS valid_to, toString(side) AS level_side,
      toString(price) AS level_price, toString(argMax(levels.size, change)) AS level_size,
      toString(max(change)) AS last_change
    FROM book_levels AS levels
    WHERE interval = '1d' AND product_id = {product:String} AND epoch.3 = 1 AND connection = epoch.1 AND change >= epoch.2
    GROUP BY side, price`,
    { product },
  );
  const [first] = found;
  if (first === undefined) return undefined;
  const book: StoredBook = {
    connection: String(first.connection_name),
    offset: 0,
    time: parseMicros(iso(String(first.valid_to))),
    bids: [],
    asks: [],
  };
  for (const { level_side, level_price, level_size, last_change } of found) {
    book.offset = Math.max(book.offset, Number(BigInt(String(last_change)) >> 20n));
    // Removed levels too say how far the book is complete.
    if (level_size === "0") continue;
    book[level_side === "bid" ? "bids" : "asks"].push([String(level_price), String(level_size)]);
  }
  return book;
}

/** Anomalies that were found, or are seen otherwise, since (ClickHouse's time text), oldest first, in the view's columns. */
export async function loadAnomalies(
  clickhouse: ClickHouseClient,
  since: string,
  signal: AbortSignal,
): Promise<Record<string, unknown>[]> {
  return await snapshotRows(
    clickhouse,
    // Not detected_at: that is when the search began, which may take longer than anybody looks back.
    `SELECT * FROM anomalies AS v WHERE v.updated_at >= {since:DateTime64(6, 'UTC')} ORDER BY v.updated_at LIMIT 1000`,
    { since },
    limitSeconds,
    signal,
  );
}
