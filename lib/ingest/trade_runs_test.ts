import assert from "node:assert/strict";
import type { TradeKey } from "./rows.ts";
import { newTrades } from "./trade_runs.ts";
import { createTradeIds } from "../core/id_ranges.ts";

Deno.test("newTrades(): keeps each trade once, per product, and remembers it", () => {
  const stored = new Map([["A", createTradeIds([{ first: 1, last: 3 }])], ["B", createTradeIds()]]);
  const key = (productId: string, tradeId: number): TradeKey => ({ productId, tradeId, micros: 0 });
  const trades = [key("A", 3), key("A", 4), key("B", 3), key("A", 4), key("A", 2), key("A", 6)];
  assert.deepEqual(newTrades(trades, stored), [key("A", 4), key("B", 3), key("A", 6)]);
  assert.deepEqual(newTrades(trades, stored), []);
  assert.throws(() => newTrades([key("C", 1)], stored), /stored trades of C/);
});
