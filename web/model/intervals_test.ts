import assert from "node:assert/strict";
import { placeOf, readInterval, secondsOf } from "./intervals.ts";

Deno.test("intervals: one is read as people write it, up to a week", () => {
  assert.equal(readInterval(" 4H ")?.name, "4h");
  assert.equal(secondsOf(readInterval("90s")!), 90);
  for (const wrong of ["", "0m", "1.5m", "1y", "500d", "8d"]) assert.equal(readInterval(wrong), null, wrong);
});

Deno.test("intervals: a place on the chart is the start of an interval, in seconds", () => {
  assert.equal(placeOf(119.5, readInterval("1m")!), 60);
  assert.equal(placeOf(Date.UTC(2026, 10, 24) / 1000, readInterval("1w")!), Date.UTC(2026, 10, 23) / 1000);
});
