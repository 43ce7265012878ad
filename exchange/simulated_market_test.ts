import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { createMarket } from "./simulated_market.ts";
import { type Product, products } from "./products.ts";
import { genesis } from "./trade_times.ts";

const [btc, eth] = products as [Product, Product];
/** 200 days after genesis. */
const someTime = genesis + 200 * 86400 * 1e6;

Deno.test("market: trades are numbered 1, 2, 3, … in order of time, at any rate", () => {
  for (const rate of [0.05, 7, 400, 6000]) {
    const market = createMarket(btc, "numbers", rate);
    for (const start of [1, 5000, market.count(someTime)]) {
      let last = market.trade(start);
      for (let id = start + 1; id < start + 500; id++) {
        const trade = market.trade(id);
        equal(trade.id, id);
        ok(trade.time >= last.time, `rate ${rate}: trade ${id} is older than the one before`);
        ok(trade.sequence > last.sequence);
        last = trade;
      }
    }
  }
});

Deno.test("market: the count at a trade's time includes the trade, and just before it doesn't", () => {
  for (const rate of [0.05, 7, 400, 6000]) {
    const market = createMarket(eth, "count", rate);
    const middle = market.count(someTime);
    for (const id of [1, 2, 3, 60, 61, 62, middle, middle + 1, middle + 12_345]) {
      const { time } = market.trade(id);
      ok(market.count(time) >= id, `rate ${rate}, trade ${id}`);
      ok(market.count(time - 1) < id, `rate ${rate}, trade ${id}`);
    }
  }
});

Deno.test("market: it begins with trade 1 and has none before", () => {
  const market = createMarket(btc, "begin");
  equal(market.count(genesis - 1), 0);
  ok(market.trade(1).time >= genesis);
  throws(() => market.trade(0), /BTC-USD has no trade 0/);
  throws(() => market.trade(1.5), /no trade 1.5/);
});

Deno.test("market: a trade is the same whenever and in whatever order it is asked for", () => {
  const market = createMarket(btc, "same");
  const first = market.count(someTime);
  const ids = Array.from({ length: 300 }, (_, i) => first + i * 37 % 300);
  const forwards = new Map(ids.toSorted((a, b) => a - b).map((id) => [id, market.trade(id)]));
  const again = createMarket(btc, "same");
  for (const id of ids) deepEqual(again.trade(id), forwards.get(id));
});

Deno.test("market: another seed or product makes another one", () => {
  const trade = (product: Product, seed: string) => createMarket(product, seed, 7).trade(1000);
  const prints = [trade(btc, "a"), trade(btc, "b"), trade(eth, "a")].map((t) => `${t.time} ${t.makerOrder}`);
  equal(new Set(prints).size, 3);
});

Deno.test("market: a taker's buy meets the best ask, a sell the best bid, and both happen", () => {
  const market = createMarket(btc, "sides");
  const first = market.count(someTime);
  const sides = { buy: 0, sell: 0 };
  for (let id = first; id < first + 1000; id++) {
    const trade = market.trade(id);
    const { bid, ask } = market.touch(market.tick(trade.time));
    ok(bid < ask);
    equal(trade.price, trade.side === "sell" ? ask : bid);
    sides[trade.side]++;
  }
  ok(Math.min(sides.buy, sides.sell) > 350, JSON.stringify(sides));
});

Deno.test("market: the fills of one taker order have its id, side and time, and only the last one is the last", () => {
  const market = createMarket(btc, "cascade");
  let orders = 0;
  for (let id = 2; id < 2000; id++) {
    const [before, trade] = [market.trade(id - 1), market.trade(id)];
    equal(before.last, before.takerOrder !== trade.takerOrder);
    if (before.last) orders++;
    else deepEqual([before.side, before.time, before.price], [trade.side, trade.time, trade.price]);
    ok(before.makerOrder !== trade.makerOrder);
    match(trade.takerOrder, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  ok(orders > 1000 && orders < 1700, `${orders} orders`);
});

Deno.test("market: sizes are whole units, some of them dust, and as large on average as the product's habits say", () => {
  const market = createMarket(btc, "sizes");
  let [sum, dust] = [0, 0];
  for (let id = 1; id <= 100_000; id++) {
    const { size } = market.trade(id);
    ok(Number.isSafeInteger(size) && size > 0);
    if (size <= 12) dust++;
    sum += size;
  }
  ok(Math.abs(sum / 100_000 / market.meanSize - 1) < 0.05, `${sum / 100_000 / market.meanSize}`);
  ok(dust > 5000 && dust < 12_000, `${dust} dust`);
});

Deno.test("market: the price moves as much in a minute, an hour and a week as the product's volatility says", () => {
  const markets = Array.from({ length: 40 }, (_, i) => createMarket(btc, `volatility ${i}`));
  for (const seconds of [60, 3600, 7 * 86400]) {
    let [sum, n] = [0, 0];
    for (const { touch, tick } of markets) {
      for (let i = 0; i < 40; i++) {
        const time = genesis + i * 8e5 * 1e6;
        const move = Math.log(touch(tick(time + seconds * 1e6 + 1e6)).bid / touch(tick(time + 1e6)).bid);
        sum += move * move;
        n++;
      }
    }
    const volatility = Math.sqrt(sum / n / seconds * 365 * 86400);
    ok(Math.abs(volatility / btc.volatility - 1) < 0.2, `${seconds} s: ${volatility}`);
  }
});

Deno.test("market: activity rises and falls", () => {
  const market = createMarket(btc, "activity");
  const minutes = Array.from({ length: 600 }, (_, i) => {
    const from = someTime + i * 60e6;
    return market.count(from + 60e6) - market.count(from);
  });
  ok(Math.max(...minutes) > 1.2 * 60 * btc.rate, `busiest minute: ${Math.max(...minutes)}`);
  ok(Math.min(...minutes) < 0.85 * 60 * btc.rate, `quietest minute: ${Math.min(...minutes)}`);
});
