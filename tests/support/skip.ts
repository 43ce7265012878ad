/**
 * Skips that say why.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Why a test can't run here. */
export interface Skip {
  reason: string;
  /** The machine could have had what is missing: under CI=true the skip is a failure then. */
  avoidable: boolean;
}

/** Registers a test, or with a reason its skip, which is printed. */
export function testUnless(name: string, skip: Skip | undefined, fn: () => Promise<void> | void): void {
  if (skip === undefined) return Deno.test(name, fn);
  if (skip.avoidable && Deno.env.get("CI") === "true") return Deno.test(name, () => assert.fail(skip.reason));
  console.log(`skipped: ${name}: ${skip.reason}`);
  Deno.test({ name, ignore: true, fn });
}
