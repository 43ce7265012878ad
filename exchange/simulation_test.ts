import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { parseMicros } from "../lib/core/time.ts";
import { createSimulation } from "./simulation.ts";
import type { Frame } from "./source.ts";

const start = Date.UTC(2026, 6, 7, 22, 58, 17) * 1000 + 123_456;
const everything = () => true;

/** A simulation with a clock of its own. */
function simulate(options: { at?: number; seed?: string; products?: string[]; rate?: number } = {}) {
  let now = options.at ?? start;
  const { at: _, ...rest } = options;
  const source = createSimulation({ ...rest, clock: () => now });
  return {
    source,
    pull(micros: number, wanted = everything as (channel: string, product: string) => boolean): Frame[] {
      now += micros;
      return source.pull(wanted);
    },
    now: () => now,
  };
}

const texts = (frames: Frame[]) => frames.map(({ text }) => text);
const products = ["BTC-USD", "DOGE-USD"];

Deno.test("simulation: however often it is pulled, a market gives each product the same frames", () => {
  const often = simulate({ products, rate: 300 });
  const seldom = simulate({ products, rate: 300 });
  const a: Frame[] = [];
  for (let i = 0; i < 600; i++) a.push(...often.pull(5000));
  const b: Frame[] = [];
  for (let i = 0; i < 4; i++) b.push(...seldom.pull(750_000));
  for (const product of [...products, ""]) {
    const of = (frames: Frame[]) => texts(frames.filter((frame) => frame.product === product));
    deepEqual(of(a), of(b));
  }
  ok(a.length > 600);
});

Deno.test("simulation: each trade is told once and in order, over a restart too", () => {
  const ids: number[] = [];
  let at = start;
  for (let run = 0; run < 3; run++) {
    const market = simulate({ at, products, rate: 200 });
    for (let i = 0; i < 50; i++) {
      ids.push(...market.pull(20_000).filter((f) => f.product === "BTC-USD").map((f) => f.tradeId));
    }
    at = market.now();
  }
  const trades = ids.filter((id) => id > 0);
  ok(trades.length > 100);
  deepEqual(trades, trades.map((_, i) => (trades[0] ?? 0) + i));
});

Deno.test("simulation: a process that slept catches up in steps and misses nothing", () => {
  const market = simulate({ products: ["BTC-USD"], rate: 20 });
  const matches = (channel: string) => channel === "matches";
  const first = market.pull(600e6, matches);
  const rest = Array.from({ length: 600 }, () => market.pull(0, matches)).flat();
  ok(first.length < 200);
  const trades = [...first, ...rest].map((frame) => frame.tradeId).filter((id) => id > 0);
  deepEqual(trades, trades.map((_, i) => (trades[0] ?? 0) + i));
  equal(trades.at(-1), market.source.lastTrade("BTC-USD"));
  deepEqual(market.pull(0, matches), []);
});

Deno.test("simulation: frames of a product come in order of time, and a heartbeat names the last trade told", () => {
  const market = simulate({ products: ["BTC-USD"], rate: 500 });
  let [time, last, beats] = [0, market.source.lastTrade("BTC-USD"), 0];
  for (const frame of Array.from({ length: 20 }, () => market.pull(500_000)).flat()) {
    if (frame.type === "status" || frame.channel === "ticker_batch") continue;
    const message = JSON.parse(frame.text);
    const at = parseMicros(message.time);
    ok(at >= time, `${frame.text} is older than ${time}`);
    time = at;
    if (frame.type === "match") last = message.trade_id;
    if (frame.type !== "heartbeat") continue;
    beats++;
    equal(message.last_trade_id, last);
    equal(at % 1e6, 0);
  }
  equal(beats, 10);
});

