/**
 * The holes of the tape, as ClickHouse knows them, and those that were given up.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { subtract } from "./backfill.ts";
import type { Run } from "./trade_runs.ts";

/** Missing trade ids between stored ones; a row of the view trade_gaps. */
export interface Hole extends Run {
  productId: string;
  /** When the hole could first be seen, in µs since the epoch. */
  seenAt: number;
  /** The missing trades were made before this: `2026-07-07 22:58:17.123456`, UTC. */
  before: string;
}

/** All holes of all products, given up or not. */
export async function readHoles(warehouse: ClickHouseClient): Promise<Hole[]> {
  const answer = await warehouse.query({
    query:
      `SELECT product_id, first_missing, last_missing, toUnixTimestamp64Micro(seen_at), toString(before_time)
            FROM trade_gaps ORDER BY product_id, first_missing`,
    format: "JSONCompactEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  const rows = await answer.json<[string, number, number, number, string]>();
  return rows.map(([productId, first, last, seenAt, before]) => ({ productId, first, last, seenAt, before }));
}

/** Product → the ids that are not asked for any more. */
export async function readGivenUp(warehouse: ClickHouseClient): Promise<Map<string, Run[]>> {
  const answer = await warehouse.query({
    query: "SELECT product_id, first_missing, last_missing FROM trade_gaps_given_up",
    format: "JSONCompactEachRow",
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  const ranges = new Map<string, Run[]>();
  for (const [productId, first, last] of await answer.json<[string, number, number]>()) {
    const known = ranges.get(productId);
    if (known) known.push({ first, last });
    else ranges.set(productId, [{ first, last }]);
  }
  return ranges;
}

/** Records that ids are given up; those that are on record already stay there once. May be tried again after an error. */
export async function recordGivenUp(
  warehouse: ClickHouseClient,
  productId: string,
  ids: readonly Run[],
  reason: string,
): Promise<void> {
  const recorded = (await readGivenUp(warehouse)).get(productId) ?? [];
  const values = subtract(ids, recorded).map(({ first, last }) => ({
    product_id: productId,
    first_missing: first,
    last_missing: last,
    reason,
  }));
  if (values.length > 0) {
    await warehouse.insert({ table: "trade_gaps_given_up", values, format: "JSONEachRow" });
  }
}
