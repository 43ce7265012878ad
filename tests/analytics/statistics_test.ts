/**
 * The statistics views and `deno task stats` against figures computed here from the same trades: bigint decimals,
 * plain floats within 1e-9.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createSimulation } from "../../exchange/simulation.ts";
import { trimmed } from "../../lib/ops/proof.ts";
import { insertTrades, type Trade, tradesOf } from "../support/simulated_trades.ts";
import { useDatabases } from "../support/sql_database.ts";

const withDatabase = useDatabases();

type Row = Record<string, string | number | null>;

const minutesPerYear = 365 * 24 * 60;

/** One candle; `start` in seconds. */
interface Candle {
  start: number;
  open: number;
  high: number;
  low: number;
  close: number;
}

/** The candles of trades of one product, ascending; intervals without trades are left out. */
function candlesOf(trades: readonly Trade[], length: number): Candle[] {
  const groups = Map.groupBy(inOrder(trades), ({ time }) => Math.floor(unix(time) / length) * length);
  return [...groups].map(([start, group]) => {
    const prices = group.map(({ price }) => Number(price));
    return {
      start,
      open: prices[0] ?? NaN,
      high: Math.max(...prices),
      low: Math.min(...prices),
      close: prices.at(-1) ?? NaN,
    };
  }).sort((left, right) => left.start - right.start);
}

/** Every minute from `from` up to `to` whose price is known; a minute without trades repeats the close before it. */
function minutesOf(trades: readonly Trade[], from: string, to: string): (Candle & { previous?: number })[] {
  const candles = candlesOf(trades, 60);
  const byStart = new Map(candles.map((candle) => [candle.start, candle]));
  const first = Math.floor(unix(from) / 60) * 60;
  let known = candles.filter(({ start }) => start < first).at(-1)?.close;
  const minutes: (Candle & { previous?: number })[] = [];
  for (let start = first; start < unix(to); start += 60) {
    const previous = known;
    const candle = byStart.get(start) ??
      (previous === undefined
        ? undefined
        : { start, open: previous, high: previous, low: previous, close: previous });
    if (candle === undefined) continue;
    minutes.push({ ...candle, ...(previous !== undefined && { previous }) });
    known = candle.close;
  }
  return minutes;
}

function volatilityOf(trades: readonly Trade[], from: string, to: string) {
  const minutes = minutesOf(trades, from, to);
  const returns = minutes.flatMap(({ close, previous }) =>
    previous === undefined ? [] : [Math.log(close) - Math.log(previous)]
  );
  const ranges = minutes.map(({ high, low }) => Math.log(high) - Math.log(low));
  const garmanKlass = minutes.map(({ open, high, low, close }) =>
    (Math.log(high) - Math.log(low)) ** 2 / 2 -
    (2 * Math.LN2 - 1) * (Math.log(close) - Math.log(open)) ** 2
  );
  return {
    minutes: minutes.length,
    returns: returns.length,
    realized_volatility: Math.sqrt(mean(returns.map((value) => value ** 2)) * minutesPerYear),
    parkinson: Math.sqrt(mean(ranges.map((value) => value ** 2)) / (4 * Math.LN2) * minutesPerYear),
    garman_klass: Math.sqrt(mean(garmanKlass) * minutesPerYear),
  };
}

/** Correlation and beta of y on x over the minutes in which both have a return. */
function together(x: readonly Trade[], y: readonly Trade[], from: string, to: string) {
  const returns = (trades: readonly Trade[]) =>
    new Map(
      minutesOf(trades, from, to).flatMap(({ start, close, previous }) =>
        previous === undefined ? [] : [[start, Math.log(close / previous)]]
      ),
    );
  const [ofX, ofY] = [returns(x), returns(y)];
  const pairs = [...ofX].flatMap(([start, value]) => {
    const other = ofY.get(start);
    return other === undefined ? [] : [[value, other] as const];
  });
  const [meanX, meanY] = [mean(pairs.map(([value]) => value)), mean(pairs.map(([, value]) => value))];
  const covariance = mean(pairs.map(([a, b]) => (a - meanX) * (b - meanY)));
  const [varX, varY] = [
    mean(pairs.map(([a]) => (a - meanX) ** 2)),
    mean(pairs.map(([, b]) => (b - meanY) ** 2)),
  ];
  return {
    minutes: pairs.length,
    correlation: covariance / Math.sqrt(varX * varY),
    beta: covariance / varX,
  };
}

