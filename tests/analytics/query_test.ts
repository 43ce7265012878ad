/**
 * The example queries of sql/examples on three simulated hours, against figures that are computed here from the same
 * rows, and on an empty database; `deno task query` itself.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { bind, findQuery, type NamedQuery, readQueries, resolve } from "../../lib/clickhouse/examples.ts";
import { answerQuery, newestMoments } from "../../lib/clickhouse/print_answer.ts";
import { formatMicros, parseMicros } from "../../lib/core/time.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { delayMicros, type Named, named, simulatedTape, store } from "../support/simulated_tape.ts";
import { root } from "../support/tape.ts";
import { type TestClickHouse, useClickHouse } from "../support/clickhouse.ts";

const products = ["BTC-USD", "ETH-USD"];
const start = Date.UTC(2026, 0, 5, 9) * 1000;
const hours = 3;
const bookMinutes = 3;
const end = start + hours * 3600e6;

type Row = Record<string, string | number | boolean | null>;

interface Trade {
  id: number;
  /** µs since the epoch. */
  at: number;
  price: number;
  size: number;
  buys: boolean;
  row: Named;
}

// Queries that can't be told from an empty database by their rows alone.
const emptyWithoutLargeParts = ["storage_by_column"];

let server: TestClickHouse;
let queries: NamedQuery[];
let full: ClickHouseClient;
let empty: ClickHouseClient;
const rows = simulatedTape({ products, rate: 3, from: start, hours, bookMinutes });
const trades = Map.groupBy(
  named(rows, "trades").map((row): Trade & { product: string } => ({
    product: String(row.product_id),
    id: Number(row.trade_id),
    at: micros(row.time),
    price: Number(row.price),
    size: Number(row.size),
    buys: row.taker_side === "buy",
    row,
  })),
  ({ product }) => product,
);

Deno.test.beforeAll(async () => {
  server = await useClickHouse();
  queries = await readQueries();
  const [first, second] = await Promise.all(["examples", "examples_empty"].map(async (database) => {
    const config = configOf({ ...server.env, CLICKHOUSE_DATABASE: database });
    await migrate(config, () => {});
    return openClickHouse(config);
  }));
  assert(first && second);
  [full, empty] = [first, second];
  await store(full, rows);
  for (const product of products) {
    await full.command({
      query: `INSERT INTO book_depth_1s_state (* EXCEPT computed_at) SELECT * FROM book_depth_1s_between(
        product = {product:String}, from = '2026-01-05 11:57:00', to = '2026-01-05 12:00:00')`,
      query_params: { product },
    });
  }
  await plant(full);
});

Deno.test.afterAll(async () => {
  await full.close();
  await empty.close();
  await server.stop();
});

/** What a simulated market doesn't have: gaps, fills, losses, rejections, a bouncing price. */
async function plant(clickhouse: ClickHouseClient) {
  const insert = (table: string, values: Row[]) =>
    clickhouse.insert({ table, values, format: "JSONEachRow" });
  const at = (seconds: number) => formatMicros(start + seconds * 1e6);
  const trade = (product_id: string, trade_id: number, seconds: number, price: string, more: Row = {}) => ({
    product_id,
    trade_id,
    time: at(seconds),
    received_at: at(seconds + 1),
    price,
    size: "0.5",
    taker_side: "buy",
    source: "simulator",
    ...more,
  });
  // 4, 5 and 6 are missing; 5 comes 20 seconds late, 6 is given up.
  const gappy = Array.from({ length: 10 }, (_, index) => trade("GAP-USD", index + 1, index + 1, "10"));
  await insert("trades", gappy.filter(({ trade_id }) => ![4, 5, 6].includes(Number(trade_id))));
  await insert("trades", [
    trade("GAP-USD", 5, 5, "10", { source: "backfill", received_at: at(25) }),
  ]);
  await insert("trade_gaps_given_up", [
    { product_id: "GAP-USD", first_missing: 6, last_missing: 6, reason: "asked 4 times" },
  ]);
  await insert(
    "trades",
    Array.from(
      { length: 41 },
      (_, index) => trade("BOUNCE-USD", index + 1, index, index % 2 ? "101" : "100"),
    ),
  );
  await insert("feed_events", [
    { time: at(60), event: "connected", connection: "p-1", source: "simulator", received_at: at(60) },
    {
      time: at(90),
      event: "disconnected",
      reason: "1006",
      connection: "p-1",
      source: "simulator",
      received_at: at(90),
    },
  ]);
  const rejected = (reason: string, seconds: number, raw: string) => ({
    reason,
    raw_base64: btoa(raw),
    kafka_topic: "t",
    received_at: at(seconds),
    source: "simulator",
  });
  await clickhouse.command({
    query:
      "INSERT INTO rejected (reason, raw_base64, kafka_topic, received_at, source) FORMAT JSONEachRow\n" +
      [rejected("no price", 1, "{1}"), rejected("no price", 2, "{2}"), rejected("not JSON", 3, "x")]
        .map((row) => JSON.stringify(row)).join("\n"),
  });
}

/** The rows that `deno task query NAME --format json` prints. */
async function ask(name: string, given: string[] = [], clickhouse = full): Promise<Row[]> {
  const query = findQuery(queries, name);
  const values = bind(query, given);
  let text = "";
  await answerQuery(
    clickhouse,
    query.statement,
    resolve(values, await newestMoments(clickhouse, values)),
    "json",
    (piece) => {
      text += piece;
      return Promise.resolve();
    },
  );
  return JSON.parse(text) as Row[];
}

