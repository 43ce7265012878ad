/**
 * Fetches missing trades from REST and produces them as matches with `source=backfill`. The rules are in
 * lib/gaps/fill_plan.ts, lib/gaps/evidence.ts and lib/gaps/request_tracker.ts.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { unlessAborted } from "../core/retry.ts";
import { idsPerPage, inOrder, type Page, pagesOf } from "./fill_plan.ts";
import type { FeedEvent, Frame } from "../feed/feed_items.ts";
import { largestPage, type Rest, RestError, type RestTrade } from "../feed/coinbase_rest.ts";
import { contradiction, spanOf, type TradeMark, weigh } from "./evidence.ts";
import type { Logger } from "../process/log.ts";
import type { Publisher } from "../feed/publisher.ts";
import { createRequestTracker, proofsToGiveUp, type Proven, type RequestTracker } from "./request_tracker.ts";
import { nowMicros, parseMicros } from "../core/time.ts";
import { readGaps, readProofs, readTradeMarks, recordGivenUp, recordProofs } from "./trade_gaps.ts";
import { countIds, createTradeIds, intersect, type Run, subtract } from "../core/id_ranges.ts";

/** Requests of one product before its gaps are looked at again. */
const pagesPerRound = 50;
/** Requests of one product under way at a time: the rate limit, not the distance to the exchange, says how fast we are. */
const concurrency = 4;
/** What was produced should be stored within this. */
const arrivalMs = 5 * 60_000;

/** What a filler works with. */
export interface FillerOptions {
  rest: Rest;
  /** Where REST is, for those who read why a trade was given up. */
  url: string;
  clickhouse: ClickHouseClient;
  publisher: Publisher;
  /** Tries a statement until ClickHouse answers. */
  persist<T>(what: string, attempt: () => Promise<T>): Promise<T>;
  log: Logger;
  signal: AbortSignal;
  /** BACKFILL_AGAIN_SECONDS in ms. */
  againMs: number;
  /** Told of trades that were produced, and of those that are given up now. */
  onFilled(trades: number): void;
  onGivenUp(trades: number): void;
}

/** What a round of requests came to. */
export interface Round {
  /** Nothing of what was due is left for another round. */
  isWhole: boolean;
  /** REST proved not to have these … */
  absent: Run[];
  /** … and said nothing about these. */
  unproven: Run[];
}

/** Reads what earlier processes proved; REST isn't asked before the first call. */
export async function openGapFiller(options: FillerOptions): Promise<GapFiller> {
  const { clickhouse, persist } = options;
  return new GapFiller(options, await persist("reading trade_gap_asks", () => readProofs(clickhouse)));
}

/** What REST answered for a page. */
interface FetchedPage {
  trades: RestTrade[];
  /** The ids of which the answers are the whole truth. */
  spans: Run[];
  problem: string | undefined;
}

/** Fills the gaps of all products. */
export class GapFiller {
  readonly #options: FillerOptions;
  readonly #connection = `backfill-${crypto.randomUUID().slice(0, 8)}`;
  readonly #history: ReadonlyMap<string, Proven[]>;
  readonly #trackers = new Map<string, RequestTracker>();

  /** @param history product → what earlier processes proved */
  constructor(options: FillerOptions, history: ReadonlyMap<string, Proven[]>) {
    this.#options = options;
    this.#history = history;
  }

  /** What became of what was asked for. */
  trackerOf(productId: string): RequestTracker {
    const { againMs } = this.#options;
    const known = this.#trackers.get(productId);
    if (known !== undefined) return known;
    const history = this.#history.get(productId) ?? [];
    const tracker = createRequestTracker({ againMs, arrivalMs, history });
    this.#trackers.set(productId, tracker);
    return tracker;
  }

  /**
   * One round: asks for `missing`, newest first, and produces what REST has.
   *
   * @param onFetched told of each page's trades
   * @throws {RestError} when REST refuses, is away, or says what isn't understood; what was fetched before is produced
   */
  async fill(
    productId: string,
    missing: readonly Run[],
    onFetched: (trades: number) => void = () => {},
  ): Promise<Round> {
    const { clickhouse, persist, log } = this.#options;
    const tracker = this.trackerOf(productId);
    const pages = [...pagesOf(missing, idsPerPage).take(pagesPerRound)];
    const { filled, spans, requested, problem } = await this.#fetchPages(productId, pages, onFetched);
    const back = countIds(intersect(filled, tracker.givenUp()));
    if (back > 0) log.warn("REST has trades that were given up", { product: productId, trades: back });
    for (const { first, last } of filled) {
      log.info("gap filled", { product: productId, first, last });
      const details = { first_missing: first, last_missing: last };
      await this.#notify({ event: "gap_filled", details }, productId);
    }
    const { absent, unproven } = weigh(requested, filled, spans);
    const proofs = tracker.answered({ served: [], absent, unproven }, Date.now());
    await persist("recording what REST doesn't have", () => recordProofs(clickhouse, productId, proofs));
    await this.#giveUp(productId, proofs.filter(({ proofs }) => proofs >= proofsToGiveUp));
    if (problem !== undefined) throw new RestError(problem, "not understood");
    if (unproven.length > 0) {
      const [first, last] = [unproven[0]?.first, unproven.at(-1)?.last];
      const newest = Math.max(0, ...spans.map((span) => span.last));
      const trades = countIds(unproven);
      const fields = { product: productId, first, last, trades, newest_listed: newest };
      log.warn("REST doesn't say whether it has these trades", fields);
    }
    return { isWhole: pages.at(-1)?.first === missing[0]?.first, absent, unproven };
  }

