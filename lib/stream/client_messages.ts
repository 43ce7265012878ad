/**
 * What clients may say, taken apart and checked: a protocol core that knows nothing of sockets. docs/stream.md describes
 * it for the people who write clients.
 *
 * @module
 */

import { z } from "zod";
import { parseInterval, week } from "../core/interval.ts";

/** The channels in the order in which they are acknowledged. */
export const channels = [
  "matches",
  "ticker",
  "heartbeat",
  "candles",
  "book",
  "anomalies",
  "feed_events",
] as const;
export type Channel = (typeof channels)[number];

/** What a client can follow. `productId` is empty for `feed_events`, and for the `anomalies` of all products. */
export interface Topic {
  channel: Channel;
  productId: string;
  /** Of candles. */
  interval?: string;
  /** Levels a side, of the book. */
  depth?: number;
}

/** What an unsubscribe names: all topics that agree with what is set. */
export type TopicFilter = Partial<Topic>;

/** A message of a client. */
export type Request =
  | { type: "subscribe"; topics: Topic[]; resume?: { stream: string; seq: number }; batch?: boolean }
  | { type: "unsubscribe"; filters: TopicFilter[] }
  | { type: "ping"; time: unknown };

/** What a client is told when it asks for something that can't be. */
export interface ErrorMessage {
  type: "error";
  message: string;
  reason: string;
}

/** A client's message may be so long, in UTF-16 units. */
export const maxRequestLength = 64 * 1024;
const defaultInterval = "1m";
const defaultDepth = 20;
const maxDepth = 200;

/** One text for one topic: what subscriptions and messages are indexed by. */
export function topicKey({ channel, productId, interval, depth }: Topic): string {
  if (channel === "candles") return `candles ${productId} ${interval}`;
  if (channel === "book") return `book ${productId} ${depth}`;
  return `${channel} ${productId}`;
}

/** Whether the filter means the topic. */
export function matches(filter: TopicFilter, topic: Topic): boolean {
  return (["channel", "productId", "interval", "depth"] as const)
    .every((field) => filter[field] === undefined || filter[field] === topic[field]);
}

const productIds = z.array(z.string().regex(/^\S{1,64}$/, "expected a product id such as BTC-USD"));
const channelSchema = z.union([
  z.string(),
  z.object({
    name: z.string(),
    product_ids: productIds.optional(),
    interval: z.string().optional(),
    depth: z.number().int().optional(),
  }),
], "expected a channel's name or an object with a name");
/** What clients may say. */
export const requestSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("subscribe"),
    product_ids: productIds.default([]),
    channels: z.array(channelSchema).min(1, "expected at least one channel"),
    resume: z.object({ stream: z.string(), seq: z.number().int().nonnegative() }).optional(),
    batch: z.boolean().optional(),
  }),
  z.object({
    type: z.literal("unsubscribe"),
    product_ids: productIds.default([]),
    channels: z.array(channelSchema).default([]),
  }),
  z.object({ type: z.literal("ping"), time: z.unknown() }),
]);

/** A client's message, or what to tell it. */
export function parseRequest(text: string): { request: Request } | { error: ErrorMessage } {
  if (text.length > maxRequestLength) {
    return failure(
      "Message too long",
      `a message may have ${maxRequestLength} characters, got ${text.length}`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return failure("Malformed JSON", (error as SyntaxError).message);
  }
  const type = (json as { type?: unknown } | null)?.type;
  if (type !== "subscribe" && type !== "unsubscribe" && type !== "ping") {
    return failure(
      "Unknown message type",
      `type: expected subscribe, unsubscribe or ping, got ${show(type)}`,
    );
  }
  const parsed = requestSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const place = issue?.path.join(".") ?? "";
    return failure(`Failed to ${type}`, `${place}: ${issue?.message.replace(/^I/, "i")}`);
  }
  const message = parsed.data;
  if (message.type === "ping") return { request: { type: "ping", time: message.time } };
  const filters: TopicFilter[] = [];
  for (const entry of message.channels) {
    const channel = typeof entry === "string" ? { name: entry } : entry;
    const found = expand(channel, message.product_ids, message.type);
    if (typeof found === "string") return failure(`Failed to ${type}`, found);
    filters.push(...found);
  }
  if (message.type === "unsubscribe") {
    // Products without channels: all that is followed of them.
    if (message.channels.length === 0) {
      filters.push(...message.product_ids.map((productId) => ({ productId })));
    }
    if (filters.length === 0) {
      return failure("Failed to unsubscribe", "channels: expected at least one channel or product");
    }
    return { request: { type: "unsubscribe", filters } };
  }
  const { resume, batch } = message;
  return {
    request: {
      type: "subscribe",
      topics: filters as Topic[],
      ...(resume === undefined ? {} : { resume }),
      ...(batch === undefined ? {} : { batch }),
    },
  };
}

/** A channel of some products: complete topics for a subscribe, filters for an unsubscribe; or what is wrong. */
function expand(
  requested: {
    name: string;
    product_ids?: string[] | undefined;
    interval?: string | undefined;
    depth?: number | undefined;
  },
  allProducts: readonly string[],
  type: "subscribe" | "unsubscribe",
): TopicFilter[] | string {
  const channel = channels.find((name) => name === requested.name);
  if (channel === undefined) {
    return `${show(requested.name)} is not a valid channel: expected one of ${channels.join(", ")}`;
  }
  const details: TopicFilter = { channel };
  if (channel === "candles" && (type === "subscribe" || requested.interval !== undefined)) {
    details.interval = requested.interval ?? defaultInterval;
    if (parseInterval(details.interval, week) === undefined) {
      return `interval: expected a whole number and s, m, h, d or w, at most 1w, such as 1m; got ${
        show(requested.interval)
      }`;
    }
  }
  if (channel === "book" && (type === "subscribe" || requested.depth !== undefined)) {
    details.depth = requested.depth ?? defaultDepth;
    if (details.depth < 1 || details.depth > maxDepth) {
      return `depth: expected a whole number from 1 to ${maxDepth}, got ${show(requested.depth)}`;
    }
  }
  if (channel === "feed_events") return [{ ...details, productId: "" }];
  const products = [...new Set(requested.product_ids ?? allProducts)];
  if (products.length > 0) return products.map((productId) => ({ ...details, productId }));
  if (type === "unsubscribe") return [details];
  if (channel === "anomalies") return [{ ...details, productId: "" }];
  return `product_ids: the channel ${channel} needs at least one product`;
}

function failure(message: string, reason: string): { error: ErrorMessage } {
  return { error: { type: "error", message, reason } };
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** `channels` of the message `subscriptions`: what a client follows, by channel and interval or depth. */
export function describeTopics(topics: Iterable<Topic>): Record<string, unknown>[] {
  const groups = Map.groupBy(
    topics,
    ({ channel, interval = "", depth = "" }) => `${channel} ${interval} ${depth}`,
  );
  return [...groups.values()]
    .sort(([left], [right]) => channels.indexOf(left!.channel) - channels.indexOf(right!.channel))
    .map((group) => {
      const { channel, interval, depth } = group[0]!;
      return {
        name: channel,
        ...(interval === undefined ? {} : { interval }),
        ...(depth === undefined ? {} : { depth }),
        product_ids: group.map(({ productId }) => productId).filter(Boolean).sort(),
      };
    });
}

/** An error in one line, as a `reason`. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split("\n")[0]?.slice(0, 200) ?? "";
}