/** @returns the only row */
async function askOne(name: string, given: string[] = []): Promise<Row> {
  const [row, more] = await ask(name, given);
  assert(row !== undefined && more === undefined, `${name}: expected one row`);
  return row;
}

function of(product: string): Trade[] {
  return trades.get(product) ?? [];
}

function micros(time: unknown): number {
  return parseMicros(`${String(time).replace(" ", "T")}Z`);
}

const hourOf = (at: number) => Math.floor(at / 3600e6) * 3600e6;

/** A group a step of `seconds`, ascending. */
function byStep(list: readonly Trade[], seconds: number): [start: number, group: Trade[]][] {
  return [...Map.groupBy(list, ({ at }) => Math.floor(at / (seconds * 1e6)) * seconds * 1e6)].sort((
    [a],
    [b],
  ) => a - b);
}

/** The close of each step from the first trade on; a step without trades repeats the one before. */
function closes(product: string, seconds: number): { at: number; close: number }[] {
  const known = new Map(byStep(of(product), seconds).map(([at, group]) => [at, group.at(-1)?.price ?? NaN]));
  const filled: { at: number; close: number }[] = [];
  let [at] = known.keys();
  // A heartbeat at the end begins a step of its own.
  for (let close = NaN; at !== undefined && at <= end; at += seconds * 1e6) {
    close = known.get(at) ?? close;
    filled.push({ at, close });
  }
  return filled;
}

function returns(product: string, seconds: number): { at: number; value: number }[] {
  const list = closes(product, seconds);
  return list.slice(1).map(({ at, close }, index) => ({
    at,
    value: Math.log(close / (list[index]?.close ?? NaN)),
  }));
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;

function covariance(x: readonly number[], y: readonly number[]): number {
  const [meanX, meanY] = [mean(x), mean(y)];
  return mean(x.map((value, index) => (value - meanX) * ((y[index] ?? NaN) - meanY)));
}

const correlation = (x: readonly number[], y: readonly number[]) =>
  covariance(x, y) / Math.sqrt(covariance(x, x) * covariance(y, y));

/** The size at place ⌊p n⌋, as ClickHouse's quantileExact. */
function quantile(values: readonly number[], p: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(p * values.length)] ?? NaN;
}

/** Within 1e-9 of the value, or of 1 for small ones. */
function near(found: unknown, wanted: number, what: string) {
  const tolerance = 1e-9 * Math.max(1, Math.abs(wanted));
  assert(
    typeof found !== "boolean" && found !== null && Math.abs(Number(found) - wanted) <= tolerance,
    `${what}: ${found}, expected ${wanted}`,
  );
}

Deno.test("query: each one answers on an empty database", async () => {
  for (const { name, parameters } of queries) {
    const given = parameters.filter((parameter) => parameter.default === undefined);
    const found = await ask(name, given.map((parameter) => `${parameter.name}=1`), empty);
    if (name === "storage_by_table") assert.deepEqual(found.map(({ table }) => table), ["migrations"]);
    else assert.deepEqual(found, [], name);
  }
});

Deno.test("query: each one has rows on a tape, with its defaults, of named columns", async () => {
  for (const { name } of queries) {
    const found = await ask(name, name === "around_a_trade" ? [`trade_id=${of("BTC-USD").at(-1)?.id}`] : []);
    if (!emptyWithoutLargeParts.includes(name)) assert(found.length > 0, name);
    for (const row of found) {
      // An expression that nobody named is called by its text.
      for (const column of Object.keys(row)) assert.match(column, /^[a-z0-9_]+$/, name);
    }
  }
});

Deno.test("candles: they are those of the trades", async () => {
  const found = await ask("candles", ["product=ETH-USD", "interval=15m"]);
  const wanted = byStep(of("ETH-USD"), 900);
  assert.equal(found.length, wanted.length);
  for (const [index, [at, group]] of wanted.entries()) {
    const row = found[index] ?? {};
    assert.equal(micros(row.time), at);
    assert.deepEqual(
      [row.open, row.close, row.high, row.low].map(Number),
      [
        group[0]?.price,
        group.at(-1)?.price,
        Math.max(...group.map(({ price }) => price)),
        Math.min(...group.map(({ price }) => price)),
      ],
    );
    assert.equal(row.trades, group.length);
    near(row.volume, sum(group.map(({ size }) => size)), "volume");
  }
});

Deno.test("vwap_by_session: volume-weighted, eight hours from midnight", async () => {
  // 09:00 to 12:00 lie in one session.
  const row = await askOne("vwap_by_session");
  assert.deepEqual([row.day, row.session, row.trades], ["2026-01-05", "08-16 Europe", of("BTC-USD").length]);
  const value = sum(of("BTC-USD").map(({ price, size }) => price * size));
  near(row.vwap, value / sum(of("BTC-USD").map(({ size }) => size)), "vwap");
});

Deno.test("twap: the mean of the seconds' closes", async () => {
  const groups = Map.groupBy(closes("BTC-USD", 1), ({ at }) => hourOf(at));
  const found = await ask("twap");
  assert.equal(found.length, groups.size);
  for (const row of found) {
    const group = groups.get(micros(row.hour)) ?? [];
    assert.equal(row.seconds, group.length);
    near(row.twap, mean(group.map(({ close }) => close)), "twap");
    if (row.vwap !== null) near(row.vwap_above_bps, 1e4 * (Number(row.vwap) / Number(row.twap) - 1), "bps");
  }
});

