/**
 * `/api/trades`.
 *
 * @module
 */

import type { Api } from "../env.ts";
import { formatMicros } from "../../core/time.ts";
import { type Columns, decimal, described, integer, text, time } from "../columns.ts";
import type { ReadClient } from "../read_client.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { from, product, to } from "../parameters.ts";
import { invalid } from "../problem.ts";
import { addList } from "../route.ts";

const columns: Columns = {
  trade_id: described(integer, "Of the product; every number is a trade."),
  time: described(time, "The exchange's."),
  price: decimal,
  size: described(decimal, "In the base currency."),
  taker_side: { kind: "text", sql: "toString(v.taker_side)", description: "buy or sell" },
  received_at: described(time, "When the producer (or backfill) had it."),
  ingested_at: described(time, "When ClickHouse had it."),
  source: described(text, "feed, backfill, replay or simulator"),
};

/** Adds `/api/trades`. */
export function addTrades(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addList(app, clickhouse, {
    path: "/api/trades",
    summary: "Trades",
    description: "The trades of a product, newest first: by trade id, each once.",
    parameters: { product_id: product, from, to },
    columns,
    defaultLimit: 100,
    place: ["number"],
    async select({ query }, { place: [before] = [] }) {
      assertRange(query.from, query.to);
      await known.assertKnown(query.product_id);
      return {
        from: "trades AS v",
        where: [
          "v.product_id = {product:String}",
          ...(query.from === undefined ? [] : ["v.time >= {from:DateTime64(6, 'UTC')}"]),
          ...(query.to === undefined ? [] : ["v.time < {to:DateTime64(6, 'UTC')}"]),
          ...(before === undefined ? [] : ["v.trade_id < {before:UInt64}"]),
        ],
        order: "v.trade_id DESC",
        isNewest: query.from === undefined && query.to === undefined && before === undefined,
        parameters: {
          product: query.product_id,
          ...(query.from !== undefined && { from: formatMicros(query.from) }),
          ...(query.to !== undefined && { to: formatMicros(query.to) }),
          ...(before !== undefined && { before }),
        },
        place: (row) => [Number(row.trade_id)],
      };
    },
  });
}

/** @throws {Problem} when the range ends before it begins */
export function assertRange(from: number | undefined, to: number | undefined): void {
  if (from !== undefined && to !== undefined && from > to) {
    throw invalid("to", formatMicros(to), `a time that isn't before from (${formatMicros(from)})`);
  }
}

/** The range; an empty one in its place where it lies in the future, which the views that fill gaps refuse. */
export function beforeNow(from: number, to: number, now: number): { from: number; to: number } {
  const minute = 60_000_000;
  return from < now ? { from: Math.min(from, to), to } : { from: now - minute, to: now - minute };
}
