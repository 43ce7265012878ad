/**
 * `/api/book`: the order book now, or at any past moment.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import type { Api } from "../env.ts";
import { formatMicros, isoMicros, nowMicros, parseMicros } from "../../core/time.ts";
import { decimalText, timeText } from "../columns.ts";
import { type Asker, shareQueries } from "../lanes.ts";
import type { ReadClient } from "../read_client.ts";
import type { KnownProducts } from "../cache/known_products.ts";
import { at, depth, product, timeFormat } from "../parameters.ts";
import { addRoute, jsonAnswer } from "../route.ts";
import { createSharedAnswers } from "../../core/shared_answer.ts";

const level = z.tuple([decimalText, decimalText]);
const band = z.strictObject({
  bid_base: decimalText,
  bid_quote: decimalText,
  ask_base: decimalText,
  ask_quote: decimalText,
  imbalance: z.number().nullable(),
});
const book = z.strictObject({
  product_id: z.string(),
  time: timeText.nullable().openapi({
    description: "The book's moment: `at`, or its last change. Null: not known.",
  }),
  age_ms: z.number().nullable().openapi({ description: "How old the newest book is; null with `at`." }),
  best_bid: decimalText.nullable(),
  best_ask: decimalText.nullable(),
  mid: decimalText.nullable(),
  spread: decimalText.nullable(),
  spread_bps: z.number().nullable(),
  microprice: decimalText.nullable(),
  imbalance: z.number().nullable(),
  bids: z.array(level).openapi({ description: "[price, size], best first." }),
  asks: z.array(level),
  bands: z.strictObject({ "10bps": band, "50bps": band, "100bps": band }).nullable()
    .openapi({ description: "Depth within so many basis points of mid." }),
  reason: z.string().optional().openapi({ description: "Why the book isn't known." }),
});

type Depth = Record<string, string | number | null>;

interface Book {
  /** µs; null when no book is known. */
  time: number | null;
  levels: { side: string; price: string; size: string }[];
  depth: Depth | undefined;
  reason?: string;
}

const figures = ["best_bid", "best_ask", "mid", "spread", "spread_bps", "microprice", "imbalance"] as const;
const bandNames = ["10bps", "50bps", "100bps"] as const;

/** The newest book is read once for all who ask within this time; one that is a little older is given while it is read again. */
const freshMs = 250;
const staleMs = 1000;
const maxShared = 200;

/** Adds `/api/book`. */
export function addBook(app: Api, clickhouse: ReadClient, known: KnownProducts): void {
  const newest = createSharedAnswers((key, asker: Asker) => {
    const [depth = "", product = ""] = key.split(/ (.*)/s);
    return readNewest(clickhouse, product, Number(depth), asker);
  }, { freshMs, staleMs, maxKeys: maxShared, ...shareQueries });

  addRoute(app, {
    path: "/api/book",
    summary: "The order book",
    description:
      "The best levels of both sides at a moment of the exchange's clock, or as new as the tape is (`age_ms` says " +
      "how old). Outside of the times in which the book is known both sides are empty, `time` is null and `reason` " +
      "says why: a book that is known to be broken is never shown.",
    parameters: { product_id: product, at, depth, time_format: timeFormat },
    answer: book,
  }, async ({ query, request, client }) => {
    await known.assertKnown(query.product_id);
    const found = query.at === undefined
      ? await newest(`${query.depth} ${query.product_id}`)({ client, lane: "shared" })
      : await readAt(clickhouse, query.product_id, query.at, query.depth, {
        client,
        lane: "interactive",
        signal: request.signal,
      });
    const side = (name: string) =>
      found.levels.filter((row) => row.side === name).map(({ price, size }) => [price, size]);
    const { time, depth: row, reason } = found;
    return jsonAnswer(
      request,
      JSON.stringify({
        product_id: query.product_id,
        time: time === null || query.time_format === "unix_us" ? time : isoMicros(time),
        age_ms: time === null || query.at !== undefined
          ? null
          : Math.max(0, Math.round((nowMicros() - time) / 1000)),
        ...Object.fromEntries(figures.map((name) => [name, row?.[name] ?? null])),
        bids: side("bid"),
        asks: side("ask"),
        bands: row === undefined
          ? null
          : Object.fromEntries(bandNames.map((name) => [name, bandOf(row, name)])),
        ...(reason !== undefined && { reason }),
      }),
    );
  });
}