Deno.test("top_movers: with volume_by_day it goes from the first to the last price of the day, largest move first", async () => {
  const change = (product: string) => {
    const [first, last] = [of(product)[0]?.price ?? NaN, of(product).at(-1)?.price ?? NaN];
    return 100 * (last / first - 1);
  };
  const movers = await ask("top_movers");
  const moves = movers.map(({ change_percent }) => Math.abs(Number(change_percent)));
  assert.deepEqual(moves, [...moves].sort((a, b) => b - a));
  const days = await ask("volume_by_day");
  for (const product of products) {
    near(movers.find(({ product_id }) => product_id === product)?.change_percent, change(product), product);
    const day = days.find(({ product_id }) => product_id === product);
    near(day?.change_percent, change(product), product);
    near(day?.quote_volume, sum(of(product).map(({ price, size }) => price * size)), product);
  }
  assert.equal((await ask("top_movers", ["limit=1"])).length, 1);
});

Deno.test("largest_trades: by value, exact", async () => {
  const value = ({ price, size }: Trade) => price * size;
  const wanted = [...of("BTC-USD")].sort((a, b) => value(b) - value(a)).slice(0, 5);
  const found = await ask("largest_trades", ["limit=5"]);
  assert.deepEqual(found.map(({ trade_id }) => trade_id), wanted.map(({ id }) => id));
  assert.deepEqual(found.map(({ size }) => Number(size)), wanted.map(({ size }) => size));
  wanted.forEach((trade, index) => near(found[index]?.value, value(trade), "value"));
});

Deno.test("trade_values: each trade in its power of ten, shares of all", async () => {
  const found = await ask("trade_values");
  assert.equal(sum(found.map(({ trades }) => Number(trades))), of("BTC-USD").length);
  near(sum(found.map(({ percent_of_volume }) => Number(percent_of_volume))), 100, "percent");
  for (const { value_from, value_below, trades } of found) {
    const count = of("BTC-USD").filter(({ price, size }) =>
      price * size >= Number(value_from) && price * size < Number(value_below)
    ).length;
    assert.equal(trades, count, `${value_from} to ${value_below}`);
  }
});

Deno.test("time_between_trades: waits in the order of the ids", async () => {
  const list = of("ETH-USD");
  const waits = list.slice(1).map(({ at }, index) => (at - (list[index]?.at ?? NaN)) / 1000);
  const row = await askOne("time_between_trades", ["product=ETH-USD"]);
  assert.equal(row.pairs, waits.length);
  near(row.mean_ms, mean(waits), "mean");
  near(row.p50_ms, quantile(waits, 0.5), "p50");
  near(row.p99_ms, quantile(waits, 0.99), "p99");
  near(row.longest_ms, Math.max(...waits), "longest");
});

Deno.test("trade_sizes: mean, extremes and quantiles of the sizes that were traded", async () => {
  const sizes = of("ETH-USD").map(({ size }) => size);
  const row = await askOne("trade_sizes", ["product=ETH-USD"]);
  assert.deepEqual([row.product_id, row.trades], ["ETH-USD", sizes.length]);
  near(row.mean, mean(sizes), "mean");
  assert.deepEqual([row.smallest, row.largest].map(Number), [Math.min(...sizes), Math.max(...sizes)]);
  const places = { p01: 0.01, p10: 0.1, p25: 0.25, p50: 0.5, p75: 0.75, p90: 0.9, p99: 0.99 };
  for (const [name, p] of Object.entries(places)) assert.equal(Number(row[name]), quantile(sizes, p), name);
});

Deno.test("order_flow: what takers bought less what they sold, over both, interval by interval", async () => {
  const found = await ask("order_flow", ["interval=10m"]);
  const wanted = byStep(of("BTC-USD"), 600);
  assert.deepEqual(found.map(({ time }) => micros(time)), wanted.map(([at]) => at));
  for (const [index, [, group]] of wanted.entries()) {
    const row = found[index] ?? {};
    const volume = (buys: boolean) =>
      sum(group.filter((trade) => trade.buys === buys).map(({ size }) => size));
    assert.deepEqual([row.product_id, row.trades], ["BTC-USD", group.length]);
    near(row.buy_volume, volume(true), "buy volume");
    near(row.sell_volume, volume(false), "sell volume");
    near(
      row.order_flow_imbalance,
      (volume(true) - volume(false)) / (volume(true) + volume(false)),
      `imbalance ${row.time}`,
    );
  }
});

Deno.test("order_flow_next_return: the imbalance of a minute and the return of the next", async () => {
  const minutes = byStep(of("BTC-USD"), 60).map(([, group]) => ({
    imbalance: sum(group.map(({ size, buys }) => buys ? size : -size)) / sum(group.map(({ size }) => size)),
    close: group.at(-1)?.price ?? NaN,
  }));
  const x = minutes.slice(0, -1).map(({ imbalance }) => imbalance);
  const y = minutes.slice(1).map(({ close }, index) => 1e4 * (close / (minutes[index]?.close ?? NaN) - 1));
  const moved = x.map((value, index) => [Math.sign(value), Math.sign(y[index] ?? 0)] as const)
    .filter(([a, b]) => a !== 0 && b !== 0);
  const row = await askOne("order_flow_next_return");
  assert.equal(row.intervals, x.length);
  near(row.correlation, correlation(x, y), "correlation");
  near(row.slope_bps, covariance(x, y) / covariance(x, x), "slope");
  near(row.same_sign, moved.filter(([a, b]) => a === b).length / moved.length, "same sign");
});

