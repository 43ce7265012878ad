/**
 * The clients: what each says, and when it has to go.
 *
 * @module
 */

import { sleep } from "../core/retry.ts";
import { isoMicros, nowMicros } from "../core/time.ts";
import { createRateLimit } from "../core/token_bucket.ts";
import { ClientTopics, type FollowLimits, Owner, type TopicSource } from "./client_topics.ts";
import type { Hub } from "./hub.ts";
import { Outbox, SharedBatches, type Socket } from "./outbox.ts";
import { maxRequestLength, parseRequest, type Request } from "./client_messages.ts";

/** What clients may do. */
export interface ClientLimits extends FollowLimits {
  /** All clients together may leave so many bytes unread; one at most `clientBytes`. */
  bytes: number;
  clientBytes: number;
  /** Of one socket. It is also the number of its messages that may wait to be answered. */
  messagesPerSecond: number;
  /**
   * Of one client over all its sockets: a message is 1, and more where it is long or about many topics, for so much is
   * what it costs. Twice as much at once.
   */
  workPerSecond: number;
  /** A socket that follows nothing is closed after so long. */
  idleMs: number;
}

/** Used where nothing else is said. */
export const clientLimits: ClientLimits = {
  bytes: 256 * 1024 * 1024,
  clientBytes: 4 * 1024 * 1024,
  topics: 2000,
  computed: 200,
  messagesPerSecond: 100,
  workPerSecond: 300,
  idleMs: 30_000,
};

/** What the clients need of the rest. */
export interface ClientsOptions {
  hub: Hub;
  topics: TopicSource;
  simulated: boolean;
  limits: ClientLimits;
  onDropped(reason: string): void;
  onSent(messages: number): void;
}

/** What the clients share. */
interface SharedByClients extends ClientsOptions {
  batches: SharedBatches;
  /** So many bytes may be unread by a client now. */
  maxUnreadBytes(): number;
  /** Whether the sockets of one client may cost so much more now. */
  isWithinWork(owner: Owner, cost: number): boolean;
  /** A client is gone. */
  remove(client: StreamClient): void;
}

/** So many topics cost as much as a message, and so many characters. */
const topicsOfWork = 50;
const lengthOfWork = 4096;
/** Who said too much is closed once it says nothing for so many looks in a row, or after so many in all. */
const quietLooks = 5;
const maxLooks = 40;
const lookMs = 50;

/** All clients. */
export class Clients {
  readonly #clients = new Set<StreamClient>();
  readonly #owners = new Map<string, Owner>();
  readonly #shared: SharedByClients;
  #present = new AbortController();
  #presentSince = Infinity;

  constructor(options: ClientsOptions) {
    const { limits } = options;
    const work = createRateLimit({ perSecond: limits.workPerSecond });
    this.#shared = {
      ...options,
      batches: new SharedBatches(options.hub),
      maxUnreadBytes: () => Math.min(limits.clientBytes, limits.bytes / this.#clients.size),
      isWithinWork: ({ name }, cost) => work(name, cost).allowed,
      remove: (client) => this.#remove(client),
    };
  }

