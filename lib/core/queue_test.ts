import assert from "node:assert/strict";
import { createQueue } from "./queue.ts";

Deno.test("queue: items come out in the order in which they went in, whoever is faster", async () => {
  const queue = createQueue<number>(1000);
  const seen: number[] = [];
  const reading = (async () => {
    for await (const item of queue) {
      seen.push(item);
      if (item % 3 === 0) await Promise.resolve();
    }
  })();
  for (let item = 0; item < 1000; item++) {
    queue.push(item, 1);
    if (item % 7 === 0) await Promise.resolve();
  }
  queue.end();
  await reading;
  assert.deepEqual(seen, Array.from({ length: 1000 }, (_, item) => item));
  assert.equal(queue.bytes, 0);
});

Deno.test("queue: push says when the limit is passed, and keeps the item all the same", async () => {
  const queue = createQueue<string>(10);
  assert.equal(queue.push("a", 10), true);
  assert.equal(queue.push("b", 1), false);
  queue.end();
  assert.deepEqual(await Array.fromAsync(queue), ["a", "b"]);
});

Deno.test("queue: room comes when half of the limit is free", async () => {
  const queue = createQueue<number>(10);
  for (let item = 0; item < 11; item++) queue.push(item, 1);
  let room = false;
  const waiting = queue.room().then(() => room = true);
  const items = queue[Symbol.asyncIterator]();
  for (let taken = 0; taken < 5; taken++) await items.next();
  await Promise.resolve();
  assert.equal(room, false);
  await items.next();
  await waiting;
  assert.equal(queue.bytes, 5);
  await queue.room();
});

Deno.test("queue: an error given to end is thrown after the last item", async () => {
  const queue = createQueue<number>(10);
  queue.push(1, 1);
  queue.end(new Error("refused"));
  const items = queue[Symbol.asyncIterator]();
  assert.deepEqual(await items.next(), { value: 1, done: false });
  await assert.rejects(items.next(), /refused/);
});
