import assert from "node:assert/strict";
import { intervalStart, parseInterval, week } from "./interval.ts";

Deno.test("interval: one reaches from a second to a year, or as far as the caller allows", () => {
  assert.deepEqual(parseInterval("90s"), { name: "90s", micros: 90_000_000, origin: 0 });
  assert.deepEqual(parseInterval("366d"), { name: "366d", micros: 366 * 86_400e6, origin: 0 });
  assert.equal(parseInterval("604800s", week)?.micros, week);
  for (
    const wrong of ["", "0m", "01m", "1", "m", "1M", " 1m", "1y", "1.5h", "-1m", "1m;DROP", "367d", "53w"]
  ) {
    assert.equal(parseInterval(wrong), undefined, wrong);
  }
  for (const long of ["8d", "2w", "604801s", "9999999s"]) {
    assert.equal(parseInterval(long, week), undefined, long);
  }
});

Deno.test("interval: all are counted from the epoch, weeks from Monday", () => {
  const start = (name: string, time: number) => intervalStart(time * 1000, parseInterval(name)!) / 1000;
  assert.equal(start("1m", 119_999), 60_000);
  // 2026-11-24 is a Tuesday; its week began on the 23rd, its 7 days on Thursday the 19th.
  const tuesday = Date.UTC(2026, 10, 24, 15);
  assert.equal(start("1w", tuesday), Date.UTC(2026, 10, 23));
  assert.equal(start("1w", Date.UTC(2026, 6, 12, 23, 59)), Date.UTC(2026, 6, 6));
  assert.equal(start("1w", Date.UTC(2026, 6, 13)), Date.UTC(2026, 6, 13));
  assert.equal(start("7d", tuesday), Date.UTC(2026, 10, 19));
});
