import assert from "node:assert/strict";
import { cumulated, figuresOf } from "./book_figures.ts";

Deno.test("book figures: spread, mid, microprice and imbalance come from the best levels", () => {
  const figures = figuresOf({ bids: [["99.99", "3"], ["99", "5"]], asks: [["100.01", "1"]] });
  assert.deepEqual(figures, {
    spread: "0.02",
    mid: "100",
    microprice: "100.005",
    spreadBps: 2,
    imbalance: 0.5,
  });
});

Deno.test("book figures: a book with an empty side has no figures", () => {
  assert.equal(figuresOf({ bids: [], asks: [["1", "1"]] }), null);
});

Deno.test("book figures: sizes are summed up exactly", () => {
  assert.deepEqual(cumulated([["3", "0.1"], ["2", "0.2"]]).map(({ sum }) => sum), ["0.1", "0.3"]);
});
