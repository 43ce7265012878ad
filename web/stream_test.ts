import assert from "node:assert/strict";
import { parseFrame, retryDelay } from "./stream.ts";

Deno.test("the waits between tries double up to ten seconds, half of each by chance", () => {
  assert.deepEqual([0, 1, 2, 5, 6, 50].map((attempt) => retryDelay(attempt, 1)), [
    250,
    500,
    1000,
    8000,
    10_000,
    10_000,
  ]);
  assert.equal(retryDelay(0, 0), 125);
});

Deno.test("a frame is a message or an array of messages, and nothing else", () => {
  assert.deepEqual(parseFrame(`{"type":"pong"}`), [{ type: "pong" }]);
  assert.deepEqual(parseFrame(`[{"type":"match","seq":1},{"type":"ticker","seq":2}]`)?.length, 2);
  for (const wrong of ["", "null", "[1]", "{}", `[{"type":1}]`]) assert.equal(parseFrame(wrong), null, wrong);
});