Deno.test("volatility_by_hour: root mean square of 1m log returns; an hour of it is volatility's", async () => {
  const groups = Map.groupBy(returns("BTC-USD", 60), ({ at }) => new Date(at / 1000).getUTCHours());
  const found = await ask("volatility_by_hour");
  assert.equal(found.length, groups.size);
  for (const row of found) {
    const values = (groups.get(Number(row.hour_of_day)) ?? []).map(({ value }) => value);
    assert.equal(row.minutes, values.length);
    near(
      row.move_per_minute_bps,
      1e4 * Math.sqrt(mean(values.map((value) => value ** 2))),
      `${row.hour_of_day}`,
    );
  }
  const span = ["from=2026-01-05 10:00", "to=2026-01-05 11:00"];
  const [hour, whole] = [await askOne("volatility_by_hour", span), await askOne("volatility", span)];
  near(
    Number(hour.move_per_minute_bps) / 1e4 * Math.sqrt(365 * 24 * 60),
    Number(whole.realized_volatility),
    "both",
  );
});

Deno.test("volume_profile: each trade on the level under its price", async () => {
  const found = await ask("volume_profile", ["step=2.5", "product=ETH-USD"]);
  const levels = Map.groupBy(of("ETH-USD"), ({ price }) => Math.floor(price / 2.5) * 2.5);
  assert.deepEqual(
    found.map(({ price_from }) => Number(price_from)),
    [...levels.keys()].sort((a, b) => b - a),
  );
  for (const row of found) {
    const group = levels.get(Number(row.price_from)) ?? [];
    assert.equal(row.trades, group.length);
    near(row.buy_volume, sum(group.map(({ buys, size }) => buys ? size : 0)), "buy volume");
    near(row.volume, Number(row.buy_volume) + Number(row.sell_volume), "volume");
  }
});

Deno.test("roll_spread: twice the root of minus the covariance of changes; a price that bounces by 1 has nearly 2", async () => {
  const prices = Array.from({ length: 41 }, (_, index) => index % 2 ? 101 : 100);
  const changes = prices.slice(1).map((price, index) => price - (prices[index] ?? NaN));
  const row = await askOne("roll_spread", ["product=BOUNCE-USD"]);
  const wanted = 2 * Math.sqrt(-covariance(changes.slice(1), changes.slice(0, -1)));
  assert.equal(row.changes, 39);
  near(row.roll_spread, wanted, "spread");
  assert(wanted > 1.99 && wanted <= 2);
  near(row.roll_spread_bps, 1e4 * wanted / mean(prices.slice(2)), "bps");
  for (const hour of await ask("roll_spread")) assert(Number(hour.quoted_spread_bps) > 0);
});

Deno.test("price_impact: the move of ten seconds on what takers bought more than they sold", async () => {
  const steps = byStep(of("BTC-USD"), 10).map(([at, group]) => ({
    at,
    signed: sum(group.map(({ size, buys }) => buys ? size : -size)),
    close: group.at(-1)?.price ?? NaN,
  }));
  const moves = steps.slice(1).map((step, index) => ({
    ...step,
    move: step.close - (steps[index]?.close ?? NaN),
  }));
  const found = await ask("price_impact");
  assert.equal(found.length, hours);
  for (const row of found) {
    const group = moves.filter(({ at }) => hourOf(at) === micros(row.hour));
    const [x, y] = [group.map(({ signed }) => signed), group.map(({ move }) => move)];
    assert.equal(row.intervals, group.length);
    near(row.lambda, covariance(x, y) / covariance(x, x), "lambda");
    near(row.r_squared, correlation(x, y) ** 2, "r²");
  }
});

Deno.test("illiquidity: absolute return per million traded", async () => {
  const moves = new Map(returns("BTC-USD", 60).map(({ at, value }) => [at, value]));
  const minutes = byStep(of("BTC-USD"), 60).flatMap(([at, group]) => {
    const move = moves.get(at);
    const value = sum(group.map(({ price, size }) => price * size));
    return move === undefined ? [] : [{ at, ratio: 1e4 * Math.abs(move) / (value / 1e6) }];
  });
  for (const row of await ask("illiquidity")) {
    const group = minutes.filter(({ at }) => hourOf(at) === micros(row.hour));
    assert.equal(row.minutes, group.length);
    near(row.bps_per_million, mean(group.map(({ ratio }) => ratio)), `${row.hour}`);
  }
});

Deno.test("return_autocorrelation: a return and the one so many minutes before", async () => {
  const values = returns("BTC-USD", 60).map(({ value }) => value);
  const found = await ask("return_autocorrelation");
  assert.equal(found.length, 10);
  for (const row of found) {
    const lag = Number(row.lag);
    assert.equal(row.pairs, values.length - lag);
    near(row.autocorrelation, correlation(values.slice(lag), values.slice(0, -lag)), `lag ${lag}`);
  }
});

Deno.test("lead_lag: with a positive lag the product's return comes first", async () => {
  const [own, other] = products.map((product) =>
    new Map(returns(product, 5).map(({ at, value }) => [at, value]))
  );
  const found = await ask("lead_lag");
  assert.deepEqual(found.map(({ lag }) => lag), Array.from({ length: 21 }, (_, index) => index - 10));
  for (const row of found) {
    const pairs = [...own ?? []].flatMap(([at, value]) => {
      const later = other?.get(at + Number(row.lag) * 5e6);
      // Only where both have a return: the products' first trades may be steps apart.
      return later === undefined || !other?.has(at) || !own?.has(at + Number(row.lag) * 5e6)
        ? []
        : [[value, later] as const];
    });
    assert.equal(row.pairs, pairs.length);
    near(row.correlation, correlation(pairs.map(([x]) => x), pairs.map(([, y]) => y)), `lag ${row.lag}`);
  }
});

