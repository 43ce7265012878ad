/**
 * The REST API over a database with known contents: exact answers, paging, formats, access, and a database that fails.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { freePort } from "../../embedded/process/ports.ts";
import { startProcess } from "../../embedded/process/process.ts";
import { openReadClient } from "../../lib/api/read_client.ts";
import { formatMicros, isoMicros } from "../../lib/core/time.ts";
import { allTrades, type FixtureTrade, isMissing, start } from "../support/api_contents.ts";
import { type Fixture, type FixtureServer, openFixture, startFixtureServer } from "../support/api_fixture.ts";
import { until } from "../support/until.ts";

type Row = Record<string, unknown>;

const root = fileURLToPath(new URL("../..", import.meta.url));
const stored = allTrades.filter((trade) => !isMissing(trade));
const token = "a-token-of-some-length";
const day = "from=2026-07-07&to=2026-07-08";

/** In tenths, as whole numbers: exact. */
const tenths = (price: string) => Math.round(Number(price) * 10);

/** The candle of trades with sizes of 0.25, in the API's words. */
function candleOf(time: number, trades: readonly FixtureTrade[]): Row {
  const prices = trades.map(({ price }) => tenths(price));
  const volume = (some: readonly FixtureTrade[]) => String(some.length / 4);
  const quote = prices.reduce((sum, price) => sum + price, 0);
  return {
    time: isoMicros(time),
    open: trades[0]?.price,
    high: String(Math.max(...prices) / 10),
    low: String(Math.min(...prices) / 10),
    close: trades.at(-1)?.price,
    volume: volume(trades),
    quote_volume: String(quote / 40),
    buy_volume: volume(trades.filter(({ taker_side }) => taker_side === "buy")),
    sell_volume: volume(trades.filter(({ taker_side }) => taker_side === "sell")),
    trades: trades.length,
    // A quotient of whole numbers, cut to 18 digits.
    vwap: decimal(BigInt(quote) * 10n ** 17n / BigInt(trades.length)),
    is_filled: false,
  };
}

function decimal(scaled: bigint): string {
  const text = scaled.toString().padStart(19, "0");
  return `${text.slice(0, -18)}.${text.slice(-18)}`.replace(/\.?0+$/, "");
}

function candlesOf(trades: readonly FixtureTrade[], seconds: number): Row[] {
  const groups = Map.groupBy(trades, ({ time }) => Math.floor(time / 1e6 / seconds) * seconds * 1e6);
  return [...groups].map(([time, group]) => candleOf(time, group));
}

/** By the formulas of docs/analytics.md, over minutes that all have trades. */
function volatilityOf(trades: readonly FixtureTrade[]): Record<string, number> {
  const minutes = [...Map.groupBy(trades, ({ time }) => Math.floor(time / 60e6)).values()]
    .map((minute) => minute.map(({ price }) => Math.log(Number(price))));
  const closes = minutes.map((logs) => logs.at(-1) ?? 0);
  const returns = closes.slice(1).map((close, index) => close - (closes[index] ?? 0));
  const ranges = minutes.map((logs) => Math.max(...logs) - Math.min(...logs));
  const bodies = minutes.map((logs) => (logs.at(-1) ?? 0) - (logs[0] ?? 0));
  const meanSquare = (values: number[]) => values.reduce((sum, value) => sum + value ** 2, 0) / values.length;
  const year = 365 * 24 * 60;
  return {
    minutes: minutes.length,
    returns: returns.length,
    realized_volatility: Math.sqrt(meanSquare(returns) * year),
    parkinson: Math.sqrt(meanSquare(ranges) / (4 * Math.LN2) * year),
    garman_klass: Math.sqrt((meanSquare(ranges) / 2 - (2 * Math.LN2 - 1) * meanSquare(bodies)) * year),
  };
}

function tradeRow(trade: FixtureTrade): Row {
  return {
    trade_id: trade.trade_id,
    time: isoMicros(trade.time),
    price: trade.price,
    size: trade.size,
    taker_side: trade.taker_side,
    received_at: isoMicros(trade.time + 20_000),
    ingested_at: isoMicros(trade.time + 120_000),
    source: "feed",
  };
}

let server: FixtureServer;
let shared: Fixture;
Deno.test.beforeAll(async () => {
  server = await startFixtureServer();
  shared = await openFixture(server);
});
Deno.test.afterAll(async () => {
  await shared.close();
  await server.stop();
});

/** What a test asks with. */
interface Asking {
  fixture: Fixture;
  ask: ReturnType<Fixture["app"]>;
  /** The body of a 200. */
  json(path: string): ReturnType<Response["json"]>;
  /** Follows `next` to the end. */
  walk(path: string): Promise<Row[][]>;
}

function asking(fixture: Fixture): Asking {
  const ask = fixture.app();
  const json = async (path: string) => {
    const response = await ask(path);
    const body = await response.json();
    assert.equal(response.status, 200, `${path}: ${JSON.stringify(body)}`);
    return body;
  };
  return {
    fixture,
    ask,
    json,
    async walk(path) {
      const pages: Row[][] = [];
      for (let next = ""; next !== null;) {
        const page = await json(`${path}${next && `&cursor=${next}`}`);
        pages.push(page.data);
        next = page.next;
        assert(pages.length < 1000, `${path} has no end`);
      }
      return pages;
    },
  };
}

