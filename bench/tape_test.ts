import assert from "node:assert/strict";
import { readStatusLines, rowOf } from "./tape.ts";

const line = (frames: string, lag: string, p50: string, p99: string) =>
  `frames/s ${frames} · rows/s 2,000 · lag ${lag} · freshness p50 ${p50}, p99 ${p99} · rejected 0\n`;

Deno.test("bench tape: every line of dev's state is read, also one without a freshness or with a long one", () => {
  const text =
    `  page  http://127.0.0.1:8080/\n${line("1,250", "3", "100 ms", "500 ms")}${line("0", "0", "–", "–")}` +
    `the consumer ended; it is started again\n${line("900", "120345", "over 2 min", "over 2 min")}`;
  assert.deepEqual(readStatusLines(text), [
    { frames: 1250, rows: 2000, lag: 3, p50: 100, p99: 500 },
    { frames: 0, rows: 2000, lag: 0, p50: undefined, p99: undefined },
    { frames: 900, rows: 2000, lag: 120345, p50: Infinity, p99: Infinity },
  ]);
});

Deno.test("bench tape: the first ten seconds are left out, though nothing was stored in them", () => {
  const lines = readStatusLines(
    line("1", "1", "–", "–") + line("2", "2", "–", "–") + line("10", "3", "100 ms", "200 ms") +
      line("20", "4", "–", "–") + line("30", "5", "over 2 min", "over 2 min") +
      line("40", "6", "300 ms", "400 ms"),
  );
  assert.deepEqual(rowOf(60, lines), {
    "trades and tickers a second": 60,
    "frames/s": 30,
    "rows/s": 2000,
    "freshness p50, ms": 300,
    "freshness p99, ms": 400,
    "its worst p99, ms": "over 2 min",
    "lag at the end": 6,
  });
});

Deno.test("bench tape: fewer than three readings of freshness are no figure", () => {
  const two = line("1", "0", "100 ms", "200 ms").repeat(4) + line("1", "0", "–", "–").repeat(3);
  assert.throws(
    () => rowOf(60, readStatusLines(two)),
    /^Error: at 60 a second dev told 2 times after 10 s .*\(--seconds\)$/,
  );
});
