/**
 * `/api/ohlc`: candles of any interval.
 *
 * @module
 */

import type { Api } from "../env.ts";
import { formatMicros, nowMicros } from "../../core/time.ts";
import type { CandleCache } from "../cache/candle_cache.ts";
import { candleJson } from "../cache/candle_cells.ts";
import { type Columns, decimal, described, integer, rowSchema, selectList, time } from "../columns.ts";
import type { Asker } from "../lanes.ts";
import type { ReadClient } from "../read_client.ts";
import { encodeCursor, listName } from "../cursor.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { cursor, fill, from, interval, limit, product, to } from "../parameters.ts";
import {
  addRoute,
  assertLimit,
  formats,
  microsOf,
  pageOf,
  pageSchema,
  readPlace,
  type RouteInput,
  shown,
  streamed,
} from "../route.ts";
import type { ImmutableTimes } from "../cache/immutable_times.ts";
import { assertRange, beforeNow } from "./trades.ts";

const columns: Columns = {
  time: described(time, "Start of the interval."),
  open: described(decimal, "Price of the lowest trade id."),
  high: decimal,
  low: decimal,
  close: described(decimal, "Price of the highest trade id."),
  volume: described(decimal, "In the base currency."),
  quote_volume: described(decimal, "In the quote currency, exact."),
  buy_volume: described(decimal, "Of takers who bought, in the base currency."),
  sell_volume: described(decimal, "Of takers who sold, in the base currency."),
  trades: integer,
  vwap: described(decimal, "quote_volume / volume, cut to 18 digits."),
  is_filled: { kind: "boolean", description: "True when no trade was in the interval (fill=true)." },
};

const forever = "private, max-age=31536000, immutable";

const parameters = { product_id: product, interval, from, to, limit: limit(1000), fill, cursor, ...shown };

/** What candles come from. */
interface OhlcServices {
  clickhouse: ReadClient;
  known: KnownProducts;
  candles: CandleCache;
  immutable: ImmutableTimes;
}

/** A checked request, and which candles it is for. */
interface OhlcInput extends RouteInput<typeof parameters> {
  /** What a cursor of its pages belongs to. */
  list: string;
  /** Rows of a page. */
  rows: number;
  /** The page begins at `from` and goes on towards `to`; without, it holds the newest before `to`. */
  forward: boolean;
  /** µs: where it begins, undefined without `from`. */
  since: number | undefined;
  /** µs: where it ends. */
  until: number;
}

/** Adds `/api/ohlc`. */
export function addOhlc(app: Api, services: OhlcServices): void {
  addRoute(app, {
    path: "/api/ohlc",
    summary: "Candles",
    description:
      "Whole candles that touch the range, oldest first. With `from`, the page begins there and `next` goes on " +
      "towards `to`. Without `from`, the page holds the newest candles before `to`, and `next` those before them. " +
      "Intervals without trades are left out, or filled with the close before them (`fill=true`). A page in which " +
      "no trade can be missing any more may be kept for ever by its ETag and Cache-Control.",
    parameters,
    answer: pageSchema(rowSchema(columns)),
    more: Object.values(formats).map(({ type }) => type.split(";")[0] ?? type),
  }, async (input) => {
    const { query, given } = input;
    assertRange(query.from, query.to);
    const list = listName("/api/ohlc", given);
    const [place] = readPlace(list, query.cursor, ["number"]) ?? [];
    const rows = assertLimit(query.limit, query.format);
    await services.known.assertKnown(query.product_id);
    const forward = query.from !== undefined;
    const end = query.to ?? nowMicros();
    // The cursor is a start: of the first candle to come, or of the last one given when going back.
    const since = forward ? Number(place ?? query.from) : undefined;
    const until = forward ? end : Number(place ?? end);
    const ohlc: OhlcInput = { ...input, list, rows, forward, since, until };
    return query.format === "json" && query.fill === "false"
      ? await keptPage(services, ohlc)
      : await queriedPage(services, ohlc);
  });
}

/** Candles out of memory. */
async function keptPage({ candles, immutable }: OhlcServices, input: OhlcInput): Promise<Response> {
  const { query, forward, since, until } = input;
  const { micros } = query.interval;
  const page = await candles.page({
    product: query.product_id,
    interval: query.interval,
    from: since ?? 0,
    to: until,
    limit: input.rows,
    newest: !forward,
  }, input.client);
  const [first, last] = [page.candles[0], page.candles.at(-1)];
  const next = page.more && first && last ? forward ? last.start + micros : first.start : undefined;
  const isImmutable = first && last &&
    immutable.isImmutable(query.product_id, since ?? first.start, last.start + micros, {
      // Behind the last candle others may come, unless the page ends where the range does.
      end: forward && next === undefined ? until : undefined,
    });
  return pageOf(
    input.request,
    page.candles.map((candle) => candleJson(candle, query.time_format)),
    next === undefined ? undefined : encodeCursor(input.list, [next]),
    isImmutable ? forever : undefined,
  );
}

/** Candles that a query of this client's own computes: filled ones, and those of other formats. */
async function queriedPage({ clickhouse, candles }: OhlcServices, input: OhlcInput): Promise<Response> {
  const { query, request, client, rows, forward, since, until } = input;
  const { micros } = query.interval;
  const isFilled = query.fill === "true";
  // A filled page is as long as its range; before the first trade there is nothing to fill with.
  const knownSince = isFilled ? await candles.firstHour(query.product_id) ?? until : 0;
  const begin = Math.max(since ?? until - rows * micros, knownSince);
  const stop = isFilled && forward ? Math.min(until, begin + rows * micros) : until;
  const range = beforeNow(begin, stop, nowMicros());
  const select = `SELECT ${selectList(columns, query.time_format)}
    FROM ${isFilled ? "candles_filled" : "candles"}(product = {product:String}, interval = {interval:String},
      from = {from:DateTime64(6, 'UTC')}, to = {to:DateTime64(6, 'UTC')}) AS v`;
  const statement = `${select} ORDER BY v.time LIMIT {limit:UInt64}`;
  const values = {
    product: query.product_id,
    interval: query.interval.name,
    from: formatMicros(range.from),
    to: formatMicros(range.to),
  };
  if (query.format !== "json") {
    // A range that begins within an interval has one candle more than fits: without `from` the newest are wanted.
    const newest = `SELECT * FROM (${select} ORDER BY v.time DESC LIMIT {limit:UInt64}) ORDER BY time`;
    const ending = ` FORMAT ${formats[query.format].name}`;
    const asker: Asker = { client, lane: "export", signal: request.signal };
    const sql = (forward ? statement : newest) + ending;
    return await streamed(clickhouse, sql, { ...values, limit: rows }, query.format, "/api/ohlc", asker);
  }
  const text = await clickhouse.text(
    `${statement} FORMAT JSONEachRow`,
    { ...values, limit: rows + 1 },
    { client, lane: "interactive", signal: request.signal },
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
  return pageOf(request, lines, next === undefined ? undefined : encodeCursor(input.list, [next]));
}
