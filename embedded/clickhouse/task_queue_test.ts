import assert from "node:assert/strict";
import { createQueue, QueueClosed } from "./task_queue.ts";

const never = new AbortController().signal;

/** A task that notes its start and is held until it is let go. */
function held(started: string[], name: string) {
  const start = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const task = async () => {
    started.push(name);
    start.resolve();
    await gate.promise;
    return name;
  };
  return { task, start: start.promise, letGo: gate.resolve };
}

type Held = ReturnType<typeof held>;

Deno.test("queue: tasks start in the order they came, no more at a time than there are places", async () => {
  const started: string[] = [];
  const queue = createQueue(2);
  const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => held(started, name)) as [Held, Held, Held, Held];
  const runs = [a, b, c, d].map(({ task }) => queue.run(task, never));
  await b.start;
  assert.deepEqual(started, ["a", "b"]);
  b.letGo();
  assert.equal(await runs[1], "b");
  await c.start;
  assert.deepEqual(started, ["a", "b", "c"]);
  for (const { letGo } of [a, c, d]) letGo();
  assert.deepEqual(await Promise.all(runs), ["a", "b", "c", "d"]);
  assert.deepEqual(started, ["a", "b", "c", "d"]);
});

Deno.test("queue: a task that leaves while it waits is never run, and its place goes to the next", async () => {
  const started: string[] = [];
  const queue = createQueue(1);
  const [a, b, c] = ["a", "b", "c"].map((name) => held(started, name)) as [Held, Held, Held];
  const leaving = new AbortController();
  const first = queue.run(a.task, never);
  const left = queue.run(b.task, leaving.signal);
  const last = queue.run(c.task, never);
  leaving.abort(new Error("gone"));
  await assert.rejects(left, /gone/);
  a.letGo();
  c.letGo();
  await Promise.all([first, last]);
  assert.deepEqual(started, ["a", "c"]);
});

Deno.test("queue: a task that leaves while it runs is finished", async () => {
  const started: string[] = [];
  const queue = createQueue(1);
  const a = held(started, "a");
  const leaving = new AbortController();
  const run = queue.run(a.task, leaving.signal);
  leaving.abort();
  a.letGo();
  assert.equal(await run, "a");
});

Deno.test("queue: a failed task gives its place back", async () => {
  const queue = createQueue(1);
  await assert.rejects(queue.run(() => Promise.reject(new Error("bad")), never), /bad/);
  assert.equal(await queue.run(() => Promise.resolve(1), never), 1);
});

Deno.test("queue: a closed queue finishes what runs and turns away the rest", async () => {
  const started: string[] = [];
  const queue = createQueue(1);
  const [a, b] = ["a", "b"].map((name) => held(started, name)) as [Held, Held];
  const running = queue.run(a.task, never);
  const waiting = queue.run(b.task, never);
  let closed = false;
  const closing = queue.close().then(() => closed = true);
  await assert.rejects(waiting, QueueClosed);
  await assert.rejects(queue.run(b.task, never), QueueClosed);
  assert.equal(closed, false);
  a.letGo();
  assert.equal(await running, "a");
  await closing;
  assert.deepEqual(started, ["a"]);
});
