/**
 * Coinbase Exchange's public REST side: pages of trades, products, time. Below the public limit by itself, patient with
 * an exchange that is busy or away, and never content with an answer that it doesn't understand.
 *
 * Source: https://docs.cdp.coinbase.com/exchange/reference (trades, products, time, pagination, rate limits)
 *
 * @module
 */

import { z } from "zod";
import { retry, sleep } from "../core/retry.ts";
import type { Logger } from "../process/log.ts";
import { FatalError } from "../core/errors.ts";
import { parseMicros } from "../core/time.ts";
import { createPacer } from "../core/token_bucket.ts";
import { matchSchema } from "./messages.ts";

/** The exchange serves no larger page of trades. */
export const largestPage = 1000;

// The same rules as for a match of the feed, since a match is what a row becomes.
const tradeSchema = matchSchema.pick({ trade_id: true, side: true, size: true, price: true, time: true });
const timeSchema = z.object({ iso: z.string() });
const productsSchema = z.array(z.object({ id: z.string(), status: z.string() }));

/** A trade as REST lists it; `side` is the **maker's**, decimals are strings, `time` as the exchange wrote it. */
export type RestTrade = z.output<typeof tradeSchema>;

/** A product of the exchange; `status` is `online` when it trades. */
export type RestProduct = z.output<typeof productsSchema>[number];

/** Which trades: those below `after` and above `before`, the newest `limit` of them. */
export interface TradesQuery {
  after?: number;
  before?: number;
  /** @default {1000} */
  limit?: number;
}

/** Trades, newest first. */
export interface TradesPage {
  /** Those rows that are trades. */
  trades: RestTrade[];
  /** What of the answer wasn't understood, one line: then nothing may be concluded from what it leaves out. */
  problem?: string;
  /** CB-BEFORE: `before` of the next newer page. */
  before?: number;
  /** CB-AFTER: `after` of the next older page. */
  after?: number;
}

/** How a request ended: `ok`, an HTTP status, or `error` where there was none (network, timeout, wrong answer). */
export type Outcome = "ok" | "error" | `${number}`;

/** Asks the exchange. Each call tries a few times, so that one bad answer isn't a failure. */
export interface Rest {
  /** @throws {RestError} when there is no answer to be had, for example of a product that isn't there */
  trades(productId: string, query?: TradesQuery): Promise<TradesPage>;
  /** @throws {RestError} */
  products(): Promise<RestProduct[]>;
  /** The exchange's clock in µs since the epoch. */
  time(): Promise<number>;
}

/** Where to ask and how often. */
export interface RestOptions {
  /** Such as `https://api.exchange.coinbase.com`. */
  url: string;
  /** Ends all asking; what is under way rejects. */
  signal: AbortSignal;
  log: Logger;
  /** Requests a second over all calls; the public limit is 10. @default {8} */
  perSecond?: number;
  /** How long one request may take, in ms. @default {10_000} */
  timeoutMs?: number;
  /** The first wait after a failure, in ms. @default {500} */
  initialWaitMs?: number;
  /** How often a request is sent until it counts as failed. @default {5} */
  tries?: number;
  /** Told of every request, with why it failed where it did. */
  onOutcome?: (outcome: Outcome, error?: Error) => void;
  /** Told how many rows of an answer are no trades. */
  onInvalidRows?: (count: number) => void;
}

/**
 * - `refused`: the exchange refuses the request itself, such as one for a product that was delisted.
 * - `away`: no answer, 429 or 5xx, as often as it was tried.
 * - `not understood`: answers that are none of what REST is known to say; its format may have changed.
 */
export type RestFailure = "refused" | "away" | "not understood";

/** There is no answer to be had now. One line. */
export class RestError extends FatalError {
  override name = "RestError";
  constructor(message: string, readonly failure: RestFailure, readonly outcome: Outcome = "error") {
    super(message);
  }
}

