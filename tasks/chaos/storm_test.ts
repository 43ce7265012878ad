import assert from "node:assert/strict";
import { faultNames, shares } from "./faults.ts";
import { drawFault } from "./storm.ts";

Deno.test("storm: faults are drawn by their shares of those that are chosen", () => {
  const counts = new Map<string, number>();
  for (let at = 0.005; at < 1; at += 0.01) {
    const fault = drawFault(faultNames, at);
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
  }
  assert.deepEqual(Object.fromEntries(counts), shares);
  assert.equal(drawFault(["power", "retention"], 0), "power");
  assert.equal(drawFault(["power", "retention"], 0.6), "retention");
  assert.equal(drawFault(["power"], 0.9999), "power");
});
