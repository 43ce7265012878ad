import assert from "node:assert/strict";
import {
  createAsked,
  firstIdAt,
  inOrder,
  intersect,
  pagesOf,
  parseTime,
  progressText,
  subtract,
} from "./backfill.ts";
import type { Run } from "./trade_runs.ts";

type Ids = [number, number][];
const runs = (ids: Ids): Run[] => ids.map(([first, last]) => ({ first, last }));
const ids = (found: readonly Run[]): Ids => found.map(({ first, last }) => [first, last]);

Deno.test("what is left of ranges when others are taken out, and what is in both", () => {
  const cases: [Ids, Ids, Ids, Ids][] = [
    [[], [[1, 9]], [], []],
    [[[1, 9]], [], [[1, 9]], []],
    [[[1, 9]], [[1, 9]], [], [[1, 9]]],
    [[[3, 7]], [[1, 9]], [], [[3, 7]]],
    [[[1, 9]], [[3, 4]], [[1, 2], [5, 9]], [[3, 4]]],
    [[[1, 9]], [[1, 1], [9, 9], [5, 5]], [[2, 4], [6, 8]], [[1, 1], [5, 5], [9, 9]]],
    [[[1, 3], [5, 9]], [[2, 6]], [[1, 1], [7, 9]], [[2, 3], [5, 6]]],
    [[[5, 9], [1, 3]], [[0, 0], [10, 20]], [[1, 3], [5, 9]], []],
    [[[1, 2], [4, 5], [7, 8]], [[2, 7]], [[1, 1], [8, 8]], [[2, 2], [4, 5], [7, 7]]],
    [[[1, 9]], [[2, 5], [4, 6]], [[1, 1], [7, 9]], [[2, 6]]],
  ];
  for (const [ranges, without, left, both] of cases) {
    const name = JSON.stringify([ranges, without]);
    assert.deepEqual(ids(subtract(runs(ranges), runs(without))), left, name);
    assert.deepEqual(ids(intersect(runs(ranges), runs(without))), both, name);
  }
});

Deno.test("subtract against plain sets: a thousand seeded draws", () => {
  let state = 11;
  const random = (below: number) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor(state / 2 ** 31 * below);
  };
  const draw = () =>
    Array.from({ length: random(6) }, () => {
      const first = random(40);
      return { first, last: first + random(8) };
    });
  const listed = (ranges: readonly Run[]) =>
    ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
  for (let round = 0; round < 1000; round++) {
    const [ranges, without] = [draw(), draw()];
    const expected = [...new Set(listed(ranges)).difference(new Set(listed(without)))].sort((a, b) => a - b);
    assert.deepEqual(listed(subtract(ranges, without)), expected, JSON.stringify([ranges, without]));
  }
});

Deno.test("holes become pages from the newest to the oldest, and share one where they lie close", () => {
  const cases: [string, Ids, [number, number, Ids][]][] = [
    ["nothing", [], []],
    ["one id", [[5, 5]], [[5, 5, [[5, 5]]]]],
    ["as large as a page", [[1, 10]], [[1, 10, [[1, 10]]]]],
    ["one more", [[1, 11]], [[2, 11, [[2, 11]]], [1, 1, [[1, 1]]]]],
    ["two that share", [[1, 2], [9, 10]], [[1, 10, [[1, 2], [9, 10]]]]],
    ["two that don't", [[1, 2], [13, 14]], [[13, 14, [[13, 14]]], [1, 2, [[1, 2]]]]],
    ["one cut by another's page", [[1, 7], [12, 14]], [[5, 14, [[5, 7], [12, 14]]], [1, 4, [[1, 4]]]]],
  ];
  for (const [name, holes, pages] of cases) {
    const made = [...pagesOf(runs(holes), 10)];
    assert.deepEqual(made.map(({ first, last, wanted }) => [first, last, ids(wanted)]), pages, name);
  }
});

const patience = { againMs: 10_000, asks: 3, arrivalMs: 60_000 };

Deno.test("what was produced isn't asked for again until it should have arrived long ago", () => {
  const asked = createAsked(patience);
  const open = runs([[1, 10]]);
  assert.deepEqual(ids(asked.due(open, 0)), [[1, 10]]);
  assert.deepEqual(asked.answered(runs([[6, 10]]), runs([[6, 10]]), 0), []);
  assert.deepEqual(ids(asked.due(open, 59_000)), [[1, 5]]);
  assert.deepEqual(ids(asked.onTheWay()), [[6, 10]]);
  assert.deepEqual(ids(asked.due(runs([[1, 8]]), 59_000)), [[1, 5]], "9 and 10 have arrived");
  assert.deepEqual(ids(asked.onTheWay()), [[6, 8]]);
  assert.deepEqual(ids(asked.due(runs([[1, 8]]), 60_000)), [[1, 8]]);
  assert.deepEqual(asked.onTheWay(), []);
});

