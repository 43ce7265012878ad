/**
 * `trade_runs` against `trades`: which ids it claims that aren't stored, and the other way round; and mending that.
 *
 * @module
 */

import { restrictSource } from "../clickhouse/view_source.ts";
import { countIds, createTradeIds, type Run, subtract } from "../core/id_ranges.ts";
import {
  type Client,
  consistentRows,
  inSpans,
  productsOf,
  time,
  view,
  type Views,
  type WholeSpan,
} from "./mend_queries.ts";

/** Of a trade that stands more than once the row that came first stays. */
export async function removeDoubledTrades(clickhouse: Client, span: WholeSpan): Promise<number> {
  const where = inSpans([span]);
  const [row] = await consistentRows<{ surplus: number }>(
    clickhouse,
    `SELECT count() - uniqExact(trade_id) AS surplus FROM trades WHERE ${where}`,
    productsOf([span]),
  );
  const surplus = row?.surplus ?? 0;
  if (surplus === 0) return 0;
  await clickhouse.command({
    query: `DELETE FROM trades WHERE ${where} AND (trade_id, ingested_at, kafka_offset) NOT IN
            (SELECT trade_id, min((ingested_at, kafka_offset)).1, min((ingested_at, kafka_offset)).2
             FROM trades WHERE ${where} GROUP BY trade_id)`,
    query_params: productsOf([span]),
    clickhouse_settings: { lightweight_deletes_sync: "2" },
  });
  return surplus;
}

/** The ids that belong to each span: those between its neighbours in time, for lost ones have no time. */
async function idsOf(clickhouse: Client, spans: readonly WholeSpan[]): Promise<Run[]> {
  const neighbour = (at: number, side: string, condition: string, order: string) =>
    `SELECT * FROM (SELECT toUInt32(${at}) AS at, '${side}' AS side, trade_id AS id FROM trades
       WHERE product_id = {product${at}:String} AND ${condition} ORDER BY trade_id ${order} LIMIT 1)`;
  const rows = await consistentRows<{ at: number; side: string; id: number }>(
    clickhouse,
    spans.flatMap(({ from, to }, at) => [
      neighbour(at, "before", `time < ${time(from)}`, "DESC"),
      neighbour(at, "behind", `time >= ${time(to)}`, "ASC"),
    ]).join(" UNION ALL "),
    productsOf(spans),
  );
  return spans.map((_, at) => {
    const of = (side: string) => rows.find((row) => row.at === at && row.side === side)?.id;
    const behind = of("behind");
    return {
      first: (of("before") ?? 0) + 1,
      last: behind === undefined ? Number.MAX_SAFE_INTEGER : behind - 1,
    };
  });
}

/** What `trades` has of a span's ids, as runs, and the rows of `trade_runs` there, cut at its ends. */
export interface ClaimedSpan {
  ids: Run;
  stored: Run[];
  rows: Run[];
}

/** Reads the claims of some spans, in their order. */
export async function readClaims(clickhouse: Client, spans: readonly WholeSpan[]): Promise<ClaimedSpan[]> {
  const ids = await idsOf(clickhouse, spans);
  const condition = (first: string, last: string) =>
    ids.map((run, at) =>
      `(product_id = {product${at}:String} AND ${last} >= ${run.first} AND ${first} <= ${run.last})`
    ).join(" OR ");
  const stored = await consistentRows<Run & { product: string }>(
    clickhouse,
    `SELECT product_id AS product, min(trade_id) AS first, max(trade_id) AS last
     FROM (SELECT product_id, trade_id,
                  trade_id - row_number() OVER (PARTITION BY product_id ORDER BY trade_id) AS run
           FROM (SELECT DISTINCT product_id, trade_id FROM trades WHERE ${condition("trade_id", "trade_id")}))
     GROUP BY product_id, run`,
    productsOf(spans),
  );
  const rows = await consistentRows<Run & { product: string }>(
    clickhouse,
    `SELECT product_id AS product, first_trade_id AS first, last_trade_id AS last FROM trade_runs
     WHERE ${condition("first_trade_id", "last_trade_id")}`,
    productsOf(spans),
  );
  const [storedOf, rowsOf] = [stored, rows].map((runs) => Map.groupBy(runs, ({ product }) => product));
  return spans.map(({ product }, at) => {
    const within = ids[at]!;
    const cut = (runs: readonly Run[] = []) =>
      runs.filter((run) => run.last >= within.first && run.first <= within.last)
        .map(({ first, last }) => ({
          first: Math.max(first, within.first),
          last: Math.min(last, within.last),
        }));
    return { ids: within, stored: cut(storedOf!.get(product)), rows: cut(rowsOf!.get(product)) };
  });
}

