/**
 * Filling gaps once: what is missing now, or a product's history, until it is stored or REST has proved not to have it.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { backoffMs, sleep } from "../core/retry.ts";
import { costOf, fillCommand, firstIdAt, type Missing, type Progress, progressText } from "./fill_plan.ts";
import { type Rest, RestError } from "../feed/coinbase_rest.ts";
import type { GapFiller } from "./fill.ts";
import type { Logger } from "../process/log.ts";
import { createProgressLine } from "../process/progress.ts";
import { FatalError } from "../core/errors.ts";
import { formatMicros, parseMicros } from "../core/time.ts";
import type { RequestTracker } from "./request_tracker.ts";
import type { Gap } from "./trade_gaps.ts";
import { loadStoredTrades } from "../ingest/trade_runs.ts";
import { countIds, createTradeIds, intersect, type Run, subtract } from "../core/id_ranges.ts";

/** Between two looks while trades are on their way into ClickHouse. */
const pollMs = 500;

/** A product's past. Times are µs since the epoch; without `to` it ends with what is stored, or now. */
export interface History {
  product: string;
  from: number;
  to: number | undefined;
}

/** What a single run works with. */
export interface FillOnceOptions {
  filler: Pick<GapFiller, "trackerOf" | "fill">;
  rest: Rest;
  clickhouse: ClickHouseClient;
  persist<T>(what: string, attempt: () => Promise<T>): Promise<T>;
  log: Logger;
  /** Aborts when nothing has moved for too long, too. */
  signal: AbortSignal;
  /** Something has moved. */
  moved(): void;
  /** Told why REST can't be used; undefined when it can. */
  onTrouble(reason: string | undefined): void;
  /** Whether to wait until the trades are stored. */
  wait: boolean;
  /** COINBASE_REST_PER_SECOND, for what it costs. */
  perSecond: number;
  maxGap: number;
}

/** The gaps to fill, as they are now. */
type Look = () => Promise<Map<string, Missing>>;

/** Fills the gaps that are no larger than the bound. @throws {FatalError} when larger ones are left */
export async function fillGaps(look: Look, options: FillOnceOptions): Promise<void> {
  const tooLarge = [...(await look()).values()].flatMap((missing) => missing.tooLarge);
  await fillAll(look, options);
  const [gap, ...others] = tooLarge;
  if (gap === undefined) return;
  throw new FatalError(
    `${describeSize(gap, options)}${others.length > 0 ? ` So are ${others.length} more.` : ""} ` +
      `To fill it: ${fillCommand(gap)}`,
  );
}

function describeSize(gap: Gap, { perSecond, maxGap }: FillOnceOptions): string {
  const { trades, requests, seconds } = costOf(countIds([gap]), perSecond);
  return `The gap of ${gap.productId} from ${gap.first} to ${gap.last} is larger than BACKFILL_MAX_GAP=${maxGap} and ` +
    `left alone: ${trades} trades, ${requests} requests, ${seconds} s at least.`;
}

/** Fetches a product's history, whatever its size; also what was given up. */
export async function fillHistory(history: History, options: FillOnceOptions): Promise<void> {
  const { product } = history;
  const { log, maxGap } = options;
  const range = await historyRange(history, options);
  if (range.first > range.last) return log.info("there is no trade in that time", { product });
  const stored = await storedOf(product, options);
  const missing = subtract([range], stored);
  const { requests, seconds } = costOf(countIds(missing), options.perSecond);
  log.info("history", {
    ...{ product, ...range, from: formatMicros(history.from), stored: countIds([range]) - countIds(missing) },
    ...{ trades: countIds(missing), requests, seconds },
  });
  const opened = subtract(gapsBetween([...stored, range]), gapsBetween(stored));
  if (opened.length > 0) {
    const unasked = opened.every((gap) => countIds([gap]) <= maxGap);
    const fate = unasked ? "which --watch fills" : "too large for --watch to fill";
    log.warn(`the range doesn't touch what is stored: what lies between is a gap from now on, ${fate}`, {
      product,
      trades: countIds(opened),
    });
  }
  const look = async () => {
    const open = subtract([range], await storedOf(product, options));
    return new Map([[product, { open, arriving: [], tooLarge: [] }]]);
  };
  await fillAll(look, options, countIds([range]));
}

