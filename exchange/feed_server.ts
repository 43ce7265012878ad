/**
 * The exchange's WebSocket side: what clients ask for, and the market's frames on their way to them.
 *
 * @module
 */

import { type Client, type Clients, countMessage, send } from "./clients.ts";
import type { FaultState } from "./faults.ts";
import type { LedgerWriter } from "./ledger.ts";
import { acknowledgement, applyMessage, errorFrame, type Listing } from "./coinbase_protocol.ts";
import type { Channel, Frame, Source } from "./source.ts";

/** A patient source waits while a client has more bytes than this to read. */
const patience = 1 << 20;
/** What a new subscriber gets first, for each product in this order. */
const openingOrder: readonly Channel[] = ["level2_batch", "ticker", "ticker_batch", "matches", "status"];

/** What a feed is made of. */
export interface FeedOptions {
  source: Source;
  clients: Clients;
  faults: FaultState;
  ledger: LedgerWriter;
  /** A client that leaves more bytes than this unread is disconnected. */
  bufferBytes: number;
}

/** The feed of an exchange. */
export class FeedServer {
  readonly #source: Source;
  readonly #clients: Clients;
  readonly #faults: FaultState;
  readonly #ledger: LedgerWriter;
  readonly #bufferBytes: number;

  constructor({ source, clients, faults, ledger, bufferBytes }: FeedOptions) {
    this.#source = source;
    this.#clients = clients;
    this.#faults = faults;
    this.#ledger = ledger;
    this.#bufferBytes = bufferBytes;
  }

  /** Takes a client in. */
  connect(request: Request): Response {
    // Without a timeout of its own: the exchange's clients tell a dead socket by its heartbeats.
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    const client = this.#clients.add(socket);
    socket.onmessage = ({ data }) => this.#receive(client, data);
    socket.onclose = () => this.#clients.remove(client);
    // A client that breaks off is no news; onclose follows.
    socket.onerror = () => {};
    return response;
  }

  /** Moves the market on, and sends what it has made. */
  pump(): void {
    if (this.#source.patient && this.#clients.anyBehind(patience)) return;
    const wanted = (channel: Channel, product: string) =>
      this.#clients.membersOf(channel, product) !== undefined;
    for (const frame of this.#source.pull(wanted)) {
      const passed = this.#faults.pass(frame);
      for (const [i, out] of passed.entries()) this.#deliver(out, passed[i - 1] === out);
    }
    this.#clients.closeSlow(this.#bufferBytes);
  }

  #deliver(frame: Frame, again: boolean): void {
    const members = this.#clients.membersOf(frame.channel, frame.product);
    if (!members || this.#faults.silent()) return;
    let reached = 0;
    for (const { socket } of members) if (send(socket, frame.text)) reached++;
    this.#ledger.sent(frame, reached, again);
  }

  #receive(client: Client, data: unknown): void {
    if (!countMessage(client)) {
      send(client.socket, errorFrame("Rate limit exceeded"));
      return this.#clients.close(client, 1008, "too many messages");
    }
    const delay = this.#faults.ackDelayMs();
    if (delay === 0) return this.#handle(client, data);
    setTimeout(() => this.#handle(client, data), delay);
  }

  /** Applies a message, and answers: errors, the acknowledgement, and what each new subscription opens with. */
  #handle(client: Client, data: unknown): void {
    if (!this.#clients.has(client) || this.#faults.silent()) return;
    const text = typeof data === "string" ? data : "";
    const outcome = applyMessage(client.subscriptions, text, this.#listed());
    for (const [channel, product] of outcome.removed) this.#clients.leave(client, channel, product);
    const { added, errors } = this.#refuseFull(client, outcome.added);
    for (const error of [...outcome.errors, ...errors]) send(client.socket, error);
    if (!outcome.acknowledged) return;
    clearTimeout(client.deadline);
    send(client.socket, acknowledgement(client.subscriptions));
    for (const frame of this.#openings(added)) {
      if (send(client.socket, frame.text)) this.#ledger.sent(frame, 1, false);
    }
    for (const [channel, product] of added) this.#clients.join(client, channel, product);
    this.#source.start();
  }

  /** What can be subscribed at this moment. */
  #listed(): Listing {
    const products = new Set(this.#source.products.map(({ id }) => id));
    for (const product of this.#faults.refusedProducts) products.delete(product);
    return { products, delisted: new Set(this.#source.delisted) };
  }

  /** Takes those of the new subscriptions back that too many clients have already. */
  #refuseFull(
    client: Client,
    subscriptions: [Channel, string][],
  ): { added: [Channel, string][]; errors: string[] } {
    const errors: string[] = [];
    const added = subscriptions.filter(([channel, product]) => {
      if (!this.#clients.isFull(channel, product)) return true;
      const own = client.subscriptions.get(channel);
      own?.delete(product);
      if (own?.size === 0) client.subscriptions.delete(channel);
      errors.push(errorFrame("Failed to subscribe", `too many subscriptions to ${channel} of ${product}`));
      return false;
    });
    return { added, errors };
  }

  /** Product by product, and for each the book, the last ticker, the last match. */
  #openings(added: [Channel, string][]): Frame[] {
    const names = new Set(added.map(([, product]) => product));
    return [...names].flatMap((product) =>
      openingOrder.filter((channel) => added.some(([c, p]) => c === channel && p === product))
        .flatMap((channel) => this.#source.opening(channel, product))
    );
  }
}
