/**
 * The exchange's REST side: routes and pages, without any socket.
 *
 * @module
 */

import type { RestFault } from "./faults.ts";
import type { Source, Trade } from "./source.ts";
import { unitsOf } from "./text.ts";

/** What a request is answered with. */
export interface Answer {
  status: number;
  /** JSON, but for a text … */
  body: unknown;
  /** … that is sent as it is. */
  text?: string;
  headers?: Record<string, string>;
}

const largestPage = 1000;
const granularities = [60, 300, 900, 3600, 21600, 86400];
const largestCandles = 300;
/**
 * Candles of more trades than this are built from about `sampled` trades, each standing for as many as were passed
 * over: a day of a busy market has a million trades, and the feed waits while they are counted.
 */
const largestScan = 150_000;
const sampled = 20_000;
/** No size has more fraction digits. */
const sizeDigits = 18;

/**
 * Answers `GET path?query`.
 *
 * @param fault what is wrong with the answer; `hang` is the server's matter
 * @param known which trades REST has, and how many of the newest it doesn't know
 */
export function answer(
  source: Source,
  path: string,
  query: URLSearchParams,
  fault?: RestFault,
  known: KnownTrades = { serves: () => true, lag: 0 },
): Answer {
  switch (fault) {
    case 404:
      return notFound;
    case 429:
      return tooMany;
    case 500:
      return { status: 500, body: { message: "Internal server error" } };
    case "html":
      return { status: 200, body: null, text: "<!doctype html><title>Just a moment...</title>" };
    case "error object":
      return ok({ message: "Service unavailable" });
    case "redirect":
      return { status: 301, body: { message: "Moved" }, headers: { location: `/v2${path}` } };
  }
  const right = route(source, path, query, fault, known);
  if (fault === "cut off") {
    const text = JSON.stringify(right.body);
    return { ...right, text: text.slice(0, text.length / 2) };
  }
  return right;
}

/** What REST knows of a market. */
export interface KnownTrades {
  serves(tradeId: number): boolean;
  lag: number;
}

/** Asked too often. */
export const tooMany: Answer = { status: 429, body: { message: "Public rate limit exceeded" } };

function route(
  source: Source,
  path: string,
  query: URLSearchParams,
  fault: RestFault | undefined,
  known: KnownTrades,
): Answer {
  const [root, id, leaf, ...more] = path.split("/").filter((part) => part !== "");
  if (root === "time" && id === undefined) return ok(time(source.now()));
  if (root !== "products" || more.length > 0) return notFound;
  if (id === undefined) return ok(source.products);
  const product = source.products.find((row) => row.id === id);
  if (!product) return notFound;
  switch (leaf) {
    case undefined:
      return ok(product);
    case "trades":
      return spoilt(
        source,
        id,
        tradesPage(source, id, fault === "wrong page" ? newestPage : query, known),
        fault,
      );
    case "book":
      return bookPage(source, id, query.get("level") ?? "1");
    case "candles":
      return candlesPage(source, id, query);
    case "ticker":
      return tickerPage(source, id);
    case "stats": {
      const { open, high, low, volume, volume30 } = source.day(id);
      const last = lastTrade(source, id)?.price ?? open;
      return ok({ open, high, low, last, volume, volume_30day: volume30 });
    }
    default:
      return notFound;
  }
}

const notFound: Answer = { status: 404, body: { message: "NotFound" } };
const ok = (body: unknown, headers?: Record<string, string>): Answer => ({
  status: 200,
  body,
  ...headers && { headers },
});
const wrong = (message: string): Answer => ({ status: 400, body: { message } });

const newestPage = new URLSearchParams();

/** A page with something wrong about it. */
function spoilt(source: Source, product: string, page: Answer, fault: RestFault | undefined): Answer {
  if (page.status !== 200) return page;
  const rows = page.body as Trade[];
  switch (fault) {
    case "empty":
      return ok([]);
    case "reversed":
      return { ...page, body: rows.toReversed() };
    case "renamed field":
      return { ...page, body: rows.map(({ price, ...row }) => ({ ...row, px: price })) };
    case "other product": {
      const other = source.products.find(({ id }) => id !== product)?.id ?? product;
      const first = source.firstTrade(other);
      return {
        ...page,
        body: rows.map((row, i) => ({ ...source.trade(other, first + i), trade_id: row.trade_id })),
      };
    }
    default:
      return page;
  }
}

function time(micros: number): unknown {
  const millis = Math.floor(micros / 1000);
  return { iso: new Date(millis).toISOString(), epoch: millis / 1000 };
}

