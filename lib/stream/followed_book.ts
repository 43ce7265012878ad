/**
 * The book of one product while it is followed: from where it begins, how it goes on, and what is to be sent of it; and the
 * messages of the last seconds, from which a book can begin.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { backoffMs, sleep } from "../core/retry.ts";
import { parseMessage } from "../feed/messages.ts";
import type { Logger } from "../process/log.ts";
import { isoMicros, parseMicros } from "../core/time.ts";
import type { Hub, StreamMessage } from "./hub.ts";
import type { LiveMessage } from "./live_reader.ts";
import { createOrderBook, type OrderBook } from "./price_levels.ts";
import { firstLine, topicKey } from "./client_messages.ts";
import { loadBook, type ReadSnapshot, type StoredBook } from "./snapshots.ts";

/** What a book is made of, and where it goes. */
export interface BookSources {
  hub: Hub;
  clickhouse: ClickHouseClient;
  log: Logger;
  readSnapshot: ReadSnapshot;
}

/** A depth that is computed. */
export interface Depth {
  /** A number of the stream. */
  aliveSince: number;
  /** Nobody follows it since then (ms). */
  idleSince: number | undefined;
  /** Those who are about to follow it. */
  waiting: number;
  /** What was said last. */
  said: string;
}

/** Messages of all books are kept so long, so that a book can start from what ClickHouse has stored a moment ago. */
const recentMs = 15_000;
const recentBytes = 64 * 1024 * 1024;
/** Between two tries to find a book in ClickHouse; where there is none, ever longer. */
const retryMs = 300;
const maxRetryMs = 2000;
/** A client is told after so long that its book isn't known yet. */
const firstAnswerMs = 2000;

/** What a followed book needs. */
export interface FollowedBookOptions extends BookSources {
  history: BookHistory;
  /** Notes that the book of a connection is broken. */
  lose(connection: string, reason: string): void;
}

/** The book of a product, of one connection, and what is to be sent of it. */
export class FollowedBook {
  readonly product: string;
  readonly depths = new Map<number, Depth>();
  /** The connection whose book it is. */
  connection = "";
  /** Who asked for it first: it is read in that one's turn. */
  readonly #client: string;
  readonly #options: FollowedBookOptions;
  readonly #stopped = new AbortController();
  #book: OrderBook | undefined;
  /** The newest message that is in, by its offset. */
  #offset = -1;
  /** µs. */
  #time = 0;
  #receivedAt = 0;
  /** Why there is no book. */
  #reason = "the book isn't known yet";
  #isBeginning = false;
  #isDirty = false;

  constructor(product: string, client: string, options: FollowedBookOptions) {
    this.product = product;
    this.#client = client;
    this.#options = options;
  }