/** A test that only reads: all of them share one database. */
function test(name: string, body: (asking: Asking) => Promise<void>): void {
  Deno.test(name, () => body(asking(shared)));
}

/** A test that changes what is stored, in a database of its own. */
function testApart(name: string, body: (asking: Asking) => Promise<void>): void {
  Deno.test(name, async () => {
    const fixture = await openFixture(server);
    try {
      await body(asking(fixture));
    } finally {
      await fixture.close();
    }
  });
}

async function problem(response: Response, status: number): Promise<Row> {
  const body = await response.json();
  assert.equal(response.status, status, JSON.stringify(body));
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(body.status, status);
  return body;
}

test("api: products are those with a status and those with trades alone", async ({ json }) => {
  const { data, next } = await json("/api/products");
  assert.equal(next, null);
  assert.deepEqual(data[0], {
    product_id: "BTC-USD",
    display_name: "BTC/USD",
    base_currency: "BTC",
    quote_currency: "USD",
    base_increment: "0.00000001",
    quote_increment: "0.01",
    min_market_funds: "1",
    status: "online",
    status_message: "",
    trading_disabled: false,
    post_only: false,
    limit_only: false,
    cancel_only: false,
    received_at: "2026-07-07T10:00:01.500000Z",
  });
  assert.equal(data[1].product_id, "ETH-USD");
  assert.equal(data[1].base_currency, "ETH");
  assert.equal(data[1].quote_increment, null);
  assert.equal(data.length, 2);
});

test("api: the ticker is the newest of a product", async ({ json }) => {
  const expected = {
    product_id: "BTC-USD",
    time: "2026-07-07T10:00:00.500000Z",
    received_at: "2026-07-07T10:00:01.500000Z",
    price: "110.5",
    best_bid: "110",
    best_bid_size: "2",
    best_ask: "111",
    best_ask_size: "0.5",
    open_24h: "100",
    high_24h: "120",
    low_24h: "90",
    volume_24h: "1234.5",
    change_24h: 110.5 / 100 - 1,
    sequence: 8,
    trade_id: 2,
    taker_side: "sell",
    last_size: "0.25",
  };
  assert.deepEqual(await json("/api/ticker"), { data: [expected], next: null });
  assert.deepEqual(await json("/api/ticker?product_id=ETH-USD,BTC-USD"), {
    data: [expected],
    next: null,
  });
  const { data: [row] } = await json("/api/ticker?product_id=BTC-USD&time_format=unix_us");
  assert.equal(row.time, start + 500_000);
});

test("api: trades come newest first, and their pages hold each once", async ({ json, walk }) => {
  const newest = stored.toReversed().map(tradeRow);
  assert.deepEqual((await json("/api/trades?product_id=BTC-USD&limit=3")).data, newest.slice(0, 3));
  const pages = await walk("/api/trades?product_id=BTC-USD&limit=7");
  assert.deepEqual(pages.map(({ length }) => length), [...Array(32).fill(7), 6]);
  assert.deepEqual(pages.flat(), newest);
  const { data: [exact] } = await json("/api/trades?product_id=ETH-USD");
  assert.equal(exact.price, "2000.000000000000000001");
  assert.equal(exact.time, "2026-07-07T10:00:00.123456Z");
});

test("api: from is included, to is not, in either form", async ({ json }) => {
  const ids = async (range: string) =>
    (await json(`/api/trades?product_id=BTC-USD&${range}`)).data.map((row: Row) => row.trade_id);
  assert.deepEqual(await ids("from=2026-07-07T10:00:30Z&to=2026-07-07T10:01:30Z"), [3, 2]);
  assert.deepEqual(await ids(`from=${start + 30_000_000}&to=${start + 90_000_000}`), [3, 2]);
  assert.deepEqual(await ids(`from=${start + 30_000_001}&to=${start + 90_000_001}`), [4, 3]);
  assert.deepEqual(await ids(`from=${start}&to=${start}`), []);
});

test("api: candles are those of the trades, at any interval", async ({ json }) => {
  for (
    const [interval, seconds] of [["1m", 60], ["7m", 420], ["30s", 30], ["1h", 3600], [
      "1d",
      86_400,
    ]] as const
  ) {
    const { data, next } = await json(`/api/ohlc?product_id=BTC-USD&interval=${interval}&${day}`);
    assert.deepEqual(data, candlesOf(stored, seconds), interval);
    assert.equal(next, null);
  }
});

test("api: candles page forwards from `from`, backwards without it, each once", async ({ walk }) => {
  const all = candlesOf(stored, 60);
  const forward = await walk(`/api/ohlc?product_id=BTC-USD&interval=1m&limit=9&from=2026-07-01`);
  assert.deepEqual(forward.flat(), all);
  const back = await walk("/api/ohlc?product_id=BTC-USD&interval=1m&limit=9");
  assert.deepEqual(back[0], all.slice(-9));
  assert.deepEqual(back.toReversed().flat(), all);
});