/** The 1m log returns of two products in the minutes in which both have one. */
function sharedReturns(x: string, y: string): [x: number, y: number][] {
  const ofY = new Map(returns(y, 60).map(({ at, value }) => [at, value]));
  return returns(x, 60).flatMap(({ at, value }) => {
    const other = ofY.get(at);
    return other === undefined ? [] : [[value, other] as [number, number]];
  });
}

Deno.test("beta: the covariance of a product's returns and BTC-USD's over the variance of BTC-USD's", async () => {
  const pairs = sharedReturns("BTC-USD", "ETH-USD");
  const [bitcoin, own] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
  const row = await askOne("beta");
  assert.deepEqual([row.product_id, row.minutes], ["ETH-USD", pairs.length]);
  near(row.beta, covariance(bitcoin, own) / covariance(bitcoin, bitcoin), "beta");
});

Deno.test("correlation_matrix: each ordered pair, over the minutes in which both have a return", async () => {
  const found = await ask("correlation_matrix");
  assert.deepEqual(
    found.map(({ product_x, product_y }) => [product_x, product_y]),
    products.flatMap((x) => products.map((y) => [x, y])),
  );
  for (const { product_x, product_y, minutes, correlation: value } of found) {
    const pairs = sharedReturns(String(product_x), String(product_y));
    assert.equal(minutes, pairs.length);
    near(value, correlation(pairs.map(([x]) => x), pairs.map(([, y]) => y)), `${product_x}, ${product_y}`);
  }
});

Deno.test("max_drawdown: the deepest fall, from its top to its bottom", async () => {
  const list = byStep(of("BTC-USD"), 60).map(([at, group]) => ({ at, close: group.at(-1)?.price ?? NaN }));
  let top = { at: 0, close: 0 };
  let worst = { fall: 0, top, bottom: top };
  for (const candle of list) {
    if (candle.close >= top.close) top = candle;
    const fall = candle.close / top.close - 1;
    if (fall < worst.fall) worst = { fall, top, bottom: candle };
  }
  const row = await askOne("max_drawdown");
  near(row.max_drawdown_percent, 100 * worst.fall, "fall");
  assert.deepEqual(
    [Number(row.peak), micros(row.peak_at), Number(row.trough), micros(row.trough_at)],
    [worst.top.close, worst.top.at, worst.bottom.close, worst.bottom.at],
  );
});

Deno.test("trades_per_second: trades and the first busiest second of each minute", async () => {
  const found = await ask("trades_per_second", ["from=2026-01-05 11:00", "to=2026-01-05 11:10"]);
  assert.equal(found.length, 10);
  for (const row of found) {
    const group = of("BTC-USD").filter(({ at }) => Math.floor(at / 60e6) * 60e6 === micros(row.minute));
    const seconds = byStep(group, 1);
    const most = Math.max(...seconds.map(([, list]) => list.length));
    assert.deepEqual(
      [row.trades, row.seconds_with_trades, row.busiest_second_trades, micros(row.busiest_second)],
      [group.length, seconds.length, most, seconds.find(([, list]) => list.length === most)?.[0]],
    );
  }
});

Deno.test("rows_per_second: rows by the exchange's clock, and freshness_by_minute has the producer's delays", async () => {
  const span = ["from=2026-01-05 10:30", "to=2026-01-05 10:31"];
  const [from, to] = [start + 5400e6, start + 5460e6];
  const inMinute = (table: "trades" | "tickers" | "heartbeats") =>
    named(rows, table).filter(({ time }) => micros(time) >= from && micros(time) < to);
  const counts = await ask("rows_per_second", span);
  assert.deepEqual(
    counts.map(({ table, minute_rows }) => [table, minute_rows]),
    (["heartbeats", "tickers", "trades"] as const).map((table) => [table, inMinute(table).length]),
  );
  const row = await askOne("freshness_by_minute", span);
  const delays = (["trades", "tickers", "heartbeats"] as const).flatMap(inMinute)
    .map(({ time, received_at }) => (micros(received_at) - micros(time)) / 1000);
  assert.equal(row.rows, delays.length);
  near(row.exchange_to_producer_p50_ms, quantile(delays, 0.5), "p50");
  near(row.exchange_to_producer_p99_ms, quantile(delays, 0.99), "p99");
  assert(Math.min(...delays) * 1000 >= delayMicros);
});

Deno.test("book: its queries agree with the book of the changes", async () => {
  const at = end - 20e6 + 1;
  const levels = { bid: new Map<string, string>(), ask: new Map<string, string>() };
  for (const { product_id, time, side, price, size } of named(rows, "book_changes")) {
    if (product_id !== "BTC-USD" || micros(time) > at) continue;
    const book = levels[side as "bid" | "ask"];
    if (Number(size) === 0) book.delete(String(price));
    else book.set(String(price), String(size));
  }
  const sorted = (side: "bid" | "ask") =>
    [...levels[side]].map(([price, size]) => [Number(price), Number(size)] as const)
      .sort(([a], [b]) => side === "bid" ? b - a : a - b);
  const [bids, asks] = [sorted("bid"), sorted("ask")];
  const given = [`at=${formatMicros(at)}`];
  const book = await ask("book_at", [...given, "depth=7"]);
  assert.deepEqual(
    book.map((row) => [row.bid_size, row.bid, row.ask, row.ask_size].map(Number)),
    Array.from({ length: 7 }, (_, index) => [
      bids[index]?.[1],
      bids[index]?.[0],
      asks[index]?.[0],
      asks[index]?.[1],
    ]),
  );
  const mid = ((bids[0]?.[0] ?? NaN) + (asks[0]?.[0] ?? NaN)) / 2;
  for (const row of await ask("quoted_depth", given)) {
    near(row.mid, mid, "mid");
    const within = ([price]: readonly [number, number]) =>
      Math.abs(price / mid - 1) * 1e4 <= Number(row.within_bps);
    near(row.bid_base, sum(bids.filter(within).map(([, size]) => size)), `${row.within_bps} bid`);
    near(
      row.ask_quote,
      sum(asks.filter(within).map(([price, size]) => price * size)),
      `${row.within_bps} ask`,
    );
  }
  let [left, cost] = [2, 0];
  for (const [price, size] of asks) {
    cost += Math.min(left, size) * price;
    left -= Math.min(left, size);
  }
  const orders = await ask("order_cost", [...given, "size=2", "step=15"]);
  assert.deepEqual(
    orders.map(({ time }) => micros(time)),
    [7, 6, 5, 4, 3, 2, 1, 0].map((n) => at - n * 15e6),
  );
  near(orders.at(-1)?.cost, cost, "cost");
  near(orders.at(-1)?.slippage_bps, 1e4 * (cost / 2 / mid - 1), "slippage");
});

