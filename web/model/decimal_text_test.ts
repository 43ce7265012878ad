import assert from "node:assert/strict";
import { change, completeness, cut, digitsOf, direction, format, short } from "./decimal_text.ts";

Deno.test("decimal text: a price is shown with the increment's digits, and with more where the data has more", () => {
  assert.equal(format("64000.1", digitsOf("0.01")), "64,000.10");
  assert.equal(format("64000.125", 2), "64,000.125");
  assert.equal(format("0.0000117", digitsOf("0.00000001")), "0.00001170");
  assert.equal(format("1234567", 0), "1,234,567");
  assert.equal(format("-1234.5", 2), "−1,234.50");
  assert.equal(format(null, 2), "–");
  assert.equal(cut("63712.53000504465547808", 2), "63,712.53");
  assert.equal(cut("63712.599", 2), "63,712.59");
});

Deno.test("decimal text: an increment says how many digits prices have", () => {
  const cases: [string | null | undefined, number][] = [
    ["0.01000000", 2],
    ["0.00000001", 8],
    ["1", 0],
    ["1.0", 0],
    [null, 2],
    [undefined, 2],
    ["x", 2],
  ];
  for (const [increment, digits] of cases) assert.equal(digitsOf(increment), digits, String(increment));
});

Deno.test("decimal text: volumes are shortened by cutting, never rounded up", () => {
  const cases: [string, string][] = [
    ["1999999", "1.999M"],
    ["999.99", "999.9"],
    ["12345.6", "12.34K"],
    ["0.01239", "0.0123"],
    ["5", "5"],
    ["1234567890123456", "1,234T"],
  ];
  for (const [text, shown] of cases) assert.equal(short(text), shown);
  assert.equal(short(null), "–");
});

Deno.test("decimal text: a change of 24 hours has a sign and two digits", () => {
  assert.equal(change("110", "100"), "+10.00 %");
  assert.equal(change("98.764", "100"), "−1.24 %");
  assert.equal(change("100", "100"), "0.00 %");
  assert.equal(change("100", "0"), "–");
  assert.equal(change(undefined, "1"), "–");
  assert.equal(direction("99", "100"), -1);
  assert.equal(direction(null, "100"), 0);
});

Deno.test("decimal text: completeness reads 100 % only when nothing is missing", () => {
  assert.equal(completeness(1, 0), "100.000 %");
  assert.equal(completeness(0.99999999, 1), "99.999 %");
  // A ratio so near to 1 that a float can't tell it.
  assert.equal(completeness(1, 1), "99.999 %");
  assert.equal(completeness(0.98765, 12), "98.765 %");
  assert.equal(completeness(null, 0), "–");
});
