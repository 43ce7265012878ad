/**
 * Coinbase Exchange's public REST side: pages of trades, products, time. Below the public limit by itself, patient with
 * an exchange that is busy or away, and never content with a page that wasn't asked for.
 *
 * Source: https://docs.cdp.coinbase.com/exchange/reference (trades, products, time, pagination, rate limits)
 *
 * @module
 */

import { z } from "zod";
import { retry, sleep } from "../backoff.ts";
import type { Logger } from "../log.ts";
import { FatalError } from "../service.ts";
import { parseMicros } from "../time.ts";
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
  trades: RestTrade[];
  /** CB-BEFORE: `before` of the next newer page. */
  before?: number;
  /** CB-AFTER: `after` of the next older page. */
  after?: number;
}

/** How a request ended: `ok`, an HTTP status, or `error` where there was none (network, timeout, wrong answer). */
export type Outcome = "ok" | "error" | `${number}`;

/** Asks the exchange. Each call tries until it has an answer, the exchange says that there is none, or the signal aborts. */
export interface Rest {
  /** @throws {RestError} on 4xx, for example a product that isn't there */
  trades(productId: string, query?: TradesQuery): Promise<TradesPage>;
  /** @throws {RestError} on 4xx */
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
  /** Told of every request, with why it failed where it did. */
  onOutcome?: (outcome: Outcome, error?: Error) => void;
}

/** The exchange refuses the request itself: to ask again is no use. One line. */
export class RestError extends FatalError {
  override name = "RestError";
}

/** Worth another try. */
class PassingError extends Error {
  constructor(message: string, readonly outcome: Outcome) {
    super(message);
  }
}

const burst = 10;
/** No server makes us wait longer than this, whatever its Retry-After says. */
const longestPauseMs = 10 * 60_000;

/** Opens a client; nothing is sent before the first call. */
export function openRest(options: RestOptions): Rest {
  const { url, signal, log, timeoutMs = 10_000, initialWaitMs = 500 } = options;
  const base = url.replace(/\/+$/, "");
  const bucket = createTokenBucket(options.perSecond ?? 8, burst);

  /** GETs until `read` accepts an answer. */
  function get<T>(path: string, read: (body: unknown, headers: Headers) => T): Promise<T> {
    return retry(() => once(path, read), {
      signal,
      initialMs: initialWaitMs,
      maximumMs: 30_000,
      onError(error, waitMs) {
        if (error instanceof RestError) throw error;
        log.warn("REST request failed, trying again", { path, error, wait_ms: Math.round(waitMs) });
      },
    });
  }

  async function once<T>(path: string, read: (body: unknown, headers: Headers) => T): Promise<T> {
    // The place is reserved before the wait, so that calls at the same time queue up; a 429 meanwhile makes all wait.
    for (let wait = bucket.take(performance.now()); wait > 0; wait = bucket.paused(performance.now())) {
      await sleep(wait, signal);
      signal.throwIfAborted();
    }
    try {
      const answer = read(...await fetchJson(path));
      options.onOutcome?.("ok");
      return answer;
    } catch (error) {
      if (signal.aborted) throw error;
      const outcome = error instanceof PassingError ? error.outcome : "error";
      if (!(error instanceof RestError)) {
        options.onOutcome?.(outcome, error instanceof Error ? error : new Error(String(error)));
      }
      throw error;
    }
  }

  async function fetchJson(path: string): Promise<[unknown, Headers]> {
    const response = await fetch(base + path, {
      headers: { accept: "application/json", "user-agent": "tapehouse" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    }).catch((error) => {
      // "fetch failed" says nothing; its cause does.
      throw new PassingError(error.cause?.message ?? error.message, "error");
    });
    const text = await response.text();
    const { status, headers } = response;
    if (status === 429) {
      bucket.pause(performance.now() + retryAfterMs(headers.get("retry-after"), Date.now()));
      throw new PassingError("the exchange answered 429: too many requests", "429");
    }
    if (status >= 500) {
      throw new PassingError(`the exchange answered ${status}: ${messageOf(text)}`, `${status}`);
    }
    if (!response.ok) {
      const error = new RestError(`GET ${base}${path}: ${status} ${messageOf(text)}`);
      options.onOutcome?.(`${status}`, error);
      throw error;
    }
    return [JSON.parse(text), headers];
  }

  return {
    trades(productId, query = {}) {
      const { after, before, limit = largestPage } = query;
      const search = new URLSearchParams({ limit: String(limit) });
      if (after !== undefined) search.set("after", String(after));
      if (before !== undefined) search.set("before", String(before));
      return get(`/products/${encodeURIComponent(productId)}/trades?${search}`, (body, headers) => {
        const trades = tradesOf(
          body,
          (reason) => log.warn("a row of REST isn't a trade", { productId, reason }),
        );
        const stranger = trades.find(({ trade_id }) =>
          trade_id >= (after ?? Infinity) || trade_id <= (before ?? -1)
        );
        if (stranger) {
          throw new PassingError(
            `wrong page: trade ${stranger.trade_id} in the answer to ${search}`,
            "error",
          );
        }
        return {
          trades,
          ...cursor("before", headers.get("cb-before")),
          ...cursor("after", headers.get("cb-after")),
        };
      });
    },
    products: () => get("/products", (body) => productsSchema.parse(body)),
    time: () => get("/time", (body) => parseMicros(timeSchema.parse(body).iso)),
  };
}

/** The rows that are trades, each once, newest first. */
function tradesOf(body: unknown, onInvalid: (reason: string) => void): RestTrade[] {
  if (!Array.isArray(body)) throw new PassingError("the answer isn't a list of trades", "error");
  const trades = new Map<number, RestTrade>();
  for (const row of body) {
    const { data, error } = tradeSchema.safeParse(row);
    if (data) trades.set(data.trade_id, data);
    else {
      const issue = error.issues[0];
      onInvalid(`${issue?.path.join(".")}: ${issue?.message} in ${JSON.stringify(row).slice(0, 200)}`);
    }
  }
  return [...trades.values()].sort((left, right) => right.trade_id - left.trade_id);
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

/** Spreads requests over time. Times are ms of one monotonic clock. */
export interface TokenBucket {
  /** Takes a token; returns how long to wait until it may be used, in ms. */
  take(now: number): number;
  /** Nobody sends before `until`. */
  pause(until: number): void;
  /** How long the pause still lasts, in ms. */
  paused(now: number): number;
}

/** A full bucket of `burst` tokens that regains `perSecond`. */
export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  // Below 0 when tokens that aren't there yet are promised.
  let tokens = burst;
  let at = -Infinity;
  let until = -Infinity;
  const paused = (now: number) => Math.max(0, until - now);
  return {
    take(now) {
      tokens = Math.min(burst, tokens + (now - at) / 1000 * perSecond) - 1;
      at = now;
      return Math.max(paused(now), -tokens / perSecond * 1000);
    },
    pause(moment) {
      until = Math.max(until, moment);
    },
    paused,
  };
}
