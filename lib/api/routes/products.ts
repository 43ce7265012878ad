/**
 * `/api/products` and `/api/ticker`.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { Api } from "../env.ts";
import {
  type Columns,
  decimal,
  described,
  integer,
  nullable,
  number,
  rowSchema,
  selectList,
  text,
  time,
} from "../columns.ts";
import type { TimeFormat } from "../columns.ts";
import type { Parameters, ReadClient } from "../read_client.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { products as productsParameter, timeFormat } from "../parameters.ts";
import { addList, addRoute, jsonAnswer, type Selection } from "../route.ts";
import { createSharedAnswers } from "../../core/shared_answer.ts";

const productColumns: Columns = {
  product_id: text,
  display_name: text,
  base_currency: text,
  quote_currency: text,
  base_increment: described(nullable(decimal), "Null where the exchange hasn't said it yet."),
  quote_increment: described(nullable(decimal), "Null where the exchange hasn't said it yet."),
  min_market_funds: nullable(decimal),
  status: described(nullable(text), "Null where the exchange hasn't said it yet."),
  status_message: nullable(text),
  trading_disabled: nullable({ kind: "boolean" }),
  post_only: nullable({ kind: "boolean" }),
  limit_only: nullable({ kind: "boolean" }),
  cancel_only: nullable({ kind: "boolean" }),
  received_at: described(nullable(time), "When the exchange said it last."),
};

/** Every known product; what the exchange hasn't said of it is null, but for what its id says. */
const allProducts: Selection = {
  from: `(
    SELECT product_id, display_name, base_currency, quote_currency, base_increment, quote_increment,
      min_market_funds, status, status_message, trading_disabled, post_only, limit_only, cancel_only, received_at
    FROM products
    UNION ALL
    SELECT product_id, product_id, splitByChar('-', product_id)[1], splitByChar('-', product_id)[2],
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM known_products WHERE product_id NOT IN (SELECT product_id FROM products)
  ) AS v`,
  order: "v.product_id",
  parameters: {},
};

const tickerColumns: Columns = {
  product_id: text,
  time: described(time, "The exchange's."),
  received_at: described(time, "The producer's."),
  price: decimal,
  best_bid: nullable(decimal),
  best_bid_size: nullable(decimal),
  best_ask: nullable(decimal),
  best_ask_size: nullable(decimal),
  open_24h: nullable(decimal),
  high_24h: nullable(decimal),
  low_24h: nullable(decimal),
  volume_24h: nullable(decimal),
  change_24h: {
    ...nullable(number),
    description: "price / open_24h - 1",
    sql: "toFloat64(v.price) / toFloat64(nullIf(v.open_24h, 0)) - 1",
  },
  sequence: integer,
  trade_id: nullable(integer),
  taker_side: { ...nullable(text), sql: "CAST(v.taker_side AS Nullable(String))" },
  last_size: nullable(decimal),
};

/** One client's second is the next one's too. */
const tickerMs = 250;
/** Products in one statement. */
const atOnce = 50;

/** Adds `/api/products` and `/api/ticker`. */
export function addProducts(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  addList(app, clickhouse, {
    path: "/api/products",
    summary: "Products",
    description:
      "Every product that the exchange has spoken of or that has trades, with its increments and status.",
    parameters: {},
    columns: productColumns,
    defaultLimit: 10_000,
    select: () => allProducts,
  });

  const newest = createSharedAnswers(
    (format) => readTickers(clickhouse, known, format as TimeFormat),
    { freshMs: tickerMs, staleMs: 1000, maxKeys: 2 },
  );

  addRoute(app, {
    path: "/api/ticker",
    summary: "The newest ticker",
    description:
      "Of each product: best bid and ask and the day's figures, as the exchange said them last. At most a " +
      "second behind. A product that has no ticker yet has no row.",
    parameters: { product_id: productsParameter, time_format: timeFormat },
    answer: z.strictObject({ data: z.array(rowSchema(tickerColumns)), next: z.null() }),
  }, async ({ query, request }) => {
    for (const product of query.product_id ?? []) await known.assertKnown(product);
    const tickers = await newest(query.time_format)();
    const wanted = query.product_id ?? [...tickers.keys()];
    const rows = wanted.flatMap((product) => tickers.get(product) ?? []);
    return jsonAnswer(request, `{"data":[${rows.join(",")}],"next":null}`);
  });
}

/** Product → its newest ticker as JSON. Reading one product's newest row costs little; reading over all products doesn't. */
async function readTickers(
  clickhouse: ReadClient,
  known: KnownProducts,
  format: TimeFormat,
): Promise<Map<string, string>> {
  const names = await known.all();
  const parts = Array.from(
    { length: Math.ceil(names.length / atOnce) },
    (_, part) => names.slice(part * atOnce, (part + 1) * atOnce),
  );
  const texts = await Promise.all(parts.map((products) => {
    const parameters: Parameters = Object.fromEntries(products.map((name, index) => [`p${index}`, name]));
    const selects = products.map((_, index) =>
      `SELECT * FROM (SELECT * FROM tickers WHERE product_id = {p${index}:String} ORDER BY time DESC, kafka_offset DESC LIMIT 1)`
    );
    return clickhouse.text(
      `SELECT ${selectList(tickerColumns, format)} FROM (${selects.join(" UNION ALL ")}) AS v
       ORDER BY v.product_id FORMAT JSONEachRow`,
      parameters,
    );
  }));
  return new Map(
    texts.flatMap((text) => text.split("\n").filter(Boolean))
      .map((line) => [JSON.parse(line).product_id as string, line]),
  );
}
