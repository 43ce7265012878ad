/**
 * Which products there are: asked once for all clients.
 *
 * @module
 */

import type { Database } from "./database.ts";
import { Problem, shown } from "./problem.ts";

/** Every product that the exchange has spoken of or that has trades. */
export interface KnownProducts {
  all(): Promise<readonly string[]>;
  /** @throws {Problem} for a product that isn't there, with the nearest names */
  check(product: string): Promise<void>;
}

/** A list is given at once up to this age, and read anew behind the answer after the first of the two. */
const freshMs = 5000;
const staleMs = 60_000;
/** A name that isn't in the list is looked up anew, but not more often than this. */
const missMs = 500;

/** @param now ms of a monotonic clock */
export function createKnownProducts(
  database: Database,
  now: () => number = () => performance.now(),
): KnownProducts {
  const read = async (): Promise<readonly string[]> => {
    const rows = await database.rows<{ product_id: string }>(
      "SELECT product_id FROM products UNION DISTINCT SELECT product_id FROM candles_1d ORDER BY product_id",
    );
    return rows.map((row) => row.product_id);
  };
  let last: { names: readonly string[]; at: number } | undefined;
  let reading: Promise<readonly string[]> | undefined;

  function refresh(): Promise<readonly string[]> {
    const at = now();
    reading ??= read().then((names) => {
      last = { names, at };
      return names;
    }).finally(() => reading = undefined);
    return reading;
  }

  async function names(maxAgeMs: number): Promise<readonly string[]> {
    const age = last === undefined ? Infinity : now() - last.at;
    if (last === undefined || age > maxAgeMs) return await refresh();
    if (age > freshMs) refresh().catch(() => {});
    return last.names;
  }

  return {
    all: () => names(freshMs),
    async check(product) {
      if ((await names(staleMs)).includes(product)) return;
      const all = await names(missMs);
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

/** Levenshtein's distance. */
function distance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let at = 1; at <= left.length; at++) {
    const next = [at];
    for (let to = 1; to <= right.length; to++) {
      const replaced = (row[to - 1] ?? 0) + (left[at - 1] === right[to - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[to] ?? 0) + 1, (next[to - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
