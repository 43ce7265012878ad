import assert from "node:assert/strict";
import { backoffMs, retry, sleep } from "./retry.ts";

Deno.test("retry: the wait doubles up to the maximum and keeps at least half of itself", () => {
  const waits = (random: number) =>
    [1, 2, 3, 4, 5, 60].map((failures) =>
      backoffMs(failures, { initialMs: 100, maximumMs: 1000, random: () => random })
    );
  assert.deepEqual(waits(0), [50, 100, 200, 400, 500, 500]);
  assert.deepEqual(waits(0.999999).map(Math.round), [100, 200, 400, 800, 1000, 1000]);
});

Deno.test("retry: tries until it succeeds and tells each error", async () => {
  const errors: unknown[] = [];
  let tries = 0;
  const result = await retry(() => ++tries < 3 ? Promise.reject(tries) : Promise.resolve("done"), {
    initialMs: 1,
    signal: new AbortController().signal,
    onError: (error) => errors.push(error),
  });
  assert.equal(result, "done");
  assert.deepEqual(errors, [1, 2]);
});

Deno.test("retry: ends with the last error when the signal aborts, without waiting further", async () => {
  const controller = new AbortController();
  const trying = retry(() => Promise.reject(new Error("away")), {
    initialMs: 3_600_000,
    maximumMs: 3_600_000,
    signal: controller.signal,
    onError: () => controller.abort(),
  });
  await assert.rejects(trying, /away/);
});

Deno.test("sleep: wakes early when the signal aborts, and leaves no timer", async () => {
  const controller = new AbortController();
  const sleeping = sleep(3_600_000, controller.signal);
  controller.abort();
  await sleeping;
  await sleep(3_600_000, controller.signal);
});
