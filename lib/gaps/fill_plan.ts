/**
 * Filling gaps, the rules: which ids are asked for, in which pages, at what cost. Nothing here talks to a server.
 *
 * @module
 */

import { largestPage } from "../feed/coinbase_rest.ts";
import { bar } from "../process/progress.ts";
import type { Gap } from "./trade_gaps.ts";
import { countIds, createTradeIds, type Run } from "../core/id_ranges.ts";

/** One request: the ids from `first` to `last`, of which `wanted` are missing. */
export interface Page extends Run {
  wanted: Run[];
}

/** The requests that cover all gaps, newest first; gaps that lie within one page share it. */
export function* pagesOf(gaps: readonly Run[], size: number): Generator<Page> {
  const left = [...createTradeIds(gaps).runs];
  for (let gap = left.pop(); gap !== undefined; gap = left.pop()) {
    const page = { first: gap.first, last: gap.last, wanted: [] as Run[] };
    const lowest = gap.last - size + 1;
    for (; gap !== undefined && gap.last >= lowest; gap = left.pop()) {
      page.first = Math.max(gap.first, lowest);
      page.wanted.unshift({ first: page.first, last: gap.last });
      if (gap.first < lowest) left.push({ first: gap.first, last: lowest - 1 });
    }
    if (gap !== undefined) left.push(gap);
    yield page;
  }
}

/** The missing ids of a product, by what is to be done about them. */
export interface Missing {
  /** What may be asked for … */
  open: Run[];
  /** … of which these may still come by themselves. */
  arriving: Run[];
  /** Larger than the bound: filled only when somebody asks for it. */
  tooLarge: Gap[];
}

/** A gap is left alone for so long: its trades may be on the way, late or by another producer. */
const settleMicros = 3e6;

/**
 * Sorts the gaps of all products.
 *
 * @param options.maxGap BACKFILL_MAX_GAP: no larger gap is open
 * @param options.now µs, of the clock of `seenAt`
 */
export function sortGaps(
  gaps: readonly Gap[],
  { maxGap, now }: { maxGap: number; now: number },
): Map<string, Missing> {
  return new Map(
    [...Map.groupBy(gaps, (gap) => gap.productId)].map(([productId, ofProduct]) => {
      const open = ofProduct.filter((gap) => countIds([gap]) <= maxGap);
      return [productId, {
        open: open.map(({ first, last }) => ({ first, last })),
        // A clock that goes wrong by more must not hide a gap for ever.
        arriving: open.filter(({ seenAt }) => Math.abs(now - seenAt) < settleMicros),
        tooLarge: ofProduct.filter((gap) => countIds([gap]) > maxGap),
      }];
    }),
  );
}

/** The largest page that REST serves, less a stored trade on each side: those show that the answer knows the place. */
export const idsPerPage = largestPage - 2;

/** What it takes to fetch so many trades. */
export function costOf(
  trades: number,
  perSecond: number,
): { trades: number; requests: number; seconds: number } {
  const requests = Math.ceil(trades / idsPerPage);
  return { trades, requests, seconds: Math.ceil(requests / perSecond) };
}

/** The command that fills a gap, whatever its size. */
export function fillCommand({ productId, after, before }: Gap): string {
  const second = (time: string) => `${time.slice(0, 10)}T${time.slice(11, 19)}`;
  // Behind the last moment: a part of a second counts as a whole one. Of a clock that goes wrong, at least a second.
  const last = Math.max(Date.parse(`${second(before)}Z`), Date.parse(`${second(after)}Z`));
  const to = new Date(last + 1000).toISOString().slice(0, 19);
  return `deno task backfill --product ${productId} --from ${second(after)} --to ${to}`;
}

/**
 * The first trade at or after a time, by bisection of the ids.
 *
 * @param newest the newest id of the exchange
 * @param lookUp the newest trade with an id of at most this, and its time; undefined when the exchange has none
 * @param time in the unit of `lookUp`
 * @returns the id; `newest + 1` when every trade is earlier
 */
export async function firstIdAt(
  newest: number,
  lookUp: (id: number) => Promise<{ id: number; time: number } | undefined>,
  time: number,
): Promise<number> {
  // Everything up to `below` is earlier, `found` isn't.
  let below = 0;
  let found = newest + 1;
  while (found - below > 1) {
    const middle = Math.floor((below + found) / 2);
    const trade = await lookUp(middle);
    if (trade === undefined || trade.time < time) below = middle;
    else found = trade.id;
  }
  return found;
}

/** Works on `items` with `concurrency` of them at a time, and yields the results in order. */
export async function* inOrder<T, R>(
  items: Iterable<T>,
  concurrency: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for (const item of items) {
    const result = work(item);
    // Whoever waits for it gets the error; if an earlier one failed, nobody does.
    result.catch(() => {});
    running.push(result);
    const first = running.length === concurrency ? running.shift() : undefined;
    if (first) yield await first;
  }
  for (const result of running) yield await result;
}

/** How far a fill is, in trades. */
export interface Progress {
  fetched: number;
  stored: number;
  total: number;
}

/**
 * `[#####               ]  25 %  250 000 of 1 000 000 trades fetched, 200 000 stored, 8 000/s, 1 m 33 s left`
 *
 * @param perSecond 0 while it isn't known
 */
export function progressText({ fetched, stored, total }: Progress, perSecond: number): string {
  const pace = perSecond > 0 && fetched < total
    ? `, ${spaced(perSecond)}/s, ${duration((total - fetched) / perSecond)} left`
    : "";
  const counts = `${spaced(fetched)} of ${spaced(total)} trades fetched, ${spaced(stored)} stored`;
  return `${bar(total === 0 ? 1 : fetched / total)}  ${counts}${pace}`;
}

/** `1234567` → `1 234 567`. */
function spaced(count: number): string {
  return Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, " ");
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} m`;
}
