import assert from "node:assert/strict";
import { contradiction, spanOf, type TradeMark, weigh } from "./evidence.ts";
import type { Run } from "../core/id_ranges.ts";

type Ids = [number, number][];
const runs = (ids: Ids): Run[] => ids.map(([first, last]) => ({ first, last }));
const ids = (found: readonly Run[]): Ids => found.map(({ first, last }) => [first, last]);
/** Trades are made one a second: trade 100 at second 100. */
const marks = (...ids: number[]): TradeMark[] => ids.map((id) => ({ id, time: id * 1e6 }));

Deno.test("evidence: an answer proves only what lies between its own newest and oldest row", () => {
  // Asked for 11 to 15; 10 and 16 are stored. What the answers list, and what follows.
  const cases: [string, number[][], Ids, Ids][] = [
    ["all are there", [[16, 15, 14, 13, 12, 11, 10]], [], []],
    ["one is left out", [[16, 15, 14, 12, 11, 10]], [[13, 13]], []],
    ["all are left out", [[16, 10]], [[11, 15]], []],
    ["REST has nothing newer: it may be older than the trade", [[14, 13, 11, 10]], [[12, 12]], [[15, 15]]],
    ["REST is behind all of it", [[10, 9, 8]], [], [[11, 15]]],
    ["nothing older is listed: the page was cut off, or history ends there", [[16, 15]], [], [[11, 14]]],
    ["an empty page", [[]], [], [[11, 15]]],
    ["no answer was understood", [], [], [[11, 15]]],
    ["two answers that overlap", [[16, 14], [14, 11, 10]], [[12, 13], [15, 15]], []],
    ["two answers with a space between them", [[16, 14], [12, 10]], [[11, 11], [15, 15]], [[13, 13]]],
    ["other ids altogether", [[5, 4, 3]], [], [[11, 15]]],
  ];
  for (const [name, answers, absent, unproven] of cases) {
    const served = answers.flat().map((id) => ({ first: id, last: id }));
    const spans = answers.flatMap((list) => spanOf(marks(...list)) ?? []);
    const found = weigh(runs([[11, 15]]), served, spans);
    assert.deepEqual([ids(found.absent), ids(found.unproven)], [absent, unproven], name);
  }
});

Deno.test("evidence: ids that have begun again, or are another product's, are no answer", () => {
  const later = (id: number, seconds: number): TradeMark => ({ id, time: seconds * 1e6 });
  const cases: [string, TradeMark[], TradeMark[], RegExp | undefined][] = [
    ["the same trades", marks(16, 15, 10), marks(10, 16), undefined],
    ["REST is behind", marks(10, 9), marks(10, 16), undefined],
    ["REST is far behind", marks(10, 9), marks(500_000_000), undefined],
    ["REST lists none", [], marks(10, 16), undefined],
    ["nothing is known", marks(10), [], undefined],
    ["half a second apart: REST rounds", [later(10, 10.5)], marks(10), undefined],
    [
      "another time under the id",
      [later(10, 12)],
      marks(10),
      /^REST lists a trade of 1970-01-01T00:00:12\.000000Z under the id 10, and the stored one is of 1970-01-01T00:00:10\.0/,
    ],
    [
      "a year later under the same id",
      [later(16, 3e7), later(15, 3e7)],
      marks(16),
      /have begun again, or these are another product's$/,
    ],
    [
      "a lower id that is later",
      [later(200, 3e7)],
      marks(1500),
      /^REST's newest id is 200, of .*, and 1500, of .*, is stored: the product's ids have begun again$/,
    ],
    ["a lower id that is a little later: clocks", [later(15, 70)], marks(16), undefined],
  ];
  for (const [name, rows, stored, reason] of cases) {
    const found = contradiction(rows, stored);
    if (reason === undefined) assert.equal(found, undefined, name);
    else assert.match(found ?? "", reason, name);
  }
});
