/**
 * The order book of a replay, rebuilt from the frames that were played.
 *
 * @module
 */

import type { Book } from "./source.ts";

/** What a `snapshot` and an `l2update` say of the book. */
interface BookMessage {
  bids?: [string, string][];
  asks?: [string, string][];
  changes?: ["buy" | "sell", string, string][];
}

/**
 * The book that a snapshot and the updates after it make.
 *
 * @param raws the frames as they were recorded, the snapshot first
 */
export function rebuildBook(raws: readonly string[]): Pick<Book, "bids" | "asks"> {
  const sides = { buy: new Map<string, string>(), sell: new Map<string, string>() };
  for (const raw of raws) {
    const message = JSON.parse(raw) as BookMessage;
    for (const [price, size] of message.bids ?? []) sides.buy.set(price, size);
    for (const [price, size] of message.asks ?? []) sides.sell.set(price, size);
    for (const [side, price, size] of message.changes ?? []) {
      if (/[1-9]/.test(size)) sides[side].set(price, size);
      else sides[side].delete(price);
    }
  }
  // Number is good enough to sort by, as prices of one book differ early; the texts stay as they are.
  const sorted = (side: Map<string, string>, sign: number) =>
    [...side].sort(([a], [b]) => sign * (Number(a) - Number(b)));
  return { bids: sorted(sides.buy, -1), asks: sorted(sides.sell, 1) };
}
