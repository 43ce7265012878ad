/**
 * What there is to follow: which products, which candles and books are computed, and what each topic starts with.
 *
 * Candles and books live while somebody follows them, and a little longer, so that a client that comes back finds what it
 * missed.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { ourselves } from "../core/fair_queue.ts";
import { sleep } from "../core/retry.ts";
import { createRateLimit } from "../core/token_bucket.ts";
import type { TopicSource } from "./client_topics.ts";
import { ringLimits, type StreamMessage } from "./hub.ts";
import { firstLine, type Topic, topicKey } from "./client_messages.ts";
import { loadLastMatch, loadProducts, loadTicker, type ReadSnapshot } from "./snapshots.ts";
import { createSharedAnswer } from "../core/shared_answer.ts";

/** A channel whose topics are computed here, each from a starting state. */
export interface LiveChannel {
  /** Topics that are computed. */
  readonly size: number;
  has(topic: Topic): boolean;
  /** Begins to compute a topic. */
  open(topic: Topic, client: string): void;
  /** Somebody is about to follow a topic: until what this returns is called, it isn't idle. Only after `open`. */
  hold(topic: Topic): () => void;
  /**
   * Resolves when `snapshot` can say what a topic starts with. Only after `open`.
   *
   * @param onTrouble told, in one line, when it takes longer for a reason
   */
  prepare(topic: Topic, onTrouble: (reason: string) => void): Promise<void>;
  /** The topic's present state. Only after `prepare`. */
  snapshot(topic: Topic): StreamMessage[];
  /** The number since which every change of the topic was published; Infinity when it isn't alive. */
  aliveSince(topic: Topic): number;
  /** Topics that nobody follows or waits for; call once a second, so that their time is known. */
  idle(): IdleTopic[];
  stop(): void;
}

/** A topic that nobody follows. */
export interface IdleTopic {
  /** ms of the monotonic clock. */
  since: number;
  drop(): void;
}

/** How many candles and books are computed, each interval and depth by itself. */
export interface SeriesLimits {
  /** In all. */
  total: number;
  /** Of them, those that nobody follows any more and somebody may come back to. */
  idle: number;
  /** New ones of one client. */
  newPerMinute: number;
}

/** What is known of products from the live messages alone. */
export interface ProductMemory {
  /** Products of which a message has come. */
  products(): Iterable<string>;
  knows(product: string): boolean;
  /** The newest trade and ticker, in the fields of their messages. */
  lastMatch(product: string): object | undefined;
  lastTicker(product: string): object | undefined;
}

/** What the catalog needs. */
export interface TopicCatalogOptions {
  clickhouse: ClickHouseClient;
  readSnapshot: ReadSnapshot;
  memory: ProductMemory;
  /** Since when the memory is filled, in ms of the monotonic clock; Infinity before. */
  readingSince(): number;
  candles: LiveChannel;
  book: LiveChannel;
  /** The number since which every anomaly was published; Infinity when nobody looks for them. */
  anomaliesSince(): number;
  limits: SeriesLimits;
  signal: AbortSignal;
  /** A client asked for more than there may be. */
  onRefused(reason: "series" | "series_rate"): void;
}

/** Where the newest message of a topic is found. */
interface Newest {
  type: string;
  remembered: () => object | undefined;
  load: () => Promise<object | undefined>;
}

/** Used where nothing else is said. */
export const seriesLimits: SeriesLimits = { total: 1000, idle: 200, newPerMinute: 200 };
/** What nobody follows is kept so long: as long as messages are remembered. */
export const lingerMs = ringLimits.ms;
/** A candle or a book is sent at most so often. */
export const paceMs = 100;
/** What nobody follows gives its place to another after so long: before, somebody may be about to. */
const graceMs = 1000;
const productsAgainMs = 1000;
/** What was in the topic when the memory began to be filled is in ClickHouse after so long, or the consumer lags. */
const settleMs = 2000;
const lookMs = 20;

