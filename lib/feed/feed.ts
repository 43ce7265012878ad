/**
 * Coinbase's feed as one async iterator: frames as received, and between them what happened to the connections.
 * Live, replayed and simulated exchanges all speak the same protocol, so there is one feed for all of them.
 *
 * A connection's life: connect → subscribe → acknowledgements → frames → (silence, error, close) → wait → connect …
 * When the reader is slower than the exchange for longer than the buffer lasts, the feed closes its connections, says
 * so (`buffer_full`), and connects again when half of the buffer is free: a marked gap instead of endless memory.
 *
 * @module
 */

import { backoffMs, sleep, unlessAborted } from "../core/retry.ts";
import { createQueue } from "../core/queue.ts";
import { FatalError } from "../core/errors.ts";
import { Connection, type FeedOptions, type Shared } from "./connection.ts";
import { createTradeSequence } from "./sequence.ts";
import { type Pair, pairsOf } from "./subscription.ts";
import type { FeedItem } from "./feed_items.ts";

/** The feed and what can be seen of it from outside. */
export interface Feed extends AsyncIterable<FeedItem> {
  /** Bytes that wait to be read. */
  readonly bufferedBytes: number;
  /** Frames and feed events that wait to be read. */
  readonly bufferedItems: number;
  /** Connections that have been acknowledged and not ended. */
  readonly connected: number;
  /** Connections that there should be. */
  readonly wanted: number;
  /** Channels of products that the exchange never acknowledged, although it was asked twice; of open connections. */
  readonly unacknowledged: readonly Pair[];
}

/**
 * Opens the feed.
 *
 * @returns an iterator that ends when `signal` aborts and throws a FatalError when the exchange refused every product
 */
export function openFeed(options: FeedOptions): Feed {
  const { products, productsPerConnection, signal, log } = options;
  const queue = createQueue<FeedItem>(options.bufferBytes);
  const groups: string[][] = [];
  for (let start = 0; start < products.length; start += productsPerConnection) {
    groups.push(products.slice(start, start + productsPerConnection));
  }
  const run = crypto.randomUUID().slice(0, 8);
  let connections = 0;
  const shared: Shared = {
    queue,
    trades: createTradeSequence(),
    nextConnection: () => `${run}-${++connections}`,
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
    get bufferedItems() {
      return queue.length;
    },
    get unacknowledged() {
      return [...shared.open].flatMap((connection) => connection.unacknowledged);
    },
    get connected() {
      return [...shared.open].filter((connection) => connection.isAcknowledged).length;
    },
    wanted: groups.length,
  };
}

/** Connects again and again; returns when the signal aborts, or the reason when everything it asked for was refused. */
async function keepConnected(pairs: Pair[], options: FeedOptions, shared: Shared): Promise<string> {
  const { signal, log } = options;
  for (let failures = 0; !signal.aborted;) {
    await unlessAborted(shared.queue.room(), signal).catch(() => {});
    if (signal.aborted) break;
    const ended = await new Connection(pairs, options, shared).ended;
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
