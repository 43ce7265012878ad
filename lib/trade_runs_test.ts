import assert from "node:assert/strict";
import type { Row } from "./rows.ts";
import { createTradeIds, newTrades } from "./trade_runs.ts";

Deno.test("ids grow together into runs, whatever order they come in", () => {
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

Deno.test("stored runs may overlap and touch", () => {
  const ids = createTradeIds([{ first: 8, last: 9 }, { first: 1, last: 4 }, { first: 3, last: 3 }, {
    first: 5,
    last: 6,
  }]);
  assert.deepEqual(ids.runs, [{ first: 1, last: 6 }, { first: 8, last: 9 }]);
});

Deno.test("against a plain set: ten thousand ids in a seeded disorder", () => {
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

Deno.test("newTrades keeps each trade once, per product, and remembers it", () => {
  const stored = new Map([["A", createTradeIds([{ first: 1, last: 3 }])], ["B", createTradeIds()]]);
  const rows: Row[] = [["A", 3], ["A", 4], ["B", 3], ["A", 4], ["A", 2], ["A", 6]];
  assert.deepEqual(newTrades(rows, stored), [["A", 4], ["B", 3], ["A", 6]]);
  assert.deepEqual(newTrades(rows, stored), []);
  assert.throws(() => newTrades([["C", 1]], stored), /stored trades of C/);
});