/** What `trade_runs` claims and `trades` doesn't have, and the other way round; how many ids it claims once more. */
export function compareClaims(
  { stored, rows }: ClaimedSpan,
): { tooMuch: Run[]; claimed: number; unclaimed: number; overlapping: number } {
  const claims = createTradeIds(rows).runs;
  const tooMuch = subtract(claims, stored);
  return {
    tooMuch,
    claimed: countIds(tooMuch),
    unclaimed: countIds(subtract(stored, claims)),
    overlapping: countIds(rows) - countIds(claims),
  };
}

/** Makes `trade_runs` say what `trades` has, within a span. */
export async function mendRuns(
  clickhouse: Client,
  span: WholeSpan,
  views: Views,
): Promise<{ claimed: number; unclaimed: number; overlapping: number; lostSince?: number }> {
  const [found] = await readClaims(clickhouse, [span]);
  const { ids } = found!;
  const { tooMuch, claimed, unclaimed, overlapping } = compareClaims(found!);
  if (claimed + unclaimed + overlapping === 0) return { claimed, unclaimed, overlapping };
  const parameters = { product: span.product, first: ids.first, last: ids.last };
  const within = "product_id = {product:String} AND trade_id BETWEEN {first:UInt64} AND {last:UInt64}";
  const touching =
    "product_id = {product:String} AND last_trade_id >= {first:UInt64} AND first_trade_id <= {last:UInt64}";

  const batch = `reconciled/${crypto.randomUUID()}`;
  // First what is right, then without the rest: at no moment is an id unclaimed that is stored.
  await clickhouse.command({
    query: `INSERT INTO trade_runs SELECT * REPLACE ({batch:String} AS batch)
            FROM (${restrictSource(view(views, "trade_runs_mv"), "trades", within)})`,
    query_params: { ...parameters, batch },
    clickhouse_settings: { insert_deduplicate: 0 },
  });
  // What reaches over the span's ends stays as far as it does. (A column in WHERE would be the one that REPLACE makes.)
  await clickhouse.command({
    query: `INSERT INTO trade_runs
            SELECT * REPLACE ({first:UInt64} - 1 AS last_trade_id, {batch:String} AS batch) FROM trade_runs AS run
            WHERE product_id = {product:String} AND run.first_trade_id < {first:UInt64} AND run.last_trade_id >= {first:UInt64}
            UNION ALL
            SELECT * REPLACE ({last:UInt64} + 1 AS first_trade_id, {batch:String} AS batch) FROM trade_runs AS run
            WHERE product_id = {product:String} AND run.first_trade_id <= {last:UInt64} AND run.last_trade_id > {last:UInt64}`,
    query_params: { ...parameters, batch },
    clickhouse_settings: { insert_deduplicate: 0 },
  });
  await clickhouse.command({
    query: `DELETE FROM trade_runs WHERE ${touching} AND batch != {batch:String}`,
    query_params: { ...parameters, batch },
    clickhouse_settings: { lightweight_deletes_sync: "2" },
  });
  const [firstLost] = tooMuch;
  if (firstLost === undefined) return { claimed, unclaimed, overlapping };
  const [neighbour] = await consistentRows<{ micros: number }>(
    clickhouse,
    `SELECT toUnixTimestamp64Micro(time) AS micros FROM trades
     WHERE product_id = {product:String} AND trade_id < {id:UInt64} ORDER BY trade_id DESC LIMIT 1`,
    { product: span.product, id: firstLost.first },
  );
  return { claimed, unclaimed, overlapping, lostSince: neighbour?.micros ?? 0 };
}