/** See the module. */
export class TopicCatalog implements TopicSource {
  readonly #options: TopicCatalogOptions;
  readonly #newSeries: ReturnType<typeof createRateLimit>;
  /** Products in ClickHouse; empty while it can't be asked. */
  #stored = new Set<string>();
  /** Where ClickHouse takes longer than this, one asker's wait can span two questions. */
  readonly #askProducts = createSharedAnswer(() => this.#loadProducts(), {
    freshMs: productsAgainMs,
    staleMs: productsAgainMs,
  });
  /** A client that asks for the same again and again waits for one answer. */
  readonly #loadingNewest = new Map<string, Promise<object | undefined>>();

  constructor(options: TopicCatalogOptions) {
    const { newPerMinute } = options.limits;
    this.#options = options;
    this.#newSeries = createRateLimit({ perSecond: newPerMinute / 60, burst: newPerMinute });
  }

  /** Candles and books that are computed. */
  get size(): number {
    return this.#options.candles.size + this.#options.book.size;
  }

  /** Products that somebody has spoken of; one may come twice. */
  *products(): Iterable<string> {
    yield* this.#stored;
    yield* this.#options.memory.products();
  }

  /** Unknown is what neither ClickHouse nor a message has spoken of. While ClickHouse can't be asked, nothing is refused. */
  async refusal(product: string): Promise<string | undefined> {
    if (this.#isKnown(product)) return undefined;
    await this.#askProducts();
    if (this.#isKnown(product) || this.#stored.size === 0) return undefined;
    return `${product} is not a valid product`;
  }

  hold(topic: Topic, client: string): (() => void) | string {
    const channel = this.#channelOf(topic);
    if (channel === undefined) return () => {};
    if (!channel.has(topic)) {
      const refused = this.#refusalOf(client);
      if (refused !== undefined) return refused;
      channel.open(topic, client);
    }
    return channel.hold(topic);
  }

  opening(
    topic: Topic,
    client: string,
    tell: (reason: string) => void,
  ): StreamMessage[] | Promise<() => StreamMessage[]> {
    const channel = this.#channelOf(topic);
    if (channel) return channel.prepare(topic, tell).then(() => () => channel.snapshot(topic));
    const newest = this.#newestOf(topic);
    if (newest === undefined) return [];
    const { type, remembered } = newest;
    const say = (fields: object | undefined) => fields === undefined ? [] : [{ type, fields }];
    // From memory; before the first live message of the product from ClickHouse.
    const fields = remembered();
    if (fields !== undefined) return say(fields);
    return this.#findNewest(client, topic, newest).catch((error) => {
      const { channel: name, productId } = topic;
      tell(`the newest ${name} of ${productId} can't be read from ClickHouse: ${firstLine(error)}`);
      return undefined;
    }).then((loaded) => () => say(remembered() ?? loaded));
  }

  aliveSince(topic: Topic): number {
    if (topic.channel === "anomalies") return this.#options.anomaliesSince();
    return this.#channelOf(topic)?.aliveSince(topic) ?? 0;
  }

  /** Call once a second: lets go of candles and books that nobody follows, when it is time or they are too many. */
  sweep(): void {
    this.#dropIdle({ keep: this.#options.limits.idle });
  }

  #channelOf({ channel }: Topic): LiveChannel | undefined {
    const { candles, book } = this.#options;
    return channel === "candles" ? candles : channel === "book" ? book : undefined;
  }

  #isKnown(product: string): boolean {
    return this.#stored.has(product) || this.#options.memory.knows(product);
  }

  async #loadProducts(): Promise<void> {
    const { readSnapshot, clickhouse, signal } = this.#options;
    try {
      this.#stored = await readSnapshot(ourselves, () => loadProducts(clickhouse), signal);
    } catch {
      this.#stored = new Set();
    }
  }

  /** Why a client can't have another series now. */
  #refusalOf(client: string): string | undefined {
    const { limits: { total, newPerMinute }, onRefused } = this.#options;
    if (!this.#newSeries(client).allowed) {
      onRefused("series_rate");
      return `too many new candles and books: at most ${newPerMinute} a minute`;
    }
    if (this.size >= total && this.#dropIdle({ keep: Infinity, atLeast: 1 }) === 0) {
      onRefused("series");
      return `too many candles and books of all clients: at most ${total}, try again later`;
    }
    return undefined;
  }

  /**
   * Lets go of what nobody follows: what is older than a minute, more than `keep` of it, or `atLeast` so many; the
   * oldest first.
   */
  #dropIdle({ keep, atLeast = 0 }: { keep: number; atLeast?: number }): number {
    const { candles, book } = this.#options;
    const now = performance.now();
    const idle = [...candles.idle(), ...book.idle()].sort((left, right) => left.since - right.since);
    const old = idle.findIndex(({ since }) => now - since < lingerMs);
    const wanted = Math.max(atLeast, idle.length - keep, old < 0 ? idle.length : old);
    const dropped = idle.slice(0, wanted).filter(({ since }) => now - since >= graceMs);
    for (const { drop } of dropped) drop();
    return dropped.length;
  }

  #newestOf({ channel, productId }: Topic): Newest | undefined {
    const { memory, clickhouse } = this.#options;
    if (channel === "ticker") {
      const remembered = () => memory.lastTicker(productId);
      return { type: "ticker", remembered, load: () => loadTicker(clickhouse, productId) };
    }
    if (channel === "matches") {
      const remembered = () => memory.lastMatch(productId);
      return { type: "last_match", remembered, load: () => loadLastMatch(clickhouse, productId) };
    }
    return undefined;
  }

  /**
   * What ClickHouse has, unless memory has something by then. In a stream that has just begun it may lie before what was
   * in the topic already: told to be the newest, it would make a gap of what lies between. So it is read again after the
   * time in which ClickHouse learns of that.
   */
  async #findNewest(
    client: string,
    topic: Topic,
    { remembered, load }: Newest,
  ): Promise<object | undefined> {
    const { signal, readingSince } = this.#options;
    const latest = performance.now() + settleMs;
    const isSettled = () => performance.now() >= Math.min(latest, readingSince() + settleMs);
    const isLast = isSettled();
    const loaded = await this.#readNewest(client, topic, load);
    if (isLast || loaded === undefined) return loaded;
    while (remembered() === undefined && !isSettled() && !signal.aborted) await sleep(lookMs, signal);
    return remembered() ?? await this.#readNewest(client, topic, load);
  }

  #readNewest(
    client: string,
    topic: Topic,
    load: () => Promise<object | undefined>,
  ): Promise<object | undefined> {
    const name = JSON.stringify([client, topicKey(topic)]);
    const { readSnapshot, signal } = this.#options;
    const loading = this.#loadingNewest.get(name) ??
      readSnapshot(client, load, signal).finally(() => this.#loadingNewest.delete(name));
    this.#loadingNewest.set(name, loading);
    return loading;
  }
}
