/**
 * The stranger's WebSocket feed: who listens, to what, and what it is told when it says so.
 *
 * @module
 */

import { type Listing, matchOf, snapshotOf, tickerOf } from "./market.ts";

/** A connection of the feed. */
export interface Listener {
  socket: WebSocket;
  /** `channel/product` */
  wants: Set<string>;
  /** Frames that are late. */
  held: string[];
}

interface Request {
  type: string;
  product_ids?: string[];
  channels?: (string | { name: string; product_ids?: string[] })[];
}

/** Lets a connection subscribe; `listeners` has it while it is open. */
export function welcome(socket: WebSocket, listeners: Set<Listener>, listings: Map<string, Listing>): void {
  const listener: Listener = { socket, wants: new Set(), held: [] };
  socket.onopen = () => void listeners.add(listener);
  socket.onclose = () => void listeners.delete(listener);
  socket.onerror = () => void listeners.delete(listener);
  socket.onmessage = ({ data }) => {
    for (const reply of answer(listener.wants, JSON.parse(String(data)), listings)) {
      socket.send(JSON.stringify(reply));
    }
  };
}

/** Changes what is wanted; errors, then all subscriptions, then what a new subscriber gets first. */
function answer(wants: Set<string>, request: Request, listings: Map<string, Listing>): object[] {
  if (request.type !== "subscribe" && request.type !== "unsubscribe") return [];
  const errors: object[] = [];
  const greetings: object[] = [];
  for (const [name, product] of pairsOf(request)) {
    const listing = listings.get(product);
    if (listing === undefined) {
      const reason = `${product} is not a valid product`;
      errors.push({ type: "error", message: "Failed to subscribe", reason });
    } else if (request.type === "unsubscribe") {
      wants.delete(`${name}/${product}`);
    } else {
      wants.add(`${name}/${product}`);
      greetings.push(...greeting(name, listing));
    }
  }
  return [...errors, subscriptions(wants), ...greetings];
}

/** Channels and products that are asked for, in either of the two forms. */
function pairsOf({ channels = [], product_ids }: Request): [channel: string, product: string][] {
  return channels.flatMap((entry) => {
    const channel = typeof entry === "string" ? { name: entry, product_ids } : entry;
    return (channel.product_ids ?? []).map((product): [string, string] => [channel.name, product]);
  });
}

function subscriptions(wants: Set<string>): object {
  const byChannel = Map.groupBy([...wants].map((want) => want.split("/")), ([name = ""]) => name);
  return {
    type: "subscriptions",
    channels: [...byChannel].map(([name, pairs]) => ({
      name: name === "level2_batch" ? "level2_50" : name,
      product_ids: pairs.map(([, product]) => product),
      account_ids: null,
    })),
  };
}

function greeting(channel: string, listing: Listing): object[] {
  const last = listing.deals.at(-1);
  if (channel === "level2_batch") return [snapshotOf(listing)];
  if (last === undefined) return [];
  if (channel === "ticker") return [tickerOf(listing, last)];
  return channel === "matches" ? [matchOf(listing, last, "last_match")] : [];
}
