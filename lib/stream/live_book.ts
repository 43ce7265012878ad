/**
 * The channel `book`: one book per product that is followed, of one connection at a time, whatever the number of its
 * followers. It starts from ClickHouse and the updates of the last seconds, or from the next snapshot; a book that is
 * known to be broken is never shown.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { sleep } from "../backoff.ts";
import { parseMessage } from "../coinbase/messages.ts";
import type { Logger } from "../log.ts";
import { isoMicros, parseMicros } from "../time.ts";
import { createOrderBook, type OrderBook } from "./book.ts";
import type { Hub } from "./hub.ts";
import { firstLine, lingerMs, type LiveChannel, type Outgoing, paceMs } from "./live.ts";
import { type Topic, topicKey } from "./protocol.ts";
import { type BookSeed, loadBook } from "./seeds.ts";
import type { TapMessage } from "./tap.ts";

/** See the module. */
export interface LiveBook extends LiveChannel {
  /** A message of the topic of books. */
  take(message: TapMessage): void;
  /** A connection has ended: its books end too. */
  endConnection(connection: string, reason: string): void;
  /** A frame of the book was lost although the connection lives. */
  lose(connection: string, product: string, reason: string): void;
  /** Messages were missed: every book ends. */
  restart(reason: string): void;
}

interface Entry {
  product: string;
  book: OrderBook | undefined;
  connection: string;
  /** The newest message that is in, by its offset. */
  offset: number;
  /** µs. */
  time: number;
  receivedAt: number;
  /** Why there is no book. */
  reason: string;
  seeding: boolean;
  dirty: boolean;
  /** Depths that are followed: since when (number), since when nobody (ms), and what was said last. */
  depths: Map<number, { aliveSince: number; idleSince: number | undefined; said: string }>;
  stopped: AbortController;
}

/** Messages of all books are kept so long, so that a book can start from what ClickHouse has stored a moment ago. */
const recentMs = 15_000;
const recentBytes = 64 * 1024 * 1024;
const retryMs = 300;
/** A client is told after so long that its book isn't known yet. */
const firstAnswerMs = 2000;

interface Recent {
  message: TapMessage;
  at: number;
}

