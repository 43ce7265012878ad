import assert from "node:assert/strict";
import { createOrderBook, type Side } from "./price_levels.ts";

Deno.test("price levels: the best levels come first, without zeros at the end, and a size of 0 removes one", () => {
  const book = createOrderBook([["9.50", "1.0"], ["10.00", "2"], ["8", "0"]], [["12", "3"], ["11.5", "4"]]);
  assert.deepEqual(book.top("bid", 5), [["10", "2"], ["9.5", "1"]]);
  assert.deepEqual(book.top("ask", 1), [["11.5", "4"]]);
  book.set("bid", "10.000", "0.00");
  book.set("bid", "7", "0");
  book.set("ask", "11", "1");
  book.set("ask", "12", "9");
  assert.deepEqual(book.top("bid", 5), [["9.5", "1"]]);
  assert.deepEqual(book.top("ask", 5), [["11", "1"], ["11.5", "4"], ["12", "9"]]);
});

Deno.test("price levels: a book of 50 000 levels a side says after 20 000 changes what a map says", () => {
  let state = 1;
  const random = (below: number) => (state = state * 48271 % 2147483647) % below;
  const priceOf = (side: Side, i: number) => side === "bid" ? `${100_000 - i}.25` : `${100_001 + i}.25`;
  const sides = { bid: new Map<string, string>(), ask: new Map<string, string>() };
  for (const side of ["bid", "ask"] as const) {
    for (let i = 0; i < 50_000; i++) sides[side].set(priceOf(side, i), `${1 + random(99)}`);
  }
  const book = createOrderBook([...sides.bid], [...sides.ask]);
  for (let i = 0; i < 20_000; i++) {
    const side = random(2) === 0 ? "bid" : "ask";
    const price = priceOf(side, random(random(10) === 0 ? 50_000 : 300));
    const size = String(random(3));
    book.set(side, price, size);
    if (size === "0") sides[side].delete(price);
    else sides[side].set(price, size);
  }
  for (const side of ["bid", "ask"] as const) {
    const sign = side === "bid" ? -1 : 1;
    const expected = [...sides[side]].sort(([a], [b]) => (Number(a) - Number(b)) * sign);
    assert.deepEqual(book.top(side, 60_000), expected);
    assert.deepEqual(book.top(side, 20), expected.slice(0, 20));
  }
});
