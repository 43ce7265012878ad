/**
 * Which products there are: asked once for all clients.
 *
 * @module
 */

import { distance } from "fastest-levenshtein";
import { createSharedAnswer } from "../../core/shared_answer.ts";
import type { ReadClient } from "../read_client.ts";
import { Problem, shown } from "../problem.ts";

/** Every product that the exchange has spoken of or that has trades. */
export interface KnownProducts {
  all(): Promise<readonly string[]>;
  /** @throws {Problem} for a product that isn't there, with the nearest names */
  assertKnown(product: string): Promise<void>;
}

/** A list is given at once up to this age, and read anew behind the answer after the first of the two. */
const freshMs = 5000;
const staleMs = 60_000;
/** A name that isn't in the list is looked up anew, but not more often than this. */
const missMs = 500;

/** @param now ms of a monotonic clock */
export function createKnownProducts(
  clickhouse: ReadClient,
  now: () => number = () => performance.now(),
): KnownProducts {
  const names = createSharedAnswer(async (): Promise<readonly string[]> => {
    const rows = await clickhouse.rows<{ product_id: string }>(
      "SELECT product_id FROM known_products ORDER BY product_id",
    );
    return rows.map((row) => row.product_id);
  }, { freshMs, staleMs, now });

  return {
    all: () => names(undefined, freshMs),
    async assertKnown(product) {
      if ((await names()).includes(product)) return;
      const all = await names(undefined, missMs);
      if (all.includes(product)) return;
      throw new Problem("unknown-product", {
        detail: `product_id=${shown(product)}: no such product is stored`,
        parameter: "product_id",
        allowed: "a product of /api/products",
        nearest: nearest(product, all),
      });
    },
  };
}

/** The three names that need the fewest letters changed, without case; none that is all different. */
export function nearest(name: string, names: readonly string[]): string[] {
  const wanted = name.toUpperCase().slice(0, 40);
  return names.map((other) => ({ other, changes: distance(wanted, other.toUpperCase()) }))
    .filter(({ other, changes }) => changes < Math.max(other.length, wanted.length))
    .sort((left, right) => left.changes - right.changes || (left.other < right.other ? -1 : 1))
    .slice(0, 3).map(({ other }) => other);
}