Deno.test("book: depth_by_minute, microprice and spread_by_hour summarize their seconds", async () => {
  const seconds = (await (await full.query({
    query: "SELECT * FROM book_depth_1s WHERE product_id = 'BTC-USD' ORDER BY time",
    format: "JSONEachRow",
  })).json<Row>()).map((row) => ({
    minute: Math.floor(micros(row.time) / 60e6) * 60e6,
    mid: Number(row.mid),
    micro: Number(row.microprice),
    spread: Number(row.spread_bps),
  }));
  assert.equal(seconds.length, 180);
  for (const row of await ask("depth_by_minute")) {
    const group = seconds.filter(({ minute }) => minute === micros(row.minute));
    assert.equal(row.seconds, group.length);
    near(row.spread_bps, mean(group.map(({ spread }) => spread)), "spread");
  }
  const row = await askOne("microprice", ["ahead=5"]);
  const pairs = seconds.slice(0, -5).map(({ mid, micro }, index) => ({
    lean: micro / mid - 1,
    move: (seconds[index + 5]?.mid ?? NaN) / mid - 1,
  }));
  assert.equal(row.seconds, pairs.length);
  near(row.mean_distance_bps, 1e4 * mean(pairs.map(({ lean }) => Math.abs(lean))), "distance");
  // The lean is a difference of nearly equal floats here, of exact decimals there.
  const wanted = correlation(pairs.map(({ lean }) => lean), pairs.map(({ move }) => move));
  assert(Math.abs(Number(row.correlation) - wanted) < 1e-6, `${row.correlation}, expected ${wanted}`);

  const spreads = await (await full.query({
    query:
      `SELECT * FROM spreads_1s(product = 'BTC-USD', from = '2026-01-05 10:00:00', to = '2026-01-05 11:00:00')`,
    format: "JSONEachRow",
  })).json<Row>();
  const hour = await askOne("spread_by_hour", ["from=2026-01-05 10:00", "to=2026-01-05 11:00"]);
  const values = spreads.map(({ spread_bps }) => Number(spread_bps));
  assert.equal(hour.seconds, values.length);
  near(hour.p50_bps, quantile(values, 0.5), "p50");
  near(hour.p95_bps, quantile(values, 0.95), "p95");
  const held = spreads.map(({ covered }) => Number(covered));
  near(
    hour.mean_bps,
    sum(values.map((value, index) => value * (held[index] ?? NaN))) / sum(held),
    "mean over time",
  );
});

Deno.test("gaps: with fills and duplicates they are those that were planted", async () => {
  const gap = (list: Row[]) => list.filter(({ product_id }) => product_id === "GAP-USD");
  assert.deepEqual(
    gap(await ask("open_gaps")).map((
      row,
    ) => [row.first_missing, row.last_missing, row.missing, row.given_up]),
    [[6, 6, 1, 1], [4, 4, 1, 0]],
  );
  const [fill] = await ask("filled_gaps");
  assert.deepEqual(
    [fill?.product_id, fill?.fills, fill?.filled_trades, fill?.p50_seconds, fill?.longest_seconds],
    ["GAP-USD", 1, 1, 20, 20],
  );
  const [first] = await ask("completeness_by_hour");
  assert.deepEqual(
    [
      first?.product_id,
      first?.trades,
      first?.expected,
      first?.open_gaps,
      first?.filled_gaps,
      first?.status,
    ],
    ["GAP-USD", 8, 10, 2, 1, "incomplete"],
  );
  const [stored] = gap(await ask("duplicates"));
  assert.deepEqual(
    [
      stored?.rows,
      stored?.different_ids,
      stored?.missing_between,
      stored?.expected,
      stored?.duplicates,
      stored?.ok,
    ],
    [8, 8, 2, 8, 0, 1],
  );
  for (const product of products) {
    const row = (await ask("duplicates")).find(({ product_id }) => product_id === product);
    const ids = of(product).map(({ id }) => id);
    assert.deepEqual(
      [row?.rows, row?.first_id, row?.last_id, row?.expected, row?.ok],
      [ids.length, ids[0], ids.at(-1), ids.length, 1],
    );
  }
});

