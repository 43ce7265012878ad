/**
 * What the page asks the REST API for, and where the answers go. A part whose request failed keeps what it had and says
 * what is wrong.
 *
 * @module
 */

import type { Anomaly, Candle, CompletenessHour, Gap, Product, Status, Ticker, Trade } from "./api_types.ts";
import { usualInterval } from "./candles.ts";
import { secondOf } from "./intervals.ts";
import { ApiError, type Rest } from "./api_client.ts";
import { addAnomaly, intervalOf, type Part, type State, updatePrice } from "./state.ts";
import { addTrades } from "./tape_rows.ts";

/** So many candles are in a page. */
const pageSize = 1_000;
/** A tape that has just begun has few candles of the longer ones. */
const sparklineCandles = [["15m", 96], ["1m", 180], ["5s", 180]] as const;
/** A sparkline of fewer closes is none. */
const shortestSparkline = 12;

/** Runs a request; a failure becomes the problem of `part`. False when it failed or was ended. */
type Attempt = (part: string, parts: Part[], run: () => Promise<void>) => Promise<boolean>;

/** Makes the loader; `touch` is told which parts changed. */
export function createLoader(rest: Rest, state: State, touch: (...parts: Part[]) => void) {
  const attempt: Attempt = async (part, parts, run) => {
    try {
      await run();
      if (state.problems.delete(part)) touch("problems");
      touch(...parts);
      return true;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return false;
      state.problems.set(part, error instanceof ApiError ? error.message : String(error));
      touch("problems", ...parts);
      return false;
    }
  };
  return { ...createTapeLoader(rest, state, attempt), ...createProductLoader(rest, state, attempt) };
}

/** The loader that createLoader makes. */
export type Loader = ReturnType<typeof createLoader>;

/** What is loaded whichever product is shown. */
function createTapeLoader(rest: Rest, state: State, attempt: Attempt) {
  return {
    products: () =>
      attempt("products", ["products", "price"], async () => {
        const { data } = await rest.list<Product>("/api/products");
        state.products = new Map(data.map((product) => [product.product_id, product]));
      }),

    tickers: () =>
      attempt("tickers", ["tickers", "price"], async () => {
        const { data } = await rest.list<Ticker>("/api/ticker");
        for (const ticker of data) {
          // The stream may have been faster.
          if (updatePrice(state, ticker.product_id, ticker.price, ticker.trade_id ?? 0)) {
            state.tickers.set(ticker.product_id, ticker);
          }
        }
      }),

    status: () =>
      attempt("status", ["status"], async () => {
        state.status = await rest.get<Status>("/api/status");
        if (state.status.simulated) state.simulated = true;
      }),

    gaps: () =>
      attempt("gaps", ["gaps", "status"], async () => {
        state.gaps = (await rest.list<Gap>("/api/gaps", { limit: 1_000 })).data;
      }),

    hours: () =>
      attempt("hours", ["hours"], async () => {
        state.hours = (await rest.list<CompletenessHour>("/api/completeness", { limit: 10_000 })).data;
      }),

    /** The closes of the last day of each product, one request after the other: nobody waits for them. */
    async sparklines(products: readonly string[]): Promise<void> {
      for (const product of products) {
        await attempt("sparklines", ["sparklines"], async () => {
          for (const [interval, limit] of sparklineCandles) {
            const parameters = { product_id: product, interval, limit };
            const { data } = await rest.list<Candle>("/api/ohlc", parameters);
            state.sparklines.set(product, data.map(({ close }) => Number(close)));
            if (data.length >= shortestSparkline) return;
          }
        });
      }
    },
  };
}

/** What is loaded of the product and interval of the view. */
function createProductLoader(rest: Rest, state: State, attempt: Attempt) {
  /** Where the candles before the oldest one are; null when there are none, undefined when nobody knows yet. */
  let older: string | null | undefined;
  let loadingOlder = false;
  /** Ends the requests of the product and interval that were shown before. */
  let leave = new AbortController();

  /** A page of candles, after which it is known where the older ones are. */
  async function candlePage(more: { cursor?: string }, signal: AbortSignal): Promise<Candle[]> {
    const parameters = { product_id: state.view.product, interval: intervalOf(state), limit: pageSize };
    const { data, next } = await rest.list<Candle>("/api/ohlc", { ...parameters, ...more }, signal);
    older = next;
    return data;
  }

  return {
    /** Another product or interval: what is under way for the one before is ended. */
    leave(): void {
      leave.abort();
      leave = new AbortController();
      older = undefined;
      loadingOlder = false;
    },

    trades: () =>
      attempt("trades", ["tape", "price"], async () => {
        const { product } = state.view;
        const parameters = { product_id: product, limit: 100 };
        const { data } = await rest.list<Trade>("/api/trades", parameters, leave.signal);
        addTrades(state.tape, data);
        const [newest] = data;
        if (newest !== undefined) updatePrice(state, product, newest.price, newest.trade_id);
      }),

    anomalies: () =>
      attempt("anomalies", ["anomalies"], async () => {
        const parameters = { product_id: state.view.product, limit: 200 };
        const { data } = await rest.list<Anomaly>("/api/anomalies", parameters, leave.signal);
        state.anomalies = data.reduce(addAnomaly, state.anomalies);
      }),

    /** The interval for an address that names none. */
    usualInterval: () =>
      attempt("candles", ["view"], async () => {
        // The oldest of 21 began 20 minutes ago or more.
        const parameters = { product_id: state.view.product, interval: "1m", limit: 21 };
        const { data } = await rest.list<Candle>("/api/ohlc", parameters, leave.signal);
        const first = data[0] === undefined ? Date.now() / 1000 : secondOf(data[0].time);
        state.usualInterval = usualInterval(Date.now() / 1000 - first);
      }),

    /** The newest candles; `take` draws them. */
    candles: (take: (candles: Candle[]) => void) =>
      attempt("candles", ["candles"], async () => take(await candlePage({}, leave.signal))),

    /** The candles before the oldest one, if there are any and they aren't on their way already. */
    async olderCandles(take: (candles: Candle[]) => void): Promise<void> {
      if (loadingOlder || older === null || older === undefined) return;
      loadingOlder = true;
      const { signal } = leave;
      const cursor = older;
      await attempt("history", [], async () => take(await candlePage({ cursor }, signal)));
      if (!signal.aborted) loadingOlder = false;
    },
  };
}