test("api: filled candles repeat the close before them, and page like the others", async ({ walk }) => {
  const filled = (await walk(`/api/ohlc?product_id=BTC-USD&interval=1m&limit=50&fill=true&${day}`))
    .flat();
  // From the first trade to the end of the day, the gap of five minutes included.
  assert.equal(filled.length, 14 * 60);
  assert.deepEqual(filled.filter((row) => !row.is_filled), candlesOf(stored, 60));
  const close = stored.find(({ trade_id }) => trade_id === 50)?.price;
  const first = filled.find((row) => row.is_filled);
  assert.deepEqual(first, {
    ...first,
    time: "2026-07-07T10:25:00.000000Z",
    open: close,
    high: close,
    low: close,
    close,
    volume: "0",
    trades: 0,
  });
  const back = (await walk("/api/ohlc?product_id=BTC-USD&interval=1m&limit=50&fill=true&to=2026-07-08"))
    .toReversed();
  assert.deepEqual(back.flat(), filled);
});

test("api: spreads, statistics, volatility", async ({ fixture, json, walk }) => {
  const { data: spreads } = await json(
    `/api/spreads?product_id=BTC-USD&from=${start}&to=${start + 10_000_000}`,
  );
  assert.deepEqual(spreads, [{
    time: "2026-07-07T10:00:00.000000Z",
    bid: "110",
    ask: "111",
    mid: "110.5",
    spread_bps: spreads[0]?.spread_bps,
    quotes: 2,
    covered: 1,
    connection: "c1",
  }]);
  assert(Math.abs(spreads[0]?.spread_bps - 10_000 / 110.5) < 1e-9);
  const pages = await walk(
    `/api/spreads?product_id=BTC-USD&limit=3&from=${start - 5_000_000}&to=${start + 10_000_000}`,
  );
  assert.deepEqual(pages.flat(), spreads);

  const hours = candlesOf(stored, 3600);
  const { data: stats } = await json(`/api/stats?product_id=BTC-USD&${day}`);
  assert.equal(stats.length, hours.length);
  for (const [index, { time, is_filled: _, ...candle }] of hours.entries()) {
    assert.deepEqual({ ...stats[index], ...candle, hour: time }, stats[index]);
  }
  assert.deepEqual((await walk(`/api/stats?product_id=BTC-USD&limit=1&${day}`)).flat(), stats);

  const { data: [volatility] } = await json(
    `/api/volatility?product_id=BTC-USD&from=${start}&to=${start + 600_000_000}`,
  );
  const expected = volatilityOf(stored.filter(({ time }) => time < start + 600_000_000));
  assert.deepEqual(Object.keys(volatility).sort(), ["product_id", ...Object.keys(expected)].sort());
  for (const [name, value] of Object.entries(expected)) {
    assert(Math.abs(volatility[name] / value - 1) < 1e-9, `${name}: ${volatility[name]} isn't ${value}`);
  }
  // Minutes before the first trade aren't computed, and wouldn't have counted.
  const until = start + 600_000_000;
  const { data: [since] } = await json(`/api/volatility?product_id=BTC-USD&from=2001-09-10&to=${until}`);
  assert.deepEqual(since, volatility);
  const view = await fixture.clickhouse.query({
    query: `SELECT * FROM volatility(product = 'BTC-USD', from = '${
      formatMicros(start - 86_400_000_000)
    }', to = '${formatMicros(until)}')`,
    format: "JSONEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  assert.deepEqual(await view.json(), [volatility]);
  assert.deepEqual(
    (await json("/api/volatility?product_id=BTC-USD&from=2026-07-01&to=2026-07-02")).data,
    [],
  );
});

test("api: the book at a moment, and why there is none", async ({ json }) => {
  const book = await json("/api/book?product_id=BTC-USD&at=2026-07-07T10:00:00Z&depth=1");
  assert.deepEqual(book.bids, [["110", "2"]]);
  assert.deepEqual(book.asks, [["111", "0.5"]]);
  assert.equal(book.time, "2026-07-07T10:00:00.000000Z");
  assert.equal(book.age_ms, null);
  assert.equal(book.best_bid, "110");
  assert.equal(book.mid, "110.5");
  assert.equal(book.spread, "1");
  assert.equal(book.microprice, "110.8");
  assert.equal(book.imbalance, 0.6);
  assert.deepEqual(book.bands["50bps"], {
    bid_base: "2",
    bid_quote: "220",
    ask_base: "0.5",
    ask_quote: "55.5",
    imbalance: 0.6,
  });
  const newest = await json("/api/book?product_id=BTC-USD");
  assert.deepEqual(newest.bids, [["110", "2"], ["109", "4"]]);
  assert(newest.age_ms > 0);
  const before = await json("/api/book?product_id=BTC-USD&at=2026-07-07T09:00:00Z");
  assert.deepEqual([before.bids, before.asks, before.time, before.mid, before.bands], [
    [],
    [],
    null,
    null,
    null,
  ]);
  assert.equal(before.reason, "no snapshot of the book was stored before that moment");
});

testApart("api: what is missing is said", async ({ fixture, json, walk }) => {
  const [gap, ...others] = (await json("/api/gaps")).data;
  assert.deepEqual(others, []);
  assert.deepEqual(gap, {
    product_id: "BTC-USD",
    first_missing: 51,
    last_missing: 60,
    missing: 10,
    after_time: isoMicros(start + 49 * 30_000_000),
    before_time: isoMicros(start + 60 * 30_000_000),
    seen_at: gap.seen_at,
    status: "open",
  });
  await fixture.clickhouse.insert({
    table: "trade_gaps_given_up",
    values: [[51, 55], [56, 60]].map(([first_missing, last_missing]) => ({
      product_id: "BTC-USD",
      first_missing,
      last_missing,
      reason: "not served",
    })),
    format: "JSONEachRow",
  });
  assert.equal((await json("/api/gaps?product_id=BTC-USD")).data[0].status, "given_up");

  const { data } = await json(`/api/completeness?product_id=BTC-USD&${day}`);
  assert.deepEqual(
    data.map(({ hour, trades, expected, status }: Row) => [hour, trades, expected, status]),
    [
      ["2026-07-07T10:00:00.000000Z", 110, 120, "incomplete"],
      ["2026-07-07T11:00:00.000000Z", 120, 120, "unconfirmed"],
    ],
  );
  assert.equal(data[0].ratio, 110 / 120);
  const all = await walk(`/api/completeness?limit=1&${day}`);
  assert.equal(all.flat().length, 3);
  assert.equal(new Set(all.flat().map(({ hour, product_id }) => `${hour} ${product_id}`)).size, 3);
});

testApart(
  "api: anomalies come newest first, by kind, severity, score and time, each once",
  async ({ fixture, ask, json, walk }) => {
    const at = (seconds: number) => formatMicros(start + seconds * 1_000_000);
    const anomaly = (product_id: string, kind: string, seconds: number, score: number) => ({
      product_id,
      kind,
      severity: score >= 5 ? "critical" : score >= 2 ? "warning" : "info",
      time: at(seconds),
      end_time: kind === "silence" ? null : at(seconds + 60),
      value: score * 10,
      threshold: 10,
      score,
      explanation: `The score is ${score}.`,
      detected_at: at(seconds + 90),
      updated_at: at(seconds + 100),
    });
    // Two rules and two products at one moment; one that was withdrawn, one that went on.
    const rows = [
      anomaly("BTC-USD", "price_jump", 0, 1.5),
      anomaly("BTC-USD", "volume_spike", 60, 2),
      anomaly("BTC-USD", "silence", 60, 7.25),
      anomaly("ETH-USD", "silence", 60, 1),
      anomaly("ETH-USD", "tape_gap", 120, 5),
    ];
    await fixture.clickhouse.insert({
      table: "anomalies_state",
      values: [
        ...rows,
        anomaly("ETH-USD", "price_jump", 180, 9),
        { ...anomaly("ETH-USD", "price_jump", 180, 9), is_withdrawn: true, updated_at: at(400) },
        { ...anomaly("BTC-USD", "silence", 60, 3), updated_at: at(159) },
      ],
      format: "JSONEachRow",
    });
    const iso = (time: string | null) => time === null ? null : `${time.replace(" ", "T")}Z`;
    const shown = [4, 2, 1, 3, 0].flatMap((index) => {
      const row = rows[index];
      return row === undefined ? [] : [{
        ...row,
        time: iso(row.time),
        end_time: iso(row.end_time),
        detected_at: iso(row.detected_at),
        updated_at: iso(row.updated_at),
      }];
    });
    const [gap, silence, spike, quiet, jump] = shown;
    const expect = async (query: string, expected: unknown[]) =>
      assert.deepEqual((await json(`/api/anomalies?${query}`)).data, expected, query);
    await expect("", shown);
    await expect("product_id=BTC-USD", [silence, spike, jump]);
    await expect("kind=silence", [silence, quiet]);
    await expect("severity=critical", [gap, silence]);
    await expect("severity=info&kind=silence", [quiet]);
    await expect("threshold=2", [gap, silence, spike]);
    await expect("threshold=7.26", []);
    await expect(`from=${start + 60_000_000}&to=${start + 120_000_000}`, [silence, spike, quiet]);
    for (const limit of [1, 2, 3]) {
      const pages = await walk(`/api/anomalies?limit=${limit}`);
      assert.deepEqual(pages.flat(), shown);
      assert.deepEqual(
        (await walk(`/api/anomalies?limit=${limit}&kind=silence`)).flat(),
        [silence, quiet],
      );
    }
    const csv = await (await ask("/api/anomalies?format=csv&severity=warning")).text();
    assert.match(csv, /^"product_id","kind","severity",.*\n"BTC-USD","volume_spike","warning",.*\n$/);
  },
);

test("api: the kinds and severities of anomalies are those of the rules", async ({ json }) => {
  const text = await Deno.readTextFile(new URL("../../docs/anomalies.md", import.meta.url));
  const rules = text.slice(text.indexOf("## The rules")).split("\n## ")[0] ?? "";
  const kinds = [...rules.matchAll(/^\| `(\w+)` /gm)].map(([, name]) => name);
  assert(kinds.length > 5);
  const sql = await Deno.readTextFile(new URL("../../sql/views/anomalies_live.sql", import.meta.url));
  for (const kind of kinds) assert(sql.includes(`'${kind}'`), kind);
  const document = await json("/openapi.json");
  const { parameters, responses } = document.paths["/api/anomalies"].get;
  const named = (name: string) =>
    parameters.find((parameter: Row) => parameter.name === name).schema.enum.toSorted();
  assert.deepEqual(named("kind"), kinds.toSorted());
  const row = responses[200].content["application/json"].schema.properties.data.items.properties;
  assert.deepEqual(row.kind.enum.toSorted(), kinds.toSorted());
  const levels = /Enum8\(([^)]*)\)/.exec(sql)?.[1]?.matchAll(/'(\w+)'/g) ?? [];
  assert.deepEqual(named("severity"), [...levels].map(([, name]) => name).toSorted());
});

testApart("api: status says how the tape does", async ({ fixture, json }) => {
  const now = Date.now() * 1000;
  await fixture.insertTrades(
    "LIVE-USD",
    [1, 2, 5].map((trade_id) => ({ trade_id, time: now, price: "5", size: "1", taker_side: "buy" })),
  );
  const status = await json("/api/status?time_format=unix_us");
  assert.equal(status.database, fixture.config.CLICKHOUSE_DATABASE);
  assert.equal(status.simulated, false);
  assert.deepEqual(status.freshness, {
    exchange_to_received: { p50_ms: 20, p99_ms: 20 },
    received_to_stored: { p50_ms: 100, p99_ms: 100 },
  });
  assert.deepEqual(status.rows_per_second, { trades: 0.05, tickers: 0, book_changes: 0 });
  assert.deepEqual(status.kafka, { ok: false });
  assert.equal(status.lag, null);
  assert.equal(status.clickhouse.ok, true);
  const btc = status.products.find((row: Row) => row.product_id === "BTC-USD");
  assert.deepEqual(btc, {
    product_id: "BTC-USD",
    last_trade_at: allTrades.at(-1)?.time,
    last_received_at: (allTrades.at(-1)?.time ?? 0) + 20_000,
    completeness_24h: null,
    missing_24h: null,
    open_gaps: 1,
    missing_trades: 10,
  });
  const live = status.products.find((row: Row) => row.product_id === "LIVE-USD");
  assert.equal(live.completeness_24h, 3 / 5);
  assert.equal(live.missing_24h, 2);
});

testApart("api: csv, arrow and parquet hold the same rows", async ({ fixture, ask, json }) => {
  const path = `/api/trades?product_id=BTC-USD&${day}&limit=100000`;
  const csv = await (await ask(`${path}&format=csv`)).text();
  const [head, ...lines] = csv.trim().split("\n").map((line) =>
    line.split(",").map((cell) => cell.replace(/^"|"$/g, ""))
  );
  const rows = lines.map((cells) =>
    Object.fromEntries(cells.map((cell, index) => [head?.[index] ?? "", cell]))
  );
  const expected = stored.toReversed().map(tradeRow);
  assert.deepEqual(
    rows,
    expected.map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, String(v)]))),
  );

  for (const [format, name] of [["arrow", "ArrowStream"], ["parquet", "Parquet"]]) {
    const response = await ask(`${path}&format=${format}&time_format=unix_us`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-disposition") ?? "", new RegExp(`trades\\.${format}`));
    const table = `read_${format}`;
    await fixture.clickhouse.command({
      query: `CREATE TABLE ${table} (trade_id UInt64, time Int64, price Decimal(38, 18), taker_side String)
                  ENGINE = Memory`,
    });
    // ClickHouse reads its own bytes back.
    const insert = await fetch(
      `${fixture.server.clickhouse.url}/?database=${fixture.config.CLICKHOUSE_DATABASE}&query=${
        encodeURIComponent(`INSERT INTO ${table} FORMAT ${name}`)
      }`,
      { method: "POST", headers: fixture.server.clickhouse.headers, body: await response.bytes() },
    );
    assert.equal(insert.status, 200, await insert.text());
    const back = await fixture.clickhouse.query({
      query: `SELECT trade_id, time, toString(price), taker_side FROM ${table}`,
      format: "JSONCompactEachRow",
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    assert.deepEqual(
      await back.json(),
      stored.toReversed().map((
        { trade_id, time, price, taker_side },
      ) => [trade_id, time, price, taker_side]),
    );
  }
  const candles = await (await ask(`/api/ohlc?product_id=BTC-USD&interval=1h&${day}&format=csv`)).text();
  assert.equal(candles.trim().split("\n").length, 3);
  // Without `from` the newest before `to`, also where `to` lies within an interval.
  const newest = `/api/ohlc?product_id=BTC-USD&interval=1m&limit=3&to=${start + 4770_000_000}`;
  const wanted = (await json(newest)).data.map((row: Row) => row.time);
  assert.equal(wanted.length, 3);
  const [, ...found] = (await (await ask(`${newest}&format=csv`)).text()).trim().split("\n");
  assert.deepEqual(found.map((line) => line.split(",")[0]?.replaceAll('"', "")), wanted);
});

test("api: an answer is known by its ETag, and a settled page may be kept", async ({ ask }) => {
  const gap = `/api/ohlc?product_id=BTC-USD&interval=1m&from=${start + 60_000_000}&to=${
    start + 3000_000_000
  }`;
  const whole = `/api/ohlc?product_id=BTC-USD&interval=1m&from=${start + 3600_000_000}&to=${
    start + 4800_000_000
  }`;
  // What is settled is looked up behind the first answer.
  let response = await ask(whole);
  await until("a settled answer", async () => {
    await response.body?.cancel();
    response = await ask(whole);
    return response.headers.get("cache-control") !== "no-cache";
  });
  assert.equal(response.headers.get("cache-control"), "private, max-age=31536000, immutable");
  const etag = response.headers.get("etag") ?? "";
  await response.body?.cancel();
  for (const tag of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
    const again = await ask(whole, { headers: { "if-none-match": tag } });
    assert.equal(again.status, 304);
    assert.equal(again.headers.get("etag"), etag);
    assert.equal(await again.text(), "");
  }
  const other = await ask(whole, { headers: { "if-none-match": '"x"' } });
  assert.equal(other.status, 200);
  await other.body?.cancel();
  // A gap may still be filled, so such a page is asked for again each time.
  const open = await ask(gap);
  assert.equal(open.headers.get("cache-control"), "no-cache");
  await open.body?.cancel();
});

test("api: gzip for those who take it; HEAD is GET without a body", async ({ ask }) => {
  const path = `/api/trades?product_id=BTC-USD&limit=100`;
  const plain = await (await ask(path)).text();
  const far = { address: "192.0.2.7", headers: { "accept-encoding": "br, gzip" } };
  const near = await ask(path, { headers: far.headers });
  assert.equal(near.headers.get("content-encoding"), null);
  assert.equal(await near.text(), plain);
  const again = await ask(path, far);
  const packed = await ask(path, far);
  assert.deepEqual(await again.bytes(), await packed.clone().bytes());
  assert.equal(packed.headers.get("content-encoding"), "gzip");
  assert.match(packed.headers.get("vary") ?? "", /Accept-Encoding/);
  const stream = (await packed.blob()).stream().pipeThrough(new DecompressionStream("gzip"));
  assert.equal(await new Response(stream).text(), plain);
  const csv = await ask(`${path}&format=csv`, far);
  const text = new Response((await csv.blob()).stream().pipeThrough(new DecompressionStream("gzip")));
  assert.match(await text.text(), /^"trade_id","time"/);
  const head = await ask(path, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.body, null);
  assert(head.headers.get("etag"));
  assert.equal(
    (await problem(await ask(path, { method: "POST" }), 405)).title,
    "This method isn't offered",
  );
});

testApart("api: a late trade changes the candle that was answered before", async ({ fixture, json }) => {
  const path = `/api/ohlc?product_id=BTC-USD&interval=1m&${day}`;
  assert.equal((await json(path)).data.length, candlesOf(stored, 60).length);
  await fixture.insertTrades("BTC-USD", allTrades.filter(isMissing));
  const expected = candlesOf(allTrades, 60);
  await until("the filled gap", async () => (await json(path)).data.length === expected.length);
  assert.deepEqual((await json(path)).data, expected);
});

test("api: what is wrong is named, with what is allowed", async ({ ask, json }) => {
  const wrong: [path: string, parameter: string][] = [
    ["/api/trades", "product_id"],
    ["/api/trades?product_id=", "product_id"],
    ["/api/trades?product_id=BTC-USD&produkt=1", "produkt"],
    ["/api/trades?product_id=BTC-USD&product_id=ETH-USD", "product_id"],
    ["/api/trades?product_id=BTC-USD&limit=0", "limit"],
    ["/api/trades?product_id=BTC-USD&limit=10001", "limit"],
    ["/api/trades?product_id=BTC-USD&limit=1e3", "limit"],
    ["/api/trades?product_id=BTC-USD&limit=1000001&format=csv", "limit"],
    ["/api/trades?product_id=BTC-USD&from=yesterday", "from"],
    ["/api/trades?product_id=BTC-USD&from=1783465097", "from"],
    ["/api/trades?product_id=BTC-USD&from=2026-02-30", "from"],
    ["/api/trades?product_id=BTC-USD&from=2026-07-08&to=2026-07-07", "to"],
    ["/api/trades?product_id=BTC-USD&cursor=abcdefghij", "cursor"],
    ["/api/trades?product_id=BTC-USD&format=xml", "format"],
    ["/api/ohlc?product_id=BTC-USD&interval=1y", "interval"],
    ["/api/ohlc?product_id=BTC-USD&interval=367d", "interval"],
    ["/api/ohlc?product_id=BTC-USD&fill=yes", "fill"],
    ["/api/book?product_id=BTC-USD&depth=1001", "depth"],
    ["/api/anomalies?threshold=-1", "threshold"],
    ["/api/anomalies?kind=a'b", "kind"],
    ["/api/anomalies?severity=grave", "severity"],
    ["/api/status?x=1", "x"],
  ];
  for (const [path, parameter] of wrong) {
    const body = await problem(await ask(path), 400);
    assert.equal(body.parameter, parameter, path);
    assert(body.allowed, path);
  }
  // The cursor of one list isn't one of another, nor of the same list with other filters.
  const { next } = await json("/api/trades?product_id=BTC-USD&limit=1");
  for (const path of ["/api/trades?product_id=ETH-USD", "/api/ohlc?product_id=BTC-USD", "/api/gaps?"]) {
    assert.equal((await problem(await ask(`${path}&cursor=${next}`), 400)).parameter, "cursor");
  }
  const unknown = await problem(await ask("/api/ohlc?product_id=btc-usdt"), 404);
  assert.equal(unknown.parameter, "product_id");
  assert.equal((unknown.nearest as string[])[0], "BTC-USD");
  await problem(await ask("/api/nothing"), 404);
});

test("api: without a token nobody gets data, but everybody the page", async ({ fixture }) => {
  const guarded = fixture.app({ tokens: ["another-token-of-some-length", token], host: "0.0.0.0" });
  for (const path of ["/api/products", "/openapi.json", "/api/nothing", "/api/stream"]) {
    const refused = await guarded(path);
    assert.match(refused.headers.get("www-authenticate") ?? "", /^Bearer/);
    await problem(refused, 401);
    await problem(await guarded(path, { headers: { authorization: `Bearer ${token}x` } }), 401);
  }
  await problem(await guarded(`/api/products?token=${token}`), 401);
  assert.equal(
    (await guarded("/api/products", { headers: { authorization: `Bearer ${token}` } })).status,
    200,
  );
  for (const path of ["/", "/docs", "/healthz"]) assert.equal((await guarded(path)).status, 200, path);
});

test("api: a client has its rate, and is told when it may come again", async ({ fixture }) => {
  const limited = fixture.app({ ratePerSecond: 1, trustedProxies: { hops: 1 } });
  const from = (client: string) =>
    limited("/api/status", { headers: { "x-forwarded-for": `9.9.9.9, ${client}` } });
  const [first, second, third, other] = [
    await from("1.1.1.1"),
    await from("1.1.1.1"),
    await from("1.1.1.1"),
    await from("2.2.2.2"),
  ];
  assert.deepEqual([first, second, third, other].map((response) => response?.status), [
    200,
    200,
    429,
    200,
  ]);
  assert.equal(first.headers.get("ratelimit-limit"), "2");
  assert.equal(second.headers.get("ratelimit-remaining"), "0");
  assert.equal(third.headers.get("retry-after"), "1");
  await problem(third, 429);
  assert.equal((await limited("/", { headers: { "x-forwarded-for": "1.1.1.1" } })).status, 200);
});

test("api: other origins and other host names are refused unless they are configured", async ({ fixture, ask }) => {
  const origin = { origin: "https://desk.example" };
  assert.equal(
    (await ask("/api/status", { headers: origin })).headers.get("access-control-allow-origin"),
    null,
  );
  const open = fixture.app({ corsOrigins: ["https://desk.example"], allowedHosts: ["desk.example"] });
  const allowed = await open("/api/status", { headers: origin });
  assert.equal(allowed.headers.get("access-control-allow-origin"), "https://desk.example");
  assert.equal(
    (await open("/api/status", { headers: { origin: "https://x.example" } })).headers.get(
      "access-control-allow-origin",
    ),
    null,
  );
  const preflight = await open("/api/status", { method: "OPTIONS", headers: origin });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /authorization/);
  await problem(await ask("/", { headers: { host: "rebound.example:8080" } }), 403);
  assert.equal((await open("/", { headers: { host: "desk.example" } })).status, 200);
  await problem(
    await open("/api/stream", { headers: { upgrade: "websocket", origin: "https://x.example" } }),
    403,
  );
  await problem(await open("/api/stream", { headers: { upgrade: "websocket" } }), 503);
});

