import assert from "node:assert/strict";
import type { Trade } from "./api_types.ts";
import { addTrades, tapeLength, tapeRows } from "./tape_rows.ts";

function trade(id: number): Trade {
  return { trade_id: id, time: "2026-07-07T22:58:17.000000Z", price: "1", size: "1", taker_side: "buy" };
}

Deno.test("tape rows: they are in the order of trade numbers, each once, whatever the order of arrival", () => {
  const tape: Trade[] = [];
  assert.equal(addTrades(tape, [trade(2), trade(4), trade(3), trade(4), trade(1)]), true);
  assert.deepEqual(tape.map(({ trade_id }) => trade_id), [4, 3, 2, 1]);
  assert.equal(addTrades(tape, [trade(3)]), false);
});

Deno.test("tape rows: their number doesn't grow beyond the tape's length, and older trades don't enter a full one", () => {
  const tape: Trade[] = [];
  addTrades(tape, Array.from({ length: tapeLength + 50 }, (_, id) => trade(id + 100)));
  assert.equal(tape.length, tapeLength);
  assert.equal(addTrades(tape, [trade(1)]), false);
});

Deno.test("tape rows: missing numbers are a line of their own", () => {
  assert.deepEqual(tapeRows([trade(9), trade(5), trade(4)], 10), [
    { trade: trade(9) },
    { first: 6, last: 8 },
    { trade: trade(5) },
    { trade: trade(4) },
  ]);
  assert.equal(tapeRows([trade(9), trade(5)], 2).length, 2);
});