function imbalanceOf(trades: readonly Trade[]): number {
  const [buy, all] = [volumeOf(trades.filter(({ taker_side }) => taker_side === "buy")), volumeOf(trades)];
  return Number(2n * buy - all) / Number(all);
}

function volumeOf(trades: readonly Trade[]): bigint {
  return trades.reduce((sum, { size }) => sum + scaled(size), 0n);
}

function drawdownsOf(closes: readonly number[]): number[] {
  let peak = 0;
  return closes.map((close) => {
    peak = Math.max(peak, close);
    return close / peak - 1;
  });
}

function sizesOf(trades: readonly Trade[]): string[] {
  return trades.map(({ size }) => scaled(size)).sort((a, b) => a < b ? -1 : a > b ? 1 : 0)
    .map((value) => decimal(value, 18));
}

function inOrder(trades: readonly Trade[]): Trade[] {
  return [...trades].sort((left, right) => left.trade_id - right.trade_id);
}

function within(trades: readonly Trade[], from: string, to: string): Trade[] {
  return trades.filter(({ time }) => time >= from && time < to);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** `2026-07-07 12:00:00.5` → seconds; the fraction is kept. */
function unix(time: string): number {
  return Date.parse(`${time.slice(0, 10)}T${time.slice(11, 19)}Z`) / 1000 +
    Number(`0.${time.slice(20) || 0}`);
}

function scaled(value: string): bigint {
  const [whole = "0", fraction = ""] = value.split(".");
  return BigInt(whole + fraction.padEnd(18, "0"));
}

function decimal(value: bigint, digits: number): string {
  const [sign, padded] = [value < 0n ? "-" : "", (value < 0n ? -value : value).toString()];
  const filled = padded.padStart(digits + 1, "0");
  return trimmed(`${sign}${filled.slice(0, -digits)}.${filled.slice(-digits)}`);
}

/** Equal: texts and whole numbers exactly, other numbers within 1e-9; nan is null in JSON. */
function same(row: Row | undefined, wanted: Row, what: string): void {
  assert(row !== undefined, `${what}: no row`);
  for (const [name, want] of Object.entries(wanted)) {
    const have: string | number | null | undefined = row[name];
    if (typeof want === "number" && !Number.isInteger(want)) {
      const close = Math.abs(Number(have) - want) <= 1e-9 * Math.max(1, Math.abs(want));
      assert(close && have !== null, `${what}: ${name} is ${have}, expected ${want}`);
    } else {assert.equal(
        have === null ? null : String(have),
        want === null ? null : String(want),
        `${what}: ${name}`,
      );}
  }
}

/** Four days of a slow simulated market from 2026-01-01, and the market itself as it stands at `end`. */
function simulated(
  products: string[],
  end: number,
): { market: ReturnType<typeof createSimulation>; trades: Trade[] } {
  const market = createSimulation({ seed: "statistics", products, rate: 0.15, clock: () => end });
  return { market, trades: products.flatMap((product) => tradesOf(market, product)) };
}

/** Times are those of July 2026. */
const edges: Trade[] = ([
  ["EDGE-USD", 1, "06 23:59:59.999999", "0.00000001", "0.00000001", "buy"],
  ["EDGE-USD", 2, "07 00:00:00.000000", "1000000", "0.00000001", "sell"],
  ["EDGE-USD", 3, "07 00:00:00.000000", "999999.99", "123456789.12345678", "buy"],
  ["EDGE-USD", 4, "07 00:00:00.000000", "0.00000002", "0.00000003", "sell"],
  ["EDGE-USD", 5, "07 23:59:59.999999", "0.00000004", "2", "buy"],
  ["EDGE-USD", 6, "08 00:00:00.000000", "5", "7", "sell"],
  ["ONE-USD", 9, "07 12:00:00.000000", "3", "0.25", "sell"],
] as const).map(([product_id, trade_id, time, price, size, taker_side]) => ({
  product_id,
  trade_id,
  time: `2026-07-${time}`,
  price,
  size,
  taker_side,
}));

Deno.test("statistics: they are those of the trades, also of those that come late", async (t) => {
  await withDatabase(async (database) => {
    const insert = (trades: readonly Trade[]) => insertTrades(database, trades);
    const rows = (query: string) => database.rows<Row>(query);
    const stats = async (args: string[], more: Record<string, string> = {}) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-q", "-A", "tasks/stats.ts", ...args],
        cwd: `${import.meta.dirname}/../..`,
        env: { ...database.env, NO_COLOR: "1", ...more },
      }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
      return { code, stdout: text(stdout), stderr: text(stderr) };
    };

    await t.step("stats of a database without the tables says what to run", async () => {
      const { code, stderr } = await stats(["--date", "2026-01-02"], { CLICKHOUSE_DATABASE: "nothing_here" });
      assert.equal(code, 1);
      assert.match(
        stderr,
        /^Database nothing_here lacks tables\/001_trades, .*: run `deno task migrate` first\.$/,
      );
    });

    const end = Date.UTC(2026, 0, 4, 7, 30) * 1000;
    const { market, trades: all } = simulated(["BTC-USD", "ETH-USD"], end);
    // What the views are to answer before and after a gap of three hours of ETH-USD is filled.
    const gap = within(all, "2026-01-02 09:00:00", "2026-01-02 12:00:00")
      .filter(({ product_id }) => product_id === "ETH-USD");
    assert(gap.length > 100);
    await insert(all.filter((trade) => !gap.includes(trade)));
    await insert(edges.toReversed());

    const check = async (stored: readonly Trade[], when: string) => {
      const of = (product: string) => stored.filter(({ product_id }) => product_id === product);
      const day: [string, string] = ["2026-01-02 00:00:00", "2026-01-03 00:00:00"];
      const july: [string, string] = ["2026-07-07 00:00:00", "2026-07-08 00:00:00"];
      const range = ([from, to]: [string, string]) => `from='${from}', to='${to}'`;
      const ranges: [product: string, range: [string, string]][] = [
        ["BTC-USD", day],
        ["ETH-USD", day],
        ["ETH-USD", ["2026-01-02 08:30:31.5", "2026-01-03 10:00:00.000001"]],
        // The product's first trade lies in the range.
        ["BTC-USD", ["2025-12-31 12:00:00", "2026-01-01 06:00:00"]],
        ["EDGE-USD", july],
        ["EDGE-USD", ["2026-07-06 12:00:00", "2026-07-07 00:00:00"]],
        ["ONE-USD", july],
        // Long after the last trade.
        ["ONE-USD", ["2026-08-07 00:00:00", "2026-08-07 01:00:00"]],
      ];

      await t.step(`${when}: volatility`, async () => {
        for (const [product, span] of ranges) {
          const [row] = await rows(`SELECT * FROM volatility(product='${product}', ${range(span)})`);
          const want = volatilityOf(of(product), ...span);
          same(
            row,
            { ...want, realized_volatility: nullable(want.realized_volatility) },
            `${product} ${span}`,
          );
        }
        assert.deepEqual(await rows(`SELECT * FROM volatility(product='NONE-USD', ${range(july)})`), []);
        const early: [string, string] = ["2026-07-06 00:00:00", "2026-07-07 00:00:00"];
        assert.deepEqual(await rows(`SELECT * FROM volatility(product='ONE-USD', ${range(early)})`), []);
      });

      await t.step(`${when}: hourly_stats and order_flow`, async () => {
        const hours = await rows("SELECT * FROM hourly_stats");
        const groups = Map.groupBy(stored, ({ product_id, time }) => `${product_id} ${time.slice(0, 13)}`);
        assert.equal(hours.length, groups.size);
        for (const row of hours) {
          const group = inOrder(groups.get(`${row.product_id} ${String(row.hour).slice(0, 13)}`) ?? []);
          const [open, close] = [group[0], group.at(-1)];
          assert(open && close, `an hour too many: ${row.product_id} ${row.hour}`);
          const prices = group.map(({ price }) => scaled(price));
          const quote = group.reduce((sum, { price, size }) => sum + scaled(price) * scaled(size), 0n);
          const buys = volumeOf(group.filter(({ taker_side }) => taker_side === "buy"));
          same(row, {
            open: trimmed(open.price),
            close: trimmed(close.price),
            high: decimal(prices.reduce((a, b) => a > b ? a : b), 18),
            low: decimal(prices.reduce((a, b) => a < b ? a : b), 18),
            volume: decimal(volumeOf(group), 18),
            quote_volume: decimal(quote, 36),
            buy_volume: decimal(buys, 18),
            sell_volume: decimal(volumeOf(group) - buys, 18),
            trades: group.length,
            vwap: decimal(quote / volumeOf(group), 18),
            return: Number(close.price) / Number(open.price) - 1,
            order_flow_imbalance: imbalanceOf(group),
            mean_trade_size: Number(volumeOf(group)) / 1e18 / group.length,
          }, `${row.product_id} ${row.hour}`);
        }
        const span: [string, string] = ["2026-01-02 09:00:00", "2026-01-02 10:00:00"];
        const flow = await rows(
          `SELECT * FROM order_flow(product='BTC-USD', interval='15m', ${range(span)}) ORDER BY time`,
        );
        const quarters = Map.groupBy(
          within(of("BTC-USD"), ...span),
          ({ time }) => Math.floor(unix(time) / 900),
        );
        assert.equal(flow.length, quarters.size);
        for (const row of flow) {
          const group = quarters.get(unix(String(row.time)) / 900) ?? [];
          same(row, { order_flow_imbalance: imbalanceOf(group), trades: group.length }, `${row.time}`);
        }
      });

      await t.step(`${when}: trade_sizes`, async () => {
        for (const [product, span] of ranges) {
          const found = await rows(`SELECT * FROM trade_sizes(product='${product}', ${range(span)})`);
          const sizes = sizesOf(within(of(product), ...span));
          if (sizes.length === 0) {
            assert.deepEqual(found, []);
            continue;
          }
          const at = (p: number) => sizes[Math.floor(p * sizes.length)] ?? "";
          same(found[0], {
            trades: sizes.length,
            mean: Number(volumeOf(within(of(product), ...span))) / 1e18 / sizes.length,
            smallest: sizes[0] ?? "",
            p01: at(0.01),
            p10: at(0.1),
            p25: at(0.25),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            largest: sizes.at(-1) ?? "",
          }, `${product} ${span}`);
        }
      });

      await t.step(`${when}: drawdown`, async () => {
        for (const [product, span] of ranges) {
          const found = await rows(
            `SELECT * FROM drawdown(product='${product}', interval='5m', ${range(span)}) ORDER BY time`,
          );
          const first = Math.floor(unix(span[0]) / 300) * 300;
          const candles = candlesOf(of(product), 300).filter(({ start }) =>
            start >= first && start < unix(span[1])
          );
          assert.equal(found.length, candles.length, `${product} ${span}`);
          const want = drawdownsOf(candles.map(({ close }) => close));
          found.forEach((row, i) => same(row, { drawdown: want[i] ?? NaN }, `${product} ${row.time}`));
        }
      });

      await t.step(`${when}: correlations and beta_to_btc`, async () => {
        const pairs: [string, string, [string, string]][] = [
          ["BTC-USD", "ETH-USD", day],
          ["BTC-USD", "ETH-USD", ["2025-12-31 12:00:00", "2026-01-01 06:00:00.5"]],
          ["EDGE-USD", "BTC-USD", ["2026-07-06 23:00:00", "2026-07-07 02:00:00"]],
        ];
        for (const [x, y, span] of pairs) {
          const found = await rows(
            `SELECT * FROM correlations(products=['${x}','${y}','${x}'], ${range(span)})`,
          );
          assert.equal(found.length, 4);
          for (const row of found) {
            const { minutes, correlation } = together(
              of(String(row.product_x)),
              of(String(row.product_y)),
              ...span,
            );
            same(row, { minutes, correlation: nullable(correlation) }, `${row.product_x} ${row.product_y}`);
          }
        }
        const [row] = await rows(`SELECT * FROM beta_to_btc(product='ETH-USD', ${range(day)})`);
        const { minutes, beta } = together(of("BTC-USD"), of("ETH-USD"), ...day);
        same(row, { product_id: "ETH-USD", minutes, beta }, "beta of ETH-USD");
        const [self] = await rows(`SELECT * FROM beta_to_btc(product='BTC-USD', ${range(day)})`);
        same(self, { beta: 1 }, "beta of BTC-USD");
        assert.deepEqual(await rows(`SELECT * FROM beta_to_btc(product='NONE-USD', ${range(day)})`), []);
      });

      await t.step(`${when}: rolling_24h`, async () => {
        const moments = [
          "2026-01-02 13:00:00",
          "2026-01-03 11:59:59",
          "2026-01-01 05:00:00",
          "2026-07-08 00:00:01",
        ];
        for (const at of moments) {
          const found = await rows(`SELECT * FROM rolling_24h(at='${at}.75') ORDER BY product_id`);
          const since = new Date(unix(at) * 1000 - 86_400_000).toISOString().slice(0, 19).replace("T", " ");
          const groups = Map.groupBy(within(stored, since, at), ({ product_id }) => product_id);
          assert.deepEqual(found.map(({ product_id }) => product_id), [...groups.keys()].sort());
          for (const row of found) {
            const group = inOrder(groups.get(String(row.product_id)) ?? []);
            const before = inOrder(of(String(row.product_id))).filter(({ time }) => time < since).at(-1);
            const [open, last] = [before ?? group[0], group.at(-1)];
            assert(open && last);
            const prices = group.map(({ price }) => scaled(price));
            same(row, {
              open: trimmed(open.price),
              last: trimmed(last.price),
              high: decimal(prices.reduce((a, b) => a > b ? a : b), 18),
              low: decimal(prices.reduce((a, b) => a < b ? a : b), 18),
              volume: decimal(volumeOf(group), 18),
              trades: group.length,
              change: decimal(scaled(last.price) - scaled(open.price), 18),
              change_ratio: (Number(last.price) - Number(open.price)) / Number(open.price),
            }, `${row.product_id} at ${at}`);
          }
        }
      });

      await t.step(`${when}: deno task stats stores a day, twice the same`, async () => {
        for (const [date, products] of [["2026-01-02", 2], ["2026-07-07", 2], ["2026-03-01", 0]] as const) {
          for (const _ of [1, 2]) {
            const { code, stdout, stderr } = await stats(["--date", date]);
            assert.deepEqual([code, stdout, stderr], [
              0,
              `volatility_metrics of ${date}: ${products} products`,
              "",
            ]);
            const found = await rows(`SELECT * FROM volatility_metrics WHERE date = '${date}'`);
            assert.equal(found.length, products);
            for (const row of found) {
              const next = new Date(Date.parse(date) + 86_400_000).toISOString().slice(0, 10);
              const span: [string, string] = [`${date} 00:00:00`, `${next} 00:00:00`];
              const own = of(String(row.product_id));
              const group = within(own, ...span);
              const { realized_volatility, ...others } = volatilityOf(own, ...span);
              const closes = candlesOf(group, 60).map(({ close }) => close);
              const sizes = sizesOf(group);
              same(row, {
                ...others,
                realized_volatility: nullable(realized_volatility),
                trades: group.length,
                volume: decimal(volumeOf(group), 18),
                max_drawdown: Math.min(...drawdownsOf(closes)),
                beta_to_btc: nullable(together(of("BTC-USD"), own, ...span).beta),
                order_flow_imbalance: imbalanceOf(group),
                mean_trade_size: Number(volumeOf(group)) / 1e18 / group.length,
                median_trade_size: sizes[Math.floor(sizes.length / 2)] ?? "",
              }, `${row.product_id} ${date}`);
            }
          }
        }
        assert.deepEqual(
          await rows("SELECT name FROM system.tables WHERE name LIKE 'volatility_metrics_staging_%'"),
          [],
        );
      });
    };

    const before = [...all.filter((trade) => !gap.includes(trade)), ...edges];
    await check(before, "with a gap");
    await insert(gap);
    await check([...all, ...edges], "filled hours later");

    await t.step("rolling_24h has the open and the last price of the exchange's own ticker", async () => {
      const [row] = await rows(
        "SELECT * FROM rolling_24h(at='2026-01-04 07:30:00') WHERE product_id = 'BTC-USD'",
      );
      const frame = JSON.parse(market.opening("ticker", "BTC-USD")[0]?.text ?? "{}");
      same(row, { open: trimmed(frame.open_24h), last: trimmed(frame.price) }, "ticker");
    });

    await t.step("a day that isn't one, or hasn't begun, is refused in one line", async () => {
      for (
        const [date, expected] of [["2026-02-30", "a day such as 2026-07-07"], [
          "yesterday",
          "a day such as 2026-07-07",
        ], ["2199-01-01", "a day that has begun (UTC)"]]
      ) {
        assert.deepEqual(await stats(["--date", date ?? ""]), {
          code: 2,
          stdout: "",
          stderr: `--date ${date}: expected ${expected}`,
        });
      }
    });
  });
});

/** What doesn't exist is null in JSON. */
function nullable(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
