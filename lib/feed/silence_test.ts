import assert from "node:assert/strict";
import { createSilenceWatch } from "./silence.ts";

Deno.test("silence: a connection without any message for longer than the limit is silent as a whole", () => {
  const watch = createSilenceWatch(1000, 0);
  assert.deepEqual(watch.silent(1000), { products: [], everything: false });
  assert.deepEqual(watch.silent(1001), { products: [], everything: true });
  watch.hear(undefined, 1001);
  assert.deepEqual(watch.silent(2001), { products: [], everything: false });
});

Deno.test("silence: a product with heartbeats is silent though others speak, and is told once; one without is merely quiet", () => {
  const watch = createSilenceWatch(1000, 0);
  watch.expect("BTC-USD", 0);
  watch.expect("ETH-USD", 0);
  for (let ms = 500; ms <= 1500; ms += 500) {
    watch.hear("ETH-USD", ms);
    watch.hear("DOGE-USD", ms);
  }
  assert.deepEqual(watch.silent(1500), { products: ["BTC-USD"], everything: false });
  assert.deepEqual(watch.silent(1600), { products: [], everything: false });
  watch.hear("BTC-USD", 1600);
  watch.hear("ETH-USD", 2500);
  assert.deepEqual(watch.silent(2601), { products: ["BTC-USD"], everything: false });
});

Deno.test("silence: when every product with heartbeats is silent, the connection is, whatever else arrives", () => {
  const watch = createSilenceWatch(1000, 0);
  watch.expect("BTC-USD", 0);
  watch.expect("ETH-USD", 0);
  watch.hear("DOGE-USD", 1500);
  assert.deepEqual(watch.silent(1500), { products: ["BTC-USD", "ETH-USD"], everything: true });
});
