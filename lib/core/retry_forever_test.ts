import assert from "node:assert/strict";
import { FatalError } from "./errors.ts";
import { retryForever } from "./retry_forever.ts";

const never = new AbortController().signal;

Deno.test("retry forever: each failure is a line with its fields, until the work succeeds", async () => {
  const lines: [string, Record<string, unknown>][] = [];
  let tries = 0;
  const answer = await retryForever("the broker can't be used", () => {
    tries++;
    return tries < 3 ? Promise.reject(new Error(`failure ${tries}`)) : Promise.resolve("done");
  }, {
    signal: never,
    log: { error: (message, fields) => lines.push([message, fields]) },
    fields: { topic: "market" },
    initialMs: 2,
    random: () => 0,
  });
  assert.equal(answer, "done");
  assert.deepEqual(lines, [
    ["the broker can't be used, trying again", {
      topic: "market",
      error: new Error("failure 1"),
      wait_ms: 1,
    }],
    ["the broker can't be used, trying again", {
      topic: "market",
      error: new Error("failure 2"),
      wait_ms: 2,
    }],
  ]);
});

Deno.test("retry forever: what can't be mended by trying again ends it without a line", async () => {
  const log = { error: () => assert.fail("logged") };
  const explain = (error: unknown) => new FatalError(`explained: ${error}`);
  const attempt = () => Promise.reject("wrong password");
  await assert.rejects(
    retryForever("never said", attempt, { signal: never, log, explain }),
    (error) => error instanceof FatalError && error.message === "explained: wrong password",
  );
});