  /** Tries until there is a book, from here or from a snapshot that comes. */
  async begin(): Promise<void> {
    if (this.#isBeginning) return;
    this.#isBeginning = true;
    const { signal } = this.#stopped;
    for (let tries = 1; this.#book === undefined && !signal.aborted; tries++) {
      const messages = this.#options.history.sinceSnapshot(this.product);
      if (messages === undefined) await this.#beginFromStored();
      else for (const message of messages) this.apply(message);
      if (this.#book !== undefined) break;
      await sleep(backoffMs(tries, { initialMs: retryMs, maximumMs: maxRetryMs }), signal);
    }
    this.#isBeginning = false;
  }

  apply(message: LiveMessage): void {
    const { connection, offset } = message;
    const { history, lose } = this.#options;
    if (history.hasEnded(connection) || (this.#book !== undefined && offset <= this.#offset)) return;
    const { message: parsed, reason } = parseMessage(message.value);
    if (parsed === undefined) return lose(connection, `a message of the book can't be read: ${reason}`);
    if (parsed.type === "snapshot") {
      history.mend(connection, this.product);
      this.#book = createOrderBook(parsed.bids, parsed.asks);
      this.connection = connection;
      this.#note(message, parsed.time);
      this.publish("book_snapshot");
    } else if (parsed.type === "l2update" && this.#book !== undefined && connection === this.connection) {
      for (const [side, price, size] of parsed.changes) {
        this.#book.set(side === "buy" ? "bid" : "ask", price, size);
      }
      this.#note(message, parsed.time);
      this.#isDirty = true;
    }
  }

  invalidate(reason: string): void {
    if (this.#book === undefined) return;
    this.#book = undefined;
    this.#isDirty = false;
    this.#reason = reason;
    this.#options.log.warn("a book isn't known any more", { product: this.product, reason });
    for (const depth of this.depths.keys()) {
      const { type, fields } = this.#invalid(depth);
      this.#options.hub.publishSeries(this.keyOf(depth), type, fields);
    }
    // Another connection may have the book.
    this.begin();
  }

  /** Publishes the best levels of each depth; as `book`, those that have changed. */
  publish(type: "book" | "book_snapshot"): void {
    if (this.#book === undefined || (type === "book" && !this.#isDirty)) return;
    this.#isDirty = false;
    for (const [depth, state] of this.depths) {
      const levels = levelsOf(this.#book, depth);
      const said = JSON.stringify(levels);
      // Changes far from the best levels don't concern this depth.
      if (type === "book" && state.said === said) continue;
      state.said = said;
      this.#options.hub.publishSeries(this.keyOf(depth), type, { ...this.#stamps(depth), ...levels });
    }
  }

  /** Resolves when there is a book, or it is time to say that there is none. */
  async firstAnswer(): Promise<void> {
    const { signal } = this.#stopped;
    const deadline = performance.now() + firstAnswerMs;
    while (this.#book === undefined && performance.now() < deadline && !signal.aborted) {
      await sleep(50, signal);
    }
  }

  snapshot(depth: number): StreamMessage[] {
    if (this.#book === undefined) return [this.#invalid(depth)];
    const fields = { ...this.#stamps(depth), ...levelsOf(this.#book, depth) };
    return [{ type: "book_snapshot", fields }];
  }

  keyOf(depth: number): string {
    return topicKey({ channel: "book", productId: this.product, depth });
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #beginFromStored(): Promise<void> {
    const { clickhouse, readSnapshot, history } = this.#options;
    const { product } = this;
    let stored: StoredBook | undefined;
    try {
      stored = await readSnapshot(
        this.#client,
        () => loadBook(clickhouse, product),
        this.#stopped.signal,
      );
    } catch (error) {
      this.#reason = `the book of ${product} waits for ClickHouse or a snapshot: ${firstLine(error)}`;
      return;
    }
    if (stored === undefined || history.isBroken(stored.connection, product)) {
      this.#reason = "no connection has a book now: waiting for the next snapshot";
      return;
    }
    // A snapshot may have come while ClickHouse was asked.
    if (this.#book !== undefined) return;
    this.#goOnFrom(stored);
  }

  #goOnFrom({ bids, asks, connection, offset: storedOffset, time }: StoredBook): void {
    const messages = this.#options.history.of(this.product);
    // Only when the stored book reaches into what is kept here lies nothing between the two.
    if (messages[0] === undefined || messages[0].offset > storedOffset) {
      this.#reason = "the stored book doesn't reach the live updates yet";
      return;
    }
    this.#book = createOrderBook(bids, asks);
    this.connection = connection;
    this.#offset = storedOffset;
    this.#time = time;
    this.#receivedAt = messages.findLast(({ offset }) => offset <= storedOffset)?.receivedAt ?? 0;
    for (const message of messages) this.apply(message);
    if (this.#book !== undefined) this.publish("book_snapshot");
  }

  #note({ offset, receivedAt }: LiveMessage, time: string | undefined): void {
    this.#offset = offset;
    this.#receivedAt = receivedAt;
    this.#time = time === undefined ? receivedAt : parseMicros(time);
  }

  #invalid(depth: number): StreamMessage {
    const fields = this.#receivedAt === 0
      ? { product_id: this.product, depth, reason: this.#reason }
      : { ...this.#stamps(depth), reason: this.#reason };
    return { type: "book_invalid", fields };
  }

  #stamps(depth: number) {
    return {
      product_id: this.product,
      depth,
      time: isoMicros(this.#time),
      received_at: isoMicros(this.#receivedAt),
    };
  }
}

function levelsOf(book: OrderBook, depth: number) {
  return { bids: book.top("bid", depth), asks: book.top("ask", depth) };
}

/** The messages of all books of the last seconds, and which books are broken. */
export class BookHistory {
  /** In the order of arrival; `#start` is the index of the first that is kept. */
  #recent: { message: LiveMessage; at: number }[] = [];
  #start = 0;
  #bytes = 0;
  /** Connections that have ended, and `connection product` of books that are broken until a snapshot; the last thousand. */
  readonly #ended = new Set<string>();

  add(message: LiveMessage): void {
    const at = performance.now();
    this.#recent.push({ message, at });
    this.#bytes += message.value.length;
    for (let first = this.#recent[this.#start]; first !== undefined; first = this.#recent[++this.#start]) {
      if (at - first.at <= recentMs && this.#bytes <= recentBytes) break;
      this.#bytes -= first.message.value.length;
    }
    if (this.#start > 10_000 && this.#start > this.#recent.length / 2) {
      this.#recent = this.#recent.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Those of a product. */
  of(product: string): LiveMessage[] {
    return this.#recent.slice(this.#start).map(({ message }) => message).filter(({ key }) => key === product);
  }

  /** Those of a product from its last snapshot on that isn't broken; undefined when there is none. */
  sinceSnapshot(product: string): LiveMessage[] | undefined {
    const messages = this.of(product);
    const first = messages.findLastIndex((message) =>
      !this.isBroken(message.connection, message.key) && isSnapshot(message)
    );
    return first < 0 ? undefined : messages.slice(first);
  }

  /** Messages were missed: what is kept is worth nothing. */
  clear(): void {
    this.#recent = [];
    this.#start = this.#bytes = 0;
  }

  endConnection(connection: string): void {
    this.#noteEnd(connection);
  }

  /** The book of a connection is broken until its next snapshot. */
  endBook(connection: string, product: string): void {
    this.#noteEnd(`${connection} ${product}`);
  }

  /** A snapshot has come. */
  mend(connection: string, product: string): void {
    this.#ended.delete(`${connection} ${product}`);
  }

  hasEnded(connection: string): boolean {
    return this.#ended.has(connection);
  }

  /** The connection has ended, or its book is broken. */
  isBroken(connection: string, product: string): boolean {
    return this.#ended.has(connection) || this.#ended.has(`${connection} ${product}`);
  }

  #noteEnd(key: string): void {
    this.#ended.add(key);
    const [oldest] = this.#ended;
    if (this.#ended.size > 1000 && oldest !== undefined) this.#ended.delete(oldest);
  }
}

/** By its first bytes: parsing a megabyte to learn its type would be a waste. */
export function isSnapshot({ value }: LiveMessage): boolean {
  const head = new TextDecoder().decode(value.subarray(0, 64));
  return /^\s*\{\s*"type"\s*:\s*"snapshot"/.test(head);
}
