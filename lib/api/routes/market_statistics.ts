/**
 * `/api/spreads`, `/api/volatility` and `/api/stats`.
 *
 * @module
 */

import type { Api } from "../env.ts";
import { formatMicros, nowMicros } from "../../core/time.ts";
import type { CandleCache } from "../cache/candle_cache.ts";
import { type Columns, decimal, described, integer, nullable, number, text, time } from "../columns.ts";
import type { ReadClient } from "../read_client.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { from, product, to } from "../parameters.ts";
import { addList, microsOf } from "../route.ts";
import { assertRange, beforeNow } from "./trades.ts";

const second = 1_000_000;
const day = 86_400 * second;

const spreadColumns: Columns = {
  time: described(time, "Start of the second."),
  bid: described(decimal, "Averages of the second, weighted by time."),
  ask: decimal,
  mid: decimal,
  spread_bps: number,
  quotes: described(integer, "Quotes that came in the second."),
  covered: described(number, "The part of the second in which a quote held."),
  connection: described(text, "The connection that it is read from."),
};

const volatilityColumns: Columns = {
  product_id: text,
  minutes: integer,
  returns: integer,
  realized_volatility: nullable(number),
  parkinson: nullable(number),
  garman_klass: nullable(number),
};

const statsColumns: Columns = {
  product_id: text,
  hour: time,
  open: decimal,
  high: decimal,
  low: decimal,
  close: decimal,
  volume: decimal,
  quote_volume: decimal,
  buy_volume: decimal,
  sell_volume: decimal,
  trades: integer,
  vwap: decimal,
  return: nullable(number),
  order_flow_imbalance: nullable(number),
  mean_trade_size: nullable(number),
};

interface MarketServices {
  clickhouse: ReadClient;
  known: KnownProducts;
  candles: CandleCache;
}

/** Adds the three. */
export function addMarket(app: Api, services: MarketServices): void {
  addSpreads(app, services);
  addVolatility(app, services);
  addStats(app, services);
}

function rangeValues(product: string, since: number, until: number) {
  return { product, from: formatMicros(Math.min(since, until)), to: formatMicros(until) };
}

function addSpreads(app: Api, { clickhouse, known }: MarketServices): void {
  addList(app, clickhouse, {
    path: "/api/spreads",
    summary: "Spread, second by second",
    description:
      "The quoted spread of each second with a quote, from tickers, oldest first; the last 10 minutes when `from` " +
      "is absent. A page covers at most as many seconds as `limit` says: where no quote came it holds fewer rows, " +
      "none perhaps, and `next` still goes on.",
    parameters: { product_id: product, from, to },
    columns: spreadColumns,
    defaultLimit: 600,
    place: ["number", "number"],
    async select({ query }, { place, limit }) {
      assertRange(query.from, query.to);
      await known.assertKnown(query.product_id);
      // The end stands in the cursor, so that "now" stays what it was on the first page.
      const until = place ? Number(place[1]) : query.to ?? nowMicros();
      const since = place ? Number(place[0]) : query.from ?? until - 600 * second;
      const stop = Math.min(until, since + limit * second);
      return {
        from: `spreads_1s(product = {product:String}, from = {from:DateTime64(6, 'UTC')},
          to = {to:DateTime64(6, 'UTC')}) AS v`,
        order: "v.time",
        parameters: rangeValues(query.product_id, since, stop),
        place: (row) => [microsOf(row.time) + second, until],
        ...(stop < until && { rest: [stop, until] }),
      };
    },
  });
}

function addVolatility(app: Api, { clickhouse, known, candles }: MarketServices): void {
  addList(app, clickhouse, {
    path: "/api/volatility",
    summary: "Volatility of a range",
    description:
      "Three annualized estimates from one-minute candles, one row; the last 24 hours when `from` is absent. No " +
      "row where no price is known. Formulas: docs/analytics.md.",
    parameters: { product_id: product, from, to },
    columns: volatilityColumns,
    defaultLimit: 1,
    async select({ query }) {
      assertRange(query.from, query.to);
      await known.assertKnown(query.product_id);
      const now = nowMicros();
      const until = query.to ?? now;
      // Minutes before the first trade have no price: they count for nothing, but they would be computed.
      const first = await candles.firstHour(query.product_id) ?? until;
      const range = beforeNow(Math.max(query.from ?? until - day, first), until, now);
      return {
        from: `volatility(product = {product:String}, from = {from:DateTime64(6, 'UTC')},
          to = {to:DateTime64(6, 'UTC')}) AS v`,
        order: "v.product_id",
        parameters: rangeValues(query.product_id, range.from, range.to),
      };
    },
  });
}

function addStats(app: Api, { clickhouse, known }: MarketServices): void {
  addList(app, clickhouse, {
    path: "/api/stats",
    summary: "Hourly statistics",
    description:
      "A row for each hour that begins in the range and has trades, oldest first; the last 24 hours when `from` " +
      "is absent.",
    parameters: { product_id: product, from, to },
    columns: statsColumns,
    defaultLimit: 1000,
    place: ["number", "number"],
    async select({ query }, { place }) {
      assertRange(query.from, query.to);
      await known.assertKnown(query.product_id);
      const until = place ? Number(place[1]) : query.to ?? nowMicros();
      const since = place ? Number(place[0]) : query.from ?? until - day;
      return {
        from: "hourly_stats AS v",
        where: [
          "v.product_id = {product:String}",
          "v.hour >= {from:DateTime64(6, 'UTC')}",
          "v.hour < {to:DateTime64(6, 'UTC')}",
        ],
        order: "v.hour",
        parameters: rangeValues(query.product_id, since, until),
        place: (row) => [microsOf(row.hour) + 1, until],
      };
    },
  });
}