/** Which ids a time range is, from REST; they may be stored already. */
async function historyRange({ product, from, to }: History, options: FillOnceOptions): Promise<Run> {
  const ask = async (query: { after?: number }) => {
    const { trades, problem } = await options.rest.trades(product, { ...query, limit: 1 });
    if (problem !== undefined) throw new RestError(problem, "not understood");
    options.moved();
    return trades[0] && { id: trades[0].trade_id, time: parseMicros(trades[0].time) };
  };
  const newest = (await ask({}))?.id ?? 0;
  const lookUp = (id: number) => ask({ after: id + 1 });
  const first = await firstIdAt(newest, lookUp, from);
  if (to !== undefined) return { first, last: await firstIdAt(newest, lookUp, to) - 1 };
  // What is stored without a gap after that time belongs to it: a second start then shows how far the first one came.
  const run = (await storedOf(product, options)).find((run) => run.last >= first);
  return { first, last: run?.last ?? newest };
}

async function storedOf(product: string, { clickhouse, persist }: FillOnceOptions): Promise<readonly Run[]> {
  const { stored } = await persist("reading trade_runs", () => loadStoredTrades(clickhouse, [product], ""));
  return stored.get(product)?.runs ?? [];
}

/** The ids between the lowest and the highest that are in none of the runs. */
function gapsBetween(runs: readonly Run[]): Run[] {
  const sorted = createTradeIds(runs).runs;
  const [first, last] = [sorted[0]?.first, sorted.at(-1)?.last];
  return first === undefined || last === undefined ? [] : subtract([{ first, last }], sorted);
}

/**
 * Fills what is missing now, until each trade is stored, or REST has proved not to have it.
 *
 * @param whole so many ids are wanted, of which some are stored; then what isn't to be asked for yet is asked for, too
 * @throws {RestError} in the end, when REST refuses a product
 */
async function fillAll(look: Look, options: FillOnceOptions, whole?: number): Promise<void> {
  const { signal, moved } = options;
  const run = new FillRun(await look(), options, whole);
  try {
    for (let missing = run.target, least = Infinity;; missing = await look()) {
      signal.throwIfAborted();
      const work = run.takeStock(missing);
      for (const { productId, due } of work) await run.ask(productId, due);
      if (run.left === 0) return run.conclude();
      if (run.left < least) moved();
      least = run.left;
      if (work.length === 0) await sleep(pollMs, signal);
    }
  } finally {
    run.end();
  }
}

/** What is to be asked for of a product, and how much of it isn't there yet. */
interface Stock {
  due: Run[];
  unstored: number;
  unfetched: number;
  /** So many REST doesn't have: they count as done. */
  absent: number;
}

/**
 * A product at a look.
 *
 * @param wanted the ids that the run fills
 * @param missing what of the product is missing now
 * @param proven what REST proved to this run not to have, when it asks for all; else undefined
 */
function stockOf(
  wanted: readonly Run[],
  missing: Pick<Missing, "open" | "arriving">,
  tracker: RequestTracker,
  proven: readonly Run[] | undefined,
): Stock {
  const now = Date.now();
  const stillOpen = intersect(missing.open, wanted);
  const due = tracker.due(stillOpen, now);
  const absent = tracker.absent(now);
  // What was proven before this run isn't proven to whoever asks for all of it.
  const settled = intersect(stillOpen, proven ?? absent);
  const again = proven === undefined ? [] : subtract(intersect(stillOpen, absent), settled);
  return {
    due: subtract([...due, ...again], [...missing.arriving, ...settled]),
    unstored: countIds(stillOpen) - countIds(settled),
    unfetched: countIds(subtract(stillOpen, [...settled, ...tracker.onTheWay()])),
    absent: countIds(settled),
  };
}