function bandOf(row: Depth, name: string) {
  const value = (column: string) => row[`${column}_${name}`] ?? null;
  return {
    bid_base: value("bid_base"),
    bid_quote: value("bid_quote"),
    ask_base: value("ask_base"),
    ask_quote: value("ask_quote"),
    imbalance: value("imbalance"),
  };
}

async function readAt(
  clickhouse: ReadClient,
  product: string,
  at: number,
  depth: number,
  asker: Asker,
): Promise<Book> {
  const parameters = { product, at: formatMicros(at), depth };
  const [levels, depths] = await Promise.all([
    clickhouse.rows<Book["levels"][number]>(
      `SELECT toString(v.side) AS side, v.price AS price, v.size AS size
       FROM book_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')}, depth = {depth:UInt32}) AS v
       ORDER BY v.side, v.level`,
      parameters,
      asker,
    ),
    readDepth(clickhouse, product, at, asker),
  ]);
  if (levels.length > 0) return { time: at, levels, depth: depths };
  return { time: null, levels: [], depth: undefined, reason: await reasonAt(clickhouse, product, at, asker) };
}

async function readNewest(
  clickhouse: ReadClient,
  product: string,
  depth: number,
  asker: Asker,
): Promise<Book> {
  const levels = await clickhouse.rows<Book["levels"][number] & { time: string }>(
    `SELECT toString(v.side) AS side, v.price AS price, v.size AS size, v.time AS time
     FROM book_now(product = {product:String}, depth = {depth:UInt32}) AS v ORDER BY v.side, v.level`,
    { product, depth },
    asker,
  );
  const [best] = levels;
  if (best === undefined) {
    const reason = await reasonAt(clickhouse, product, nowMicros(), asker);
    return { time: null, levels, depth: undefined, reason };
  }
  const time = parseMicros(best.time);
  return { time, levels, depth: await readDepth(clickhouse, product, time, asker) };
}

async function readDepth(
  clickhouse: ReadClient,
  product: string,
  at: number,
  asker: Asker,
): Promise<Depth | undefined> {
  const bands = bandNames.flatMap((name) =>
    ["bid_base", "bid_quote", "ask_base", "ask_quote", "imbalance"].map((column) => `${column}_${name}`)
  );
  const [row] = await clickhouse.rows<Depth>(
    `SELECT ${[...figures, ...bands].map((name) => `v.${name} AS ${name}`).join(", ")}
     FROM book_depth_at(product = {product:String}, at = {at:DateTime64(6, 'UTC')}) AS v`,
    { product, at: formatMicros(at) },
    asker,
  );
  return row;
}

/** Why the book isn't known at a moment, from the last epoch that began before it. */
async function reasonAt(
  clickhouse: ReadClient,
  product: string,
  at: number,
  asker: Asker,
): Promise<string> {
  const [epoch] = await clickhouse.rows<{ ended_by: string; reason: string; valid_to: string }>(
    `SELECT v.ended_by AS ended_by, v.reason AS reason, v.valid_to AS valid_to FROM book_epochs AS v
     WHERE v.product_id = {product:String} AND v.valid_from <= {at:DateTime64(6, 'UTC')}
     ORDER BY v.valid_to DESC, v.valid_from DESC LIMIT 1`,
    { product, at: formatMicros(at) },
    asker,
  );
  if (epoch === undefined) return "no snapshot of the book was stored before that moment";
  const { ended_by, reason, valid_to } = epoch;
  if (ended_by === "open") return `the book is stored up to ${valid_to} so far`;
  return `the book ended at ${valid_to}: ${ended_by}${reason === "" ? "" : ` (${reason})`}`;
}
