/**
 * The made-up API's answers to REST.
 *
 * @module
 */

import { isoMicros, nowMicros } from "../../../lib/core/time.ts";
import { candlesUntil, secondsOf } from "./candles.ts";
import { type Market, matchOf } from "./fake_market.ts";
import { bookOf, tickerOf } from "./quotes.ts";
import { completenessOf, gapsOf, type World } from "./world.ts";

/** What a route is asked. */
interface RouteInput {
  world: World;
  query: URLSearchParams;
  /** The products that the query names; all when it names none. */
  chosen: Market[];
}

/** How fast the market is, and who listens to it: `/api/status` tells. */
export interface Load {
  /** Messages a second. */
  rate: number;
  clients: number;
}

const list = (data: unknown[], next: string | null = null) => Response.json({ data, next });

const routes: Record<string, (input: RouteInput, load: Load) => Response> = {
  "/api/products": ({ world }) => list(world.markets.map(productOf)),
  "/api/ticker": ({ world, chosen }) => list(chosen.map((market) => tickerOf(world, market))),
  "/api/trades": ({ chosen: [market] }) =>
    list(market?.trades.slice(-100).toReversed().map((trade) => matchOf(trade)) ?? []),
  "/api/ohlc": candles,
  "/api/book": ({ chosen: [market], query }) =>
    Response.json(market === undefined ? {} : bookOf(market, Number(query.get("depth") ?? 20))),
  "/api/anomalies": ({ world, chosen }) =>
    list(world.anomalies.filter(({ product_id }) => chosen.some(({ id }) => id === product_id))),
  "/api/gaps": ({ world, chosen }) =>
    list(world.gaps.filter(({ product_id }) => chosen.some(({ id }) => id === product_id))),
  "/api/completeness": ({ world, chosen }) => list(chosen.flatMap((market) => completenessOf(world, market))),
  "/api/status": ({ world }, load) => Response.json(status(world, load)),
};

/** The answer to a request of `/api/…`. */
export function answerRest(world: World, { pathname, searchParams: query }: URL, load: Load): Response {
  const wanted = query.get("product_id")?.split(",");
  const chosen = world.markets.filter(({ id }) => wanted === undefined || wanted.includes(id));
  return routes[pathname]?.({ world, query, chosen }, load) ??
    problem(404, "Not found", `${pathname}: no such endpoint`);
}

function productOf({ id, digits, sizeDigits }: Market) {
  return {
    product_id: id,
    display_name: id.replace("-", "/"),
    base_currency: id.split("-")[0],
    quote_currency: "USD",
    base_increment: (10 ** -sizeDigits).toFixed(sizeDigits),
    quote_increment: (10 ** -digits).toFixed(digits),
    status: "online",
    trading_disabled: false,
  };
}

function candles({ world, query, chosen: [market] }: RouteInput): Response {
  const step = secondsOf(query.get("interval") ?? "1m");
  if (step === null) {
    return problem(400, "Wrong parameter", `interval ${query.get("interval")}: expected 1s to 52w`);
  }
  if (market === undefined) {
    return problem(404, "Unknown product", `product_id ${query.get("product_id")}: not in the tape`);
  }
  const cursor = query.get("cursor");
  const to = cursor !== null ? Number(cursor) - 1 : Date.now() / 1000;
  const { data, next } = candlesUntil(world, market, step, to, Number(query.get("limit") ?? 1000));
  return list(data, next);
}

function status(world: World, { rate, clients }: Load) {
  return {
    version: "0.1.0",
    simulated: true,
    database: "market_sim",
    time: isoMicros(nowMicros()),
    freshness: {
      exchange_to_received: { p50_ms: 34.2, p99_ms: 61.8 },
      received_to_stored: { p50_ms: 214, p99_ms: 408 },
    },
    lag: 0,
    rows_per_second: { trades: rate * 0.7, tickers: rate * 0.4, book_changes: rate * 3 },
    products: world.markets.map((market) => {
      const gaps = gapsOf(world, market);
      const lost = gaps.reduce((sum, { missing }) => sum + missing, 0);
      return {
        product_id: market.id,
        last_trade_at: market.trades.at(-1)?.time ?? null,
        last_received_at: market.trades.at(-1)?.received_at ?? null,
        completeness_24h: 120_000 / (120_000 + lost),
        open_gaps: gaps.length,
        missing_trades: lost,
      };
    }),
    stream: { clients },
    clickhouse: { ok: true, version: "26.7.2.1" },
    kafka: { ok: true },
  };
}

function problem(status: number, title: string, detail: string): Response {
  return Response.json({ type: "about:blank", title, status, detail }, {
    status,
    headers: { "content-type": "application/problem+json" },
  });
}
