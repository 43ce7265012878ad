/**
 * The messages of Coinbase's Exchange feed that tapehouse stores, and the feed events that the producer writes
 * between them. Unknown fields are tolerated everywhere; prices and sizes stay decimal strings.
 *
 * Source: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
 *
 * @module
 */

import { z } from "zod";

/** What Decimal(38,18) holds without rounding: 20 digits before the point, 18 behind it, no sign, no exponent. */
const decimal = z.string().regex(/^\d{1,20}(?:\.\d{1,18})?$/, 'expected a decimal such as "0.01"');
const positive = decimal.refine((text) => /[1-9]/.test(text), "expected a decimal above 0");
const id = z.number().int().nonnegative();
/** Go's zero time: the exchange has no time for this. */
const noTime = z.string().startsWith("0001-01-01T00:00:00").transform(() => undefined);
const time = z.iso.datetime("expected a UTC time such as 2026-07-07T22:58:17.123456Z")
  // ClickHouse counts the start of a minute, an hour or a day in 32 bits.
  .refine((text) => text >= "1970" && text < "2106", "expected a time from 1970 to 2105");
const optionalTime = noTime.or(time).optional();
const productId = z.string().regex(/^[^\s]{1,64}$/, "expected a product id such as BTC-USD");
const side = z.enum(["buy", "sell"]);
const level = z.tuple([decimal, decimal]);

/** A trade. `side` is the **maker's**: `sell` means that the taker bought. */
export const matchSchema = z.object({
  type: z.enum(["match", "last_match"]),
  trade_id: id,
  product_id: productId,
  time,
  price: positive,
  size: positive,
  side,
  sequence: id.optional(),
  maker_order_id: z.string().optional(),
  taker_order_id: z.string().optional(),
});

const tickerNumbers = {
  price: decimal,
  best_bid: decimal.optional(),
  best_bid_size: decimal.optional(),
  best_ask: decimal.optional(),
  best_ask_size: decimal.optional(),
  last_size: decimal.optional(),
  open_24h: decimal.optional(),
  high_24h: decimal.optional(),
  low_24h: decimal.optional(),
  volume_24h: decimal.optional(),
  volume_30d: decimal.optional(),
};
/** A ticker's prices and sizes, by their names in the feed and in the table. */
export const tickerDecimals = Object.keys(tickerNumbers) as (keyof typeof tickerNumbers)[];

/** Best prices and day statistics after a match or a cascade of matches; **not** one per trade. */
const tickerSchema = z.object({
  type: z.literal("ticker"),
  product_id: productId,
  sequence: id,
  time: optionalTime,
  side: side.optional(),
  trade_id: id.optional(),
  ...tickerNumbers,
});

/** One a second and product, with the newest trade's id: tells a quiet market from a dead connection. */
const heartbeatSchema = z.object({
  type: z.literal("heartbeat"),
  product_id: productId,
  time,
  sequence: id,
  last_trade_id: id,
});

/** The whole book; the levels are `[price, size]`. */
const snapshotSchema = z.object({
  type: z.literal("snapshot"),
  product_id: productId,
  time: optionalTime,
  bids: z.array(level),
  asks: z.array(level),
});

/** Changed levels as `[side, price, size]`; size 0 deletes the level. */
const l2updateSchema = z.object({
  type: z.literal("l2update"),
  product_id: productId,
  time: optionalTime,
  changes: z.array(z.tuple([side, decimal, decimal])),
});

/** All products of the exchange with their trading rules. */
const statusSchema = z.object({
  type: z.literal("status"),
  products: z.array(z.object({
    id: productId,
    base_currency: z.string(),
    quote_currency: z.string(),
    base_increment: decimal,
    quote_increment: decimal,
    min_market_funds: decimal.optional(),
    status: z.string(),
    status_message: z.string().nullish(),
    display_name: z.string().optional(),
    trading_disabled: z.boolean().optional(),
    post_only: z.boolean().optional(),
    limit_only: z.boolean().optional(),
    cancel_only: z.boolean().optional(),
  })),
});

/** What happened to the feed, written by the producer between the messages it lies between; the last two by backfill. */
export const feedEventSchema = z.object({
  type: z.literal("feed_event"),
  event: z.enum([
    "connected",
    "subscribed",
    "refused",
    "not_acknowledged",
    "error",
    "silent",
    "disconnected",
    "buffer_full",
    "frame_too_large",
    "gap",
    "gap_filled",
    "gap_given_up",
  ]),
  time,
  product_id: productId.optional(),
  channel: z.string().optional(),
  reason: z.string().optional(),
  details: z.record(z.string(), z.json()).optional(),
});

/** Types that the exchange sends and that have no table: acknowledgements, refusals (kept as feed events), and the `full` channel. */
const untabled = z.object({
  type: z.enum(["subscriptions", "error", "received", "open", "done", "change", "activate"]),
});

const messageSchema = z.discriminatedUnion("type", [
  matchSchema,
  tickerSchema,
  heartbeatSchema,
  snapshotSchema,
  l2updateSchema,
  statusSchema,
  feedEventSchema,
  untabled,
]);

/** The types of all messages that are known: what a metric may be labelled by. */
export const knownTypes: ReadonlySet<string> = new Set(
  messageSchema.options.flatMap(({ shape: { type } }) =>
    "values" in type ? [...type.values].map(String) : []
  ),
);

/** A message that passed validation. */
export type Message = z.output<typeof messageSchema>;
export type Match = z.output<typeof matchSchema>;
export type Ticker = z.output<typeof tickerSchema>;
export type Heartbeat = z.output<typeof heartbeatSchema>;
export type FeedEventMessage = z.output<typeof feedEventSchema>;

/** A message, or why it isn't one. */
export type Parsed = { message: Message; reason?: undefined } | { message?: undefined; reason: string };

const utf8 = new TextDecoder("utf-8", { fatal: true });
/** An escape of half a surrogate pair; a pair's two halves are written as the character itself by JSON.stringify. */
const surrogate = /(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]/;

/**
 * Validates a frame.
 *
 * @param bytes the frame as received
 * @returns the message, or a reason of one line that names the field and what was expected there
 */
export function parseMessage(bytes: Uint8Array): Parsed {
  let text: string;
  let json: unknown;
  try {
    text = utf8.decode(bytes);
    json = JSON.parse(text);
  } catch (error) {
    return { reason: error instanceof SyntaxError ? `not JSON: ${error.message}` : "not UTF-8" };
  }
  // JSON can write what no text can hold, and ClickHouse refuses it: then the whole batch would never land.
  if (surrogate.test(text) && surrogate.test(JSON.stringify(json))) {
    return { reason: "not Unicode: half of a surrogate pair" };
  }
  const result = messageSchema.safeParse(json);
  if (result.success) return { message: result.data };
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  if (issue?.code === "invalid_union" && path[0] === "type") {
    return { reason: `type: unknown message type ${show(valueAt(json, path))}` };
  }
  const place = path.length > 0 ? `${path.join(".")}: ` : "";
  return { reason: `${place}${issue?.message.replace(/^I/, "i")}, got ${show(valueAt(json, path))}` };
}

function valueAt(json: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | null)?.[key], json);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
