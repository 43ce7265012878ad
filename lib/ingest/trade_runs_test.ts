import assert from "node:assert/strict";
import type { Row } from "./rows.ts";
import { newTrades } from "./trade_runs.ts";
import { createTradeIds } from "../core/id_ranges.ts";

Deno.test("newTrades(): keeps each trade once, per product, and remembers it", () => {
  const stored = new Map([["A", createTradeIds([{ first: 1, last: 3 }])], ["B", createTradeIds()]]);
  const rows: Row[] = [["A", 3], ["A", 4], ["B", 3], ["A", 4], ["A", 2], ["A", 6]];
  assert.deepEqual(newTrades(rows, stored), [["A", 4], ["B", 3], ["A", 6]]);
  assert.deepEqual(newTrades(rows, stored), []);
  assert.throws(() => newTrades([["C", 1]], stored), /stored trades of C/);
});
