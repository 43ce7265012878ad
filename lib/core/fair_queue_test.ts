import assert from "node:assert/strict";
import { createFairQueue, ourselves, Refused } from "./fair_queue.ts";

/** Lets what was resolved go on. */
const settle = () => new Promise((resolve) => setTimeout(resolve));

const isRefused = (reason: string) => (error: unknown) => error instanceof Refused && error.reason === reason;

Deno.test("fair queue: one client has its places and no more, another finds one free", async () => {
  const queue = createFairQueue({ places: 3, placesOfClient: 2 });
  const [first] = [await queue.take("a"), await queue.take("a")];
  let third = false;
  const waits = queue.take("a").then((release) => {
    third = true;
    return release;
  });
  (await queue.take("b"))();
  await settle();
  assert.equal(third, false);
  assert.deepEqual([queue.running, queue.waiting], [2, 1]);
  first!();
  first!();
  (await waits)();
  assert.deepEqual([queue.running, queue.waiting], [1, 0]);
});

Deno.test("fair queue: turns go round the clients, not along the requests", async () => {
  const queue = createFairQueue({ places: 1, placesOfClient: 1 });
  let release = await queue.take("a");
  const order: string[] = [];
  for (const name of ["a1", "a2", "a3", "b1", "c1", "b2"]) {
    queue.take(name[0]!).then((next) => {
      order.push(name);
      release = next;
    });
  }
  for (let turn = 0; turn < 6; turn++) {
    release();
    await settle();
  }
  assert.deepEqual(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
});

Deno.test("fair queue: a client's line is short; whoever is refused hears why", async () => {
  const refused: string[] = [];
  const queue = createFairQueue({
    places: 1,
    placesOfClient: 1,
    waitingOfClient: 2,
    onRefused: (reason) => refused.push(reason),
  });
  const release = await queue.take("a");
  const waiting = [queue.take("a"), queue.take("a")];
  await assert.rejects(queue.take("a"), isRefused("client_queue"));
  const other = queue.take("b");
  release();
  for (const turn of [waiting[0]!, other, waiting[1]!]) (await turn)();
  assert.deepEqual(refused, ["client_queue"]);
});

Deno.test("fair queue: when it is full the longest line gives way to a shorter one", async () => {
  const queue = createFairQueue({ places: 1, placesOfClient: 1, waiting: 4, waitingOfClient: 4 });
  const release = await queue.take("x");
  const greedy = Array.from({ length: 4 }, () => queue.take("a"));
  const modest = queue.take("b");
  await assert.rejects(greedy[3]!, isRefused("queue"));
  await assert.rejects(queue.take("a"), isRefused("queue"));
  release();
  for (const turn of [greedy[0]!, modest, greedy[1]!, greedy[2]!]) (await turn)();
});

Deno.test("fair queue: who gives up or waits too long leaves no trace", async () => {
  const queue = createFairQueue({ places: 1, placesOfClient: 1, maxWaitMs: 20 });
  const release = await queue.take("a");
  const gone = new AbortController();
  const first = queue.take("b", gone.signal);
  gone.abort(new Error("gone"));
  await assert.rejects(first, /gone/);
  await assert.rejects(queue.take("b", gone.signal), /gone/);
  await assert.rejects(queue.take("b"), isRefused("wait"));
  assert.equal(queue.waiting, 0);
  release();
  (await queue.take("b"))();
  assert.equal(queue.running, 0);
});

Deno.test("fair queue: the service's own work has its turn like a client's, but no limit", async () => {
  const queue = createFairQueue({ places: 2, placesOfClient: 1, waiting: 1, waitingOfClient: 1 });
  const held = [await queue.take(ourselves), await queue.take(ourselves)];
  const waiting = Array.from({ length: 5 }, () => queue.take(ourselves));
  const client = queue.take("a");
  held[0]!();
  for (const turn of [waiting[0]!, client, ...waiting.slice(1)]) (await turn)();
  held[1]!();
  assert.deepEqual([queue.running, queue.waiting], [0, 0]);
});
