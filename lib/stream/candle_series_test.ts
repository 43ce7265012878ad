import assert from "node:assert/strict";
import { parseInterval } from "../core/interval.ts";
import { CandleSeries, keptCandles, mergeSums, type StoredRun, sumsOf, type Trade } from "./candle_series.ts";

const minute = parseInterval("1m")!;
const trade = (
  id: number,
  seconds: number,
  price: string,
  size = "1",
  takerSide: "buy" | "sell" = "buy",
): Trade => ({
  id,
  time: seconds * 1e6,
  price,
  size,
  takerSide,
});

/** The runs that ClickHouse would answer with: each trade alone, or joined. */
function runOf(start: number, ...trades: Trade[]): StoredRun {
  return { start, ...trades.map(sumsOf).reduce(mergeSums) };
}

const empty = { history: [], runs: [], since: 0, now: 0 };

Deno.test("candle series: open and close go by trade id, not by time or order of arrival; sums are exact", () => {
  const series = new CandleSeries(minute, empty);
  for (
    const one of [
      trade(11, 70, "10.5", "0.000000000000000001"),
      trade(13, 60, "9", "2", "sell"),
      trade(10, 90, "11", "0.1"),
    ]
  ) {
    series.advance(one.time);
    assert.equal(series.add(one), 60e6);
  }
  assert.deepEqual(series.row(60e6), {
    time: "1970-01-01T00:01:00.000000Z",
    open: "11",
    high: "11",
    low: "9",
    close: "9",
    volume: "2.100000000000000001",
    quote_volume: "19.1000000000000000105",
    buy_volume: "0.100000000000000001",
    sell_volume: "2",
    trades: 3,
    vwap: "9.095238095238095238",
    is_filled: false,
    closed: false,
  });
});

Deno.test("candle series: a trade counts once, whether ClickHouse or the live feed or both have it", () => {
  const stored = [trade(1, 61, "10"), trade(2, 62, "12"), trade(4, 64, "11")];
  const series = new CandleSeries(minute, {
    history: [],
    runs: [runOf(60e6, stored[0]!, stored[1]!), runOf(60e6, stored[2]!)],
    since: 60e6,
    now: 64e6,
  });
  for (const one of stored) assert.equal(series.add(one), undefined);
  assert.equal(series.add(trade(3, 63, "9")), 60e6);
  assert.equal(series.add(trade(3, 63, "9")), undefined);
  assert.equal(series.add(trade(0, 59, "9")), undefined, "older than what is kept");
  const { open, high, low, close, trades } = series.row(60e6);
  assert.deepEqual({ open, high, low, close, trades }, {
    open: "10",
    high: "12",
    low: "9",
    close: "11",
    trades: 4,
  });
  assert.equal(series.lastId, 4);
});

Deno.test("candle series: a candle closes with the first moment past its end, and a late trade still corrects it", () => {
  const series = new CandleSeries(minute, empty);
  series.advance(61e6);
  series.add(trade(1, 61, "10"));
  assert.deepEqual(series.advance(119.999999e6), []);
  assert.deepEqual(series.advance(120e6), [60e6]);
  assert.deepEqual(series.advance(120e6), []);
  assert.equal(series.row(60e6).closed, true);
  series.add(trade(3, 130, "12"));
  assert.equal(series.add(trade(2, 62, "11")), 60e6);
  assert.deepEqual([series.row(60e6).close, series.row(60e6).trades], ["11", 2]);
  assert.deepEqual(series.rows(10).map(({ trades, closed }) => [trades, closed]), [[2, true], [1, false]]);
});

Deno.test("candle series: candles that nothing can change any more become history, whose length is bounded", () => {
  const series = new CandleSeries(minute, empty);
  for (let id = 1; id <= 400; id++) {
    const one = trade(id, id * 60, String(id));
    series.advance(one.time);
    series.add(one);
  }
  const rows = series.rows(1000);
  assert.equal(rows.length, 300 + keptCandles);
  assert.deepEqual(
    rows.map(({ open }) => Number(open)),
    Array.from(rows, (_, i) => 400 - rows.length + 1 + i),
  );
  assert.equal(series.add(trade(1000, 60, "1")), undefined);
  assert.equal(series.rows(3).at(-1)?.close, "400");
});
