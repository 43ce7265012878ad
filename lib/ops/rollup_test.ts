import assert from "node:assert/strict";
import {
  type Anomaly,
  changesOf,
  depthSpan,
  minutesOf,
  piecesOf,
  reachMicros,
  searchSpan,
  type StoredAnomaly,
} from "./rollup.ts";
import { parseMicros } from "../core/time.ts";

const second = 1e6;
const minute = 60 * second;
const now = parseMicros("2026-07-07T12:34:56.789Z");
const noon = parseMicros("2026-07-07T12:00:00Z");

Deno.test("rollup: the minutes of a book are those in which it is known for a moment, each once", () => {
  const span = { from: noon, to: noon + 10 * minute };
  const cases: [what: string, epochs: [number, number][], minutes: number[]][] = [
    ["nothing is known", [], []],
    ["known all the time", [[-60, 3600]], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ["two in one minute", [[61, 70], [80, 90]], [1]],
    ["its last moment is the start of a minute", [[30, 120]], [0, 1, 2]],
    ["two connections at once", [[0, 100], [30, 200]], [0, 1, 2, 3]],
    ["begins behind the span", [[600, 700]], []],
    ["ends before it", [[-100, -1]], []],
  ];
  for (const [what, epochs, minutes] of cases) {
    const known = epochs.map(([from, to]) => ({ from: noon + from * second, to: noon + to * second }));
    assert.deepEqual(minutesOf(known, span), minutes.map((index) => noon + index * minute), what);
  }
  // A span that begins within a minute has that minute only when it holds its start.
  assert.deepEqual(
    minutesOf([{ from: noon, to: noon + minute }], { from: noon + second, to: noon + 2 * minute }),
    [
      noon + minute,
    ],
  );
});

Deno.test("rollup: a book is filled from the newest second on, up to the minute that is over and stored, a day back at most", () => {
  const stored = noon + 34.5 * minute;
  assert.deepEqual(depthSpan(noon + 59 * second, stored, now), {
    from: noon + minute,
    to: noon + 34 * minute,
  });
  // A minute of which only the first seconds are known counts as filled.
  assert.deepEqual(depthSpan(noon + 3 * second, stored, now).from, noon + minute);
  assert.equal(depthSpan(undefined, stored, now).from, noon + 34 * minute - reachMicros);
  assert.equal(depthSpan(noon - 3 * reachMicros, stored, now).from, noon + 34 * minute - reachMicros);
  // A clock of the exchange that is ahead.
  assert.equal(depthSpan(noon, now + 60 * minute, now).to, noon + 34 * minute);
  const nothing = depthSpan(undefined, 0, now);
  assert.ok(nothing.to < nothing.from);
});

Deno.test("rollup: anomalies are searched from a while before the last look, from where a gap was filled, a day back at most", () => {
  assert.deepEqual(searchSpan(noon, undefined, now), { from: noon - 10 * minute, to: now });
  assert.equal(searchSpan(noon, noon - 3600 * second, now).from, noon - 60 * minute);
  assert.equal(searchSpan(noon, noon + 5 * minute, now).from, noon - 10 * minute);
  const aDay = noon + 34 * minute - reachMicros;
  assert.equal(searchSpan(undefined, undefined, now).from, aDay);
  assert.equal(searchSpan(noon - 9 * reachMicros, undefined, now).from, aDay);
  assert.equal(searchSpan(noon, noon - 9 * reachMicros, now).from, aDay);
});

Deno.test("rollup: pieces cover a span, the last one may be shorter", () => {
  assert.deepEqual(piecesOf({ from: 0, to: 25 }, 10), [{ from: 0, to: 10 }, { from: 10, to: 20 }, {
    from: 20,
    to: 25,
  }]);
  assert.deepEqual(piecesOf({ from: 5, to: 15 }, 10), [{ from: 5, to: 15 }]);
  assert.deepEqual(piecesOf({ from: 5, to: 5 }, 10), []);
  assert.deepEqual(piecesOf({ from: 5, to: 1 }, 10), []);
});

Deno.test("rollup: what is stored becomes what was found, by new, changed and withdrawn rows, and nothing for the same", () => {
  const found: Anomaly = {
    product_id: "A-USD",
    kind: "silence",
    severity: "info",
    time: "2026-07-07 12:00:00.000000",
    end_time: null,
    value: 12,
    threshold: 10,
    score: 1.2,
    explanation: "No heartbeat for 12 s.",
  };
  const first = "2026-07-07 12:00:12.000000";
  const later = "2026-07-07 12:01:00.000000";
  const stored: StoredAnomaly = { ...found, detected_at: first, is_withdrawn: false };
  const longer = { ...found, severity: "warning" as const, value: 25, score: 2.5, explanation: "25 s." };
  const ended = { ...found, end_time: "2026-07-07 12:00:12.500000" };
  const cases: [what: string, found: Anomaly[], stored: StoredAnomaly[], changes: StoredAnomaly[]][] = [
    ["nothing", [], [], []],
    ["new", [found], [], [{ ...found, detected_at: later, is_withdrawn: false }]],
    ["the same", [found], [stored], []],
    ["the same but for the last digit", [{ ...found, value: 12.000000000001 }], [stored], []],
    ["it goes on", [longer], [stored], [{ ...longer, detected_at: first, is_withdrawn: false }]],
    ["it ended", [ended], [stored], [{ ...ended, detected_at: first, is_withdrawn: false }]],
    ["gone", [], [stored], [{ ...stored, is_withdrawn: true }]],
    ["gone for long", [], [{ ...stored, is_withdrawn: true }], []],
    ["there again", [found], [{ ...stored, is_withdrawn: true }], [stored]],
    ["another kind at the same time", [found, { ...found, kind: "tape_gap" }], [stored], [
      { ...found, kind: "tape_gap", detected_at: later, is_withdrawn: false },
    ]],
  ];
  for (const [what, now, before, changes] of cases) {
    assert.deepEqual(changesOf(now, before, later), changes, what);
  }
});
