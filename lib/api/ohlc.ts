/**
 * `/api/ohlc`: candles of any interval.
 *
 * @module
 */

import type { OpenAPIHono } from "@hono/zod-openapi";
import { formatMicros, nowMicros } from "../time.ts";
import { type CandleCache, candleJson } from "./candles.ts";
import { type Columns, decimal, integer, rowSchema, said, selectList, time } from "./columns.ts";
import type { Database } from "./database.ts";
import { encodeCursor, listName } from "./cursor.ts";
import type { KnownProducts } from "./known_products.ts";
import { cursor, fill, from, interval, limit, product, to } from "./parameters.ts";
import {
  addRoute,
  checkLimit,
  formats,
  microsOf,
  pageOf,
  pageSchema,
  readPlace,
  shown,
  streamed,
} from "./route.ts";
import type { Settled } from "./settled.ts";
import { beforeNow, checkRange } from "./trades.ts";

const columns: Columns = {
  time: said(time, "Start of the interval."),
  open: said(decimal, "Price of the lowest trade id."),
  high: decimal,
  low: decimal,
  close: said(decimal, "Price of the highest trade id."),
  volume: said(decimal, "In the base currency."),
  quote_volume: said(decimal, "In the quote currency, exact."),
  buy_volume: said(decimal, "Of takers who bought, in the base currency."),
  sell_volume: said(decimal, "Of takers who sold, in the base currency."),
  trades: integer,
  vwap: said(decimal, "quote_volume / volume, cut to 18 digits."),
  is_filled: { kind: "boolean", description: "True when no trade was in the interval (fill=true)." },
};

const forever = "private, max-age=31536000, immutable";

/** Adds `/api/ohlc`. */
export function addOhlc(
  app: OpenAPIHono,
  services: { database: Database; known: KnownProducts; candles: CandleCache; settled: Settled },
): void {
  const { database, known, candles, settled } = services;
  addRoute(app, {
    path: "/api/ohlc",
    summary: "Candles",
    description:
      "Whole candles that touch the range, oldest first. With `from`, the page begins there and `next` goes on " +
      "towards `to`. Without `from`, the page holds the newest candles before `to`, and `next` those before them. " +
      "Intervals without trades are left out, or filled with the close before them (`fill=true`). A page in which " +
      "no trade can be missing any more may be kept for ever by its ETag and Cache-Control.",
    parameters: { product_id: product, interval, from, to, limit: limit(1000), fill, cursor, ...shown },
    answer: pageSchema(rowSchema(columns)),
    more: Object.values(formats).map(({ type }) => type.split(";")[0] ?? type),
  }, async ({ query, given, request }) => {
    checkRange(query.from, query.to);
    const list = listName("/api/ohlc", given);
    const [place] = readPlace(list, query.cursor, ["number"]) ?? [];
    const rows = checkLimit(query.limit, query.format);
    await known.check(query.product_id);
    const { micros } = query.interval;
    const now = nowMicros();
    const end = query.to ?? now;
    const forward = query.from !== undefined;
    // The cursor is a start: of the first candle to come, or of the last one given when going back.
    const since = forward ? Number(place ?? query.from) : undefined;
    const until = forward ? end : Number(place ?? end);
    const isFilled = query.fill === "true";

    if (query.format === "json" && !isFilled) {
      const page = await candles.page({
        product: query.product_id,
        interval: query.interval,
        from: since ?? 0,
        to: until,
        limit: rows,
        newest: !forward,
      });
      const [first, last] = [page.candles[0], page.candles.at(-1)];
      const next = page.more && first && last ? forward ? last.start + micros : first.start : undefined;
      const isSettled = first && last &&
        settled.isSettled(query.product_id, since ?? first.start, last.start + micros, {
          // Behind the last candle others may come, unless the page ends where the range does.
          end: forward && next === undefined ? until : undefined,
        });
      return pageOf(
        request,
        page.candles.map((candle) => candleJson(candle, query.time_format)),
        next === undefined ? undefined : encodeCursor(list, [next]),
        isSettled ? forever : undefined,
      );
    }

    // A filled page is as long as its range; before the first trade there is nothing to fill with.
    const knownSince = isFilled ? await candles.firstHour(query.product_id) ?? until : 0;
    const begin = Math.max(since ?? until - rows * micros, knownSince);
    const stop = isFilled && forward ? Math.min(until, begin + rows * micros) : until;
    const range = beforeNow(begin, stop, now);
    const select = `SELECT ${selectList(columns, query.time_format)}
      FROM ${
      isFilled ? "candles_filled" : "candles"
    }(product = {product:String}, interval = {interval:String},
        from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}) AS v`;
    const statement = `${select} ORDER BY v.time LIMIT {limit:UInt64}`;
    const newestFirst = `${select} ORDER BY v.time DESC LIMIT {limit:UInt64}`;
    const parameters = {
      product: query.product_id,
      interval: query.interval.name,
      from: formatMicros(range.from),
      to: formatMicros(range.to),
    };
    if (query.format !== "json") {
      const values = { ...parameters, limit: rows };
      // A range that begins within an interval has one candle more than fits: without `from` the newest are wanted.
      const rowsOf = forward ? statement : `SELECT * FROM (${newestFirst}) ORDER BY time`;
      const ending = ` FORMAT ${formats[query.format].name}`;
      return await streamed(database, rowsOf + ending, values, query.format, "/api/ohlc", request.signal);
    }
    const text = await database.text(
      `${statement} FORMAT JSONEachRow`,
      { ...parameters, limit: rows + 1 },
      request.signal,
    );
    const all = text.split("\n").filter(Boolean);
    const lines = forward ? all.slice(0, rows) : all.slice(-rows);
    const [first, last] = [lines[0], lines.at(-1)];
    let next: number | undefined;
    if (first !== undefined && last !== undefined) {
      const [start, newest] = [first, last].map((line) => microsOf(JSON.parse(line).time));
      if (forward && newest !== undefined && newest + micros < until) next = newest + micros;
      if (!forward && start !== undefined && start > knownSince && begin > knownSince) next = start;
    }
    return pageOf(request, lines, next === undefined ? undefined : encodeCursor(list, [next]));
  });
}