// Frames of the real feed; the l2update is shortened.
const real = [
  `{"type":"match","trade_id":1052119289,"maker_order_id":"15bc13f2-e38c-4693-8c0b-e8c6152b9c1d","taker_order_id":"13d7d08f-7396-421b-9dba-94eac92f3d78","side":"sell","size":"0.2","price":"63514.6","product_id":"BTC-USD","sequence":132235026010,"time":"2026-07-07T22:58:17.164892Z"}`,
  `{"type":"last_match","trade_id":1052119288,"maker_order_id":"6e918404-2e1b-4e1a-90b7-5a4b8144695d","taker_order_id":"de6222fd-a555-4e13-9100-c7b70f68c3e8","side":"buy","size":"0.00211003","price":"63519.29","product_id":"BTC-USD","sequence":132235025345,"time":"2026-07-07T22:58:16.833065Z"}`,
  `{"type":"heartbeat","last_trade_id":1052119293,"product_id":"BTC-USD","sequence":132235026653,"time":"2026-07-07T22:58:18.000000Z"}`,
  `{"type":"snapshot","product_id":"BTC-USD","asks":[["63514.60","0.20000000"]],"bids":[["63514.00","0.20000000"]],"time":"2026-07-07T22:58:17.038046Z"}`,
  `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","61992.09","0.00583000"],["sell","63513.35","0.00000000"]],"time":"2026-07-07T22:59:16.937603Z"}`,
  `{"type":"ticker","sequence":137212619516,"product_id":"BTC-USD","price":"84737.58","open_24h":"84430.55","volume_24h":"1836.96781750","low_24h":"84400","high_24h":"85021.57","volume_30d":"175984.53012145","best_bid":"84737.58","best_bid_size":"0.19921154","best_ask":"84737.59","best_ask_size":"0.05223077","side":"sell","time":"2026-10-03T20:58:31.127510Z","trade_id":1102042811,"last_size":"0.00000025"}`,
];

/** A frame with its letters and digits blurred: what is left are the fields, their order and types. */
function shape(text: string): string {
  const message = JSON.parse(text);
  return Object.entries(message).map(([name, value]) => {
    const first: unknown = Array.isArray(value) ? value[0] : value;
    return `${name}:${Array.isArray(first) ? first.map((part) => typeof part).join() : typeof first}`;
  }).join(" ");
}

Deno.test("simulation: frames have the fields of the real ones, in their order, and the formats of their decimals", () => {
  const market = simulate({ products: ["BTC-USD"], rate: 50 });
  const openings = (["level2_batch", "ticker", "matches"] as const)
    .flatMap((channel) => market.source.opening(channel, "BTC-USD"));
  const frames = [...openings, ...Array.from({ length: 100 }, () => market.pull(100_000)).flat()];
  for (const text of real) {
    const { type } = JSON.parse(text);
    const own = texts(frames.filter((frame) => frame.type === type));
    ok(own.length > 0, `no ${type}`);
    for (const frame of own) {
      equal(frame, JSON.stringify(JSON.parse(frame)));
      equal(shape(frame), shape(text));
    }
  }
  for (const { type, text } of frames) {
    const message = JSON.parse(text);
    const trimmedDecimal = /^(0|[1-9]\d*)(\.\d*[1-9])?$/;
    if (type === "match" || type === "last_match") {
      match(message.price, trimmedDecimal);
      match(message.size, trimmedDecimal);
    }
    for (const [side, price, size] of message.changes ?? []) {
      match(side, /^(buy|sell)$/);
      match(price, /^\d+\.\d\d$/);
      match(size, /^\d+\.\d{8}$/);
    }
    if (message.time) match(message.time, /^2026-07-07T\d\d:\d\d:\d\d\.\d{6}Z$/);
  }
});

