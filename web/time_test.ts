import assert from "node:assert/strict";
import { bucket, clock, dateTime, knownZone, micros, parseInterval, preciseClock, span } from "./time.ts";

function interval(text: string) {
  const parsed = parseInterval(text);
  assert.ok(parsed !== null, text);
  return parsed;
}

Deno.test("an interval is a whole number and s, m, h, d or w", () => {
  assert.deepEqual(parseInterval("90s"), { text: "90s", seconds: 90 });
  assert.deepEqual(parseInterval(" 4H "), { text: "4h", seconds: 14_400 });
  for (const wrong of ["", "0m", "1.5m", "1y", "-1m", "1m;DROP", "500d", "8d"]) {
    assert.equal(parseInterval(wrong), null, wrong);
  }
});

Deno.test("intervals are counted from the epoch, weeks from Monday", () => {
  assert.equal(bucket(119, interval("1m")), 60);
  // 2026-11-24 is a Tuesday; its week began on the 23rd, its 7 days on Thursday the 19th.
  const tuesday = Date.UTC(2026, 10, 24, 15) / 1000;
  assert.equal(bucket(tuesday, interval("1w")), Date.UTC(2026, 10, 23) / 1000);
  assert.equal(bucket(tuesday, interval("7d")), Date.UTC(2026, 10, 19) / 1000);
});

Deno.test("microseconds of a time survive", () => {
  assert.equal(micros("2026-07-07T22:58:17.123456Z"), 1783465097123456);
  assert.equal(micros("2026-07-07 22:58:17"), 1783465097000000);
  assert.ok(Number.isNaN(micros("yesterday")));
  assert.ok(Number.isNaN(micros(null)));
});

Deno.test("a time is shown in the zone that was asked for, with the text's milliseconds", () => {
  assert.equal(preciseClock("2026-07-07T22:58:17.123999Z", "UTC"), "22:58:17.123");
  assert.equal(preciseClock("2026-07-07T22:58:17.123999Z", "Asia/Tokyo"), "07:58:17.123");
  assert.equal(dateTime(Date.UTC(2026, 6, 7, 22, 58, 17), "Asia/Tokyo"), "2026-07-08 07:58:17");
  assert.equal(clock(0, "UTC"), "00:00:00");
  assert.equal(dateTime(NaN, "UTC"), "–");
  assert.ok(knownZone("Europe/Berlin") && knownZone("local") && !knownZone("Mars/Olympus"));
});

Deno.test("spans are short", () => {
  assert.deepEqual([12, 1234, 45_000, 300_000, 7_200_000, 400_000_000].map(span), [
    "12 ms",
    "1.2 s",
    "45 s",
    "5 min",
    "2 h",
    "5 d",
  ]);
  assert.equal(span(NaN), "–");
});
