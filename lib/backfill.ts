/**
 * Filling holes, the rules: which ids are asked for, in which pages, when again, and when no more. Nothing here talks to a
 * server; backfill.ts does.
 *
 * @module
 */

import { bar } from "./progress_line.ts";
import { createTradeIds, type Run } from "./trade_runs.ts";

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

/** One request: the ids from `first` to `last`, of which `wanted` are missing. */
export interface Page extends Run {
  wanted: Run[];
}

/** The requests that cover all holes, newest first; holes that lie within one page share it. */
export function* pagesOf(holes: readonly Run[], size: number): Generator<Page> {
  const left = [...createTradeIds(holes).runs];
  for (let hole = left.pop(); hole !== undefined; hole = left.pop()) {
    const page = { first: hole.first, last: hole.last, wanted: [] as Run[] };
    const lowest = hole.last - size + 1;
    for (; hole !== undefined && hole.last >= lowest; hole = left.pop()) {
      page.first = Math.max(hole.first, lowest);
      page.wanted.unshift({ first: page.first, last: hole.last });
      if (hole.first < lowest) left.push({ first: hole.first, last: lowest - 1 });
    }
    if (hole !== undefined) left.push(hole);
    yield page;
  }
}

/** When to ask again for what was asked for. */
export interface Patience {
  /** Ids that an answer left out are asked for again after so many ms … */
  againMs: number;
  /** … and given up when so many answers left them out. */
  asks: number;
  /** Ids that were produced and are still missing are asked for again after so many ms. */
  arrivalMs: number;
}

/** What became of the ids of one product that were asked for. Times are ms of one clock. */
export interface Asked {
  /** Takes note of an answer: of the ids `wanted` it had `served`, which are on their way now. Returns what is to be given up. */
  answered(wanted: readonly Run[], served: readonly Run[], now: number): Run[];
  /** Which of the ids that are missing now are to be asked for; what isn't missing any more is forgotten. */
  due(open: readonly Run[], now: number): Run[];
  /** The ids that are on their way, as of the last `due`. */
  onTheWay(): Run[];
}

/** Ids with the same fate: not to be asked for before `until`, left out by so many answers. */
interface Group {
  ids: Run[];
  asks: number;
  until: number;
}

/** Nothing was asked for yet. */
export function createAsked({ againMs, asks, arrivalMs }: Patience): Asked {
  let produced: Group[] = [];
  let doubted: Group[] = [];

  return {
    answered(wanted, served, now) {
      const missing = subtract(wanted, served);
      const until = wholeSecond(now + againMs);
      const before = doubted;
      const known = before.flatMap(({ ids }) => ids);
      doubted = before.map((group) => ({ ...group, ids: subtract(group.ids, wanted) }));
      for (const group of before) addTo(doubted, intersect(group.ids, missing), group.asks + 1, until);
      addTo(doubted, subtract(missing, known), 1, until);
      addTo(produced, served, 0, wholeSecond(now + arrivalMs));
      doubted = doubted.filter(({ ids }) => ids.length > 0);
      return intersect(doubted.filter((group) => group.asks >= asks).flatMap(({ ids }) => ids), missing);
    },
    due(open, now) {
      const still = (groups: readonly Group[]) =>
        groups.map((group) => ({ ...group, ids: intersect(group.ids, open) })).filter(({ ids }) =>
          ids.length > 0
        );
      produced = still(produced.filter(({ until }) => until > now));
      doubted = still(doubted);
      const waiting = [...produced, ...doubted.filter(({ until }) => until > now)];
      return subtract(open, waiting.flatMap(({ ids }) => ids));
    },
    onTheWay: () => subtract(produced.flatMap(({ ids }) => ids), []),
  };
}

/** So that the groups are few: all that happened within a second is one. */
function wholeSecond(ms: number): number {
  return Math.ceil(ms / 1000) * 1000;
}

function addTo(groups: Group[], ids: readonly Run[], asks: number, until: number): void {
  const group = groups.find((group) => group.asks === asks && group.until === until);
  if (group) group.ids.push(...ids);
  else if (ids.length > 0) groups.push({ ids: [...ids], asks, until });
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

/**
 * `2026-07-07`, `2026-07-07T22:58`, `2026-07-07T22:58:17.5Z`, `…+02:00` → µs since the epoch; without a zone it is UTC.
 * Undefined when the text is none of these.
 */
export function parseTime(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  if (match === null) return undefined;
  const [, date = "", time = "00:00", zone = "Z"] = match;
  // Date takes the 31st of February for the 3rd of March.
  const day = new Date(`${date}T00:00Z`);
  if (Number.isNaN(day.valueOf()) || !day.toISOString().startsWith(date)) return undefined;
  const millis = Date.parse(`${date}T${time}${zone}`);
  return Number.isNaN(millis) ? undefined : millis * 1000;
}

/** Works on `items` with `ahead` of them at a time, and yields the results in order. */
export async function* inOrder<T, R>(
  items: Iterable<T>,
  ahead: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for (const item of items) {
    const result = work(item);
    // Whoever waits for it gets the error; if an earlier one failed, nobody does.
    result.catch(() => {});
    running.push(result);
    const first = running.length === ahead ? running.shift() : undefined;
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
