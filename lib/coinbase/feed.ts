/**
 * Coinbase's feed as one async iterator: frames as received, and between them what happened to the connections.
 * Live, replayed and simulated exchanges all speak the same protocol, so there is one feed for all of them.
 *
 * A connection's life: connect → subscribe → acknowledgements → frames → (silence, error, close) → wait → connect …
 * When the reader is slower than the exchange for longer than the buffer lasts, the feed closes its connections, says
 * so (`buffer_full`), and connects again when half of the buffer is free: a marked hole instead of endless memory.
 *
 * @module
 */

import { backoffMs, sleep, unlessAborted } from "../backoff.ts";
import type { Logger } from "../log.ts";
import { createQueue } from "../queue.ts";
import { FatalError } from "../service.ts";
import { nowMicros } from "../time.ts";
import type { FeedEventMessage } from "./messages.ts";
import { createTradeSequence, type TradeSequence } from "./sequence.ts";
import { createSilenceWatch } from "./silence.ts";
import { createSubscription, type Pair, pairsOf, subscribeMessage } from "./subscription.ts";

/** A frame of the exchange, untouched. */
export interface Frame {
  kind: "frame";
  /** µs since the epoch. */
  receivedAt: number;
  /** Which connection of which run it came by. */
  connection: string;
  /** The message's type; empty when the frame isn't JSON or has none. */
  type: string;
  productId?: string;
  data: string | Uint8Array;
}

/** Something that happened to the feed; feedEventSchema in messages.ts names the events. */
export interface Notice extends Pick<FeedEventMessage, "event" | "channel" | "reason" | "details"> {
  kind: "notice";
  /** µs since the epoch. */
  receivedAt: number;
  connection: string;
  productId?: string;
}

/** What the feed yields. */
export type FeedEvent = Frame | Notice;

/** The feed and what can be seen of it from outside. */
export interface Feed extends AsyncIterable<FeedEvent> {
  /** Bytes that wait to be read. */
  readonly bufferedBytes: number;
  /** Connections that have been acknowledged and not ended. */
  readonly connected: number;
  /** Connections that there should be. */
  readonly wanted: number;
}

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
  /** The first wait before connecting again; doubles up to 30 s. @default {500} */
  reconnectMs?: number;
}

/**
 * Opens the feed.
 *
 * @returns an iterator that ends when `signal` aborts and throws a FatalError when the exchange refused every product
 */
export function openFeed(options: FeedOptions): Feed {
  const { products, productsPerConnection, signal, log } = options;
  const queue = createQueue<FeedEvent>(options.bufferBytes);
  const groups: string[][] = [];
  for (let start = 0; start < products.length; start += productsPerConnection) {
    groups.push(products.slice(start, start + productsPerConnection));
  }
  const run = crypto.randomUUID().slice(0, 8);
  const shared: Shared = {
    queue,
    trades: createTradeSequence(),
    nextConnection: () => `${run}-${++shared.connections}`,
    connections: 0,
    open: new Set(),
  };

  // The exchange limits connections per second: they start one after the other.
  const lives = groups.map(async (group, index) => {
    await sleep(index * 150, signal);
    // The status channel speaks of all products: one connection is enough.
    const channels = index === 0 ? options.channels : options.channels.filter((name) => name !== "status");
    return keepConnected(pairsOf(channels, group), options, shared);
  });
  Promise.all(lives).then((refusals) => {
    if (signal.aborted) queue.end();
    else queue.end(new FatalError(`The exchange refused every product: ${refusals.join("; ")}`));
  }, (error) => queue.end(error));

  log.info("feed opened", { url: options.url, products: products.length, connections: groups.length });
  return {
    [Symbol.asyncIterator]: () => queue[Symbol.asyncIterator](),
    get bufferedBytes() {
      return queue.bytes;
    },
    get connected() {
      return [...shared.open].filter((connection) => connection.acknowledged).length;
    },
    wanted: groups.length,
  };
}

interface Shared {
  queue: ReturnType<typeof createQueue<FeedEvent>>;
  trades: TradeSequence;
  connections: number;
  nextConnection(): string;
  open: Set<{ acknowledged: boolean; end(reason: string): void }>;
}