testApart(
  "api: the page's files come with their headers, and nothing beside them",
  async ({ fixture, ask }) => {
    const missing = await ask("/");
    assert.match(await missing.text(), /deno task web/);
    await Deno.mkdir(new URL("assets", fixture.pageFolder), { recursive: true });
    await Deno.writeTextFile(new URL("index.html", fixture.pageFolder), "<!doctype html><p>page");
    await Deno.writeTextFile(new URL("assets/app.js", fixture.pageFolder), "1");
    const page = await ask("/");
    assert.equal(await page.text(), "<!doctype html><p>page");
    const policy = page.headers.get("content-security-policy") ?? "";
    assert.match(policy, /script-src 'self';/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.equal(page.headers.get("x-content-type-options"), "nosniff");
    assert.equal(page.headers.get("referrer-policy"), "no-referrer");
    const script = await ask("/assets/app.js");
    assert.match(script.headers.get("content-type") ?? "", /^text\/javascript/);
    const etag = script.headers.get("etag") ?? "";
    assert.equal((await ask("/assets/app.js", { headers: { "if-none-match": etag } })).status, 304);
    for (
      const path of [
        "/../clickhouse.log",
        "/%2e%2e/clickhouse.log",
        "/..%2fclickhouse.log",
        "/assets",
        "/.env",
        "/a%00.js",
      ]
    ) {
      await problem(await ask(path), 404);
    }
    const docs = await ask("/docs");
    const text = await docs.text();
    assert.match(text, /\/api\/ohlc/);
    // A block of data is no script; everything else comes from here.
    assert.doesNotMatch(text, /<script(?! type="application\/json"| \w+ src=")|(src|href)="(https?:)?\/\//);
  },
);

testApart("api: a query over a limit is a problem that names it", async ({ fixture }) => {
  await fixture.clickhouse.command({ query: "CREATE DATABASE slow" });
  const views = {
    known_products: "SELECT 'SLOW-USD' AS product_id",
    // Many rows; few enough, but slow.
    trades: `SELECT 'SLOW-USD' AS product_id, number AS trade_id, now64(6) AS time, 1 AS price, 1 AS size,
          'buy' AS taker_side, time AS received_at, time AS ingested_at, 'feed' AS source
          FROM numbers(1000000000000) WHERE sipHash64(number) = 0`,
    trade_gaps: `SELECT 'SLOW-USD' AS product_id, number AS first_missing, number AS last_missing,
          number AS missing, 0 AS given_up, now64(6) AS after_time, after_time AS before_time, after_time AS seen_at
          FROM numbers(900000000) WHERE sipHash64(toString(number)) = 0`,
  };
  for (const [name, query] of Object.entries(views)) {
    await fixture.clickhouse.command({ query: `CREATE VIEW slow.${name} AS ${query}` });
  }
  const slowClickHouse = openReadClient({ ...fixture.config, CLICKHOUSE_DATABASE: "slow" }, 1);
  const slow = fixture.app({ clickhouse: slowClickHouse });
  for (
    const [path, limit] of [
      ["trades?product_id=SLOW-USD", "max_rows_to_read"],
      ["gaps?", "max_execution_time"],
    ]
  ) {
    const over = await problem(await slow(`/api/${path}`), 422);
    assert.equal(over.limit, limit);
    assert.match(String(over.detail), /ask for a shorter range/);
  }
  await slowClickHouse.close();
});

testApart(
  "api: while ClickHouse is dead the answer is 503, afterwards all is as before",
  async ({ fixture, ask, json }) => {
    const before = await json("/api/trades?product_id=BTC-USD&limit=5");
    Deno.kill(fixture.server.clickhouse.pid, "SIGKILL");
    await fixture.server.clickhouse.exited;
    for (
      const path of [
        "/api/trades?product_id=BTC-USD",
        "/api/products",
        "/api/book?product_id=BTC-USD",
      ]
    ) {
      const response = await ask(path);
      assert.equal(response.headers.get("retry-after"), "1");
      await problem(response, 503);
    }
    const health = await ask("/healthz");
    assert.equal(health.status, 503);
    assert.equal(await health.text(), "ClickHouse: ClickHouse doesn't answer.\n");
    // How the tape does is said all the same, with what isn't known left open.
    const response = await ask("/api/status");
    assert.equal(response.status, 200);
    const { version: _, time: __, ...status } = await response.json();
    const unknown = { p50_ms: null, p99_ms: null };
    assert.deepEqual(status, {
      simulated: false,
      database: fixture.config.CLICKHOUSE_DATABASE,
      freshness: { exchange_to_received: unknown, received_to_stored: unknown },
      lag: null,
      rows_per_second: { trades: null, tickers: null, book_changes: null },
      products: [],
      stream: { clients: 0 },
      clickhouse: { ok: false, version: null, reason: "ClickHouse doesn't answer." },
      kafka: { ok: false },
    });
    await fixture.server.restartClickHouse();
    assert.deepEqual(await json("/api/trades?product_id=BTC-USD&limit=5"), before);
    await until("/healthz to say so", async () => (await ask("/healthz")).status === 200);
  },
);

testApart(
  "api: as a service it refuses an open address without a token, answers, stops when told",
  async ({ fixture }) => {
    const env = {
      ...fixture.server.clickhouse.env,
      CLICKHOUSE_DATABASE: fixture.config.CLICKHOUSE_DATABASE,
      KAFKA_BROKERS: "127.0.0.1:1",
      API_PORT: String(freePort()),
      METRICS_PORT: String(freePort()),
      NO_COLOR: "1",
    };
    const args = ["run", "--quiet", "-P=api", "api.ts"];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: root,
      env: { ...env, API_HOST: "0.0.0.0" },
    }).output();
    assert.equal(code, 2);
    const lines = new TextDecoder().decode(stderr).trim().split("\n").filter((line) =>
      line.includes('"error"')
    );
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /API_HOST=0\.0\.0\.0.*API_TOKENS/);

    const url = `http://127.0.0.1:${env.API_PORT}`;
    const logFile = `${fixture.server.home}/api.log`;
    const service = await startProcess({
      name: "api",
      command: Deno.execPath(),
      args,
      cwd: root,
      env,
      logFile,
      ready: async () => (await fetch(`${url}/healthz`)).ok,
    });
    assert.equal((await (await fetch(`${url}/api/products`)).json()).data.length, 2);
    const metrics = await (await fetch(`http://127.0.0.1:${env.METRICS_PORT}/metrics`)).text();
    assert.match(metrics, /tapehouse_api_requests_total\{route="\/api\/products",status="200"\} 1/);
    await service.stop();
    const log = await Deno.readTextFile(logFile);
    assert.match(log, /"message":"stopped"/);
    assert.doesNotMatch(log, /"level":"error"/);
  },
);

