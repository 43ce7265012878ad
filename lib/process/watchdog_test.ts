import assert from "node:assert/strict";
import { createWatchdog, type Loop } from "./watchdog.ts";

/** A loop and a clock by hand. */
function setUp(limitSeconds = 3) {
  const state = { due: null as string | null, steps: 0 };
  const stuck: string[] = [];
  let tick = () => {};
  const loop: Loop = { due: () => state.due, progress: () => state.steps, limitSeconds };
  const watchdog = createWatchdog(loop, {
    onStuck: (reason) => stuck.push(reason),
    every(callback) {
      tick = callback;
      return () => tick = () => {};
    },
  });
  const pass = (seconds: number) => {
    for (let second = 0; second < seconds; second++) tick();
  };
  return { state, stuck, watchdog, pass };
}

Deno.test("watchdog: a loop without anything to do, or that waits for others, is never stuck", () => {
  const { state, watchdog, pass } = setUp();
  pass(1000);
  assert.equal(watchdog.reason(), null);
  state.due = "messages wait";
  pass(2);
  state.due = null;
  pass(1);
  state.due = "messages wait";
  pass(2);
  assert.equal(watchdog.reason(), null);
  assert.equal(watchdog.seconds, 2);
});

Deno.test("watchdog: each step gives the loop its whole time again", () => {
  const { state, stuck, watchdog, pass } = setUp();
  state.due = "messages wait";
  for (let step = 0; step < 10; step++) {
    pass(2);
    state.steps++;
    pass(1);
  }
  assert.equal(watchdog.reason(), null);
  assert.deepEqual(stuck, []);
});

Deno.test("watchdog: a step that is due and doesn't come is said, once, until it comes", () => {
  const { state, stuck, watchdog, pass } = setUp();
  state.due = "messages wait";
  pass(3);
  assert.equal(watchdog.reason(), "stuck for 3 s: messages wait");
  pass(5);
  assert.equal(watchdog.reason(), "stuck for 8 s: messages wait");
  assert.deepEqual(stuck, ["stuck for 3 s: messages wait"]);
  state.steps++;
  pass(1);
  assert.equal(watchdog.reason(), null);
  pass(3);
  assert.equal(stuck.length, 2);
});