/** Worth another try. */
class PassingError extends Error {
  constructor(
    message: string,
    readonly outcome: Outcome = "error",
    readonly failure: RestFailure = "not understood",
    /** So long the exchange wants to hear nothing of us. */
    readonly pauseMs = 0,
  ) {
    super(message);
  }
}

const burst = 10;
/** No server makes us wait longer than this, whatever its Retry-After says. */
const longestPauseMs = 10 * 60_000;

/** Opens a client; nothing is sent before the first call. */
export function openRest(options: RestOptions): Rest {
  const base = options.url.replace(/\/+$/, "");
  const get = createGet(base, options);
  return {
    trades(productId, query = {}) {
      const search = tradesSearch(query);
      const path = `/products/${encodeURIComponent(productId)}/trades?${search}`;
      return get(path, (body, headers) => {
        const { trades, problem, invalid } = tradesOf(body);
        if (invalid > 0) options.onInvalidRows?.(invalid);
        const stranger = trades.find((trade) => !isAskedFor(trade, query));
        if (stranger) {
          throw new PassingError(`wrong page: trade ${stranger.trade_id} in the answer to ${search}`);
        }
        return {
          trades,
          ...problem !== undefined && { problem: `GET ${base}${path}: ${problem}` },
          ...cursor("before", headers.get("cb-before")),
          ...cursor("after", headers.get("cb-after")),
        };
      });
    },
    products: () => get("/products", (body) => understood(productsSchema, body)),
    time: () => get("/time", (body) => parseMicros(understood(timeSchema, body).iso)),
  };
}

/** GETs a path until `read` accepts the answer. */
type Get = <T>(path: string, read: (body: unknown, headers: Headers) => T) => Promise<T>;

