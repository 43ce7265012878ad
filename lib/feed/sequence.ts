/**
 * Gaps in the exchange's own numbering of trades, as the feed sees them.
 *
 * @module
 */

/** Trade ids that were never seen, both ends included. */
export interface Gap {
  first: number;
  last: number;
}

/** Remembers each product's newest trade id. */
export interface TradeSequence {
  /**
   * Takes note of a trade.
   *
   * @returns the ids between the newest trade so far and this one, if there are any. A late trade (an id below the
   *   newest) is none and doesn't move the baseline back.
   */
  see(productId: string, tradeId: number): Gap | undefined;
}

/** Starts with no product known: a product's first trade opens no gap. */
export function createTradeSequence(): TradeSequence {
  const newest = new Map<string, number>();
  return {
    see(productId, tradeId) {
      const before = newest.get(productId);
      if (before !== undefined && tradeId <= before) return undefined;
      newest.set(productId, tradeId);
      if (before === undefined || tradeId === before + 1) return undefined;
      return { first: before + 1, last: tradeId - 1 };
    },
  };
}
