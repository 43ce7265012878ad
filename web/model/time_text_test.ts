import assert from "node:assert/strict";
import { clock, dateTime, knownZone, preciseClock, span } from "./time_text.ts";

Deno.test("time text: a time is shown in the zone that was asked for, with the text's milliseconds", () => {
  assert.equal(preciseClock("2026-07-07T22:58:17.123999Z", "UTC"), "22:58:17.123");
  assert.equal(preciseClock("2026-07-07T22:58:17.123999Z", "Asia/Tokyo"), "07:58:17.123");
  assert.equal(dateTime(Date.UTC(2026, 6, 7, 22, 58, 17), "Asia/Tokyo"), "2026-07-08 07:58:17");
  assert.equal(clock(0, "UTC"), "00:00:00");
  assert.equal(dateTime(NaN, "UTC"), "–");
  assert.ok(knownZone("Europe/Berlin") && knownZone("local") && !knownZone("Mars/Olympus"));
});

Deno.test("time text: spans are short", () => {
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