/** Requests below the limit, each tried a few times. */
function createGet(base: string, options: RestOptions): Get {
  const { signal, log, timeoutMs = 10_000, initialWaitMs = 500, tries = 5 } = options;
  const pacer = createPacer(options.perSecond ?? 8, burst);

  async function waitForTurn(): Promise<void> {
    // The place is reserved before the wait, so that calls at the same time queue up; a 429 meanwhile makes all wait.
    for (let wait = pacer.take(performance.now()); wait > 0; wait = pacer.paused(performance.now())) {
      await sleep(wait, signal);
      signal.throwIfAborted();
    }
  }

  async function once<T>(path: string, read: (body: unknown, headers: Headers) => T): Promise<T> {
    await waitForTurn();
    try {
      const answer = read(...await fetchJson(base + path, signal, timeoutMs));
      options.onOutcome?.("ok");
      return answer;
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof PassingError) pacer.pause(performance.now() + error.pauseMs);
      const outcome = error instanceof PassingError || error instanceof RestError ? error.outcome : "error";
      options.onOutcome?.(outcome, error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  return (path, read) => {
    let failures = 0;
    return retry(() => once(path, read), {
      signal,
      initialMs: initialWaitMs,
      maximumMs: 30_000,
      onError(error, waitMs) {
        if (!(error instanceof PassingError)) throw error;
        if (++failures === tries) throw new RestError(`GET ${base}${path}: ${error.message}`, error.failure);
        log.warn("REST request failed, trying again", { path, error, wait_ms: Math.round(waitMs) });
      },
    });
  };
}

/**
 * One request.
 *
 * @throws {PassingError} when there is no answer, or none that is JSON
 * @throws {RestError} when the exchange refuses the request
 */
async function fetchJson(url: string, signal: AbortSignal, timeoutMs: number): Promise<[unknown, Headers]> {
  const response = await fetch(url, {
    headers: { accept: "application/json", "user-agent": "tapehouse" },
    // Where REST is, is configuration: what another address says isn't taken for the exchange's word.
    redirect: "manual",
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  }).catch(throwAway);
  const text = await response.text().catch(throwAway);
  assertAnswered(url, response, text);
  try {
    return [JSON.parse(text), response.headers];
  } catch {
    throw new PassingError(`the answer isn't JSON: ${messageOf(text) || "nothing"}`);
  }
}

/** "fetch failed" says nothing; its cause does. */
function throwAway(error: Error & { cause?: { message?: string } }): never {
  throw new PassingError(error.cause?.message ?? error.message, "error", "away");
}

/** @throws {PassingError | RestError} when the status says that there is no answer, now or at all */
function assertAnswered(url: string, { ok, status, headers }: Response, text: string): void {
  if (status === 429) {
    const pauseMs = retryAfterMs(headers.get("retry-after"), Date.now());
    throw new PassingError("the exchange answered 429: too many requests", "429", "away", pauseMs);
  }
  if (status >= 500) {
    throw new PassingError(`the exchange answered ${status}: ${messageOf(text)}`, `${status}`, "away");
  }
  if (ok) return;
  const said = status < 400
    ? `moved to ${headers.get("location")}: set COINBASE_REST_URL to where REST is now`
    : messageOf(text);
  throw new RestError(`GET ${url}: ${status} ${said}`, "refused", `${status}`);
}

function tradesSearch({ after, before, limit = largestPage }: TradesQuery): URLSearchParams {
  const search = new URLSearchParams({ limit: String(limit) });
  if (after !== undefined) search.set("after", String(after));
  if (before !== undefined) search.set("before", String(before));
  return search;
}

function isAskedFor({ trade_id }: RestTrade, { after = Infinity, before = -1 }: TradesQuery): boolean {
  return trade_id < after && trade_id > before;
}

/** The rows that are trades, each once, newest first; how many aren't, and what is wrong with the answer. */
function tradesOf(body: unknown): { trades: RestTrade[]; invalid: number; problem?: string } {
  if (!Array.isArray(body)) throw new PassingError(`expected a list of trades, got ${show(body)}`);
  const trades = new Map<number, RestTrade>();
  const problems: string[] = [];
  let invalid = 0;
  let oldest = Infinity;
  body.forEach((row, index) => {
    const { data, error } = tradeSchema.safeParse(row);
    if (data === undefined) {
      invalid++;
      problems.push(`row ${index}: ${describeIssue(error, row)}`);
      return;
    }
    const id = data.trade_id;
    if (id > oldest) {
      problems.push(`row ${index}: expected the newest first, got trade ${id} behind ${oldest}`);
    }
    oldest = id;
    trades.set(id, data);
  });
  const sorted = [...trades.values()].sort((left, right) => right.trade_id - left.trade_id);
  if (problems.length === 0) return { trades: sorted, invalid };
  const others = problems.length > 1 ? `; ${problems.length - 1} more of ${body.length} rows` : "";
  return { trades: sorted, invalid, problem: `${problems[0]}${others}` };
}

/** @throws {PassingError} naming the field and what was expected there */
function understood<T>(schema: z.ZodType<T>, body: unknown): T {
  const { data, error } = schema.safeParse(body);
  if (error) throw new PassingError(describeIssue(error, body));
  return data;
}

/** `price: expected a decimal such as "0.01", got {"trade_id":4,…`. */
function describeIssue(error: z.ZodError, value: unknown): string {
  const { path = [], message = "" } = error.issues[0] ?? {};
  const place = path.length > 0 ? `${path.join(".")}: ` : "";
  return `${place}${message.replace(/^I/, "i")}, got ${show(value)}`;
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 200);
}

function cursor<K extends string>(name: K, text: string | null): { [name in K]?: number } {
  return text !== null && /^\d+$/.test(text) ? { [name]: Number(text) } as { [name in K]: number } : {};
}

/** `{"message":"NotFound"}` → `NotFound`; other text cut to one line. */
function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text);
    if (typeof message === "string") return message;
  } catch {
    // Not JSON: a proxy's page.
  }
  return text.replace(/\s+/g, " ").trim().slice(0, 200);
}

/**
 * `Retry-After` → ms from `now` (ms since the epoch): seconds or an HTTP date (RFC 9110, 10.2.3); 0 when there is none or
 * it can't be read; at most ten minutes.
 */
export function retryAfterMs(header: string | null, now: number): number {
  const text = header?.trim() ?? "";
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(0, wait), longestPauseMs);
}
