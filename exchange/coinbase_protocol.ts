/**
 * The rules of subscribing, without any socket.
 *
 * @module
 */

import { type Channel, channels } from "./source.ts";

/** A client's subscriptions: products by channel, in the order in which they were made. */
export type Subscriptions = Map<Channel, Set<string>>;

/** What the exchange lists. */
export interface Listing {
  products: ReadonlySet<string>;
  delisted: ReadonlySet<string>;
}

/** What comes of a client's message. */
export interface Outcome {
  /** `error` frames to send before the acknowledgement. */
  errors: string[];
  /** Whether anything is left to acknowledge. */
  acknowledged: boolean;
  /** Subscriptions that are new; `status` has the product "". */
  added: [Channel, string][];
  removed: [Channel, string][];
}

const keyed = new Set(["level2", "level3", "full"]);

/** `level2_batch` and `ticker_batch` are acknowledged by other names than they are asked for. */
const acknowledgedAs: Partial<Record<Channel, string>> = {
  level2_batch: "level2_50",
  ticker_batch: "ticker_1000",
};

/**
 * Applies a client's message to its subscriptions.
 *
 * @param current changed in place
 * @param text the message as received
 */
export function applyMessage(current: Subscriptions, text: string, listing: Listing): Outcome {
  const outcome: Outcome = { errors: [], acknowledged: false, added: [], removed: [] };
  const message = parse(text);
  if (message === undefined) {
    outcome.errors.push(errorFrame("Malformed JSON"));
    return outcome;
  }
  if (message.type !== "subscribe" && message.type !== "unsubscribe") {
    outcome.errors.push(
      errorFrame("Failed to subscribe", "Type has to be either subscribe or unsubscribe"),
    );
    return outcome;
  }
  const subscribing = message.type === "subscribe";
  const refuse = (reason: string) => {
    const frame = errorFrame(`Failed to ${message.type}`, reason);
    if (!outcome.errors.includes(frame)) outcome.errors.push(frame);
  };
  const named = Array.isArray(message.channels) ? message.channels : [];
  if (named.length === 0) refuse("No channels provided");
  for (const entry of named) {
    const name: unknown = typeof entry === "object" && entry !== null ? entry.name : entry;
    const own: unknown = typeof entry === "object" && entry !== null ? entry.product_ids : undefined;
    const productIds = strings(own) ?? strings(message.product_ids) ?? [];
    if (typeof name === "string" && keyed.has(name)) {
      refuse(
        "level2, level3, and full channels now require authentication. " +
          "See https://docs.cdp.coinbase.com/exchange/docs/websocket-auth",
      );
      continue;
    }
    const channel = channels.find((channel) => channel === name);
    if (channel === undefined) {
      refuse(`${typeof name === "string" ? name : JSON.stringify(name)} is not a valid channel`);
      continue;
    }
    if (subscribing) subscribe(channel, productIds);
    else unsubscribe(channel, productIds);
  }
  return outcome;

  function subscribe(channel: Channel, productIds: string[]) {
    if (channel === "status") {
      outcome.acknowledged = true;
      if (!current.has(channel)) outcome.added.push([channel, ""]);
      current.set(channel, new Set([""]));
      return;
    }
    if (productIds.length === 0) {
      refuse(`You need to specify at least one product ID for channel ${channel}`);
    }
    for (const product of productIds) {
      if (listing.delisted.has(product)) refuse(`${product} is delisted`);
      else if (!listing.products.has(product)) refuse(`${product} is not a valid product`);
      else {
        outcome.acknowledged = true;
        const products = current.get(channel) ?? new Set();
        if (!products.has(product)) outcome.added.push([channel, product]);
        current.set(channel, products.add(product));
      }
    }
  }

  /** Without products the whole channel goes. */
  function unsubscribe(channel: Channel, productIds: string[]) {
    outcome.acknowledged = true;
    const products = current.get(channel);
    if (!products) return;
    const unsubscribed = channel === "status" || productIds.length === 0 ? [...products] : productIds;
    for (const product of unsubscribed) {
      if (products.delete(product)) outcome.removed.push([channel, product]);
    }
    if (products.size === 0) current.delete(channel);
  }
}

/** The `subscriptions` frame: all that the client is subscribed to. */
export function acknowledgement(current: Subscriptions): string {
  const list = Array.from(current, ([channel, products]) => ({
    name: acknowledgedAs[channel] ?? channel,
    product_ids: [...products].filter((product) => product !== ""),
    account_ids: null,
  }));
  return JSON.stringify({ type: "subscriptions", channels: list });
}

/** An `error` frame. */
export function errorFrame(message: string, reason?: string): string {
  return JSON.stringify({ type: "error", message, reason });
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const message: unknown = JSON.parse(text);
    return typeof message === "object" && message !== null ? message as Record<string, unknown> : {};
  } catch {
    return undefined;
  }
}

function strings(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.map((item) => typeof item === "string" ? item : JSON.stringify(item));
}
