import assert from "node:assert/strict";
import { costOf, fillCommand, firstIdAt, inOrder, pagesOf, progressText, sortGaps } from "./fill_plan.ts";
import { parseTime } from "../core/time.ts";
import type { Gap } from "./trade_gaps.ts";
import type { Run } from "../core/id_ranges.ts";

type Ids = [number, number][];
const runs = (ids: Ids): Run[] => ids.map(([first, last]) => ({ first, last }));
const ids = (found: readonly Run[]): Ids => found.map(({ first, last }) => [first, last]);

Deno.test("backfill: gaps become pages from the newest to the oldest, and share one where they lie close", () => {
  const cases: [string, Ids, [number, number, Ids][]][] = [
    ["nothing", [], []],
    ["one id", [[5, 5]], [[5, 5, [[5, 5]]]]],
    ["as large as a page", [[1, 10]], [[1, 10, [[1, 10]]]]],
    ["one more", [[1, 11]], [[2, 11, [[2, 11]]], [1, 1, [[1, 1]]]]],
    ["two that share", [[1, 2], [9, 10]], [[1, 10, [[1, 2], [9, 10]]]]],
    ["two that don't", [[1, 2], [13, 14]], [[13, 14, [[13, 14]]], [1, 2, [[1, 2]]]]],
    ["one cut by another's page", [[1, 7], [12, 14]], [[5, 14, [[5, 7], [12, 14]]], [1, 4, [[1, 4]]]]],
  ];
  for (const [name, gaps, pages] of cases) {
    const made = [...pagesOf(runs(gaps), 10)];
    assert.deepEqual(made.map(({ first, last, wanted }) => [first, last, ids(wanted)]), pages, name);
  }
});

const gap = (productId: string, first: number, last: number, more: Partial<Gap> = {}): Gap => ({
  ...{ productId, first, last, seenAt: 0, givenUp: 0 },
  ...{ after: "2026-07-07 10:00:00.100000", before: "2026-07-07 11:00:00.900000" },
  ...more,
});

Deno.test("backfill: a gap is left alone for a moment, and one that is too large until somebody asks", () => {
  const now = 1e15;
  const gaps = [
    gap("A-B", 10, 19, { seenAt: now - 2.9e6 }),
    gap("A-B", 30, 39, { seenAt: now - 3.1e6 }),
    gap("A-B", 50, 60),
    gap("C-D", 7, 7, { seenAt: now + 2.9e6 }),
    // Seen in the future: a clock is wrong, and the gap is one all the same.
    gap("C-D", 9, 9, { seenAt: now + 3600e6 }),
    // One odd heartbeat.
    gap("E-F", 1001, 9e15),
  ];
  const sorted = [...sortGaps(gaps, { maxGap: 10, now })].map((
    [productId, { open, arriving, tooLarge }],
  ) => [
    productId,
    ids(open),
    ids(arriving),
    ids(tooLarge),
  ]);
  assert.deepEqual(sorted, [
    ["A-B", [[10, 19], [30, 39]], [[10, 19]], [[50, 60]]],
    ["C-D", [[7, 7], [9, 9]], [[7, 7]], []],
    ["E-F", [], [], [[1001, 9e15]]],
  ]);
});

Deno.test("backfill: what so many trades cost is told in requests and seconds", () => {
  assert.deepEqual(costOf(0, 8), { trades: 0, requests: 0, seconds: 0 });
  assert.deepEqual(costOf(998, 8), { trades: 998, requests: 1, seconds: 1 });
  assert.deepEqual(costOf(100_000_000, 8), { trades: 100_000_000, requests: 100_201, seconds: 12_526 });
});

Deno.test("backfill: the command that fills a gap covers it whole", () => {
  const cases: [Partial<Gap>, string][] = [
    [{}, "--from 2026-07-07T10:00:00 --to 2026-07-07T11:00:01"],
    // The clocks of heartbeats and trades differ: a gap may end before it begins.
    [{ before: "2026-07-07 09:00:00.000000" }, "--from 2026-07-07T10:00:00 --to 2026-07-07T10:00:01"],
    [{ before: "2026-12-31 23:59:59.000000" }, "--from 2026-07-07T10:00:00 --to 2027-01-01T00:00:00"],
  ];
  for (const [times, range] of cases) {
    const command = fillCommand(gap("A-B", 1, 2, times));
    assert.equal(command, `deno task backfill --product A-B ${range}`);
    const [from = NaN, to = NaN] = [...command.matchAll(/20\S+/g)].map(([time]) => parseTime(time));
    assert.ok(from < to);
  }
});

Deno.test("backfill: the id for a time is found with few questions, between, before and behind the trades", async () => {
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

Deno.test("backfill: times are ISO 8601 in UTC unless they say otherwise, dates begin at midnight", () => {
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

Deno.test("backfill: work runs ahead, results come in order, and the first error ends it", async () => {
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

Deno.test("backfill: progress says how much, how fast, how long", () => {
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