Deno.test("duplicates: a trade that is stored twice shows, in candles_against_trades too", async () => {
  assert((await ask("candles_against_trades")).every(({ differs }) => differs === 0));
  const database = "examples_twice";
  await full.command({ query: `CREATE DATABASE ${database}` });
  await full.command({ query: `CREATE TABLE ${database}.trades AS trades` });
  for (const table of ["trade_gaps", "trade_runs", "candles_1h"]) {
    await full.command({ query: `CREATE VIEW ${database}.${table} AS SELECT * FROM examples.${table}` });
  }
  await full.command({ query: `INSERT INTO ${database}.trades SELECT * FROM trades` });
  await full.command({
    query:
      `INSERT INTO ${database}.trades SELECT * FROM trades WHERE product_id = 'ETH-USD' ORDER BY trade_id LIMIT 1`,
  });
  const twice = openClickHouse({ ...server.env, CLICKHOUSE_DATABASE: database });
  const row = (await ask("duplicates", [], twice)).find(({ product_id }) => product_id === "ETH-USD");
  assert.deepEqual([row?.duplicates, row?.ok], [1, 0]);
  const [hour] = await ask("candles_against_trades", ["from=2026-01-05", "to=2026-01-06"], twice);
  assert.deepEqual([hour?.product_id, hour?.differs, Number(hour?.trades) - Number(hour?.in_candles)], [
    "ETH-USD",
    1,
    1,
  ]);
  await twice.close();
});

Deno.test("feed_events: with rejected_by_reason, book_known and around_a_trade they tell what was received", async () => {
  assert.deepEqual(
    (await ask("feed_events")).map(({ event, reason }) => [event, reason]),
    [["disconnected", "1006"], ["connected", ""]],
  );
  assert.deepEqual(
    (await ask("rejected_by_reason")).map((
      { reason, messages, newest_example },
    ) => [reason, messages, newest_example]),
    [["no price", 2, "{2}"], ["not JSON", 1, "x"]],
  );
  const known = await askOne("book_known");
  const changes = named(rows, "book_changes").filter(({ product_id }) => product_id === "BTC-USD");
  assert.equal(known.levels, changes.filter(({ is_snapshot }) => is_snapshot).length);
  assert.equal(known.valid_to, changes.map(({ time }) => String(time)).sort().at(-1));
  const trade = of("BTC-USD").at(-1);
  assert(trade);
  const around = await ask("around_a_trade", [`trade_id=${trade.id}`, "seconds=2"]);
  const within = (row: Named) => row.product_id === "BTC-USD" && Math.abs(micros(row.time) - trade.at) <= 2e6;
  assert.equal(
    around.length,
    named(rows, "trades").filter(within).length + 2 * named(rows, "tickers").filter(within).length +
      changes.filter(within).length,
  );
  const received = around.map(({ received_at }) => String(received_at));
  assert.deepEqual(received, [...received].sort());
});

Deno.test("storage: rows of each table, and the columns of one whose parts are large", async () => {
  const tables = await ask("storage_by_table");
  const stored = tables.find(({ table }) => table === "book_changes");
  assert.equal(stored?.rows, rows.book_changes.length);
  near(stored?.bytes_per_row, Number(stored?.bytes) / rows.book_changes.length, "bytes per row");
  await full.command({
    query: `CREATE TABLE wide ENGINE = MergeTree ORDER BY price SETTINGS min_bytes_for_wide_part = 0
      AS SELECT price, size FROM trades`,
  });
  const columns = await ask("storage_by_column", ["table=wide"]);
  assert.deepEqual(columns.map(({ column }) => column).sort(), ["price", "size"]);
  near(sum(columns.map(({ percent }) => Number(percent))), 100, "percent");
});

/** Runs the task under its own permissions. */
async function task(args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=query", "tasks/query.ts", ...args],
    cwd: root,
    env: { ...server.env, CLICKHOUSE_DATABASE: "examples", NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), errors: text(stderr).trim() };
}

Deno.test("query: the task lists every file of sql/examples with its sentence", async () => {
  const { code, out } = await task([]);
  assert.equal(code, 0);
  const listed = out.split("\n\n")[0]?.split("\n").map((line) => line.split(/ {2,}/)) ?? [];
  const files = [...Deno.readDirSync(`${root}sql/examples`)].map(({ name }) => name.replace(/\.sql$/, ""))
    .sort();
  assert.deepEqual(listed, files.map((name) => [name, findQuery(queries, name).about]));
});

Deno.test("query: CSV and JSON parse back to the same rows as the table shows", async () => {
  const given = ["largest_trades", "--param", "product=ETH-USD", "--param", "limit=3"];
  const json = JSON.parse((await task([...given, "--format", "json"])).out) as Row[];
  assert.deepEqual(json, await ask("largest_trades", ["product=ETH-USD", "limit=3"]));
  const csv = (await task([...given, "--format", "csv"])).out.trimEnd().split("\n")
    .map((line) => line.split(",").map((cell) => cell.replace(/^"(.*)"$/, "$1")));
  assert.deepEqual(csv[0], Object.keys(json[0] ?? {}));
  assert.deepEqual(csv.slice(1), json.map((row) => Object.values(row).map(String)));
  const [head = "", ...table] = (await task(given)).out.trimEnd().split("\n");
  assert.deepEqual(head.split(/[┌─┬┐]+/).filter(Boolean), csv[0]);
  assert.deepEqual(
    table.slice(0, -1).map((line) => line.split("│").slice(1, -1).map((cell) => cell.trim())),
    csv.slice(1),
  );
  const none = [...given, "--param", "product=NONE-USD"];
  assert.equal((await task(none)).out, "no rows\n");
  const nothing = [...none, "--format"];
  assert.equal((await task([...nothing, "json"])).out, "[]\n");
  assert.deepEqual(
    (await task([...nothing, "csv"])).out,
    `${(csv[0] ?? []).map((name) => `"${name}"`).join()}\n`,
  );
});

