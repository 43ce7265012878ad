import assert from "node:assert/strict";
import { clockOffset, createSamples } from "./latency.ts";

Deno.test("latency: percentiles are of the newest samples", () => {
  const samples = createSamples(100);
  assert.equal(samples.percentiles(), null);
  for (let sample = 1; sample <= 200; sample++) samples.add(sample);
  assert.deepEqual(samples.percentiles(), { p50: 150, p99: 199 });
  samples.clear();
  assert.equal(samples.count, 0);
});

Deno.test("latency: the clock's offset comes from the fastest ping", () => {
  const slow = { sent: 0, came: 1000, server: 900 };
  const fast = { sent: 2000, came: 2010, server: 2105 };
  assert.equal(clockOffset([slow, fast]), 100);
  assert.equal(clockOffset([]), 0);
});
