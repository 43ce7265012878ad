import assert from "node:assert/strict";
import { add, compare, microprice, middle, ratio, subtract } from "./decimal_math.ts";

Deno.test("decimal math: decimals are added, subtracted and compared without a float", () => {
  assert.equal(add("0.1", "0.2"), "0.3");
  assert.equal(subtract("64000.02", "64000.01"), "0.01");
  assert.equal(subtract("1", "1.000000000000000001"), "-0.000000000000000001");
  assert.equal(compare("9007199254740993", "9007199254740992"), 1);
  assert.equal(compare("1.10", "1.1"), 0);
  assert.equal(middle("64000.01", "64000.02"), "64000.015");
});

Deno.test("decimal math: the microprice leans to the side with less size", () => {
  assert.equal(microprice("100", "3", "102", "1"), "101.5");
  assert.equal(microprice("100", "0", "102", "0"), null);
  assert.equal(ratio("1", "4"), 0.25);
  assert.equal(ratio("1", "0"), null);
});
