import { deepEqual, equal, ok } from "node:assert/strict";
import { parseMicros } from "../lib/core/time.ts";
import { type Answer, answer } from "./rest_server.ts";
import { createSimulation } from "./simulation.ts";
import type { Trade } from "./source.ts";
import { unitsOf } from "./text.ts";

let now = Date.UTC(2026, 6, 7, 22, 58, 17) * 1000;
const source = createSimulation({ clock: () => now, products: ["BTC-USD", "SHIB-USD"], rate: 10 });
const frames = Array.from({ length: 60 }, () => {
  now += 1e6;
  return source.pull((channel, product) => channel === "matches" && product === "BTC-USD");
}).flat();

const get = (path: string): Answer => {
  const { pathname, searchParams } = new URL(path, "http://exchange");
  return answer(source, pathname, searchParams);
};
const trades = (path: string) => get(path).body as Trade[];

Deno.test("REST: a page of trades holds what the feed told, newest first", () => {
  const rows = trades(`/products/BTC-USD/trades?limit=${frames.length}`);
  deepEqual(
    rows.toReversed(),
    frames.map(({ text }) => {
      const { trade_id, side, size, price, time } = JSON.parse(text);
      return { trade_id, side, size, price, time };
    }),
  );
});

Deno.test("REST: pages that follow CB-AFTER hold every trade once", () => {
  const ids: number[] = [];
  let path = "/products/BTC-USD/trades?limit=1000";
  for (let page = 0; page < 4; page++) {
    const { body, headers } = get(path);
    const rows = body as Trade[];
    equal(rows.length, 1000);
    equal(headers?.["cb-before"], String(rows[0]?.trade_id));
    equal(headers?.["cb-after"], String(rows.at(-1)?.trade_id));
    ids.push(...rows.map(({ trade_id }) => trade_id));
    path = `/products/BTC-USD/trades?limit=1000&after=${headers?.["cb-after"]}`;
  }
  const newest = source.lastTrade("BTC-USD");
  deepEqual(ids, ids.map((_, i) => newest - i));
});

Deno.test("REST: a page goes on below the trades that aren't served", () => {
  const query = new URLSearchParams({ after: "8", limit: "3" });
  const { body, headers } = answer(
    source,
    "/products/BTC-USD/trades",
    query,
    undefined,
    { serves: (id) => id < 4 || id > 6, lag: 0 },
  );
  deepEqual((body as Trade[]).map(({ trade_id }) => trade_id), [7, 3, 2]);
  equal(headers?.["cb-after"], "2");
});

Deno.test("REST: pages end where the market begins, and are never larger than 1000", () => {
  deepEqual(trades("/products/BTC-USD/trades?after=4").map(({ trade_id }) => trade_id), [3, 2, 1]);
  const { body, headers } = get("/products/BTC-USD/trades?after=1");
  deepEqual([body, headers], [[], undefined]);
  equal(trades("/products/BTC-USD/trades").length, 1000);
  equal(trades("/products/BTC-USD/trades?limit=5000").length, 1000);
  const newest = source.lastTrade("BTC-USD");
  deepEqual(trades(`/products/BTC-USD/trades?before=${newest - 2}`).map((t) => t.trade_id), [
    newest,
    newest - 1,
  ]);
});

Deno.test("REST: when it lags, it doesn't know the newest trades", () => {
  const { body } = answer(
    source,
    "/products/BTC-USD/trades",
    new URLSearchParams({ limit: "1" }),
    undefined,
    {
      serves: () => true,
      lag: 5,
    },
  );
  equal((body as Trade[])[0]?.trade_id, source.lastTrade("BTC-USD") - 5);
});

Deno.test("REST: each fault spoils the answer in its own way", () => {
  const ask = (fault: Parameters<typeof answer>[3]) =>
    answer(source, "/products/BTC-USD/trades", new URLSearchParams({ after: "8", limit: "3" }), fault);
  const right = ask(undefined).body as Trade[];
  deepEqual([404, 429, 500].map((fault) => ask(fault as 404).status), [404, 429, 500]);
  deepEqual(ask("redirect"), {
    status: 301,
    body: { message: "Moved" },
    headers: { location: "/v2/products/BTC-USD/trades" },
  });
  ok(ask("html").text?.startsWith("<!doctype html>"));
  deepEqual(ask("error object").body, { message: "Service unavailable" });
  const text = JSON.stringify(right);
  equal(ask("cut off").text, text.slice(0, text.length / 2));
  deepEqual(ask("empty").body, []);
  deepEqual(ask("reversed").body, right.toReversed());
  deepEqual(ask("renamed field").body, right.map(({ price, ...row }) => ({ ...row, px: price })));
  const others = ask("other product").body as Trade[];
  deepEqual(others.map(({ trade_id }) => trade_id), [7, 6, 5]);
  deepEqual(others[0]?.time, source.trade("SHIB-USD", source.firstTrade("SHIB-USD")).time);
});

