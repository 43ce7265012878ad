import assert from "node:assert/strict";
import { createTradeSequence } from "./sequence.ts";

Deno.test("sequence: gaps are what lies between the newest trade and the next", () => {
  const cases: [string, number, ReturnType<ReturnType<typeof createTradeSequence>["see"]>][] = [
    ["BTC-USD", 100, undefined], // the first one opens none
    ["BTC-USD", 101, undefined],
    ["BTC-USD", 101, undefined], // repeated
    ["BTC-USD", 105, { first: 102, last: 104 }],
    ["ETH-USD", 7, undefined], // another product has its own count
    ["BTC-USD", 103, undefined], // late: no gap, and the baseline stays
    ["BTC-USD", 106, undefined],
    ["BTC-USD", 108, { first: 107, last: 107 }],
    ["ETH-USD", 8, undefined],
  ];
  const sequence = createTradeSequence();
  for (const [product, id, gap] of cases) {
    assert.deepEqual(sequence.see(product, id), gap, `${product} ${id}`);
  }
});
