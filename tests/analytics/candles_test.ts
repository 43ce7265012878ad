/**
 * The views candles and candles_filled against candles computed here from the same trades: bigint decimals.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createSimulation } from "../../exchange/simulation.ts";
import { candleQuery, canonical, type TextRow, trimmed } from "../../lib/ops/proof.ts";
import { insertTrades, type Trade, tradesOf } from "../support/simulated_trades.ts";
import { useDatabases } from "../support/sql_database.ts";

const withDatabase = useDatabases();

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
/** The first Monday after 1970-01-01, in seconds. */
const monday = 4 * 86400;

/** The start of the interval that a moment (seconds) lies in, and the interval's seconds. */
function intervalOf(interval: string, seconds: number): { start: number; length: number } {
  const unit = interval.slice(-1);
  const length = Number(interval.slice(0, -1)) * (unitSeconds[unit] ?? NaN);
  const origin = unit === "w" ? monday : 0;
  return { start: Math.floor((seconds - origin) / length) * length + origin, length };
}

/** The candles that touch the time from `from` up to `to`, as `candleQuery` gives them. */
function expected(trades: readonly Trade[], interval: string, from: string, to: string): TextRow[] {
  const first = intervalOf(interval, unix(from)).start;
  const byStart = Map.groupBy(
    [...trades].sort((left, right) => left.trade_id - right.trade_id),
    ({ time }) => intervalOf(interval, unix(time)).start,
  );
  return [...byStart].filter(([start]) => start >= first && start < unix(to)).map(([start, group]) => {
    const [open, close] = [group[0], group.at(-1)];
    assert(open && close);
    const prices = group.map(({ price }) => scaled(price));
    const sum = (side?: string) =>
      group.reduce(
        (total, { size, taker_side }) => side && side !== taker_side ? total : total + scaled(size),
        0n,
      );
    const quote = group.reduce((total, { price, size }) => total + scaled(price) * scaled(size), 0n);
    return {
      product_id: open.product_id,
      time: text(start),
      open: trimmed(open.price),
      high: decimal(prices.reduce((a, b) => a > b ? a : b), 18),
      low: decimal(prices.reduce((a, b) => a < b ? a : b), 18),
      close: trimmed(close.price),
      volume: decimal(sum(), 18),
      quote_volume: decimal(quote, 36),
      buy_volume: decimal(sum("buy"), 18),
      sell_volume: decimal(sum("sell"), 18),
      trades: String(group.length),
      vwap: decimal(quote / sum(), 18),
    };
  });
}

/** The same with every interval from the first trade on. */
function expectedFilled(trades: readonly Trade[], interval: string, from: string, to: string): TextRow[] {
  const all = expected(trades, interval, "1970-01-05 00:00:00", to);
  const byTime = new Map(all.map((candle) => [candle.time, candle]));
  const { start: first, length } = intervalOf(interval, unix(from));
  let close = all.filter(({ time = "" }) => unix(time) < first).sort((a, b) =>
    unix(a.time ?? "") - unix(b.time ?? "")
  ).at(-1)?.close;
  const rows: TextRow[] = [];
  for (let start = first; start < unix(to); start += length) {
    const candle = byTime.get(text(start));
    close = candle?.close ?? close;
    if (candle) rows.push({ ...candle, is_filled: "false" });
    else if (close !== undefined) {
      const none = { volume: "0", quote_volume: "0", buy_volume: "0", sell_volume: "0", trades: "0" };
      const price = { open: close, high: close, low: close, close, vwap: close };
      rows.push({
        product_id: trades[0]?.product_id ?? "",
        time: text(start),
        ...price,
        ...none,
        is_filled: "true",
      });
    }
  }
  return rows;
}

/** `2026-07-07 12:00:00.5` → seconds; the fraction is kept. */
function unix(time: string): number {
  return Date.parse(`${time.slice(0, 10)}T${time.slice(11, 19)}Z`) / 1000 +
    Number(`0.${time.slice(20) || 0}`);
}

function text(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")}.000000`;
}

function scaled(value: string): bigint {
  const [whole = "0", fraction = ""] = value.split(".");
  return BigInt(whole + fraction.padEnd(18, "0"));
}

function decimal(value: bigint, digits: number): string {
  const padded = value.toString().padStart(digits + 1, "0");
  return trimmed(`${padded.slice(0, -digits)}.${padded.slice(-digits)}`);
}

/** Three weeks of a slow simulated market: most seconds and many minutes are empty. */
function simulated(products: string[]): Trade[] {
  const end = Date.UTC(2026, 0, 22, 5) * 1000;
  const market = createSimulation({ seed: "candles", products, rate: 0.015, clock: () => end });
  return products.flatMap((product) => tradesOf(market, product));
}