/** Newest first. `after=N` gives ids below N, `before=N` ids above it; the headers name the cursors of the pages around. */
function tradesPage(
  source: Source,
  product: string,
  query: URLSearchParams,
  { serves, lag }: KnownTrades,
): Answer {
  const limit = wholeNumber(query.get("limit") ?? String(largestPage));
  if (limit === undefined || limit === 0) return wrong("limit must be a positive number");
  const after = wholeNumber(query.get("after") ?? String(Number.MAX_SAFE_INTEGER));
  const before = wholeNumber(query.get("before") ?? "0");
  if (after === undefined) return wrong("Invalid value for pagination after");
  if (before === undefined) return wrong("Invalid value for pagination before");
  const first = Math.max(source.firstTrade(product), before + 1);
  const last = Math.min(source.lastTrade(product) - lag, after - 1);
  const rows: Trade[] = [];
  for (let id = last; id >= first && rows.length < Math.min(limit, largestPage); id--) {
    if (serves(id)) rows.push(source.trade(product, id));
  }
  const [newest] = rows;
  const oldest = rows.at(-1);
  if (!newest || !oldest) return ok(rows);
  return ok(rows, { "cb-before": String(newest.trade_id), "cb-after": String(oldest.trade_id) });
}

/** Level 1 has the best prices, level 2 all; the third value is a number of orders, which this exchange doesn't have. */
function bookPage(source: Source, product: string, level: string): Answer {
  if (level !== "1" && level !== "2") return wrong("Invalid level");
  const { bids, asks, sequence, time } = source.book(product);
  const side = (levels: [string, string][]) =>
    (level === "1" ? levels.slice(0, 1) : levels).map(([price, size]) => [price, size, 1]);
  return ok({
    bids: side(bids),
    asks: side(asks),
    sequence,
    auction_mode: false,
    auction: null,
    time: new Date(Math.floor(time / 1000)).toISOString(),
  });
}

function tickerPage(source: Source, product: string): Answer {
  const trade = lastTrade(source, product);
  if (!trade) return notFound;
  const { bids, asks } = source.book(product);
  return ok({
    ask: asks[0]?.[0] ?? trade.price,
    bid: bids[0]?.[0] ?? trade.price,
    volume: source.day(product).volume,
    trade_id: trade.trade_id,
    price: trade.price,
    size: trade.size,
    time: trade.time,
  });
}

function lastTrade(source: Source, product: string): Trade | undefined {
  const id = source.lastTrade(product);
  return id < source.firstTrade(product) ? undefined : source.trade(product, id);
}

/** Rows `[time, low, high, open, close, volume]`, newest first; intervals without trades are left out. */
function candlesPage(source: Source, product: string, query: URLSearchParams): Answer {
  const granularity = Number(query.get("granularity") ?? "60");
  if (!granularities.includes(granularity)) return wrong("Unsupported granularity");
  const now = Math.floor(source.now() / 1e6);
  const end = instant(query.get("end")) ?? now;
  const start = instant(query.get("start")) ?? end - largestCandles * granularity;
  if (Number.isNaN(start) || Number.isNaN(end)) return wrong("Invalid start or end");
  const from = Math.floor(start / granularity) * granularity;
  const to = Math.min(now, end);
  if ((to - from) / granularity > largestCandles + 1) {
    return wrong(
      `granularity too small for the requested time range. Count of aggregations requested exceeds ${largestCandles}`,
    );
  }
  const idBefore = (seconds: number) => source.lastTradeBefore(product, seconds * 1e6);
  const trades = idBefore(to) - idBefore(from);
  const step = trades <= largestScan ? 1 : Math.ceil(trades / sampled);
  const rows: number[][] = [];
  for (let time = Math.floor(to / granularity) * granularity; time >= from; time -= granularity) {
    if (rows.length === largestCandles) break;
    const first = idBefore(time) + 1;
    const last = idBefore(time + granularity);
    if (last >= first) rows.push(candle(source, product, time, first, last, step));
  }
  return ok(rows);
}

/** One row. Exact when `step` is 1; else open and close are, and the rest comes from every `step`-th trade. */
function candle(
  source: Source,
  product: string,
  time: number,
  first: number,
  last: number,
  step: number,
): number[] {
  const open = Number(source.trade(product, first).price);
  const close = Number(source.trade(product, last).price);
  let low = Math.min(open, close);
  let high = Math.max(open, close);
  let volume = 0n;
  for (let id = first; id <= last; id += step) {
    const trade = source.trade(product, id);
    const price = Number(trade.price);
    if (price < low) low = price;
    if (price > high) high = price;
    volume += unitsOf(trade.size, sizeDigits);
  }
  // Coinbase writes the numbers of a candle as JSON numbers; only here do decimals become floats.
  const digits = (volume * BigInt(step)).toString().padStart(sizeDigits + 1, "0");
  return [
    time,
    low,
    high,
    open,
    close,
    Number(`${digits.slice(0, -sizeDigits)}.${digits.slice(-sizeDigits)}`),
  ];
}

/** Seconds since the epoch, from the same or from ISO 8601; NaN when it is neither. */
function instant(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  return /^\d+$/.test(text) ? Number(text) : Math.floor(Date.parse(text) / 1000);
}

function wholeNumber(text: string): number | undefined {
  const number = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(number) ? number : undefined;
}
