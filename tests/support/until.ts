/**
 * Waiting for what has no event.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";

/** Nothing takes so long unless it hangs. */
export const hangMs = 120_000;

/**
 * Asks until the probe says true, ever more rarely: what is waited for shares the cores with whoever asks.
 *
 * @param describe says more when it never becomes true
 */
export async function until(
  what: string,
  probe: () => boolean | Promise<boolean>,
  describe: () => string | Promise<string> = () => "",
): Promise<void> {
  const deadline = performance.now() + hangMs;
  for (let waitMs = 10; !await probe(); waitMs = Math.min(waitMs * 1.25, 250)) {
    if (performance.now() > deadline) {
      assert.fail(`waited ${hangMs / 1000} s for: ${what}\n${await describe()}`.trim());
    }
    await sleep(waitMs);
  }
}