/** Times are those of July 2026 (`06` is a Monday); trade_id order is not time order. */
const edges: Trade[] = ([
  // The last microsecond of a week and the first of the next one.
  [1, "05 23:59:59.999999", "1000000", "0.00000001", "buy"],
  [2, "06 00:00:00.000000", "0.00000001", "0.00000001", "sell"],
  // Three trades of one microsecond.
  [3, "06 00:00:30.000000", "0.00000003", "123456789.12345678", "buy"],
  [4, "06 00:00:30.000000", "0.00000002", "1", "buy"],
  [5, "06 00:00:30.000000", "999999.99", "0.00000001", "sell"],
  // The later id has the earlier time: by a microsecond, by a second and a minute, by an hour and a day.
  [6, "07 10:00:59.000001", "2", "1.1", "buy"],
  [7, "07 10:00:59.000000", "3", "1.2", "sell"],
  [8, "07 11:01:00.000000", "5", "0.1", "sell"],
  [9, "07 11:00:59.999999", "6", "0.1", "buy"],
  [10, "08 00:00:00.000000", "7", "0.1", "sell"],
  [11, "07 23:59:59.999999", "8", "0.1", "buy"],
  // Nothing for a day, then the day's end.
  [12, "09 23:59:59.999999", "4", "0.5", "buy"],
  // Volumes on both sides of where vwap is divided another way, with all digits used.
  [13, "10 12:00:00.000000", "999999.999999999999999999", "99999999999.123456789", "sell"],
  [14, "10 12:00:01.000000", "999999.999999999999999999", "99999999.123456789012345678", "buy"],
  [15, "10 12:00:02.000000", "0.000000000000000003", "0.000000000000000007", "buy"],
] as const).map(([trade_id, time, price, size, taker_side]) => ({
  product_id: "EDGE-USD",
  trade_id,
  time: `2026-07-${time}`,
  price,
  size,
  taker_side,
}));

const one: Trade[] = [{
  product_id: "ONE-USD",
  trade_id: 77,
  time: "2026-07-07 12:34:56.789012",
  price: "1.5",
  size: "0.1",
  taker_side: "sell",
}];

