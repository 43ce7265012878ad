import assert from "node:assert/strict";
import { createPacer, createRateLimit } from "./token_bucket.ts";

Deno.test("token bucket: a client may burst to twice its rate, then one by one", () => {
  let at = 0;
  const take = createRateLimit({ perSecond: 10, now: () => at });
  assert.equal(Array.from({ length: 25 }, () => take("a").allowed).filter(Boolean).length, 20);
  assert(take("b").allowed);
  at += 100;
  assert(take("a").allowed);
  assert.equal(take("a").retrySeconds, 1);
  at += 10_000;
  assert.deepEqual(take("a"), { allowed: true, limit: 20, remaining: 19, resetSeconds: 1, retrySeconds: 0 });
});

Deno.test("rate limit: it remembers a bounded number of clients, the newest", () => {
  const take = createRateLimit({ perSecond: 1, now: () => 0, maxClients: 2 });
  for (const client of ["a", "a", "a"]) take(client);
  take("b");
  assert.equal(take("a").allowed, false);
  take("c");
  take("d");
  assert.equal(take("a").allowed, true);
});

Deno.test("token bucket: a request may cost more than one, and what costs more than all takes all", () => {
  let at = 0;
  const take = createRateLimit({ perSecond: 10, burst: 50, now: () => at });
  assert(take("a", 30).allowed);
  assert.equal(take("a", 30).retrySeconds, 1);
  assert(take("a", 20).allowed);
  at += 5000;
  assert.equal(take("a", 1000).remaining, 0);
});

Deno.test("token bucket: a pacer gives its burst at once, then so many a second, in the order of asking", () => {
  const pacer = createPacer(8, 3);
  const waits = (now: number, count: number) => Array.from({ length: count }, () => pacer.take(now));
  assert.deepEqual(waits(0, 5), [0, 0, 0, 125, 250]);
  assert.deepEqual(waits(125, 1), [250], "the promises before come first");
  assert.deepEqual(waits(60_000, 4), [0, 0, 0, 125], "it never holds more than the burst");
  pacer.pause(62_000);
  pacer.pause(61_000);
  assert.equal(pacer.paused(60_500), 1500);
  assert.equal(pacer.take(60_500), 1500);
  assert.equal(pacer.paused(62_000), 0);
});
