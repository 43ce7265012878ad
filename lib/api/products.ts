/**
 * `/api/products` and `/api/ticker`.
 *
 * @module
 */

import { type OpenAPIHono, z } from "@hono/zod-openapi";
import {
  type Columns,
  decimal,
  integer,
  number,
  orNull,
  rowSchema,
  said,
  selectList,
  text,
  time,
} from "./columns.ts";
import type { TimeFormat } from "./columns.ts";
import type { Database, Parameters } from "./database.ts";
import type { KnownProducts } from "./known_products.ts";
import { products as productsParameter, timeFormat } from "./parameters.ts";
import { addList, addRoute, jsonAnswer, type Selection } from "./route.ts";
import { createSharedAnswer } from "./shared_answer.ts";

const productColumns: Columns = {
  product_id: text,
  display_name: text,
  base_currency: text,
  quote_currency: text,
  base_increment: said(orNull(decimal), "Null where the exchange hasn't said it yet."),
  quote_increment: said(orNull(decimal), "Null where the exchange hasn't said it yet."),
  min_market_funds: orNull(decimal),
  status: said(orNull(text), "Null where the exchange hasn't said it yet."),
  status_message: orNull(text),
  trading_disabled: orNull({ kind: "boolean" }),
  post_only: orNull({ kind: "boolean" }),
  limit_only: orNull({ kind: "boolean" }),
  cancel_only: orNull({ kind: "boolean" }),
  received_at: said(orNull(time), "When the exchange said it last."),
};

/** Products with a status, and those that only have trades. */
const allProducts: Selection = {
  from: `(
    SELECT product_id, display_name, base_currency, quote_currency, base_increment, quote_increment,
      min_market_funds, status, status_message, trading_disabled, post_only, limit_only, cancel_only, received_at
    FROM products
    UNION ALL
    SELECT DISTINCT product_id, product_id, splitByChar('-', product_id)[1], splitByChar('-', product_id)[2],
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM candles_1d WHERE product_id NOT IN (SELECT product_id FROM products)
  ) AS v`,
  order: "v.product_id",
  parameters: {},
};

const tickerColumns: Columns = {
  product_id: text,
  time: said(time, "The exchange's."),
  received_at: said(time, "The producer's."),
  price: decimal,
  best_bid: orNull(decimal),
  best_bid_size: orNull(decimal),
  best_ask: orNull(decimal),
  best_ask_size: orNull(decimal),
  open_24h: orNull(decimal),
  high_24h: orNull(decimal),
  low_24h: orNull(decimal),
  volume_24h: orNull(decimal),
  change_24h: {
    ...orNull(number),
    description: "price / open_24h - 1",
    sql: "toFloat64(v.price) / toFloat64(nullIf(v.open_24h, 0)) - 1",
  },
  sequence: integer,
  trade_id: orNull(integer),
  taker_side: { ...orNull(text), sql: "CAST(v.taker_side AS Nullable(String))" },
  last_size: orNull(decimal),
};

/** One client's second is the next one's too. */
const tickerMs = 250;
/** Products in one statement. */
const atOnce = 50;

/** Adds `/api/products` and `/api/ticker`. */
export function addProducts(app: OpenAPIHono, database: Database, known: KnownProducts): void {
  addList(app, database, {
    path: "/api/products",
    summary: "Products",
    description:
      "Every product that the exchange has spoken of or that has trades, with its increments and status.",
    parameters: {},
    columns: productColumns,
    defaultLimit: 10_000,
    select: () => allProducts,
  });

  const newest: Record<TimeFormat, () => Promise<Map<string, string>>> = {
    iso: shared("iso"),
    unix_us: shared("unix_us"),
  };
  function shared(format: TimeFormat) {
    return createSharedAnswer(() => readTickers(database, known, format), {
      freshMs: tickerMs,
      staleMs: 1000,
    });
  }

  addRoute(app, {
    path: "/api/ticker",
    summary: "The newest ticker",
    description:
      "Of each product: best bid and ask and the day's figures, as the exchange said them last. At most a " +
      "second behind. A product that has no ticker yet has no row.",
    parameters: { product_id: productsParameter, time_format: timeFormat },
    answer: z.strictObject({ data: z.array(rowSchema(tickerColumns)), next: z.null() }),
  }, async ({ query, request }) => {
    for (const product of query.product_id ?? []) await known.check(product);
    const tickers = await newest[query.time_format]();
    const wanted = query.product_id ?? [...tickers.keys()];
    const rows = wanted.flatMap((product) => tickers.get(product) ?? []);
    return jsonAnswer(request, `{"data":[${rows.join(",")}],"next":null}`);
  });
}

/** Product → its newest ticker as JSON. Reading one product's newest row costs little; reading over all products doesn't. */
async function readTickers(
  database: Database,
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
    return database.text(
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