Deno.test("simulation: a ticker tells of the last fill of a taker order, with the best prices it met and the taker's side", () => {
  const market = simulate({ products: ["BTC-USD"], rate: 300 });
  const frames = Array.from({ length: 20 }, () => market.pull(250_000)).flat();
  const matches = new Map(
    frames.filter(({ type }) => type === "match").map(({ tradeId, text }) => [tradeId, JSON.parse(text)]),
  );
  const tickers = frames.filter(({ channel }) => channel === "ticker").map(({ text }) => JSON.parse(text));
  ok(tickers.length > 100 && tickers.length < matches.size);
  for (const ticker of tickers) {
    const trade = matches.get(ticker.trade_id);
    deepEqual(
      [ticker.price, ticker.last_size, ticker.time, ticker.sequence],
      [trade.price, trade.size, trade.time, trade.sequence],
    );
    equal(ticker.side, trade.side === "sell" ? "buy" : "sell");
    equal(Number(ticker.side === "buy" ? ticker.best_ask : ticker.best_bid), Number(ticker.price));
    ok(Number(ticker.low_24h) <= Number(ticker.price) && Number(ticker.price) <= Number(ticker.high_24h));
    ok(
      Number(ticker.low_24h) <= Number(ticker.open_24h) && Number(ticker.open_24h) <= Number(ticker.high_24h),
    );
  }
});

Deno.test("simulation: a new reader's snapshot is the book that the next updates go on from", () => {
  const market = simulate({ products: ["BTC-USD"], rate: 20 });
  market.pull(330_000);
  const [snapshot] = market.source.opening("level2_batch", "BTC-USD");
  ok(snapshot);
  const { bids, asks } = JSON.parse(snapshot.text) as { bids: [string, string][]; asks: [string, string][] };
  const sides = { buy: new Map(bids), sell: new Map(asks) };
  for (const { text, channel } of Array.from({ length: 40 }, () => market.pull(70_000)).flat()) {
    if (channel !== "level2_batch") continue;
    for (const [side, price, size] of JSON.parse(text).changes as ["buy" | "sell", string, string][]) {
      if (Number(size) === 0) sides[side].delete(price);
      else sides[side].set(price, size);
    }
  }
  const book = market.source.book("BTC-USD");
  deepEqual(new Map(book.bids), new Map([...sides.buy].sort(([a], [b]) => Number(b) - Number(a))));
  deepEqual(new Map(book.asks), sides.sell);
});

Deno.test("simulation: what nobody wants isn't made, and a channel alone is complete", () => {
  const market = simulate({ products, rate: 300 });
  deepEqual(market.pull(500_000, () => false), []);
  const frames = market.pull(900_000, (channel, product) => channel === "matches" && product === "BTC-USD");
  ok(frames.length > 10);
  ok(frames.every(({ type, product }) => type === "match" && product === "BTC-USD"));
  equal(frames.at(-1)?.tradeId, market.source.lastTrade("BTC-USD"));
});

Deno.test("simulation: status comes every five seconds and describes each product", () => {
  const market = simulate({ products });
  const frames = Array.from({ length: 20 }, () => market.pull(1e6)).flat().filter(({ type }) =>
    type === "status"
  );
  equal(frames.length, 4);
  const status = JSON.parse(frames[0]?.text ?? "");
  deepEqual(
    status.products.map((
      p: Record<string, unknown>,
    ) => [p.id, p.quote_increment, p.base_increment, p.status, p.type]),
    [["BTC-USD", "0.01", "0.00000001", "online", "spot"], ["DOGE-USD", "0.00001", "0.1", "online", "spot"]],
  );
  deepEqual(status.currencies.map((c: Record<string, unknown>) => c.id), ["BTC", "DOGE", "USD"]);
});

Deno.test("simulation: the rate asked for is the rate given, on average", () => {
  const market = simulate({ rate: 2000 });
  const frames = Array.from(
    { length: 30 },
    () => market.pull(1e6, (channel) => channel === "matches" || channel === "ticker"),
  ).flat();
  ok(Math.abs(frames.length / 30 / 2000 - 1) < 0.3, `${frames.length / 30} messages/s`);
});

Deno.test("simulation: a product that isn't listed and a rate of nothing are refused by name", () => {
  throws(
    () => createSimulation({ products: ["FOO-USD"] }),
    /doesn't list "FOO-USD": expected any of BTC-USD/,
  );
  throws(() => createSimulation({ rate: 0 }), /rate must be a positive number of messages\/s: 0/);
});
