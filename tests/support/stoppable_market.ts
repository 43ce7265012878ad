/**
 * A simulated exchange whose market can be stopped, a tape on it, and the proof that every fault test ends with.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { firstTrades, type Proof, proveTape } from "../../lib/ops/proof.ts";
import { nowMicros } from "../../lib/core/time.ts";
import { type Servers, type Tape, withTape } from "./tape.ts";
import { exchangeEnv } from "./exchange.ts";

/** A tape and its exchange. */
export interface Market {
  tape: Tape;
  exchange: Exchange;
  products: string[];
  /** The market's clock in µs since the epoch. */
  now(): number;
  /** How many trades the exchange has made, ever. */
  made(): number;
  /** How many trades are stored. */
  trades(): Promise<number>;
  /** Waits until so many more trades are stored. */
  moreTrades(count: number): Promise<void>;
  /** Waits until the exchange has made so many more trades, whoever heard of them. */
  moreMade(count: number): Promise<void>;
  /** From now on the market makes no trade; the exchange goes on answering. */
  freeze(): void;
  /** Stops the market, waits until its last trade is stored and no gap is open, and proves the tape. */
  prove(): Promise<Proof>;
}

/**
 * Runs `body` with an exchange and a tape of its own.
 *
 * @param options.rate matches and tickers a second over all products
 * @param options.startAt the market's clock at the start, in µs since the epoch; now when absent
 * @param options.env for every service; `COINBASE_CHANNELS` is `matches,heartbeat` unless it says otherwise
 */
export async function withMarket(
  servers: Servers,
  options: { rate: number; products?: string[]; startAt?: number; env?: Record<string, string> },
  body: (market: Market) => Promise<void>,
): Promise<void> {
  const { rate, products = ["BTC-USD", "ETH-USD", "SOL-USD"] } = options;
  const behind = options.startAt === undefined ? 0 : nowMicros() - options.startAt;
  const now = () => nowMicros() - behind;
  let frozenAt: number | undefined;
  const source = createSimulation({ rate, products, clock: () => frozenAt ?? now() });
  const exchange = await startExchange({ source });
  const env = {
    ...exchangeEnv(exchange),
    COINBASE_PRODUCTS: products.join(),
    COINBASE_CHANNELS: "matches,heartbeat",
    BACKFILL_INTERVAL_SECONDS: "1",
    BACKFILL_AGAIN_SECONDS: "2",
    FEED_SILENCE_SECONDS: "5",
    ...options.env,
  };
  try {
    await withTape(servers, env, async (tape) => {
      const query = (statement: string) => tape.rows(statement);
      let known: Map<string, number> | undefined;
      const trades = async () => Number(await tape.value("SELECT count() FROM trades"));
      const market: Market = {
        tape,
        exchange,
        products,
        now,
        made: () => products.reduce((sum, product) => sum + source.lastTrade(product), 0),
        trades,
        async moreTrades(count) {
          const before = await trades();
          await tape.until(`${count} more trades`, async () => await trades() >= before + count);
          // Whatever happens from here on, these stay.
          known ??= await firstTrades(query);
        },
        async moreMade(count) {
          const before = market.made();
          await tape.until(
            `${count} more trades made`,
            () => Promise.resolve(market.made() >= before + count),
          );
        },
        freeze() {
          frozenAt ??= now();
        },
        async prove() {
          market.freeze();
          await tape.until("the last trade of every product stored, and no gap", async () => {
            const newest = await tape.rows(
              "SELECT product_id, max(last_trade_id) AS last FROM trade_runs GROUP BY product_id",
            );
            const last = new Map(newest.map((row) => [row.product_id, Number(row.last)]));
            return products.every((product) => last.get(product) === source.lastTrade(product)) &&
              await tape.value("SELECT count() FROM trade_gaps") === "0";
          });
          // What is still on its way must not change anything.
          await tape.untilRead();
          return await assertProven(market, known);
        },
      };
      await body(market);
    });
  } finally {
    await exchange.stop();
  }

  async function assertProven({ tape }: Market, known?: Map<string, number>): Promise<Proof> {
    const proof = await proveTape((statement) => tape.rows(statement), source, products, known);
    assert.deepEqual(proof.problems, []);
    assert.equal(await tape.value("SELECT count() FROM rejected"), "0");
    return proof;
  }
}