/** What was missing when a run began, and what has become of it. */
class FillRun {
  /** Product → what to fill, without the products that REST refuses. */
  readonly target: Map<string, Missing>;
  readonly #options: FillOnceOptions;
  readonly #total: number;
  readonly #all: boolean;
  readonly #proven = new Map<string, Run[]>();
  readonly #display = createProgressLine();
  readonly #startedAt = performance.now();
  #begin: Progress | undefined;
  #fetched = 0;
  #stored = 0;
  #absent = 0;
  #failures = 0;
  #refusal: RestError | undefined;

  constructor(target: Map<string, Missing>, options: FillOnceOptions, whole: number | undefined) {
    this.target = target;
    this.#options = options;
    this.#total = whole ?? countIds([...target.values()].flatMap(({ open }) => open));
    this.#all = whole !== undefined;
  }

  /** So many trades are to come. */
  get left(): number {
    return this.#total - (this.#options.wait ? this.#stored : this.#fetched);
  }

  /** Counts what is there, and says which products are to be asked for what. */
  takeStock(missing: ReadonlyMap<string, Missing>): { productId: string; due: Run[] }[] {
    this.#fetched = this.#stored = this.#total;
    this.#absent = 0;
    const work = [...this.target].map(([productId, { open }]) => {
      const now = missing.get(productId) ?? { open: [], arriving: [] };
      if (now.arriving.length > 0) this.#options.moved();
      const proven = this.#all ? this.#proven.get(productId) ?? [] : undefined;
      const stock = stockOf(open, now, this.#options.filler.trackerOf(productId), proven);
      this.#stored -= stock.unstored;
      this.#fetched -= stock.unfetched;
      this.#absent += stock.absent;
      return { productId, due: stock.due };
    });
    if (this.#begin === undefined) {
      this.#begin = this.#progress();
      this.#options.log.info("fill begins", { ...this.#begin });
      this.#options.moved();
    }
    this.#show();
    return work.filter(({ due }) => due.length > 0);
  }

  /** One round of requests for a product; REST's trouble is waited out, a refusal is kept for the end. */
  async ask(productId: string, due: readonly Run[]): Promise<void> {
    const { filler, moved, onTrouble } = this.#options;
    onTrouble("the exchange hasn't answered yet");
    try {
      const { absent, unproven: [doubt] } = await filler.fill(productId, due, (trades) => {
        this.#fetched += trades;
        if (trades > 0) moved();
        this.#show();
      });
      this.#proven.set(productId, [...this.#proven.get(productId) ?? [], ...absent]);
      this.#failures = 0;
      onTrouble(
        doubt &&
          `${productId}: nothing says whether the exchange has trade ${doubt.first}; it may be newer than REST`,
      );
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
      if (error.failure !== "refused") return await this.#waitOut(error);
      // The other products first.
      onTrouble(undefined);
      this.#refusal ??= error;
      this.target.delete(productId);
    }
  }

  async #waitOut(error: RestError): Promise<void> {
    const { log, signal, onTrouble } = this.#options;
    onTrouble(error.message);
    log.error(error.message);
    await sleep(backoffMs(++this.#failures, { initialMs: 1000, maximumMs: 60_000 }), signal);
  }

  /** Nothing is left. @throws {RestError} when REST refused a product */
  conclude(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
    const { log } = this.#options;
    if (this.#absent > 0) log.warn("REST doesn't have some of the trades", { trades: this.#absent });
    log.info("fill ended", { ...this.#progress() });
  }

  /** Leaves the progress line. */
  end(): void {
    this.#display.end();
  }

  #progress(): Progress {
    return { fetched: this.#fetched, stored: this.#stored, total: this.#total };
  }

  #show(): void {
    this.#display.show(() => {
      const fetched = this.#fetched - (this.#begin?.fetched ?? 0);
      const perSecond = fetched / (performance.now() - this.#startedAt) * 1000;
      return progressText(this.#progress(), perSecond);
    });
  }
}