  /** Adds an open socket of a client; the caller hands on its messages and its end. */
  add(socket: Socket, name: string): { receive(data: unknown): void; ended(): void } {
    const owner = this.#owners.get(name) ?? new Owner(name);
    this.#owners.set(name, owner);
    owner.sockets++;
    const client = new StreamClient(socket, owner, this.#shared);
    this.#clients.add(client);
    this.#present.abort();
    this.#presentSince = Math.min(this.#presentSince, performance.now());
    return { receive: (data) => client.receive(data), ended: () => client.end() };
  }

  /** Says an error to everybody. */
  tellAll(message: string, reason: string): void {
    for (const client of this.#clients) client.tellError(message, reason);
  }

  closeAll(code: number, reason: string): void {
    for (const client of this.#clients) client.drop(code, reason);
  }

  /** Aborted while a socket is open; another one once the last is closed. */
  get present(): AbortSignal {
    return this.#present.signal;
  }

  /** Since when at least one socket is open, in ms of the monotonic clock; Infinity while none is. */
  get presentSince(): number {
    return this.#presentSince;
  }

  /** Open sockets. */
  get size(): number {
    return this.#clients.size;
  }

  /** Open sockets of one client. */
  sizeOf(name: string): number {
    return this.#owners.get(name)?.sockets ?? 0;
  }

  /** Bytes handed to sockets that their clients haven't read, over all. */
  get unreadBytes(): number {
    return [...this.#clients].reduce((sum, { unreadBytes }) => sum + unreadBytes, 0);
  }

  #remove(client: StreamClient): void {
    if (!this.#clients.delete(client)) return;
    if (--client.owner.sockets === 0) this.#owners.delete(client.owner.name);
    if (this.#clients.size > 0) return;
    this.#present = new AbortController();
    this.#presentSince = Infinity;
  }
}

/** A socket. */
class StreamClient {
  readonly owner: Owner;
  readonly #socket: Socket;
  readonly #shared: SharedByClients;
  readonly #outbox: Outbox;
  readonly #topics: ClientTopics;
  /** It said something since this was last looked at. */
  #hasSpoken = false;
  #second = 0;
  #messages = 0;
  /** Requests that aren't answered yet. */
  #waiting = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  /** Requests are answered one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(socket: Socket, owner: Owner, shared: SharedByClients) {
    const { hub, batches, maxUnreadBytes, onSent, topics: source, limits, simulated } = shared;
    const onSlow = (reason: string) => this.#dropAsSlow(reason);
    this.owner = owner;
    this.#socket = socket;
    this.#shared = shared;
    const outbox = new Outbox(socket, { hub, batches, maxUnreadBytes, onSlow, onSent });
    this.#outbox = outbox;
    const onChange = () => this.#watchIdle();
    this.#topics = new ClientTopics({ hub, source, limits, simulated, owner, outbox, onChange, onSlow });
    this.#watchIdle();
  }

  /** Bytes handed to the socket that the client hasn't read. */
  get unreadBytes(): number {
    return this.#socket.bufferedAmount;
  }

  tellError(message: string, reason: string): void {
    this.#outbox.tell([{ type: "error", message, reason }]);
  }

  /** What the client says. */
  receive(data: unknown): void {
    this.#hasSpoken = true;
    if (this.#outbox.isMuted) return;
    const tooMany = this.#countMessage();
    if (tooMany !== undefined) return this.#dropAsTooMuch(tooMany);
    const text = typeof data === "string" ? data : "";
    if (!this.#isWithinWork(1 + text.length / lengthOfWork)) return;
    const parsed = parseRequest(text);
    if ("error" in parsed) {
      this.#outbox.tell([parsed.error]);
      // Whoever says so much would say it again.
      if (text.length > maxRequestLength) this.#dropWhenQuiet(1009, parsed.error.reason);
      return;
    }
    const { request } = parsed;
    if (!this.#isWithinWork(this.#topicsNamed(request) / topicsOfWork)) return;
    this.#waiting++;
    this.#work = this.#work.then(() => this.#answer(request)).catch((error) =>
      this.tellError("Failed", String(error))
    ).finally(() => this.#waiting--);
  }

  /** The client is gone, or has to go. */
  end(): void {
    this.#mute();
    this.#shared.remove(this);
  }

  drop(code: number, reason: string): void {
    this.end();
    // A close frame has room for 123 bytes.
    this.#socket.close(code, reason.slice(0, 120));
  }

  /** Counts a message of the client. @returns what there is too much of, when it is */
  #countMessage(): string | undefined {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) [this.#second, this.#messages] = [second, 0];
    const { messagesPerSecond } = this.#shared.limits;
    if (this.#waiting >= messagesPerSecond) {
      return `at most ${messagesPerSecond} messages that wait for their answers`;
    }
    if (++this.#messages > messagesPerSecond) return `at most ${messagesPerSecond} messages a second`;
    return undefined;
  }

  /** Topics that the answer is about: what is named, and all that is followed. */
  #topicsNamed(request: Request): number {
    if (request.type === "ping") return 0;
    const named = request.type === "subscribe" ? request.topics : request.filters;
    return named.length + this.#topics.size;
  }

  #isWithinWork(cost: number): boolean {
    if (this.#shared.isWithinWork(this.owner, cost)) return true;
    this.#dropAsTooMuch("the sockets of this client ask for too much together");
    return false;
  }

  #dropAsTooMuch(reason: string): void {
    this.tellError("Rate limit exceeded", reason);
    this.#dropWhenQuiet(1008, reason);
    this.#shared.onDropped("rate");
  }

  #dropAsSlow(reason: string): void {
    this.drop(1008, `slow: ${reason}`);
    this.#shared.onDropped("slow");
  }

  /**
   * Deno ends a socket that hears a message after it was closed, and with data unread the system cuts the connection:
   * the client would never read why. So whoever still talks is let finish.
   */
  async #dropWhenQuiet(code: number, reason: string): Promise<void> {
    this.#mute();
    for (let looks = 0, quiet = 0; looks < maxLooks && quiet < quietLooks; looks++) {
      this.#hasSpoken = false;
      await sleep(lookMs);
      quiet = this.#hasSpoken ? 0 : quiet + 1;
    }
    this.drop(code, reason);
  }

  /** Nothing is sent to it any more, and what it says isn't listened to. */
  #mute(): void {
    if (this.#outbox.isMuted) return;
    this.#outbox.mute();
    clearTimeout(this.#idle);
    this.#topics.clear();
  }

  #watchIdle(): void {
    clearTimeout(this.#idle);
    if (this.#outbox.isMuted || this.#topics.size > 0) return;
    const { limits, onDropped } = this.#shared;
    this.#idle = setTimeout(() => {
      this.tellError(
        "No subscription",
        `a client has to follow something within ${limits.idleMs / 1000} s`,
      );
      this.drop(1008, "no subscription");
      onDropped("idle");
    }, limits.idleMs);
  }

  async #answer(request: Request): Promise<void> {
    if (this.#outbox.isMuted) return;
    if (request.type === "subscribe") await this.#topics.subscribe(request);
    else if (request.type === "unsubscribe") this.#topics.unsubscribe(request);
    else this.#outbox.tell([{ type: "pong", time: request.time, server_time: isoMicros(nowMicros()) }]);
  }
}
