/**
 * What reconciling and mending ask ClickHouse by: spans of products' trades, and the SELECTs of the materialized views.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { createHash } from "node:crypto";
import { consistentRead } from "../clickhouse/client.ts";
import { rows } from "../clickhouse/rows.ts";

/** Which of a product's trades are looked at, by their time; both ends included, in µs. */
export interface Span {
  product: string;
  from: number;
  /** @default {Infinity} */
  to?: number;
}

/** A span of whole hours; `to` isn't in it. */
export type WholeSpan = Required<Span>;

export const hourMicros = 3600e6;

export function widen({ product, from, to = 4e15 }: Span): WholeSpan {
  return {
    product,
    from: Math.floor(from / hourMicros) * hourMicros,
    to: (Math.floor(to / hourMicros) + 1) * hourMicros,
  };
}

/** The span in whole intervals of a candle, if those are longer. */
export function widenTo(seconds: number, { product, from, to }: WholeSpan): WholeSpan {
  const unit = Math.max(seconds * 1e6, hourMicros);
  return { product, from: Math.floor(from / unit) * unit, to: Math.ceil(to / unit) * unit };
}

/** So many spans are looked at in one statement. */
const spansAtOnce = 40;

export function* chunksOf<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += spansAtOnce) yield all.slice(at, at + spansAtOnce);
}

/** The parameters `product0`, `product1` … of a statement over several spans. */
export function productsOf(spans: readonly WholeSpan[]): Record<string, string> {
  return Object.fromEntries(spans.map(({ product }, at) => [`product${at}`, product]));
}

/** A condition that holds for the rows of any of the spans. */
export function inSpans(spans: readonly WholeSpan[]): string {
  const each = spans.map(({ from, to }, at) =>
    `(product_id = {product${at}:String} AND time >= ${time(from)} AND time < ${time(to)})`
  );
  return `(${each.join(" OR ")})`;
}

/** A time in µs, as SQL. */
export function time(micros: number): string {
  return `fromUnixTimestamp64Micro(toInt64(${micros}), 'UTC')`;
}

/** What of a client is needed here. */
export type Client = Pick<ClickHouseClient, "query" | "command">;

/** A materialized view's name → its SELECT, as ClickHouse writes it (each formula stands once, in sql/), and what it fills. */
export type Views = Map<string, { select: string; target: string }>;

/** The views, and the tables that repairs began to build and didn't end. Undefined on a cluster. */
export async function readViews(
  clickhouse: ClickHouseClient,
): Promise<{ views: Views; leftovers: string[] } | undefined> {
  const tables = await rows<{ name: string; engine: string; as_select: string; target: string }>(
    clickhouse,
    `SELECT name, engine, as_select, extract(create_table_query, ' TO (\\S+)') AS target FROM system.tables
     WHERE database = currentDatabase()
       AND (engine = 'MaterializedView' OR name = 'trades' OR startsWith(name, 'repair_'))`,
  );
  if (
    tables.some(({ name, engine }) => name === "trades" && /^(Replicated|Shared|Distributed)/.test(engine))
  ) {
    return undefined;
  }
  const views = tables.filter(({ engine }) => engine === "MaterializedView");
  return {
    views: new Map(views.map(({ name, as_select, target }) => [name, { select: as_select, target }])),
    leftovers: tables.map(({ name }) => name).filter((name) => name.startsWith("repair_")),
  };
}

/** What the names of a product's tables begin with that are built in a repair. */
export function repairPrefix(product: string): string {
  return `repair_${createHash("sha256").update(product).digest("hex").slice(0, 16)}_`;
}

export function view(views: Views, name: string): string {
  const select = views.get(name)?.select;
  if (select === undefined) {
    throw new Error(`The materialized view ${name} is missing: run \`deno task migrate\`.`);
  }
  return select;
}

/** The rows of a query that sees all that is stored, also on other servers. */
export function consistentRows<T>(
  clickhouse: Client,
  query: string,
  params: Record<string, unknown>,
): Promise<T[]> {
  return rows(clickhouse, query, params, { settings: consistentRead });
}
