import assert from "node:assert/strict";
import { isWithin } from "./settled.ts";

Deno.test("settled is what lies between the first and the newest trade, away from holes", () => {
  const known = { first: 1_000, last: 500_000_000, gaps: [[100_000_000, 110_000_000]] as [number, number][] };
  const cases: [from: number, to: number, settled: boolean][] = [
    [2_000, 50_000_000, true],
    [1_000, 50_000_000, false],
    [2_000, 100_000_000, true],
    [2_000, 100_000_001, false],
    [105_000_000, 106_000_000, false],
    [110_000_000, 120_000_000, false],
    [110_000_001, 120_000_000, true],
    [200_000_000, 439_999_999, true],
    [200_000_000, 440_000_000, false],
  ];
  for (const [from, to, settled] of cases) assert.equal(isWithin(known, from, to), settled, `${from} ${to}`);
});
