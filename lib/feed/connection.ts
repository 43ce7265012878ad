/**
 * One connection to the exchange, from connect to end: connect → subscribe → acknowledgements → frames → (silence, error,
 * close).
 *
 * @module
 */

import type { Queue } from "../core/queue.ts";
import { nowMicros } from "../core/time.ts";
import type { Logger } from "../process/log.ts";
import type { FeedEvent, FeedItem, Frame } from "./feed_items.ts";
import type { TradeSequence } from "./sequence.ts";
import { createSilenceWatch, type SilenceWatch } from "./silence.ts";
import { createSubscription, type Pair, subscribeMessage, type Subscription } from "./subscription.ts";

/** Where the feed comes from and how it behaves. */
export interface FeedOptions {
  url: string;
  products: readonly string[];
  channels: readonly string[];
  productsPerConnection: number;
  /** How long a connection, or a product with heartbeats, may say nothing. */
  silenceMs: number;
  bufferBytes: number;
  /** Ends the feed: what was received is still yielded. */
  signal: AbortSignal;
  log: Logger;
  /** How long the exchange may take to connect, and to acknowledge. @default {10_000} */
  answerMs?: number;
  /** Opens a connection. @default {a WebSocket} */
  openSocket?: (url: string) => WebSocket;
  /** The first wait before connecting again; doubles up to 30 s. @default {500} */
  reconnectMs?: number;
}

/** What all connections of a feed share. */
export interface Shared {
  queue: Queue<FeedItem>;
  trades: TradeSequence;
  open: Set<Connection>;
  /** A connection's name: which one of which run. */
  nextConnection(): string;
}

/** Why a connection ended. */
export interface Ended {
  connection: string;
  reason: string;
  /** A message of a subscribed product had arrived. */
  good: boolean;
  /** Nothing that was asked for is left. */
  refused: boolean;
}

/** Never throws: an end is data. */
export class Connection {
  readonly #pairs: readonly Pair[];
  readonly #options: FeedOptions;
  readonly #shared: Shared;
  readonly #name: string;
  readonly #subscription: Subscription;
  readonly #silence: SilenceWatch;
  readonly #requestedProducts: ReadonlySet<string>;
  readonly #ended = Promise.withResolvers<Ended>();
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #stop = () => this.#end({ reason: "the producer stops" });
  readonly #socket: WebSocket;
  #openedAt = 0;
  #isGood = false;
  #hasEnded = false;
  #hasGivenUp = false;
  #isAcknowledged = false;

