import assert from "node:assert/strict";
import { chooseDays, chooseTables, lastDroppable } from "./day_choice.ts";

Deno.test("chooseDays(): one day, several, or the last ones; each must be over", () => {
  const now = new Date("2026-03-02T00:00:01Z");
  assert.deepEqual(chooseDays({}, now), ["2026-03-01"]);
  assert.deepEqual(chooseDays({}, now, 3), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.deepEqual(chooseDays({ date: "2026-02-20" }, now, 3), ["2026-02-20"]);
  assert.deepEqual(chooseDays({ date: "2026-02-28" }, now), ["2026-02-28"]);
  assert.deepEqual(chooseDays({ from: "2026-02-27" }, now), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.deepEqual(chooseDays({ from: "2024-02-28", to: "2024-03-01" }, now), [
    "2024-02-28",
    "2024-02-29",
    "2024-03-01",
  ]);
  const cases: [Parameters<typeof chooseDays>[0], RegExp][] = [
    [{ date: "2026-03-02" }, /^--date 2026-03-02: expected a day that is over \(UTC\)$/],
    [{ date: "2026-02-30" }, /^--date 2026-02-30: expected a day such as/],
    [{ date: "yesterday" }, /^--date yesterday: expected a day such as/],
    [{ date: "2026-02-28", to: "2026-02-28" }, /^--date is one day/],
    [{ to: "2026-02-28" }, /^--to needs --from$/],
    [{ from: "2026-02-28", to: "2026-02-27" }, /^--from 2026-02-28 is after --to 2026-02-27$/],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => chooseDays(options, now), { name: "ConfigError", message });
  }
});

Deno.test("lastDroppable(): whole days before today are kept", () => {
  assert.equal(lastDroppable(7, new Date("2026-07-15T23:59:59Z")), "2026-07-07");
  assert.equal(lastDroppable(0, new Date("2026-07-15T00:00:00Z")), "2026-07-14");
});

Deno.test("chooseTables(): by name, and others are named", () => {
  assert.deepEqual(chooseTables("tickers, trades"), ["tickers", "trades"]);
  assert.equal(chooseTables(undefined).length, 5);
  assert.throws(() => chooseTables("candles_1m"), {
    message: /^--table candles_1m: expected trades, tickers, /,
  });
});