Deno.test("query: a text with quotes is bound by the server, never pasted", async () => {
  const { code, out } = await task(["candles", "--param", "product=x') OR 1=1 --", "--format", "json"]);
  assert.deepEqual([code, out], [0, "[]\n"]);
});

Deno.test("query: it can't write", async () => {
  for (const statement of ["DROP TABLE trades", "INSERT INTO trades SELECT * FROM trades"]) {
    const attempt = answerQuery(full, statement, {}, "json", () => Promise.resolve());
    await assert.rejects(attempt, /readonly/);
  }
});

Deno.test("query: --sql prints the statement with its parameters, and runs nothing else", async () => {
  const { code, out } = await task([
    "candles",
    "--param",
    "from=2026-01-05",
    "--param",
    "to=2026-01-06",
    "--sql",
  ], {
    // Times that are given need no server.
    CLICKHOUSE_URL: "http://127.0.0.1:1",
  });
  assert.equal(code, 0);
  assert(out.includes("SET param_from = '2026-01-05 00:00:00.000000';\n"));
  assert(out.includes(findQuery(queries, "candles").statement));
});

Deno.test("query: what is wrong is said in one line, with what to do", async () => {
  const cases: [args: string[], code: number, message: RegExp, env?: Record<string, string>][] = [
    [["spread_hour"], 2, /^No query spread_hour: did you mean spread_by_hour, .*lists all\.$/],
    [
      ["candles", "--param", "prodct=x"],
      2,
      /^--param prodct=x: candles has no parameter prodct; it has: product Str/,
    ],
    [["around_a_trade"], 2, /^around_a_trade needs --param trade_id=…: trade_id UInt64, no default/],
    [["book_at", "--param", "depth=x"], 2, /^--param depth=x: expected a whole number .* depth UInt32 = 10 /],
    [
      ["candles", "--param", "interval=1M"],
      1,
      /^candles: interval: expected a whole number and s, m, h, d or w/,
    ],
    [["beta", "--format", "xml"], 2, /Allowed choices are table, csv, json\.$/],
    [["beta"], 1, /^ClickHouse at http:\/\/127\.0\.0\.1:1 \(CLICKHOUSE_URL\): /, {
      CLICKHOUSE_URL: "http://127.0.0.1:1",
    }],
    [
      ["beta"],
      1,
      /^Database nothing lacks what beta reads: run `deno task migrate` first, or .* by --simulated\.$/,
      {
        CLICKHOUSE_DATABASE: "nothing",
      },
    ],
    [
      ["beta", "--simulated"],
      1,
      /^Database market_sim lacks .* reads: run `deno task dev --simulate` first\.$/,
    ],
  ];
  for (const [args, code, message, env] of cases) {
    const run = await task(args, env);
    assert.equal(run.code, code, run.errors);
    assert.match(run.errors, message);
    assert(!run.errors.includes("\n"), run.errors);
    assert.equal(run.out, "");
  }
});

Deno.test("query: a table has floats to six places, decimals and whole numbers with all their digits, and no colour", async () => {
  let table = "";
  const statement = "SELECT toDecimal128('60802.123456789012345678', 18) AS price, 0.12345678901 AS ratio, " +
    "toUInt64(18446744073709551615) AS id, CAST(NULL AS Nullable(String)) AS side, 'a' AS a_name_that_is_longer_than_most";
  const isCut = await answerQuery(full, statement, {}, "table", (text) => {
    table += text;
    return Promise.resolve();
  });
  assert.equal(isCut, false);
  assert.deepEqual(table.split("\n"), [
    "┌────────────────────price─┬────ratio─┬───────────────────id─┬─side─┬─a_name_that_is_longer_than_most─┐",
    "│ 60802.123456789012345678 │ 0.123457 │ 18446744073709551615 │ ᴺᵁᴸᴸ │ a                               │",
    "└──────────────────────────┴──────────┴──────────────────────┴──────┴─────────────────────────────────┘",
    "",
  ]);
});

Deno.test("query: a table stops at a thousand rows and says so", async () => {
  const table = await task(["candles", "--param", "interval=1s"]);
  assert.equal(table.out.split("\n").filter((line) => line.startsWith("│")).length, 1000);
  const { out: csv } = await task(["candles", "--param", "interval=1s", "--format", "csv"]);
  const timesOf = (text: string) => text.match(/20\d\d-\d\d-\d\d \d\d:\d\d:\d\d/g)!;
  assert.deepEqual(timesOf(table.out), timesOf(csv).slice(0, 1000));
  assert.match(table.out, /┘\n$/);
  assert.equal(table.errors, "more rows than a table shows; --format csv or json prints all");
});

Deno.test("query: a reader that leaves, or Ctrl-C, ends a long answer quietly", async () => {
  for (const leave of ["close", "interrupt"] as const) {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-q",
        "-P=query",
        "tasks/query.ts",
        "candles",
        "--param",
        "interval=1s",
        "--format",
        "csv",
      ],
      cwd: root,
      env: { ...server.env, CLICKHOUSE_DATABASE: "examples", NO_COLOR: "1" },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const errors = new Response(child.stderr).text();
    // More than a pipe holds is still to come.
    const reader = child.stdout.getReader();
    await reader.read();
    if (leave === "interrupt") child.kill("SIGINT");
    await reader.cancel();
    const { code, signal } = await child.status;
    assert.equal(await errors, "");
    assert.deepEqual([code, signal], leave === "close" ? [0, null] : [130, "SIGINT"]);
  }
});