Deno.test("REST: a page of trades of a month ago can be had", () => {
  const id = source.lastTradeBefore("BTC-USD", now - 30 * 86400e6);
  const [newest] = trades(`/products/BTC-USD/trades?limit=10&after=${id + 1}`);
  equal(newest?.trade_id, id);
  ok(parseMicros(newest.time) < now - 30 * 86400e6 && parseMicros(newest.time) > now - 31 * 86400e6);
});

Deno.test("candles: they are those of the trades", () => {
  const rows = get("/products/BTC-USD/candles?granularity=60").body as number[][];
  equal(rows.length, 300);
  for (const [time = 0, ...row] of [...rows.slice(0, 5), ...rows.slice(-5)]) {
    const inside: Trade[] = [];
    for (
      let id = source.lastTradeBefore("BTC-USD", time * 1e6) + 1;
      id <= source.lastTrade("BTC-USD");
      id++
    ) {
      const trade = source.trade("BTC-USD", id);
      if (parseMicros(trade.time) >= (time + 60) * 1e6) break;
      ok(parseMicros(trade.time) >= time * 1e6);
      inside.push(trade);
    }
    const prices = inside.map(({ price }) => Number(price));
    const volume = inside.reduce((sum, { size }) => sum + unitsOf(size, 8), 0n);
    deepEqual(row, [
      Math.min(...prices),
      Math.max(...prices),
      prices[0],
      prices.at(-1),
      Number(volume) / 1e8,
    ]);
  }
  ok((rows[0]?.[0] ?? 0) > (rows[1]?.[0] ?? 0), "candles come newest first");
});

Deno.test("REST: candles of a chosen time lie in it", () => {
  const rows = get(
    "/products/SHIB-USD/candles?granularity=3600&start=2026-06-01T00:00:00Z&end=2026-06-01T10:00:00Z",
  ).body as number[][];
  const first = Date.UTC(2026, 5, 1) / 1000;
  deepEqual(rows.map(([time]) => time), Array.from({ length: 11 }, (_, i) => first + (10 - i) * 3600));
  ok(
    rows.every(([, low = 0, high = 0, open = 0, close = 0]) =>
      low <= Math.min(open, close) && high >= Math.max(open, close)
    ),
  );
});

Deno.test("REST: the best prices, the whole book, the ticker and the day agree", () => {
  const best = get("/products/BTC-USD/book").body as { bids: string[][]; asks: string[][] };
  const whole = get("/products/BTC-USD/book?level=2").body as { bids: string[][]; asks: string[][] };
  deepEqual([best.bids, best.asks], [whole.bids.slice(0, 1), whole.asks.slice(0, 1)]);
  ok(whole.bids.length > 1000 && whole.asks.length > 1000);
  const ticker = get("/products/BTC-USD/ticker").body as Record<string, string>;
  deepEqual([ticker.bid, ticker.ask], [best.bids[0]?.[0], best.asks[0]?.[0]]);
  const stats = get("/products/BTC-USD/stats").body as Record<string, string>;
  equal(stats.last, ticker.price);
  equal(stats.volume, ticker.volume);
});

Deno.test("REST: the time is the market's", () => {
  deepEqual(get("/time").body, { iso: "2026-07-07T22:59:17.000Z", epoch: 1783465157 });
});

Deno.test("REST: products are listed and described", () => {
  const rows = get("/products").body as { id: string }[];
  deepEqual(rows.map(({ id }) => id), ["BTC-USD", "SHIB-USD"]);
  deepEqual(get("/products/SHIB-USD").body, rows[1]);
});

Deno.test("REST: what isn't there is 404, and what is wrong with a request is said", () => {
  const cases: [string, number, string][] = [
    ["/", 404, "NotFound"],
    ["/time/now", 404, "NotFound"],
    ["/products/XXX-USD", 404, "NotFound"],
    ["/products/XXX-USD/trades", 404, "NotFound"],
    ["/products/BTC-USD/orders", 404, "NotFound"],
    ["/products/BTC-USD/trades/7", 404, "NotFound"],
    ["/products/BTC-USD/trades?limit=x", 400, "limit must be a positive number"],
    ["/products/BTC-USD/trades?limit=0", 400, "limit must be a positive number"],
    ["/products/BTC-USD/trades?after=-1", 400, "Invalid value for pagination after"],
    ["/products/BTC-USD/trades?before=x", 400, "Invalid value for pagination before"],
    ["/products/BTC-USD/book?level=4", 400, "Invalid level"],
    ["/products/BTC-USD/candles?granularity=61", 400, "Unsupported granularity"],
    ["/products/BTC-USD/candles?start=x", 400, "Invalid start or end"],
    [
      "/products/BTC-USD/candles?granularity=60&start=2026-06-01T00:00:00Z",
      400,
      "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
    ],
  ];
  for (const [path, status, message] of cases) {
    deepEqual([path, get(path)], [path, { status, body: { message } }]);
  }
});
