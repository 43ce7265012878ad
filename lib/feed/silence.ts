/**
 * Tells a quiet market from a dead connection: with the heartbeat channel every product speaks once a second.
 *
 * @module
 */

/** Who is silent. */
export interface Silence {
  /** Products that were expected and not heard for too long. Each is told once, until it is heard again. */
  products: string[];
  /** Nothing at all was heard for too long, or none of the expected products. */
  everything: boolean;
}

/** Times are milliseconds of any one clock. */
export interface SilenceWatch {
  /** From now on this product must be heard. */
  expect(productId: string, nowMs: number): void;
  /** Anything of this product arrived; without a product, anything at all. */
  hear(productId: string | undefined, nowMs: number): void;
  /** Who is silent now. */
  silent(nowMs: number): Silence;
}

/** @param limitMs how long a product that is expected, or the whole connection, may be silent */
export function createSilenceWatch(limitMs: number, startMs: number): SilenceWatch {
  const lastHeard = new Map<string, number>();
  const told = new Set<string>();
  let anything = startMs;
  return {
    expect: (productId, nowMs) => void lastHeard.set(productId, nowMs),
    hear(productId, nowMs) {
      anything = nowMs;
      if (productId === undefined || !lastHeard.has(productId)) return;
      lastHeard.set(productId, nowMs);
      told.delete(productId);
    },
    silent(nowMs) {
      const all = [...lastHeard].filter(([, heard]) => nowMs - heard > limitMs).map(([productId]) =>
        productId
      );
      const products = all.filter((productId) => !told.has(productId));
      products.forEach((productId) => told.add(productId));
      const everyProduct = products.length > 0 && all.length === lastHeard.size;
      return { products, everything: everyProduct || nowMs - anything > limitMs };
    },
  };
}
