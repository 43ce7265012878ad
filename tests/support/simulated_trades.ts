/**
 * Trades of the simulated exchange as a table has them, without a producer and a consumer.
 *
 * @module
 */

import type { createSimulation } from "../../exchange/simulation.ts";
import type { SqlDatabase } from "./sql_database.ts";

/** `time` in ClickHouse's form with six fraction digits; decimals as strings. */
export interface Trade {
  product_id: string;
  trade_id: number;
  time: string;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
}

/** A product's trades so far, those before `first` left out. */
export function tradesOf(
  market: ReturnType<typeof createSimulation>,
  product_id: string,
  first = 1,
): Trade[] {
  return Array.from({ length: market.lastTrade(product_id) - first + 1 }, (_, index): Trade => {
    const { trade_id, time, price, size, side } = market.trade(product_id, first + index);
    return {
      product_id,
      trade_id,
      time: time.replace("T", " ").replace("Z", ""),
      price,
      size,
      taker_side: side === "sell" ? "buy" : "sell",
    };
  });
}

/** Stores trades as one block. */
export async function insertTrades({ insert }: SqlDatabase, trades: readonly Trade[]): Promise<void> {
  const more = { source: "simulator", batch: "b" };
  await insert("trades", trades.map((trade) => ({ ...trade, received_at: trade.time, ...more })));
}