  /** Connects. */
  constructor(pairs: readonly Pair[], options: FeedOptions, shared: Shared) {
    const { signal, answerMs = defaultAnswerMs, openSocket = (url) => new WebSocket(url) } = options;
    this.#pairs = pairs;
    this.#options = options;
    this.#shared = shared;
    this.#name = shared.nextConnection();
    this.#subscription = createSubscription(pairs);
    this.#silence = createSilenceWatch(options.silenceMs, performance.now());
    this.#requestedProducts = new Set(pairs.map((pair) => pair.productId));
    this.#socket = openSocket(options.url);
    shared.open.add(this);
    const late = () => this.#end({ reason: `no connection after ${answerMs} ms` });
    this.#timers.push(setTimeout(late, answerMs));
    signal.addEventListener("abort", this.#stop, { once: true });
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#onOpen();
    this.#socket.onmessage = ({ data }) => this.#onMessage(data);
    this.#socket.onerror = (event) =>
      this.#end({ reason: `error: ${(event as ErrorEvent).message || "unknown"}` });
    this.#socket.onclose = ({ code, reason }) =>
      this.#end({ reason: `closed by the exchange: ${code} ${reason}`.trim() });
  }

  /** Resolves when the connection has ended, with why. */
  get ended(): Promise<Ended> {
    return this.#ended.promise;
  }

  /** The exchange has acknowledged something. */
  get isAcknowledged(): boolean {
    return this.#isAcknowledged;
  }

  /** What the exchange never acknowledged, although it was asked twice. */
  get unacknowledged(): Pair[] {
    return this.#hasGivenUp ? this.#subscription.pending() : [];
  }

  /** Ends it because the buffer is full, and marks that. */
  endAsBufferFull(): void {
    this.#end({ reason: "buffer full", isBufferFull: true });
  }

  #onOpen(): void {
    const { answerMs = defaultAnswerMs, silenceMs, url, log } = this.#options;
    this.#openedAt = nowMicros();
    clearTimeout(this.#timers.pop());
    this.#notify({ event: "connected" });
    log.info("connected", { connection: this.#name, url });
    this.#socket.send(subscribeMessage(this.#pairs));
    this.#timers.push(setTimeout(() => this.#askAgain(), answerMs));
    this.#timers.push(setInterval(() => this.#checkSilence(), Math.min(1000, silenceMs / 4)));
  }

  #onMessage(data: string | ArrayBuffer): void {
    const receivedAt = nowMicros();
    const frame: Frame = {
      kind: "frame",
      receivedAt,
      connection: this.#name,
      type: "",
      data: bytesOrText(data),
    };
    const message = parseObject(data);
    if (typeof message?.type === "string") frame.type = message.type;
    if (isProductId(message?.product_id)) frame.productId = message.product_id;
    this.#silence.hear(frame.productId, performance.now());
    if (frame.type === "match" || frame.type === "last_match") {
      this.#noteGap(frame.productId, message?.trade_id);
    }
    this.#push(frame, typeof data === "string" ? data.length : data.byteLength);
    // What the frame says of the subscription follows the frame.
    if (frame.type === "subscriptions") this.#acknowledge(message);
    else if (frame.type === "error") this.#handleRefusal(message);
    else if (frame.type !== "" && this.#isAcknowledged) this.#isGood = true;
  }

  #acknowledge(message: unknown): void {
    const channelsOf = new Map<string, string[]>();
    for (const { channel, productId } of this.#subscription.acknowledge(message)) {
      channelsOf.set(productId, [...(channelsOf.get(productId) ?? []), channel]);
      if (channel === "heartbeat") this.#silence.expect(productId, performance.now());
    }
    for (const [productId, channels] of channelsOf) {
      this.#notify({ event: "subscribed", details: { channels } }, productId);
    }
    for (const [productId, channels] of channelsOf) {
      this.#options.log.info("subscribed", { connection: this.#name, product: productId || "all", channels });
    }
    this.#isAcknowledged = true;
    this.#endIfAllRefused("");
  }

  #handleRefusal(message: unknown): void {
    const { log } = this.#options;
    const { productId, channel, reason } = this.#subscription.handleRefusal(message);
    if (productId === undefined && channel === undefined) {
      this.#notify({ event: "error", reason });
      log.warn("the exchange reports an error", { connection: this.#name, reason });
      return;
    }
    this.#notify({ event: "refused", reason, ...(channel === undefined ? {} : { channel }) }, productId);
    const fields = { connection: this.#name, product: productId, channel, reason };
    log.error("refused by the exchange and left out", fields);
    this.#endIfAllRefused(reason);
  }

  #endIfAllRefused(reason: string): void {
    const left = [...this.#subscription.pending(), ...this.#subscription.acknowledged()];
    const productsLeft = left.some((pair) => pair.productId !== "");
    if (left.length === 0 || (!productsLeft && this.#pairs.some((pair) => pair.productId !== ""))) {
      this.#end({ reason: reason || "nothing left to subscribe to", refused: true });
    }
  }

  /** What wasn't acknowledged in time is asked for alone once more, so that one product can't spoil the others. */
  #askAgain(): void {
    const { answerMs = defaultAnswerMs, log } = this.#options;
    const pending = this.#subscription.pending();
    if (pending.length === 0) return;
    log.warn("not acknowledged, asking again", { connection: this.#name, pending: pending.map(nameOf) });
    for (const pair of pending) this.#socket.send(subscribeMessage([pair]));
    this.#timers.push(setTimeout(() => this.#giveUpPending(), answerMs));
  }

  #giveUpPending(): void {
    const pending = this.#subscription.pending();
    this.#hasGivenUp = true;
    for (const { channel, productId } of pending) {
      this.#notify({ event: "not_acknowledged", channel }, productId === "" ? undefined : productId);
    }
    if (pending.length > 0) {
      const fields = { connection: this.#name, pending: pending.map(nameOf) };
      this.#options.log.error("never acknowledged", fields);
    }
    if (this.#subscription.acknowledged().length === 0) this.#end({ reason: "no acknowledgement" });
  }

  #checkSilence(): void {
    const { silenceMs, log } = this.#options;
    const { products, everything } = this.#silence.silent(performance.now());
    for (const productId of products.length > 0 ? products : everything ? [undefined] : []) {
      this.#notify({ event: "silent", details: { limit_ms: silenceMs } }, productId);
    }
    if (everything) return this.#end({ reason: `silent for ${silenceMs} ms` });
    if (products.length === 0) return;
    // The others are well: asking for these again costs them nothing, a new connection would.
    log.warn("silent, asking again", { connection: this.#name, products });
    this.#socket.send(subscribeMessage(this.#pairs.filter(({ productId }) => products.includes(productId))));
  }

  #noteGap(productId: string | undefined, tradeId: unknown): void {
    if (productId === undefined || typeof tradeId !== "number" || !this.#requestedProducts.has(productId)) {
      return;
    }
    const gap = this.#shared.trades.see(productId, tradeId);
    if (gap === undefined) return;
    this.#notify({ event: "gap", details: { first_missing: gap.first, last_missing: gap.last } }, productId);
    this.#options.log.warn("gap in the trade ids", { connection: this.#name, product: productId, ...gap });
  }

  #push(frame: Frame, bytes: number): void {
    const { queue, open } = this.#shared;
    if (queue.push(frame, bytes + itemOverhead) || this.#hasEnded) return;
    this.#options.log.error("buffer full, closing the feed until half of it is free", { bytes: queue.bytes });
    for (const connection of [...open]) connection.endAsBufferFull();
  }

  #notify(what: Pick<FeedEvent, "event" | "channel" | "reason" | "details">, productId?: string): void {
    const event: FeedEvent = { kind: "event", receivedAt: nowMicros(), connection: this.#name, ...what };
    if (productId !== undefined && productId !== "") event.productId = productId;
    // Events are small and few: they pass even when the buffer is full, or the gap would have no mark.
    this.#shared.queue.push(event, itemOverhead);
  }

  #end(
    { reason, refused = false, isBufferFull = false }: Partial<Ended> & {
      reason: string;
      isBufferFull?: boolean;
    },
  ) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#shared.open.delete(this);
    this.#timers.forEach(clearTimeout);
    this.#options.signal.removeEventListener("abort", this.#stop);
    const socket = this.#socket;
    socket.onopen =
      socket.onmessage =
      socket.onerror =
      socket.onclose =
        null;
    // A dead peer never answers a close; nothing waits for it.
    if (socket.readyState <= WebSocket.OPEN) socket.close();
    if (this.#openedAt > 0) this.#notifyEnd(reason, isBufferFull);
    this.#ended.resolve({ connection: this.#name, reason, good: this.#isGood, refused });
  }

  /** Marks the end in each product that was subscribed. */
  #notifyEnd(reason: string, isBufferFull: boolean): void {
    const acknowledged = this.#subscription.acknowledged().map((pair) => pair.productId);
    const products = new Set(acknowledged.filter(Boolean));
    const details = { connected_ms: Math.round((nowMicros() - this.#openedAt) / 1000) };
    for (const productId of products.size > 0 ? products : [undefined]) {
      if (isBufferFull) this.#notify({ event: "buffer_full" }, productId);
      this.#notify({ event: "disconnected", reason, details }, productId);
    }
  }
}

const defaultAnswerMs = 10_000;
/** An item costs about this many bytes of memory beside its text. */
const itemOverhead = 200;

function nameOf({ channel, productId }: Pair): string {
  return productId === "" ? channel : `${channel} ${productId}`;
}

/** What the schema takes for a product id, and what is short enough for a key. */
function isProductId(value: unknown): value is string {
  return typeof value === "string" && /^\S{1,64}$/.test(value);
}

function bytesOrText(data: string | ArrayBuffer): string | Uint8Array {
  return typeof data === "string" ? data : new Uint8Array(data);
}

function parseObject(data: string | ArrayBuffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(data));
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : undefined;
  } catch {
    // Not ours to judge: the frame travels on as it is, and the consumer puts it into `rejected`.
    return undefined;
  }
}
