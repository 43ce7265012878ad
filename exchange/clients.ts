/**
 * The clients of the feed: who is connected, and who follows which channel of which product.
 *
 * @module
 */

import type { Subscriptions } from "./coinbase_protocol.ts";
import type { Channel } from "./source.ts";

/** A client that hasn't subscribed after so many ms is dropped. */
const subscribeLimit = 5000;
const messagesPerSecond = 100;
/** Clients that may follow one channel of one product. */
const subscribersPerStream = 10;

/** A connected client. */
export interface Client {
  socket: WebSocket;
  subscriptions: Subscriptions;
  /** Messages of this second. */
  second: number;
  messages: number;
  deadline: ReturnType<typeof setTimeout>;
}

/** All clients of an exchange. */
export class Clients {
  readonly #connected = new Set<Client>();
  /** Who follows what, by `streamKey`. */
  readonly #streams = new Map<string, Set<Client>>();

  /** Clients connected at this moment. */
  get size(): number {
    return this.#connected.size;
  }

  /** Takes a client in; it is closed when it doesn't subscribe in time. */
  add(socket: WebSocket): Client {
    const client: Client = {
      socket,
      subscriptions: new Map(),
      second: 0,
      messages: 0,
      deadline: setTimeout(() => this.close(client, 1008, "no subscription within 5 s"), subscribeLimit),
    };
    this.#connected.add(client);
    return client;
  }

  /** Whether the client is still connected, as far as the exchange knows. */
  has(client: Client): boolean {
    return this.#connected.has(client);
  }

  /** Closes a client's socket and forgets it. */
  close(client: Client, code: number, reason: string): void {
    this.remove(client);
    if (client.socket.readyState <= WebSocket.OPEN) client.socket.close(code, reason);
  }

  /** Closes every client. */
  closeAll(code: number, reason: string): void {
    for (const client of this.#connected) this.close(client, code, reason);
  }

  /** Closes those that have left more bytes than this unread. */
  closeSlow(bytes: number): void {
    for (const client of this.#connected) {
      if (client.socket.bufferedAmount > bytes) this.close(client, 1008, "slow reader");
    }
  }

  /** Whether somebody has more bytes than this to read. */
  anyBehind(bytes: number): boolean {
    for (const { socket } of this.#connected) if (socket.bufferedAmount > bytes) return true;
    return false;
  }

  /** Forgets a client and what it follows. */
  remove(client: Client): void {
    clearTimeout(client.deadline);
    this.#connected.delete(client);
    for (const [channel, products] of client.subscriptions) {
      for (const product of products) this.leave(client, channel, product);
    }
    client.subscriptions.clear();
  }

  /** Sends a text to every client. */
  sendAll(text: string): void {
    for (const { socket } of this.#connected) send(socket, text);
  }

  /** Lets a client follow a channel of a product. */
  join(client: Client, channel: Channel, product: string): void {
    const key = streamKey(channel, product);
    const members = this.#streams.get(key) ?? new Set();
    this.#streams.set(key, members.add(client));
  }

  /** Ends that. */
  leave(client: Client, channel: Channel, product: string): void {
    const key = streamKey(channel, product);
    const members = this.#streams.get(key);
    members?.delete(client);
    if (members?.size === 0) this.#streams.delete(key);
  }

  /** Whether as many follow this channel of this product as may; any number may follow `status`. */
  isFull(channel: Channel, product: string): boolean {
    return channel !== "status" && (this.membersOf(channel, product)?.size ?? 0) >= subscribersPerStream;
  }

  /** Those who follow a channel of a product; undefined when there are none. */
  membersOf(channel: Channel, product: string): ReadonlySet<Client> | undefined {
    return this.#streams.get(streamKey(channel, product));
  }
}

/** Counts one more message of a client; false when these are too many for one second. */
export function countMessage(client: Client): boolean {
  const second = Math.floor(performance.now() / 1000);
  if (second !== client.second) [client.second, client.messages] = [second, 0];
  return ++client.messages <= messagesPerSecond;
}

/** Whether the text is on its way. */
export function send(socket: WebSocket, text: string): boolean {
  if (socket.readyState !== WebSocket.OPEN) return false;
  socket.send(text);
  return true;
}

function streamKey(channel: Channel, product: string): string {
  return `${channel} ${product}`;
}