/** Connects again and again; returns when the signal aborts, or the reason when everything it asked for was refused. */
async function keepConnected(pairs: Pair[], options: FeedOptions, shared: Shared): Promise<string> {
  const { signal, log } = options;
  for (let failures = 0; !signal.aborted;) {
    await unlessAborted(shared.queue.room(), signal).catch(() => {});
    if (signal.aborted) break;
    const ended = await connectOnce(pairs, options, shared);
    if (ended.refused || signal.aborted) return ended.reason;
    // Only a good message proves that the exchange serves us again.
    failures = ended.good ? 1 : failures + 1;
    const waitMs = backoffMs(failures, { initialMs: options.reconnectMs ?? 500, maximumMs: 30_000 });
    log.warn("connection ended", {
      connection: ended.connection,
      reason: ended.reason,
      reconnect_in_ms: Math.round(waitMs),
    });
    await sleep(waitMs, signal);
  }
  return "stopped";
}

interface Ended {
  connection: string;
  reason: string;
  /** A message of a subscribed product had arrived. */
  good: boolean;
  /** Nothing that was asked for is left. */
  refused: boolean;
}

/** One connection from connect to end. Never throws: an end is data. */
function connectOnce(pairs: Pair[], options: FeedOptions, shared: Shared): Promise<Ended> {
  const { signal, log, silenceMs, answerMs = 10_000 } = options;
  const { queue, trades } = shared;
  const connection = shared.nextConnection();
  const subscription = createSubscription(pairs);
  const silence = createSilenceWatch(silenceMs, performance.now());
  const { promise, resolve } = Promise.withResolvers<Ended>();
  const asked = new Set(pairs.map((pair) => pair.productId));
  const timers: ReturnType<typeof setTimeout>[] = [];
  let openedAt = 0;
  let good = false;
  let ended = false;

  const socket = new WebSocket(options.url);
  socket.binaryType = "arraybuffer";
  const self = { acknowledged: false, end };
  shared.open.add(self);
  timers.push(setTimeout(() => end(`no connection after ${answerMs} ms`), answerMs));
  const stop = () => end("the producer stops");
  signal.addEventListener("abort", stop, { once: true });
  socket.onerror = (event) => end(`error: ${(event as ErrorEvent).message || "unknown"}`);
  socket.onclose = (event) => end(`closed by the exchange: ${event.code} ${event.reason}`.trim());

  socket.onopen = () => {
    openedAt = nowMicros();
    clearTimeout(timers.pop());
    notify({ event: "connected" });
    log.info("connected", { connection, url: options.url });
    socket.send(subscribeMessage(pairs));
    timers.push(setTimeout(askAgain, answerMs));
    timers.push(setInterval(checkSilence, Math.min(1000, silenceMs / 4)));
  };

  socket.onmessage = ({ data }) => {
    const receivedAt = nowMicros();
    const frame: Frame = { kind: "frame", receivedAt, connection, type: "", data: bytesOrText(data) };
    const message = parseObject(data);
    if (typeof message?.type === "string") frame.type = message.type;
    if (isProductId(message?.product_id)) frame.productId = message.product_id;
    silence.hear(frame.productId, performance.now());
    if (frame.type === "match" || frame.type === "last_match") noteGap(frame.productId, message?.trade_id);
    push(frame, data.length ?? data.byteLength);
    // What the frame says of the subscription follows the frame.
    if (frame.type === "subscriptions") acknowledge(message);
    else if (frame.type === "error") refuse(message);
    else if (frame.type !== "" && self.acknowledged) good = true;
  };

  function acknowledge(message: unknown): void {
    const news = subscription.acknowledge(message);
    const channelsOf = new Map<string, string[]>();
    for (const { channel, productId } of news) {
      channelsOf.set(productId, [...(channelsOf.get(productId) ?? []), channel]);
      if (channel === "heartbeat") silence.expect(productId, performance.now());
    }
    for (const [productId, channels] of channelsOf) {
      notify({ event: "subscribed", details: { channels } }, productId);
    }
    for (const [productId, channels] of channelsOf) {
      log.info("subscribed", { connection, product: productId || "all", channels });
    }
    self.acknowledged = true;
    endIfAllRefused("");
  }

  function refuse(message: unknown): void {
    const { productId, channel, reason } = subscription.refuse(message);
    if (productId === undefined && channel === undefined) {
      notify({ event: "error", reason });
      log.warn("the exchange reports an error", { connection, reason });
      return;
    }
    notify({ event: "refused", reason, ...(channel === undefined ? {} : { channel }) }, productId);
    log.error("refused by the exchange and left out", { connection, product: productId, channel, reason });
    endIfAllRefused(reason);
  }

  function endIfAllRefused(reason: string): void {
    const left = [...subscription.pending(), ...subscription.acknowledged()];
    const productsLeft = left.some((pair) => pair.productId !== "");
    if (left.length === 0 || (!productsLeft && pairs.some((pair) => pair.productId !== ""))) {
      end(reason || "nothing left to subscribe to", true);
    }
  }

  /** What wasn't acknowledged in time is asked for alone once more, so that one product can't spoil the others. */
  function askAgain(): void {
    const pending = subscription.pending();
    if (pending.length === 0) return;
    log.warn("not acknowledged, asking again", { connection, pending: pending.map(name) });
    for (const pair of pending) socket.send(subscribeMessage([pair]));
    timers.push(setTimeout(giveUpPending, answerMs));
  }

  function giveUpPending(): void {
    const pending = subscription.pending();
    for (const { channel, productId } of pending) {
      notify({ event: "not_acknowledged", channel }, productId === "" ? undefined : productId);
    }
    if (pending.length > 0) log.error("never acknowledged", { connection, pending: pending.map(name) });
    if (subscription.acknowledged().length === 0) end("no acknowledgement");
  }

  function checkSilence(): void {
    const { products, everything } = silence.silent(performance.now());
    for (const productId of products.length > 0 ? products : everything ? [undefined] : []) {
      notify({ event: "silent", details: { limit_ms: silenceMs } }, productId);
    }
    if (everything) return end(`silent for ${silenceMs} ms`);
    if (products.length === 0) return;
    // The others are well: asking for these again costs them nothing, a new connection would.
    log.warn("silent, asking again", { connection, products });
    socket.send(subscribeMessage(pairs.filter(({ productId }) => products.includes(productId))));
  }

  function noteGap(productId: string | undefined, tradeId: unknown): void {
    if (productId === undefined || typeof tradeId !== "number" || !asked.has(productId)) return;
    const gap = trades.see(productId, tradeId);
    if (gap === undefined) return;
    notify({ event: "gap", details: { first_missing: gap.first, last_missing: gap.last } }, productId);
    log.warn("gap in the trade ids", { connection, product: productId, ...gap });
  }

  function push(event: FeedEvent, bytes: number): void {
    if (queue.push(event, bytes + eventOverhead) || ended) return;
    log.error("buffer full, closing the feed until half of it is free", { bytes: queue.bytes });
    for (const other of [...shared.open]) other.end("buffer full");
  }

  function notify(
    notice: Pick<Notice, "event" | "channel" | "reason" | "details">,
    productId?: string,
  ): void {
    const event: Notice = { kind: "notice", receivedAt: nowMicros(), connection, ...notice };
    if (productId !== undefined && productId !== "") event.productId = productId;
    // Notices are small and few: they pass even when the buffer is full, or the hole would have no mark.
    queue.push(event, eventOverhead);
  }

  function end(reason: string, refused = false): void {
    if (ended) return;
    ended = true;
    shared.open.delete(self);
    timers.forEach(clearTimeout);
    signal.removeEventListener("abort", stop);
    socket.onopen =
      socket.onmessage =
      socket.onerror =
      socket.onclose =
        null;
    // A dead peer never answers a close; nothing waits for it.
    if (socket.readyState <= WebSocket.OPEN) socket.close();
    if (openedAt > 0) {
      const products = new Set(subscription.acknowledged().map((pair) => pair.productId).filter(Boolean));
      const details = { connected_ms: Math.round((nowMicros() - openedAt) / 1000) };
      for (const productId of products.size > 0 ? products : [undefined]) {
        if (reason === "buffer full") notify({ event: "buffer_full" }, productId);
        notify({ event: "disconnected", reason, details }, productId);
      }
    }
    resolve({ connection, reason, good, refused });
  }

  return promise;
}

/** An event costs about this many bytes of memory beside its text. */
const eventOverhead = 200;

function name({ channel, productId }: Pair): string {
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
