/**
 * The order of the products, and the search among them.
 *
 * @module
 */

import type { Product, Ticker } from "./api_types.ts";
import type { State } from "./state.ts";

/** Products by turnover of 24 hours, then by name. */
export function inOrder(state: Pick<State, "products" | "tickers">): string[] {
  const turnover = (ticker: Ticker | undefined) =>
    Number(ticker?.price ?? 0) * Number(ticker?.volume_24h ?? 0);
  return [...state.products.keys()].sort((left, right) =>
    turnover(state.tickers.get(right)) - turnover(state.tickers.get(left)) || left.localeCompare(right)
  );
}

/** The products that a search finds: those whose id begins with it first. */
export function search(products: readonly string[], infos: Map<string, Product>, text: string): string[] {
  const wanted = text.trim().toLowerCase().replace(/[\s/]+/g, "-");
  const rank = (product: string) => {
    const id = product.toLowerCase();
    const name = (infos.get(product)?.display_name ?? "").toLowerCase();
    return id.startsWith(wanted) ? 0 : id.includes(wanted) ? 1 : name.includes(wanted) ? 2 : 3;
  };
  return products.filter((product) => rank(product) < 3).sort((left, right) => rank(left) - rank(right));
}
