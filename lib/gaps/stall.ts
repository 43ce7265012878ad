/**
 * A run that isn't a service ends when nothing moves any more.
 *
 * @module
 */

import { FatalError } from "../core/errors.ts";

/** A clock that every step sets back. */
export interface Stall {
  /** Aborts when nothing has moved for too long. */
  signal: AbortSignal;
  moved(): void;
  end(): void;
}

/** @param ms so long nothing may move; Infinity for a service */
export function createStall(ms: number): Stall {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  function moved() {
    clearTimeout(timer);
    if (Number.isFinite(ms)) timer = setTimeout(() => controller.abort(), ms);
  }
  moved();
  return { signal: controller.signal, moved, end: () => clearTimeout(timer) };
}

/** @param trouble the first thing that is wrong, if anything is known to be */
export function stalled(timeoutMs: number, trouble: string | null): FatalError {
  const reason = trouble ?? "the trades were produced, but the consumer hasn't stored them";
  return new FatalError(
    `Gaps are left: nothing has moved for ${timeoutMs / 1000} s. ${reason.replace(/\.$/, "")}.`,
  );
}
