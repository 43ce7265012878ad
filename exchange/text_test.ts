import { deepEqual, equal, throws } from "node:assert/strict";
import { iso, padded, trimmed, unitsOf } from "./text.ts";

Deno.test("text: padded decimals keep every digit, trimmed ones drop the zeros at the end", () => {
  const cases: [number, number, string, string][] = [
    [6351460, 2, "63514.60", "63514.6"],
    [6351400, 2, "63514.00", "63514"],
    [1, 8, "0.00000001", "0.00000001"],
    [20000000, 8, "0.20000000", "0.2"],
    [0, 8, "0.00000000", "0"],
    [2129922430899, 8, "21299.22430899", "21299.22430899"],
    [120, 0, "120", "120"],
    [15, 1, "1.5", "1.5"],
  ];
  for (const [units, digits, long, short] of cases) {
    deepEqual([padded(units, digits), trimmed(units, digits)], [long, short]);
    equal(unitsOf(long, digits), BigInt(units));
    equal(unitsOf(short, digits), BigInt(units));
  }
});

Deno.test("text: a decimal with too many digits, a sign or an exponent is refused", () => {
  for (const text of ["0.123", "-1", "1e3", "", ".5", "0.-10000"]) throws(() => unitsOf(text, 2), RangeError);
});

Deno.test("text: times keep their microseconds, whatever was written before them", () => {
  equal(iso(1783465097123456), "2026-07-07T22:58:17.123456Z");
  equal(iso(1783465097000001), "2026-07-07T22:58:17.000001Z");
  equal(iso(1783465098000000), "2026-07-07T22:58:18.000000Z");
});
