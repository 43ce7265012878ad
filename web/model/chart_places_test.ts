import assert from "node:assert/strict";
import type { Candle } from "./api_types.ts";
import {
  addCandles,
  emptyPlaces,
  layOut,
  lengthOf,
  type PlaceChange,
  rangeOf,
  tickPlaces,
  updateCandle,
} from "./chart_places.ts";

function candle(minutes: number, trades = 1): Candle {
  const time = new Date(minutes * 60_000).toISOString();
  return { time, open: "1", high: "2", low: "1", close: "1", volume: "1", trades, vwap: "1" };
}

/** An axis of minutes with these candles. */
function placesWith(...minutes: number[]) {
  const places = emptyPlaces();
  addCandles(places, minutes.map((minute) => candle(minute)));
  layOut(places);
  return places;
}

/** Minutes of what is drawn: `3` a candle, `(3)` an empty place, `3!` one that isn't the last. */
function drawn(changes: PlaceChange[] | null): string | undefined {
  return changes?.map(({ place, isHistorical }) => {
    const minute = place.start / 60;
    return ("candle" in place ? `${minute}` : `(${minute})`) + (isHistorical ? "!" : "");
  }).join(" ");
}

Deno.test("chart places: a candle that changes is drawn alone, a new one with the empty places before it", () => {
  const places = placesWith(1, 2);
  assert.equal(drawn(updateCandle(places, candle(2, 5))), "2");
  assert.equal(drawn(updateCandle(places, candle(5))), "(3) (4) 5");
  assert.equal(drawn(updateCandle(places, candle(2, 6))), "2!");
  assert.deepEqual(rangeOf(places), { first: 60, last: 300 });
  assert.equal(lengthOf(places), 5);
});

Deno.test("chart places: an older state of a candle draws nothing, and neither does one without a time", () => {
  const places = placesWith(1, 2);
  updateCandle(places, candle(2, 5));
  assert.equal(drawn(updateCandle(places, candle(2, 4))), "");
  assert.equal(drawn(updateCandle(places, { ...candle(2), time: "now" })), "");
});

Deno.test("chart places: a candle that comes first, between others or after a long silence is added like a page", () => {
  assert.equal(updateCandle(emptyPlaces(), candle(1)), null);
  assert.equal(updateCandle(placesWith(1, 3), candle(2)), null);
  assert.equal(updateCandle(placesWith(1), candle(5_000)), null);
});

Deno.test("chart places: the clock appends empty places, and a late candle takes its own", () => {
  const places = placesWith(1);
  assert.equal(drawn(tickPlaces(places, 4 * 60 + 30)), "(2) (3)");
  assert.equal(drawn(tickPlaces(places, 4 * 60 + 30)), "");
  assert.equal(drawn(updateCandle(places, candle(2))), "2!");
  assert.equal(drawn(tickPlaces(places, 500 * 60)), "", "the machine slept");
});

Deno.test("chart places: a change knows its neighbours", () => {
  const places = placesWith(1, 2, 3);
  const [change] = updateCandle(places, candle(2, 9)) ?? [];
  assert.deepEqual([change?.before?.start, change?.after?.start], [60, 180]);
  const [first] = updateCandle(placesWith(1), candle(2)) ?? [];
  assert.deepEqual([first?.before?.start, first?.after], [60, undefined]);
});