Deno.test("ids that answers leave out are asked for again after a while, and given up in the end", () => {
  const asked = createAsked(patience);
  const hole = runs([[1, 10]]);
  assert.deepEqual(asked.answered(hole, runs([[1, 3], [6, 10]]), 0), []);
  const open = runs([[4, 5]]);
  assert.deepEqual(asked.due(open, 9_000), []);
  assert.deepEqual(ids(asked.due(open, 10_000)), [[4, 5]]);
  assert.deepEqual(asked.answered(open, [], 10_000), []);
  assert.deepEqual(asked.due(open, 19_000), []);
  // The exchange has one of them after all.
  assert.deepEqual(ids(asked.answered(open, runs([[5, 5]]), 20_000)), [[4, 4]]);
  assert.deepEqual(asked.due([], 20_000), []);
  assert.deepEqual(ids(asked.due(open, 20_000)), [[4, 5]], "forgotten with the hole");
});

Deno.test("ids that were left out at different times keep their own count", () => {
  const asked = createAsked(patience);
  asked.answered(runs([[1, 2]]), [], 0);
  asked.answered(runs([[5, 6]]), [], 5_000);
  assert.deepEqual(ids(asked.due(runs([[1, 2], [5, 6]]), 10_000)), [[1, 2]]);
  asked.answered(runs([[1, 2]]), [], 10_000);
  assert.deepEqual(ids(asked.answered(runs([[1, 6]]), runs([[3, 3]]), 20_000)), [[1, 2]]);
  assert.deepEqual(ids(asked.answered(runs([[4, 6]]), [], 30_000)), [[5, 6]]);
});

Deno.test("the id for a time is found with few questions, between, before and behind the trades", async () => {
  // Ids 100 to 1000 exist, one a second from time 0, but none in the 300s.
  let questions = 0;
  const lookUp = (id: number) => {
    questions++;
    const newest = id >= 300 && id < 400 ? 299 : id;
    return Promise.resolve(newest < 100 ? undefined : { id: newest, time: newest - 100 });
  };
  const cases = [[-5, 100], [0, 100], [1, 101], [199, 299], [200, 400], [299, 400], [300, 400], [301, 401]];
  for (const [time = 0, id] of [...cases, [900, 1000], [901, 1001], [5000, 1001]]) {
    questions = 0;
    assert.equal(await firstIdAt(1000, lookUp, time), id, `${time}`);
    assert.ok(questions <= 11, `${questions} questions for ${time}`);
  }
  assert.equal(await firstIdAt(0, lookUp, 7), 1);
});

Deno.test("times are ISO 8601 in UTC unless they say otherwise, dates begin at midnight", () => {
  const cases: [string, string | undefined][] = [
    ["2026-07-07", "2026-07-07T00:00:00.000Z"],
    ["2026-07-07T22:58", "2026-07-07T22:58:00.000Z"],
    ["2026-07-07T22:58:17.5", "2026-07-07T22:58:17.500Z"],
    ["2026-07-07T22:58:17Z", "2026-07-07T22:58:17.000Z"],
    ["2026-07-07T22:58:17+02:00", "2026-07-07T20:58:17.000Z"],
    ["2026-02-31", undefined],
    ["2026-13-01", undefined],
    ["2026-07-07T25:00", undefined],
    ["2026-07-07 22:58", undefined],
    ["yesterday", undefined],
    ["1783465097", undefined],
    ["", undefined],
  ];
  for (const [text, iso] of cases) {
    assert.equal(parseTime(text), iso === undefined ? undefined : Date.parse(iso) * 1000, text);
  }
});

Deno.test("work runs ahead, results come in order, and the first error ends it", async () => {
  const started: number[] = [];
  const waiting = new Map<number, PromiseWithResolvers<number>>();
  const work = (item: number) => {
    started.push(item);
    const result = Promise.withResolvers<number>();
    waiting.set(item, result);
    return result.promise;
  };
  const results = inOrder([1, 2, 3, 4], 2, work);
  const first = results.next();
  assert.deepEqual(started, [1, 2]);
  waiting.get(2)?.resolve(20);
  waiting.get(1)?.resolve(10);
  assert.equal((await first).value, 10);
  const second = results.next();
  assert.equal((await second).value, 20);
  assert.deepEqual(started, [1, 2, 3]);
  const third = results.next();
  waiting.get(3)?.reject(new Error("no page"));
  await assert.rejects(third, /no page/);
  assert.equal((await results.next()).done, true);
});

Deno.test("progress says how much, how fast, how long", () => {
  const cases: [number, number, number, number, string][] = [
    [0, 0, 0, 0, "[####################] 100 %  0 of 0 trades fetched, 0 stored"],
    [0, 0, 1000, 0, "[                    ]   0 %  0 of 1 000 trades fetched, 0 stored"],
    [
      250_000,
      200_000,
      1_000_000,
      8000,
      "[#####               ]  25 %  250 000 of 1 000 000 trades fetched, 200 000 stored, 8 000/s, 1 m 34 s left",
    ],
    [
      1,
      0,
      20_000_000,
      1000,
      `[${" ".repeat(20)}]   0 %  1 of 20 000 000 trades fetched, 0 stored, 1 000/s, 5 h 33 m left`,
    ],
    [
      999_999,
      0,
      1_000_000,
      10,
      `[${"#".repeat(19)} ]  99 %  999 999 of 1 000 000 trades fetched, 0 stored, 10/s, 1 s left`,
    ],
    [10, 9, 10, 5, `[${"#".repeat(20)}] 100 %  10 of 10 trades fetched, 9 stored`],
  ];
  for (const [fetched, stored, total, perSecond, text] of cases) {
    assert.equal(progressText({ fetched, stored, total }, perSecond), text);
  }
});