/** Opens the channel; nothing is read before somebody follows a book. */
export function createLiveBook(
  { hub, warehouse, log }: { hub: Hub; warehouse: ClickHouseClient; log: Logger },
): LiveBook {
  const entries = new Map<string, Entry>();
  /** In the order of arrival; `start` is the index of the first that is kept. */
  let recent: Recent[] = [];
  let start = 0;
  let bytes = 0;
  /** Connections that have ended, and `connection product` of books that are broken until a snapshot; the last thousand. */
  const ended = new Set<string>();
  const timer = setInterval(() => {
    for (const entry of entries.values()) publishTop(entry, "book");
  }, paceMs);

  function remember(message: TapMessage): void {
    const at = performance.now();
    recent.push({ message, at });
    bytes += message.value.length;
    for (let first = recent[start]; first !== undefined; first = recent[++start]) {
      if (at - first.at <= recentMs && bytes <= recentBytes) break;
      bytes -= first.message.value.length;
    }
    if (start > 10_000 && start > recent.length / 2) {
      recent = recent.slice(start);
      start = 0;
    }
  }

  const recentOf = (product: string) =>
    recent.slice(start).map(({ message }) => message).filter(({ key }) => key === product);

  function noteEnd(key: string): void {
    ended.add(key);
    const [oldest] = ended;
    if (ended.size > 1000 && oldest !== undefined) ended.delete(oldest);
  }

  const isEnded = (connection: string, product: string) =>
    ended.has(connection) || ended.has(`${connection} ${product}`);

  function create(product: string): Entry {
    const entry: Entry = {
      product,
      book: undefined,
      connection: "",
      offset: -1,
      time: 0,
      receivedAt: 0,
      reason: "the book isn't known yet",
      seeding: false,
      dirty: false,
      depths: new Map(),
      stopped: new AbortController(),
    };
    entries.set(product, entry);
    seed(entry);
    return entry;
  }

  /** Tries until there is a book, from here or from a snapshot that comes. */
  async function seed(entry: Entry): Promise<void> {
    if (entry.seeding) return;
    entry.seeding = true;
    const { signal } = entry.stopped;
    while (entry.book === undefined && !signal.aborted) {
      const buffered = recentOf(entry.product);
      const snapshot = buffered.findLastIndex((message) =>
        !isEnded(message.connection, message.key) && isSnapshot(message)
      );
      if (snapshot >= 0) {
        for (const message of buffered.slice(snapshot)) apply(entry, message);
      } else await seedFromWarehouse(entry);
      if (entry.book === undefined) await sleep(retryMs, signal);
    }
    entry.seeding = false;
  }

  async function seedFromWarehouse(entry: Entry): Promise<void> {
    const { product } = entry;
    let found: BookSeed | undefined;
    try {
      found = await loadBook(warehouse, product);
    } catch (error) {
      entry.reason = `the book of ${product} waits for ClickHouse or a snapshot: ${firstLine(error)}`;
      return;
    }
    if (found === undefined || isEnded(found.connection, product)) {
      entry.reason = "no connection has a book now: waiting for the next snapshot";
      return;
    }
    // A snapshot may have come while ClickHouse was asked.
    if (entry.book !== undefined) return;
    const buffered = recentOf(product);
    // Only when the stored book reaches into what is kept here lies nothing between the two.
    if (buffered[0] === undefined || buffered[0].offset > found.offset) {
      entry.reason = "the stored book doesn't reach the live updates yet";
      return;
    }
    entry.book = createOrderBook(found.bids, found.asks);
    entry.connection = found.connection;
    entry.offset = found.offset;
    entry.time = found.time;
    entry.receivedAt = buffered.findLast(({ offset }) => offset <= found.offset)?.receivedAt ?? 0;
    for (const message of buffered) apply(entry, message);
    if (entry.book !== undefined) publishTop(entry, "book_snapshot");
  }

  function apply(entry: Entry, message: TapMessage): void {
    const { connection, offset } = message;
    if (ended.has(connection) || (entry.book !== undefined && offset <= entry.offset)) return;
    const { message: parsed, reason } = parseMessage(message.value);
    if (parsed === undefined) {
      lose(connection, entry.product, `a message of the book can't be read: ${reason}`);
      return;
    }
    if (parsed.type === "snapshot") {
      ended.delete(`${connection} ${entry.product}`);
      entry.book = createOrderBook(parsed.bids, parsed.asks);
      entry.connection = connection;
      note(entry, message, parsed.time);
      publishTop(entry, "book_snapshot");
    } else if (parsed.type === "l2update" && entry.book !== undefined && connection === entry.connection) {
      for (const [side, price, size] of parsed.changes) {
        entry.book.set(side === "buy" ? "bid" : "ask", price, size);
      }
      note(entry, message, parsed.time);
      entry.dirty = true;
    }
  }

  function note(entry: Entry, message: TapMessage, time: string | undefined): void {
    entry.offset = message.offset;
    entry.receivedAt = message.receivedAt;
    entry.time = time === undefined ? message.receivedAt : parseMicros(time);
  }

  function lose(connection: string, product: string, reason: string): void {
    noteEnd(`${connection} ${product}`);
    const entry = entries.get(product);
    if (entry?.connection === connection) invalidate(entry, reason);
  }

  function invalidate(entry: Entry, reason: string): void {
    if (entry.book === undefined) return;
    entry.book = undefined;
    entry.dirty = false;
    entry.reason = reason;
    log.warn("a book isn't known any more", { product: entry.product, reason });
    for (const depth of entry.depths.keys()) {
      const { type, fields } = invalid(entry, depth);
      hub.publish([topicKey(topicOf(entry, depth))], type, fields);
    }
    // Another connection may have the book.
    seed(entry);
  }

  function invalid({ product, reason, time, receivedAt }: Entry, depth: number): Outgoing {
    const stamps = receivedAt === 0 ? {} : { time: isoMicros(time), received_at: isoMicros(receivedAt) };
    return { type: "book_invalid", fields: { product_id: product, depth, ...stamps, reason } };
  }

  function publishTop(entry: Entry, type: "book" | "book_snapshot"): void {
    if (entry.book === undefined || (type === "book" && !entry.dirty)) return;
    entry.dirty = false;
    for (const [depth, state] of entry.depths) {
      const levels = { bids: entry.book.top("bid", depth), asks: entry.book.top("ask", depth) };
      const said = JSON.stringify(levels);
      // Changes far from the best levels don't concern this depth.
      if (type === "book" && state.said === said) continue;
      state.said = said;
      hub.publish([topicKey(topicOf(entry, depth))], type, { ...stampsOf(entry, depth), ...levels });
    }
  }

  const topicOf = ({ product }: Entry, depth: number): Topic => ({
    channel: "book",
    productId: product,
    depth,
  });
  const stampsOf = ({ product, time, receivedAt }: Entry, depth: number) => ({
    product_id: product,
    depth,
    time: isoMicros(time),
    received_at: isoMicros(receivedAt),
  });

  return {
    take(message) {
      remember(message);
      const entry = entries.get(message.key);
      if (entry) apply(entry, message);
      else if (isSnapshot(message)) ended.delete(`${message.connection} ${message.key}`);
    },
    endConnection(connection, reason) {
      noteEnd(connection);
      for (const entry of entries.values()) if (entry.connection === connection) invalidate(entry, reason);
    },
    lose,
    restart(reason) {
      recent = [];
      start = bytes = 0;
      for (const entry of entries.values()) invalidate(entry, reason);
    },
    async prepare({ productId, depth = 0 }) {
      const entry = entries.get(productId) ?? create(productId);
      const state = entry.depths.get(depth);
      if (state === undefined) {
        entry.depths.set(depth, { aliveSince: hub.seq, idleSince: undefined, said: "" });
      } else state.idleSince = undefined;
      const deadline = performance.now() + firstAnswerMs;
      while (entry.book === undefined && performance.now() < deadline && !entry.stopped.signal.aborted) {
        await sleep(50, entry.stopped.signal);
      }
    },
    snapshot({ productId, depth = 0 }) {
      const entry = entries.get(productId);
      if (entry === undefined) return [];
      if (entry.book === undefined) return [invalid(entry, depth)];
      const levels = { bids: entry.book.top("bid", depth), asks: entry.book.top("ask", depth) };
      return [{ type: "book_snapshot", fields: { ...stampsOf(entry, depth), ...levels } }];
    },
    aliveSince: ({ productId, depth = 0 }) =>
      entries.get(productId)?.depths.get(depth)?.aliveSince ?? Infinity,
    sweep() {
      const now = performance.now();
      for (const entry of entries.values()) {
        for (const [depth, state] of entry.depths) {
          if (hub.count(topicKey(topicOf(entry, depth))) > 0) state.idleSince = undefined;
          else state.idleSince ??= now;
          if (state.idleSince !== undefined && now - state.idleSince >= lingerMs) entry.depths.delete(depth);
        }
        if (entry.depths.size > 0) continue;
        entry.stopped.abort();
        entries.delete(entry.product);
      }
    },
    stop() {
      clearInterval(timer);
      for (const { stopped } of entries.values()) stopped.abort();
    },
  };
}

/** By its first bytes: parsing a megabyte to learn its type would be a waste. */
function isSnapshot({ value }: TapMessage): boolean {
  const head = new TextDecoder().decode(value.subarray(0, 64));
  return /^\s*\{\s*"type"\s*:\s*"snapshot"/.test(head);
}
