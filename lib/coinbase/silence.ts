/**
 * Tells a quiet market from a dead connection: with the heartbeat channel every product speaks once a second.
 *
 * @module
 */

/** Times are milliseconds of any one clock. */
export interface SilenceWatch {
  /** From now on this product must be heard. */
  expect(productId: string, nowMs: number): void;
  /** Anything of this product arrived; without a product, anything at all. */
  hear(productId: string | undefined, nowMs: number): void;
  /** Products not heard for too long; `[""]` when the whole connection is silent. Empty when all is well. */
  silent(nowMs: number): string[];
}

/** @param limitMs how long a product that is expected, or the whole connection, may be silent */
export function createSilenceWatch(limitMs: number, startMs: number): SilenceWatch {
  const lastHeard = new Map<string, number>();
  let anything = startMs;
  return {
    expect: (productId, nowMs) => void lastHeard.set(productId, nowMs),
    hear(productId, nowMs) {
      anything = nowMs;
      if (productId !== undefined && lastHeard.has(productId)) lastHeard.set(productId, nowMs);
    },
    silent(nowMs) {
      if (nowMs - anything > limitMs) return [""];
      return [...lastHeard].filter(([, heard]) => nowMs - heard > limitMs).map(([productId]) => productId);
    },
  };
}