  /**
   * Whether REST is understood, and how many trades it is behind.
   *
   * @param stored the product's stored trade with the highest id
   * @throws {RestError} as `fill`
   */
  async lag(productId: string, stored: TradeMark): Promise<number> {
    const { trades, problem } = await this.#options.rest.trades(productId, { limit: 1 });
    if (problem !== undefined) throw new RestError(problem, "not understood");
    const [newest] = marksOf(trades);
    const wrong = newest === undefined
      ? `REST lists no trade, and ${stored.id} is stored`
      : contradiction([newest], [stored]);
    if (newest === undefined || wrong !== undefined) {
      throw new RestError(`${productId}: ${wrong}.`, "not understood");
    }
    return Math.max(0, stored.id - newest.id);
  }

  /** Fetches the pages side by side, and produces their trades one after the other. */
  async #fetchPages(productId: string, pages: readonly Page[], onFetched: (trades: number) => void) {
    const { clickhouse, persist } = this.#options;
    const around = pages.flatMap(({ first, last }) => [first - 1, last + 1]).filter((id) => id > 0);
    const stored = await persist("reading trades", () => readTradeMarks(clickhouse, productId, around));
    const filled = createTradeIds();
    const spans: Run[] = [];
    const requested: Run[] = [];
    let problem: string | undefined;
    const work = async (page: Page) => {
      // An answer to a newer page may reach over this one and show that REST has none of it.
      const isKnown = subtract(page.wanted, spans).length === 0;
      return { page, answer: isKnown ? undefined : await this.#fetchPage(productId, page, stored) };
    };
    for await (const { page, answer } of inOrder(pages, concurrency, work)) {
      requested.push(...page.wanted);
      const trades = answer?.trades ?? [];
      // From the newest to the oldest, as history must come: each trade then touches what is stored, and opens no gap.
      for (const trade of trades) await this.#produce(productId, trade);
      for (const trade of trades) filled.add(trade.trade_id);
      spans.push(...answer?.spans ?? []);
      this.trackerOf(productId).answered({ served: runsOf(trades), absent: [], unproven: [] }, Date.now());
      this.#options.onFilled(trades.length);
      onFetched(trades.length);
      problem ??= answer?.problem;
      if (problem !== undefined && trades.length === 0) break;
    }
    return { filled: filled.runs, spans, requested, problem };
  }

  /**
   * Walks from the trade behind a page's newest id to the one before its oldest, so that each answer overlaps the one before.
   *
   * @param stored those of the trades around that are stored
   */
  async #fetchPage(productId: string, page: Page, stored: readonly TradeMark[]): Promise<FetchedPage> {
    const wanted = createTradeIds(page.wanted).runs;
    const trades = new Map<number, RestTrade>();
    const spans: Run[] = [];
    const lowest = Math.max(1, page.first - 1);
    let problem: string | undefined;
    for (let after = page.last + 2;;) {
      const limit = Math.min(largestPage, after - lowest);
      const answer = await this.#options.rest.trades(productId, { after, limit });
      const marks = marksOf(answer.trades);
      const wrong = contradiction(marks, stored.filter(({ id }) => id < after));
      if (wrong !== undefined) throw new RestError(`${productId}: ${wrong}.`, "not understood");
      for (const trade of answer.trades) {
        const id = trade.trade_id;
        if (wanted.some(({ first, last }) => first <= id && id <= last)) trades.set(id, trade);
      }
      const span = spanOf(marks);
      problem ??= answer.problem;
      if (span !== undefined && answer.problem === undefined) spans.push(span);
      if (span === undefined || span.first <= lowest || span.first + 1 >= after) break;
      after = span.first + 1;
    }
    return { trades: [...trades.values()], spans, problem };
  }

  #notify(what: Pick<FeedEvent, "event" | "details" | "reason">, productId: string): Promise<void> {
    const { publisher, signal } = this.#options;
    const connection = this.#connection;
    const event: FeedEvent = { kind: "event", receivedAt: nowMicros(), connection, productId, ...what };
    return unlessAborted(publisher.write(event), signal);
  }

  async #produce(productId: string, { trade_id, side, size, price, time }: RestTrade): Promise<void> {
    const { publisher, signal } = this.#options;
    const connection = this.#connection;
    const data = JSON.stringify({ type: "match", trade_id, side, size, price, product_id: productId, time });
    const frame: Frame = {
      kind: "frame",
      type: "match",
      productId,
      receivedAt: nowMicros(),
      connection,
      data,
    };
    await unlessAborted(publisher.write(frame), signal);
  }

  async #giveUp(productId: string, proofs: readonly Proven[]): Promise<void> {
    const { clickhouse, persist, log, url, onGivenUp } = this.#options;
    if (proofs.length === 0) return;
    const gaps = await persist("reading trade_gaps", () => readGaps(clickhouse));
    for (const { ids, proofs: times } of proofs) {
      for (const run of ids) {
        const gap = gaps.find((gap) => gap.productId === productId && intersect([gap], [run]).length > 0);
        const age = gap ? `; traded before ${gap.before} UTC` : "";
        const reason = `left out of ${times} answers of ${url}${age}`;
        const record = () => recordGivenUp(clickhouse, productId, [run], reason);
        for (const fresh of await persist("recording a gap as given up", record)) {
          onGivenUp(countIds([fresh]));
          log.warn("gap given up: REST lists the trades around it", { product: productId, ...fresh });
          const details = { first_missing: fresh.first, last_missing: fresh.last };
          await this.#notify({ event: "gap_given_up", reason, details }, productId);
        }
      }
    }
  }
}

function marksOf(trades: readonly RestTrade[]): TradeMark[] {
  return trades.map(({ trade_id, time }) => ({ id: trade_id, time: parseMicros(time) }));
}

function runsOf(trades: readonly RestTrade[]): Run[] {
  return subtract(trades.map(({ trade_id: id }) => ({ first: id, last: id })), []);
}
