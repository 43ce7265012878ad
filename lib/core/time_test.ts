import assert from "node:assert/strict";
import { formatMicros, isoMicros, microsOf, nowMicros, parseMicros } from "./time.ts";

Deno.test("time: microseconds survive the way from text to number and back", () => {
  for (
    const text of [
      "1970-01-01T00:00:00.000000Z",
      "2026-07-07T22:58:17.164892Z",
      "2254-12-31T23:59:59.999999Z",
    ]
  ) {
    assert.equal(isoMicros(parseMicros(text)), text);
    assert.equal(formatMicros(parseMicros(text)), text.replace("T", " ").replace("Z", ""));
  }
});

Deno.test("time: missing fraction digits are zeros, those after the sixth are cut", () => {
  const cases: [string, number][] = [
    ["2026-07-07T22:58:17Z", 0],
    ["2026-07-07T22:58:17.5Z", 500_000],
    ["2026-07-07T22:58:17.123456789Z", 123_456],
  ];
  for (const [text, micros] of cases) assert.equal(parseMicros(text) % 1_000_000, micros, text);
});

Deno.test("time: what isn't a UTC time is an error that shows it", () => {
  for (const text of ["", "2026-07-07", "2026-07-07T22:58:17+01:00", "2026-13-01T00:00:00Z"]) {
    assert.throws(() => parseMicros(text), (error: Error) => error.message.endsWith(JSON.stringify(text)));
    assert.equal(microsOf(text), NaN, text);
  }
  assert.equal(microsOf(null), NaN);
});

Deno.test("clock: it never runs backwards by more than its correction, and agrees with the wall clock", () => {
  let before = nowMicros();
  for (let i = 0; i < 10_000; i++) {
    const now = nowMicros();
    assert.ok(now >= before - 3000, `${now} after ${before}`);
    before = now;
  }
  assert.ok(Math.abs(nowMicros() / 1000 - Date.now()) < 5);
});
