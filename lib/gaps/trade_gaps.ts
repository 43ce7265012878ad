/**
 * The gaps of the tape, as ClickHouse knows them, and what is on record about them.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { tuples } from "../clickhouse/rows.ts";
import type { TradeMark } from "./evidence.ts";
import { proofsToGiveUp, type Proven } from "./request_tracker.ts";
import { formatMicros } from "../core/time.ts";
import { type Run, subtract } from "../core/id_ranges.ts";

/** Missing trade ids between stored ones; a row of the view trade_gaps. */
export interface Gap extends Run {
  productId: string;
  /** When the gap could first be seen, in µs since the epoch. */
  seenAt: number;
  /** The missing trades were made after this: `2026-07-07 22:58:17.123456`, UTC … */
  after: string;
  /** … and before this. */
  before: string;
  /** How many of its ids REST proved again and again not to have. */
  givenUp: number;
}

/** All gaps of all products, given up or not. */
export async function readGaps(clickhouse: ClickHouseClient): Promise<Gap[]> {
  const found = await tuples<[string, number, number, number, string, string, number]>(
    clickhouse,
    `SELECT product_id, first_missing, last_missing, toUnixTimestamp64Micro(seen_at), toString(after_time),
       toString(before_time), given_up
     FROM trade_gaps ORDER BY product_id, first_missing`,
  );
  return found.map(([productId, first, last, seenAt, after, before, givenUp]) => ({
    productId,
    first,
    last,
    seenAt,
    after,
    before,
    givenUp,
  }));
}

/** Product → the ids that are given up. */
export async function readGivenUp(clickhouse: ClickHouseClient): Promise<Map<string, Run[]>> {
  const found = await tuples<[string, number, number]>(
    clickhouse,
    "SELECT product_id, first_missing, last_missing FROM trade_gaps_given_up",
  );
  return new Map(
    [...Map.groupBy(found, ([productId]) => productId)].map(([productId, ranges]) => [
      productId,
      ranges.map(([, first, last]) => ({ first, last })),
    ]),
  );
}

/**
 * Records that ids are given up; those that are on record already stay there once. May be tried again after an error.
 *
 * @returns those that weren't on record
 */
export async function recordGivenUp(
  clickhouse: ClickHouseClient,
  productId: string,
  ids: readonly Run[],
  reason: string,
): Promise<Run[]> {
  const recorded = (await readGivenUp(clickhouse)).get(productId) ?? [];
  const fresh = subtract(ids, recorded);
  const values = fresh.map(({ first, last }) => ({
    product_id: productId,
    first_missing: first,
    last_missing: last,
    reason,
  }));
  if (values.length > 0) {
    await clickhouse.insert({ table: "trade_gaps_given_up", values, format: "JSONEachRow" });
  }
  return fresh;
}

/** Product → what REST proved not to have, as it was recorded: ranges overlap, see `overlay`. */
export async function readProofs(clickhouse: ClickHouseClient): Promise<Map<string, Proven[]>> {
  const found = await tuples<[string, number, number, number, number, number]>(
    clickhouse,
    // What is given up without a record of the asking was asked for as often as that takes.
    `SELECT product_id, first_missing, last_missing, max(asks.proofs),
       toUnixTimestamp64Milli(min(asks.first_asked_at)), toUnixTimestamp64Milli(max(asks.asked_at))
     FROM
     (
       SELECT product_id, first_missing, last_missing, proofs, first_asked_at, asked_at FROM trade_gap_asks
       UNION ALL
       SELECT product_id, first_missing, last_missing, {given:UInt32}, asked_at, asked_at FROM trade_gaps_given_up
     ) AS asks
     GROUP BY product_id, first_missing, last_missing`,
    { given: proofsToGiveUp },
  );
  return new Map(
    [...Map.groupBy(found, ([productId]) => productId)].map(([productId, ranges]) => [
      productId,
      ranges.map(([, first, last, proofs, firstAskedAt, askedAt]) => ({
        ids: [{ first, last }],
        proofs,
        firstAskedAt,
        askedAt,
      })),
    ]),
  );
}

/** Records proofs. May be tried again after an error: of the same range the most proofs count. */
export async function recordProofs(
  clickhouse: ClickHouseClient,
  productId: string,
  proofs: readonly Proven[],
): Promise<void> {
  const values = proofs.flatMap((group) =>
    group.ids.map(({ first, last }) => ({
      product_id: productId,
      first_missing: first,
      last_missing: last,
      proofs: group.proofs,
      first_asked_at: formatMicros(group.firstAskedAt * 1000),
      asked_at: formatMicros(group.askedAt * 1000),
    }))
  );
  if (values.length > 0) await clickhouse.insert({ table: "trade_gap_asks", values, format: "JSONEachRow" });
}

/** The stored ones of these trades. */
export async function readTradeMarks(
  clickhouse: ClickHouseClient,
  productId: string,
  ids: readonly number[],
): Promise<TradeMark[]> {
  const found = await tuples<[number, number]>(
    clickhouse,
    `SELECT trade_id, toUnixTimestamp64Micro(time) FROM trades
     WHERE product_id = {productId:String} AND trade_id IN {ids:Array(UInt64)}`,
    { productId, ids },
  );
  return found.map(([id, time]) => ({ id, time }));
}

/**
 * Product → its stored trade with the highest id, of the products of which a trade came from the feed within the hour.
 *
 * @param productId only of this one
 */
export async function readNewestTrades(
  clickhouse: ClickHouseClient,
  productId = "",
): Promise<Map<string, TradeMark>> {
  const found = await tuples<[string, number, number]>(
    clickhouse,
    `SELECT product_id, max(run.last_trade_id), toUnixTimestamp64Micro(argMax(run.last_time, run.last_trade_id))
     FROM trade_runs AS run
     WHERE {productId:String} IN ('', product_id)
     GROUP BY product_id
     HAVING maxIf(run.last_received_at, run.source != 'backfill') > now64(6, 'UTC') - INTERVAL 1 HOUR
     ORDER BY product_id`,
    { productId },
  );
  return new Map(found.map(([productId, id, time]) => [productId, { id, time }]));
}
