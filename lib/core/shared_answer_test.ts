import assert from "node:assert/strict";
import { createSharedAnswer, createSharedAnswers } from "./shared_answer.ts";

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

Deno.test("shared answer: all who ask while it is made get the same one", async () => {
  const { runs, ask } = setUp();
  const asked = [ask(), ask(), ask()];
  runs[0]?.resolve("a");
  assert.deepEqual(await Promise.all(asked), ["a", "a", "a"]);
  assert.equal(await ask(), "a");
  assert.equal(runs.length, 1);
});

Deno.test("shared answer: an older answer is given at once while a new one is made, a stale one isn't", async () => {
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

Deno.test("shared answer: a failure is told to those who wait, and not kept", async () => {
  const { runs, ask } = setUp();
  const first = ask();
  runs[0]?.reject(new Error("away"));
  await assert.rejects(first, /away/);
  const second = ask();
  runs[1]?.resolve("a");
  assert.equal(await second, "a");
});

Deno.test("shared answer: a refusal of the one who asked first is none of the others'", async () => {
  const asked: string[] = [];
  const refusal = new Error("too much of a");
  const ask = createSharedAnswer(async (who: string) => {
    asked.push(who);
    await new Promise((resolve) => setTimeout(resolve));
    if (who === "a") throw refusal;
    return `by ${who}`;
  }, { freshMs: 0, staleMs: 0, isPersonal: (error) => error === refusal });
  const [first, second, third] = await Promise.allSettled([ask("a"), ask("b"), ask("c")]);
  assert.deepEqual(first, { status: "rejected", reason: refusal });
  assert.deepEqual([second, third].map((result) => (result as { value?: string }).value), ["by b", "by b"]);
  assert.deepEqual(asked, ["a", "b"]);
});

Deno.test("shared answer: who asks after a computation has grown too old waits for one that is young enough", async () => {
  const { clock, runs, ask } = setUp();
  const first = ask();
  clock.now = 100;
  const second = ask();
  clock.now = 101;
  const [third, fourth] = [ask(), ask()];
  runs[0]?.resolve("a");
  assert.deepEqual([await first, await second], ["a", "a"]);
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(runs.length, 2);
  runs[1]?.resolve("b");
  assert.deepEqual([await third, await fourth], ["b", "b"]);
});

Deno.test("shared answer: an asker may want a younger answer than others, or one that nobody has begun", async () => {
  const { clock, runs, ask } = setUp();
  const first = ask();
  runs[0]?.resolve("a");
  await first;
  clock.now = 5;
  assert.equal(await ask(undefined, 5), "a");
  const younger = ask(undefined, 4);
  runs[1]?.resolve("b");
  assert.equal(await younger, "b");
  const anew = ask(undefined, -1);
  runs[2]?.resolve("c");
  assert.equal(await anew, "c");
});

Deno.test("shared answer: what is known is told without waiting, until it is too old", async () => {
  const { clock, runs, ask } = setUp();
  const turn = () => new Promise((resolve) => setTimeout(resolve));
  assert.equal(ask.known(), undefined);
  runs[0]?.resolve("a");
  await turn();
  assert.equal(ask.known(), "a");
  assert.equal(runs.length, 1);
  clock.now = 100;
  assert.equal(ask.known(), "a");
  assert.equal(runs.length, 2);
  clock.now = 101;
  assert.equal(ask.known(), undefined);
  runs[1]?.reject(new Error("away"));
  await turn();
  assert.equal(ask.known(), undefined);
  assert.equal(runs.length, 3);
});

Deno.test("shared answer: each key has its answer, and the one that nobody asked for longest goes first", async () => {
  const computed: string[] = [];
  const answers = createSharedAnswers((key) => {
    computed.push(key);
    return Promise.resolve(key);
  }, { freshMs: 10, staleMs: 10, now: () => 0, maxKeys: 2 });
  for (const key of ["a", "b", "a", "c", "a", "b"]) assert.equal(await answers(key)(), key);
  assert.deepEqual(computed, ["a", "b", "c", "b"]);
});
