/**
 * The channel `book`: one book per product that is followed, of one connection at a time, whatever the number of its
 * followers. It starts from ClickHouse and the updates of the last seconds, or from the next snapshot; a book that is
 * known to be broken is never shown.
 *
 * @module
 */

import { BookHistory, type BookSources, type Depth, FollowedBook, isSnapshot } from "./followed_book.ts";
import type { StreamMessage } from "./hub.ts";
import { type IdleTopic, type LiveChannel, paceMs } from "./topic_catalog.ts";
import type { LiveMessage } from "./live_reader.ts";
import type { Topic } from "./client_messages.ts";

/** See the module. Nothing is read before somebody follows a book. */
export class LiveBook implements LiveChannel {
  readonly #options: BookSources;
  readonly #books = new Map<string, FollowedBook>();
  readonly #history = new BookHistory();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(options: BookSources) {
    this.#options = options;
    this.#timer = setInterval(() => {
      for (const book of this.#books.values()) book.publish("book");
    }, paceMs);
  }

  /** A message of the topic of books. */
  handle(message: LiveMessage): void {
    this.#history.add(message);
    const book = this.#books.get(message.key);
    if (book) book.apply(message);
    else if (isSnapshot(message)) this.#history.mend(message.connection, message.key);
  }

  /** A connection has ended: its books end too. */
  endConnection(connection: string, reason: string): void {
    this.#history.endConnection(connection);
    for (const book of this.#books.values()) if (book.connection === connection) book.invalidate(reason);
  }

  /** A frame of the book was lost although the connection lives. */
  lose(connection: string, product: string, reason: string): void {
    this.#history.endBook(connection, product);
    const book = this.#books.get(product);
    if (book?.connection === connection) book.invalidate(reason);
  }

  /** Messages were missed: every book ends. */
  restart(reason: string): void {
    this.#history.clear();
    for (const book of this.#books.values()) book.invalidate(reason);
  }

  get size(): number {
    return this.#books.values().reduce((sum, { depths }) => sum + depths.size, 0);
  }

  has(topic: Topic): boolean {
    return this.#depthOf(topic) !== undefined;
  }

  open({ productId, depth = 0 }: Topic, client: string): void {
    const book = this.#books.get(productId) ?? this.#create(productId, client);
    if (book.depths.has(depth)) return;
    const aliveSince = this.#options.hub.seq;
    book.depths.set(depth, { aliveSince, idleSince: undefined, waiting: 0, said: "" });
  }

  hold(topic: Topic): () => void {
    const depth = this.#depthOf(topic);
    if (depth) depth.waiting++;
    return () => {
      if (depth) depth.waiting--;
    };
  }

  async prepare(topic: Topic): Promise<void> {
    const book = this.#books.get(topic.productId);
    const depth = this.#depthOf(topic);
    if (book === undefined || depth === undefined) return;
    depth.waiting++;
    await book.firstAnswer();
    depth.waiting--;
  }

  snapshot({ productId, depth = 0 }: Topic): StreamMessage[] {
    return this.#books.get(productId)?.snapshot(depth) ?? [];
  }

  aliveSince(topic: Topic): number {
    return this.#depthOf(topic)?.aliveSince ?? Infinity;
  }

  idle(): IdleTopic[] {
    const idle = [];
    for (const book of this.#books.values()) {
      for (const [depth, state] of book.depths) {
        if (state.waiting > 0 || this.#options.hub.count(book.keyOf(depth)) > 0) {
          state.idleSince = undefined;
          continue;
        }
        state.idleSince ??= performance.now();
        idle.push({ since: state.idleSince, drop: () => this.#drop(book, depth) });
      }
    }
    return idle;
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const book of this.#books.values()) book.stop();
  }

  #depthOf({ productId, depth = 0 }: Topic): Depth | undefined {
    return this.#books.get(productId)?.depths.get(depth);
  }

  #create(product: string, client: string): FollowedBook {
    const lose = (connection: string, reason: string) => this.lose(connection, product, reason);
    const book = new FollowedBook(product, client, { ...this.#options, history: this.#history, lose });
    this.#books.set(product, book);
    book.begin();
    return book;
  }

  #drop(book: FollowedBook, depth: number): void {
    book.depths.delete(depth);
    this.#options.hub.dropSeries(book.keyOf(depth));
    if (book.depths.size > 0) return;
    book.stop();
    this.#books.delete(book.product);
  }
}
