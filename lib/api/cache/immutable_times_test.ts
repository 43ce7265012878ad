import assert from "node:assert/strict";
import type { ReadClient } from "../read_client.ts";
import { createImmutableTimes, isWithin } from "./immutable_times.ts";

Deno.test("immutable times: they lie between the first and the newest trade, away from gaps", () => {
  const known = { first: 1_000, last: 500_000_000, gaps: [[100_000_000, 110_000_000]] as [number, number][] };
  const cases: [from: number, to: number, immutable: boolean][] = [
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
  for (const [from, to, immutable] of cases) {
    assert.equal(isWithin(known, from, to), immutable, `${from} ${to}`);
  }
});

Deno.test("immutable times: they are believed for ten seconds, and not while they are asked for again", async () => {
  let now = 0;
  let answer = Promise.resolve([{ first: 1_000, last: 500_000_000, gaps: [] as [number, number][] }]);
  let asked = 0;
  const rows = () => {
    asked++;
    return answer;
  };
  const times = createImmutableTimes({ rows } as unknown as ReadClient, () => now);
  const isImmutable = () => times.isImmutable("A-B", 2_000, 50_000_000);
  const turn = () => new Promise((resolve) => setTimeout(resolve));
  assert.equal(isImmutable(), false, "not known yet");
  await turn();
  assert.equal(isImmutable(), true);
  now = 10_000;
  assert.equal(isImmutable(), true);
  assert.equal(asked, 1);
  // A gap opened meanwhile: what was known is too old to promise a year.
  answer = Promise.resolve([{
    first: 1_000,
    last: 500_000_000,
    gaps: [[10_000, 20_000]] as [number, number][],
  }]);
  now = 10_001;
  assert.equal(isImmutable(), false, "too old");
  await turn();
  assert.equal(isImmutable(), false, "a gap touches it");
  assert.equal(asked, 2);
});