testApart(
  "api: deno serve runs it too, and refuses an open address without a token",
  async ({ fixture }) => {
    const env = {
      ...fixture.server.clickhouse.env,
      CLICKHOUSE_DATABASE: fixture.config.CLICKHOUSE_DATABASE,
      KAFKA_BROKERS: "127.0.0.1:1",
      NO_COLOR: "1",
    };
    const port = String(freePort());
    const argsOn = (host: string) => ["serve", "-q", "-P=api", "--host", host, "--port", port, "api.ts"];
    const open = await new Deno.Command(Deno.execPath(), {
      args: argsOn("0.0.0.0"),
      cwd: root,
      env,
      // It hangs when it listens.
      signal: AbortSignal.timeout(60_000),
    }).output();
    assert.equal(open.code, 2);
    assert.match(new TextDecoder().decode(open.stderr), /^API_HOST=0\.0\.0\.0.*API_TOKENS/);

    const service = await startProcess({
      name: "api",
      command: Deno.execPath(),
      args: argsOn("127.0.0.1"),
      cwd: root,
      env,
      logFile: `${fixture.server.home}/served.log`,
      ready: async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok,
    });
    assert.equal((await (await fetch(`http://127.0.0.1:${port}/api/products`)).json()).data.length, 2);
    await service.stop();
  },
);
