import assert from "node:assert/strict";
import { createSharedAnswer } from "./shared_answer.ts";

function setUp() {
  const clock = { now: 0 };
  const runs: PromiseWithResolvers<string>[] = [];
  const ask = createSharedAnswer(() => {
    const run = Promise.withResolvers<string>();
    runs.push(run);
    return run.promise;
  }, { freshMs: 10, staleMs: 100, now: () => clock.now });
  return { clock, runs, ask };
}

Deno.test("all who ask meanwhile get one answer", async () => {
  const { runs, ask } = setUp();
  const asked = [ask(), ask(), ask()];
  runs[0]?.resolve("a");
  assert.deepEqual(await Promise.all(asked), ["a", "a", "a"]);
  assert.equal(await ask(), "a");
  assert.equal(runs.length, 1);
});

Deno.test("an older answer is given at once while a new one is made, a stale one isn't", async () => {
  const { clock, runs, ask } = setUp();
  const first = ask();
  runs[0]?.resolve("a");
  await first;
  clock.now = 50;
  assert.equal(await ask(), "a");
  assert.equal(runs.length, 2);
  runs[1]?.resolve("b");
  // Until the next turn of the event loop all that follows from it has happened.
  await new Promise((resolve) => setTimeout(resolve));
  clock.now = 500;
  const late = ask();
  runs[2]?.resolve("c");
  assert.equal(await late, "c");
});

Deno.test("a failure is told to those who wait, and not kept", async () => {
  const { runs, ask } = setUp();
  const first = ask();
  runs[0]?.reject(new Error("away"));
  await assert.rejects(first, /away/);
  const second = ask();
  runs[1]?.resolve("a");
  assert.equal(await second, "a");
});