Deno.test("candles: those of any interval and range, filled or not, are those of the trades", async (t) => {
  await withDatabase(async (database) => {
    const { rows } = database;
    const insert = (trades: readonly Trade[]) => insertTrades(database, trades);
    const call = (view: string, product: string, interval: string, from: string, to: string) =>
      `${view}(product='${product}', interval='${interval}', from='${from}', to='${to}')`;
    const candles = (...[product, interval, from, to]: [string, string, string, string]) =>
      rows<TextRow>(candleQuery(call("candles", product, interval, from, to)));
    const filled = (...[product, interval, from, to]: [string, string, string, string]) =>
      rows<TextRow>(
        candleQuery(call("candles_filled", product, interval, from, to))
          .replace("SELECT", "SELECT toString(is_filled) AS is_filled,"),
      );

    const products = ["BTC-USD", "DOGE-USD"];
    const market = simulated(products);
    const of = (product: string) =>
      [...market, ...edges, ...one].filter(({ product_id }) => product_id === product);
    // A gap is filled later: every tenth trade comes in a block of its own, after all others.
    const late = market.filter(({ trade_id }) => trade_id % 10 === 0);
    await insert(market.filter(({ trade_id }) => trade_id % 10 !== 0));
    const gappy = canonical(await candles("BTC-USD", "1d", "2026-01-01 00:00:00", "2026-02-01 00:00:00"));
    await insert(late);
    await insert(edges.toReversed());
    await insert(one);

    await t.step("a filled gap changes the candles it belongs to", async () => {
      const now = canonical(await candles("BTC-USD", "1d", "2026-01-01 00:00:00", "2026-02-01 00:00:00"));
      assert.equal(gappy.length, 22);
      assert(now.every((candle) => !gappy.includes(candle)));
    });

    const whole: [string, string] = ["2026-01-01 00:00:00", "2026-02-01 00:00:00"];
    const summer: [string, string] = ["2026-07-01 00:00:00", "2026-07-20 00:00:00"];
    const cases: [product: string, interval: string, from: string, to: string][] = [
      ...["1s", "7s", "1m", "5m", "90m", "1h", "4h", "36h", "1d", "3d", "1w", "2w"].map(
        (interval): [string, string, string, string] => ["BTC-USD", interval, ...whole],
      ),
      // From inside an interval into another one, with microseconds.
      ["DOGE-USD", "15m", "2026-01-03 11:07:03.000001", "2026-01-05 02:00:00.000001"],
      ["DOGE-USD", "15m", "2026-01-03 11:15:00", "2026-01-05 02:00:00"],
      ["DOGE-USD", "1w", "2026-01-07 12:00:00", "2026-01-19 00:00:00"],
      ...["1s", "2s", "30s", "1m", "2m", "5h", "1d", "3d", "1w"].map(
        (interval): [string, string, string, string] => ["EDGE-USD", interval, ...summer],
      ),
      ["ONE-USD", "1s", ...summer],
      ["ONE-USD", "1w", ...summer],
      ["NONE-USD", "1m", ...summer],
      // Before any trade, and a range of no length.
      ["ONE-USD", "1d", "2026-07-01 00:00:00", "2026-07-07 00:00:00"],
    ];
    for (const [product, interval, from, to] of cases) {
      await t.step(`${interval} of ${product} from ${from} to ${to}`, async () => {
        const want = canonical(expected(of(product), interval, from, to));
        assert.deepEqual(canonical(await candles(product, interval, from, to)), want);
      });
    }

    const fills: [product: string, interval: string, from: string, to: string][] = [
      ["BTC-USD", "1m", "2026-01-10 00:00:00", "2026-01-11 00:00:00"],
      ["BTC-USD", "10s", "2026-01-10 23:50:00", "2026-01-11 00:30:05"],
      ["DOGE-USD", "1h", "2026-01-20 00:00:00", "2026-01-24 00:30:00"],
      // The product's first trade lies in the range, the last one long before its end.
      ["EDGE-USD", "6h", ...summer],
      ["EDGE-USD", "2m", "2026-07-07 11:05:00", "2026-07-07 11:10:00"],
      ["EDGE-USD", "2d", "2026-07-09 00:00:00", "2026-07-10 00:00:00"],
      ["EDGE-USD", "1m", "2026-07-05 23:58:30", "2026-07-06 00:02:30"],
      ["EDGE-USD", "1d", "2026-07-08 12:00:00", "2026-07-14 00:00:00"],
      // The last trade is older than the range; its interval began before it.
      ["ONE-USD", "1s", "2026-07-07 12:34:57", "2026-07-07 12:35:03"],
      ["ONE-USD", "1w", "2026-07-27 00:00:00", "2026-08-24 00:00:00"],
      ["ONE-USD", "1m", "2026-07-07 12:00:00", "2026-07-07 12:30:00"],
      ["NONE-USD", "1h", ...summer],
    ];
    for (const [product, interval, from, to] of fills) {
      await t.step(`${interval} of ${product} without gaps from ${from} to ${to}`, async () => {
        const want = canonical(expectedFilled(of(product), interval, from, to));
        assert.deepEqual(canonical(await filled(product, interval, from, to)), want);
      });
    }

    await t.step("a range without length or backwards is empty", async () => {
      const [noon, later] = ["2026-07-07 12:00:00", "2026-07-07 12:34:57"];
      assert.deepEqual(await candles("ONE-USD", "1h", later, later), []);
      assert.deepEqual(await filled("ONE-USD", "1h", later, later), []);
      assert.deepEqual(await candles("ONE-USD", "1d", later, noon), []);
      assert.deepEqual(await filled("ONE-USD", "1d", later, noon), []);
    });

    await t.step("no interval is filled that hasn't begun yet", async () => {
      const [row] = await rows(
        `SELECT max(time) <= now() AND max(time) > now() - INTERVAL 2 DAY AS ok
        FROM ${call("candles_filled", "ONE-USD", "1d", "2026-07-01 00:00:00", "2100-01-01 00:00:00")}`,
      );
      assert.equal(Number(row?.ok), 1);
    });

    await t.step(
      "nothing but the coarsest kept interval that divides the one asked for is read",
      async () => {
        for (
          const [interval, base] of [["2s", "1s"], ["5m", "1m"], ["36h", "1h"], ["1w", "1d"], ["1m", "1m"]]
        ) {
          const plan = await rows(
            `EXPLAIN indexes = 1 SELECT count() FROM ${call("candles", "BTC-USD", interval ?? "", ...whole)}`,
          );
          const conditions = plan.flatMap(({ explain }) =>
            /Condition: .*\binterval in .*/.exec(String(explain)) ?? []
          );
          assert.ok(conditions.length > 0, JSON.stringify(plan));
          for (const condition of conditions) {
            assert.ok(
              condition.includes(`(interval in ['${base}', '${base}'])`),
              `${interval}: ${condition}`,
            );
          }
        }
      },
    );

    await t.step("an interval that isn't one says what is", async () => {
      for (const interval of ["", "m", "0m", "-1m", "1.5h", "5", "1M", "1y", " 1m", "12345678s"]) {
        const attempt = candles("BTC-USD", interval, ...whole);
        await assert.rejects(attempt, /interval: expected a whole number and s, m, h, d or w/, interval);
      }
    });
  });
});
