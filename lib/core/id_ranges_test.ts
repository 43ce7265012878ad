import assert from "node:assert/strict";
import { createTradeIds, intersect, type Run, subtract } from "./id_ranges.ts";

type Ids = [number, number][];
const runs = (ids: Ids): Run[] => ids.map(([first, last]) => ({ first, last }));
const ids = (found: readonly Run[]): Ids => found.map(({ first, last }) => [first, last]);

Deno.test("id ranges: ids grow together into runs, whatever order they come in", () => {
  const ids = createTradeIds();
  const cases: [number, boolean, [number, number][]][] = [
    [5, true, [[5, 5]]],
    [6, true, [[5, 6]]],
    [5, false, [[5, 6]]],
    [9, true, [[5, 6], [9, 9]]],
    [2, true, [[2, 2], [5, 6], [9, 9]]],
    [8, true, [[2, 2], [5, 6], [8, 9]]],
    [7, true, [[2, 2], [5, 9]]],
    [4, true, [[2, 2], [4, 9]]],
    [3, true, [[2, 9]]],
    [9, false, [[2, 9]]],
    [0, true, [[0, 0], [2, 9]]],
    [1, true, [[0, 9]]],
  ];
  for (const [id, isNew, runs] of cases) {
    assert.equal(ids.add(id), isNew, `${id}`);
    assert.deepEqual(ids.runs.map(({ first, last }) => [first, last]), runs);
  }
});

Deno.test("id ranges: stored runs may overlap and touch", () => {
  const ids = createTradeIds([{ first: 8, last: 9 }, { first: 1, last: 4 }, { first: 3, last: 3 }, {
    first: 5,
    last: 6,
  }]);
  assert.deepEqual(ids.runs, [{ first: 1, last: 6 }, { first: 8, last: 9 }]);
});

Deno.test("id ranges: ten thousand ids in a seeded disorder are those of a plain set", () => {
  let state = 7;
  const random = () => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const ids = createTradeIds();
  const plain = new Set<number>();
  for (let step = 0; step < 10_000; step++) {
    const id = Math.floor(random() * 3000);
    assert.equal(ids.add(id), !plain.has(id));
    plain.add(id);
  }
  const listed = ids.runs.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i)
  );
  assert.deepEqual(listed, [...plain].sort((left, right) => left - right));
});

Deno.test("id ranges: what is left of ranges when others are taken out, and what is in both", () => {
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

Deno.test("id ranges: in a thousand seeded draws subtract() does what plain sets do", () => {
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
