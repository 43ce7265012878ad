import assert from "node:assert/strict";
import { formatDecimal, parseDecimal } from "./decimal.ts";

Deno.test("decimal: every digit stays on the way to bigints and back", () => {
  const cases: [text: string, units: bigint, trimmed: string][] = [
    ["0", 0n, "0"],
    ["64000.1200", 64_000_120_000_000_000_000_000n, "64000.12"],
    ["0.000000000000000001", 1n, "0.000000000000000001"],
    ["99999999999999999999.999999999999999999", 10n ** 38n - 1n, "99999999999999999999.999999999999999999"],
    ["100", 10n ** 20n, "100"],
    ["007.5", 75n * 10n ** 17n, "7.5"],
    ["-0.5", -5n * 10n ** 17n, "-0.5"],
    ["-64000.1200", -64_000_120_000_000_000_000_000n, "-64000.12"],
    ["0.0000000000000000019", 1n, "0.000000000000000001"],
  ];
  for (const [text, units, trimmed] of cases) {
    assert.equal(parseDecimal(text), units);
    assert.equal(formatDecimal(units), trimmed);
  }
  assert.equal(formatDecimal(parseDecimal("1.5", 36), 36), "1.5");
});

Deno.test("decimal: what isn't one is an error", () => {
  for (const text of ["1e5", "x", "1.x"]) assert.throws(() => parseDecimal(text), SyntaxError, text);
});
