/**
 * How long the way to the screen takes: the clocks of page and server are compared by ping and pong, and the last
 * samples are kept for their percentiles.
 *
 * @module
 */

/** p50 and p99 in ms. */
export interface Percentiles {
  p50: number;
  p99: number;
}

/**
 * Keeps the newest `capacity` samples.
 *
 * @returns `add` a sample in ms; `percentiles` of what is kept, null without samples; `clear`
 */
export function createSamples(capacity: number) {
  let kept: number[] = [];
  let next = 0;
  return {
    add(sample: number): void {
      kept[next] = sample;
      next = (next + 1) % capacity;
    },
    percentiles(): Percentiles | null {
      if (kept.length === 0) return null;
      const sorted = kept.toSorted((left, right) => left - right);
      const at = (share: number) =>
        sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
      return { p50: at(0.5), p99: at(0.99) };
    },
    get count(): number {
      return kept.length;
    },
    clear(): void {
      kept = [];
      next = 0;
    },
  };
}

/** One ping and its pong, in ms: when it left, when the answer came (the page's clock), what the server's clock said. */
export interface Exchange {
  sent: number;
  came: number;
  server: number;
}

/**
 * How far the server's clock is ahead of the page's, in ms: by the exchange with the shortest way, whose error is at
 * most half of that way (Cristian's algorithm). 0 without an exchange.
 */
export function clockOffset(exchanges: readonly Exchange[]): number {
  let best: Exchange | undefined;
  for (const each of exchanges) {
    if (best === undefined || each.came - each.sent < best.came - best.sent) best = each;
  }
  return best === undefined ? 0 : best.server - (best.sent + best.came) / 2;
}
