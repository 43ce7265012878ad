import assert from "node:assert/strict";
import { retryDelay } from "./stream_connection.ts";

Deno.test("stream: the waits between tries double up to ten seconds, half of each by chance", () => {
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
