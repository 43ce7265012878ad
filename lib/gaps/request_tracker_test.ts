import assert from "node:assert/strict";
import { createRequestTracker, nextAsk, overlay, proofsToGiveUp, type Proven } from "./request_tracker.ts";
import type { Run } from "../core/id_ranges.ts";

type Ids = [number, number][];
const runs = (ids: Ids): Run[] => ids.map(([first, last]) => ({ first, last }));
const ids = (found: readonly Run[]): Ids => found.map(({ first, last }) => [first, last]);
const day = 86_400_000;
const options = { againMs: 15_000, arrivalMs: 300_000 };
const none: Run[] = [];
const absent = (...list: Ids) => ({ served: none, absent: runs(list), unproven: none });
const unproven = (...list: Ids) => ({ served: none, absent: none, unproven: runs(list) });
const served = (...list: Ids) => ({ served: runs(list), absent: none, unproven: none });

Deno.test("request tracker: what REST proves not to have is asked for ever more rarely, for 30 days", () => {
  const waits: number[] = [];
  let askedAt = 0;
  for (let proofs = 1; proofs < 1000; proofs++) {
    const next = nextAsk({ proofs, firstAskedAt: 0, askedAt }, 15_000);
    if (next === undefined) break;
    waits.push((next - askedAt) / 1000);
    askedAt = next;
  }
  assert.deepEqual(waits.slice(0, 9), [15, 60, 240, 960, 3840, 15_360, 61_440, 86_400, 86_400]);
  assert.deepEqual(new Set(waits.slice(7)), new Set([86_400]));
  assert.equal(Math.floor(askedAt / day), 29, "the last is on the 30th day");
});

Deno.test("request tracker: proofs are counted, survive a restart, and giving up doesn't end the asking", () => {
  const first = createRequestTracker(options);
  const gap = runs([[1, 10]]);
  assert.deepEqual(ids(first.due(gap, 0)), [[1, 10]]);
  let recorded: Proven[] = [];
  let now = 0;
  for (let round = 1; round <= proofsToGiveUp; round++) {
    // Each round is another process, which knows only what is on record.
    const tracker = createRequestTracker({ ...options, history: recorded });
    assert.deepEqual(ids(tracker.due(gap, now)), [[1, 10]], `round ${round}`);
    const proofs = tracker.answered(absent([1, 10]), now);
    assert.deepEqual(proofs, [{ ids: gap, proofs: round, firstAskedAt: 0, askedAt: now }]);
    assert.deepEqual(ids(tracker.givenUp()), round < proofsToGiveUp ? [] : [[1, 10]]);
    recorded = [...recorded, ...proofs];
    now = nextAsk(proofs[0]!, 15_000)!;
    assert.deepEqual(tracker.due(gap, now - 1), [], "too early");
    assert.deepEqual(ids(tracker.absent(now - 1)), [[1, 10]]);
  }
  const later = createRequestTracker({ ...options, history: recorded });
  assert.deepEqual(ids(later.due(gap, now)), [[1, 10]], "given up is asked for");
  later.answered(absent([1, 10]), 30 * day);
  assert.deepEqual(later.due(gap, 300 * day), [], "and no more after a month");
  later.answered(served([1, 10]), now);
  assert.deepEqual(later.due([], now), []);
  assert.deepEqual(later.givenUp(), [], "found: taken back");
});

Deno.test("request tracker: without proof nothing is recorded or given up, and asking never ends", () => {
  const tracker = createRequestTracker(options);
  const gap = runs([[1, 10]]);
  let now = 0;
  const waits: number[] = [];
  for (let round = 0; round < 200; round++) {
    assert.deepEqual(tracker.answered(unproven([1, 10]), now), []);
    const askedAt = now;
    while (tracker.due(gap, now).length === 0) now += 15_000;
    waits.push((now - askedAt) / 1000);
  }
  assert.deepEqual(waits.slice(0, 5), [15, 60, 240, 900, 900]);
  assert.equal(Math.max(...waits), 900);
  assert.deepEqual(tracker.givenUp(), []);
});

Deno.test("request tracker: ids that were left out at different times keep their own count", () => {
  const tracker = createRequestTracker(options);
  tracker.answered(absent([1, 2]), 0);
  tracker.answered(absent([5, 6]), 5000);
  assert.deepEqual(ids(tracker.due(runs([[1, 2], [5, 6]]), 15_000)), [[1, 2]]);
  const proofs = tracker.answered(absent([1, 6]), 20_000).map((group) => [ids(group.ids), group.proofs]);
  assert.deepEqual(proofs, [[[[1, 2]], 2], [[[5, 6]], 2], [[[3, 4]], 1]]);
  assert.deepEqual(ids(tracker.due(runs([[1, 6]]), 35_000)), [[3, 4]]);
});

Deno.test("request tracker: what was produced isn't asked for again until it should have arrived long ago", () => {
  const tracker = createRequestTracker(options);
  const gap = runs([[1, 10]]);
  tracker.answered(served([6, 10]), 0);
  assert.deepEqual(ids(tracker.due(gap, 299_000)), [[1, 5]]);
  assert.deepEqual(ids(tracker.onTheWay()), [[6, 10]]);
  assert.deepEqual(ids(tracker.due(runs([[1, 8]]), 299_000)), [[1, 5]], "9 and 10 have arrived");
  assert.deepEqual(ids(tracker.onTheWay()), [[6, 8]]);
  assert.deepEqual(ids(tracker.due(runs([[1, 8]]), 300_000)), [[1, 8]]);
  assert.deepEqual(tracker.onTheWay(), []);
});

Deno.test("request tracker: a clock that is set back holds nothing up", () => {
  const hour = 3_600_000;
  const gap = runs([[1, 3]]);
  for (const round of [absent([1, 3]), unproven([1, 3]), served([1, 3])]) {
    const tracker = createRequestTracker(options);
    tracker.answered(round, hour);
    assert.deepEqual(tracker.due(gap, hour + 1), []);
    assert.deepEqual(ids(tracker.due(gap, 0)), [[1, 3]]);
  }
});

Deno.test("request tracker: of records that overlap the one with the most proofs counts for each id", () => {
  const record = (list: Ids, proofs: number): Proven => ({
    ids: runs(list),
    proofs,
    firstAskedAt: 0,
    askedAt: proofs,
  });
  const history = overlay([
    record([[1, 10]], 2),
    record([[4, 5]], 3),
    record([[5, 6]], 1),
    record([[20, 20]], 1),
  ]);
  assert.deepEqual(history.map((group) => [ids(group.ids), group.proofs]), [
    [[[4, 5]], 3],
    [[[1, 3], [6, 10]], 2],
    [[[20, 20]], 1],
  ]);
});
