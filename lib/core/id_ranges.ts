/**
 * Sets of trade ids, kept as ranges without a gap: memory grows with the gaps and not with the trades.
 *
 * @module
 */

/** Ids from `first` to `last`, both included. */
export interface Run {
  first: number;
  last: number;
}

/** The ids of one product. */
export interface TradeIds {
  /** Adds an id; true when it wasn't there. */
  add(id: number): boolean;
  /** Ascending, apart from each other by at least one id. */
  readonly runs: readonly Run[];
}

/** Starts with `stored`, in any order, overlapping or not. */
export function createTradeIds(stored: readonly Run[] = []): TradeIds {
  const runs: Run[] = [];
  for (const { first, last } of [...stored].sort((left, right) => left.first - right.first)) {
    const before = runs.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else runs.push({ first, last });
  }

  /** The index of the last run that starts at or before `id`; -1 when there is none. */
  function indexOf(id: number): number {
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (runs[middle]!.first <= id) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  return {
    runs,
    add(id) {
      // Almost every trade is the newest plus one; the search finds that run as quickly as any.
      const index = indexOf(id);
      const before = runs[index];
      const after = runs[index + 1];
      if (before !== undefined && id <= before.last) return false;
      const touchesBefore = before !== undefined && id === before.last + 1;
      const touchesAfter = after !== undefined && id === after.first - 1;
      if (touchesBefore && touchesAfter) {
        before.last = after.last;
        runs.splice(index + 1, 1);
      } else if (touchesBefore) {
        before.last = id;
      } else if (touchesAfter) {
        after.first = id;
      } else {
        runs.splice(index + 1, 0, { first: id, last: id });
      }
      return true;
    },
  };
}

/** How many ids the ranges hold; they must not overlap. */
export function countIds(ranges: readonly Run[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** The ids of `ranges` that are not in `without`, ascending. Both may be in any order and overlap. */
export function subtract(ranges: readonly Run[], without: readonly Run[]): Run[] {
  const cuts = createTradeIds(without).runs;
  const left: Run[] = [];
  let next = 0;
  for (const { first, last } of createTradeIds(ranges).runs) {
    let from = first;
    for (let cut = cuts[next]; cut !== undefined && cut.first <= last; cut = cuts[++next]) {
      if (cut.first > from) left.push({ first: from, last: cut.first - 1 });
      from = Math.max(from, cut.last + 1);
      // This cut may reach into the next range.
      if (cut.last >= last) break;
    }
    if (from <= last) left.push({ first: from, last });
  }
  return left;
}

/** The ids that are in both, ascending. */
export function intersect(ranges: readonly Run[], others: readonly Run[]): Run[] {
  return subtract(ranges, subtract(ranges, others));
}
