import assert from "node:assert/strict";
import type { Candle } from "./api_types.ts";
import { minuteInterval } from "./intervals.ts";
import {
  between,
  longestRun,
  merge,
  missingSpans,
  placesOf,
  spanPlaces,
  type UnknownSpan,
  usualInterval,
} from "./candles.ts";

const minute = minuteInterval;

function candle(minutes: number, close = "1"): Candle {
  const time = new Date(minutes * 60_000).toISOString();
  return { time, open: "1", high: "2", low: "1", close, volume: "1", trades: 1, vwap: "1" };
}

function gap(from: number, to: number): UnknownSpan {
  return { from, to, kind: "trades", missing: 1, text: "" };
}

Deno.test("candles: pages are merged by time, the newer one of a candle stays, filled ones are left out", () => {
  const list = merge(merge([], [candle(1), candle(2)]), [
    candle(2, "7"),
    candle(0),
    { ...candle(3), is_filled: true },
  ]);
  assert.deepEqual(list.map(({ start, close }) => [start, close]), [[0, "1"], [60, "1"], [120, "7"]]);
});

Deno.test("candles: a candle with fewer trades is an older state and replaces nothing", () => {
  const list = merge([], [{ ...candle(1, "5"), trades: 9 }]);
  assert.equal(merge(list, [{ ...candle(1, "4"), trades: 8 }])[0]?.close, "5");
  assert.equal(merge(list, [{ ...candle(1, "6"), trades: 10 }])[0]?.close, "6");
});

Deno.test("candles: a tape that has just begun is shown by the second, then by five, then by the minute", () => {
  assert.deepEqual([0, 179, 180, 1_199, 1_200].map(usualInterval), ["1s", "1s", "5s", "5s", "1m"]);
});

Deno.test("candles: an interval without trades is an empty place, or repeats the close when asked to", () => {
  const list = merge([], [candle(0, "5"), candle(3)]);
  const empty = placesOf(list, minute, { fill: false, gaps: [] });
  assert.deepEqual(empty.places.slice(1, 3), [{ start: 60 }, { start: 120 }]);
  const filled = placesOf(list, minute, { fill: true, gaps: [] });
  assert.deepEqual(filled.places.slice(1, 3), [{ start: 60, filled: "5" }, { start: 120, filled: "5" }]);
});

Deno.test("candles: a gap of the tape is never filled", () => {
  const list = merge([], [candle(0, "5"), candle(4)]);
  const { places } = placesOf(list, minute, { fill: true, gaps: [gap(130, 140)] });
  assert.deepEqual(places.slice(1, 4), [{ start: 60, filled: "5" }, { start: 120 }, {
    start: 180,
    filled: "5",
  }]);
});

Deno.test("candles: a long stretch without trades is cut in the middle", () => {
  const { starts, cut } = between(0, 60 * 5_000, minute);
  assert.equal(starts.length, longestRun);
  assert.deepEqual(cut, { from: 60 * 500, to: 60 * 4_500 });
  assert.deepEqual(starts.slice(499, 501), [60 * 500, 60 * 4_500]);
  assert.deepEqual(between(0, 60, minute), { starts: [], cut: null });
});

Deno.test("candles: the gaps of a product say which trades are missing and which places they touch", () => {
  const gap = {
    first_missing: 11,
    last_missing: 13,
    missing: 3,
    after_time: "1970-01-01T00:01:59.500000Z",
    before_time: "1970-01-01T00:03:00.000000Z",
  };
  const gaps = missingSpans(
    [{ ...gap, product_id: "A-B", status: "open" }, { ...gap, product_id: "C-D" }],
    "A-B",
  );
  assert.deepEqual(gaps, [
    { from: 119.5, to: 180, kind: "trades", missing: 3, text: "trades 11–13 are missing (open)" },
  ]);
  assert.deepEqual(gaps.map((each) => spanPlaces(each, minute)), [{ first: 60, last: 180 }]);
});
