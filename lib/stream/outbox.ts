/**
 * What is sent to a client: each message by itself, or in batches that clients share which follow the same. Nothing is
 * queued here but a batch of some milliseconds: what a client doesn't read lies in its socket, is measured there, and has
 * a limit.
 *
 * @module
 */

import { sleep } from "../core/retry.ts";
import type { Hub, Subscriber } from "./hub.ts";

/** The part of a WebSocket that is used. */
export interface Socket {
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code: number, reason: string): void;
}

/** What an outbox needs. */
export interface OutboxOptions {
  hub: Hub;
  batches: SharedBatches;
  /** So many bytes may be unread now. */
  maxUnreadBytes(): number;
  /** The client reads too slowly, and was told so. */
  onSlow(reason: string): void;
  onSent(messages: number): void;
}

const batchMs = 50;
const batchLength = 64 * 1024;
/** What is sent at once of a replay; then the client has to read. */
const replayLength = 64 * 1024;
const readMs = 20;

/** What one client is sent. */
export class Outbox implements Subscriber {
  /** Frames are arrays; heeded by what is sent from now on, and by the next `follow`. */
  wantsBatch = false;
  readonly #socket: Socket;
  readonly #options: OutboxOptions;
  /** What is followed by this client alone; in batch mode its batch follows. */
  #keys: ReadonlySet<string> = new Set();
  #batch: SharedBatch | undefined;
  #isMuted = false;

  constructor(socket: Socket, options: OutboxOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** Nothing is sent any more. */
  get isMuted(): boolean {
    return this.#isMuted;
  }

  deliver(text: string): void {
    this.sendText(text, 1);
  }

  /** Sends a frame of `count` messages, unless too much is unread. */
  sendText(text: string, count: number): void {
    if (this.#isMuted) return;
    const limit = this.#options.maxUnreadBytes();
    const unread = this.#socket.bufferedAmount;
    if (unread > limit) {
      const reason = `${unread} bytes are unread, the limit is ${Math.floor(limit)}`;
      this.#socket.send(JSON.stringify({ type: "slow", reason }));
      this.#options.onSlow(reason);
      return;
    }
    this.#socket.send(text);
    this.#options.onSent(count);
  }

  /** Something that only this client is told; in batch mode after what it is to get before. */
  tell(messages: readonly object[]): void {
    if (messages.length === 0) return;
    this.#batch?.flush();
    if (this.wantsBatch) this.sendText(JSON.stringify(messages), messages.length);
    else for (const message of messages) this.sendText(JSON.stringify(message), 1);
  }

  /** Follows these keys instead of those before: it gets all that was before the change, and nothing twice. */
  follow(keys: ReadonlySet<string>): void {
    this.#batch?.flush();
    this.#unfollow();
    if (this.#isMuted || keys.size === 0) return;
    const { hub, batches } = this.#options;
    if (this.wantsBatch) {
      this.#batch = batches.join(this, keys);
      return;
    }
    this.#keys = new Set(keys);
    for (const key of keys) hub.join(key, this);
  }

  /**
   * Sends what was missed, no faster than the client reads.
   *
   * @returns whether the client has all of it; else it is muted, or what it missed is no longer remembered
   */
  async replay(seq: number, keys: ReadonlySet<string>): Promise<boolean> {
    const { hub } = this.#options;
    for (let from = seq;;) {
      const { texts, seq: upTo } = hub.after(from, keys, replayLength);
      if (this.wantsBatch && texts.length > 0) this.sendText(`[${texts.join()}]`, texts.length);
      else for (const text of texts) this.sendText(text, 1);
      from = upTo;
      if (from === hub.seq) return !this.#isMuted;
      await this.untilRead();
      if (this.#isMuted || !hub.covers(hub.stream, from, keys)) return false;
    }
  }

  /** Resolves when little is unread. */
  async untilRead(): Promise<void> {
    while (!this.#isMuted && this.#socket.bufferedAmount > replayLength) await sleep(readMs);
  }

  /** Ends it: what waits in a batch isn't sent either. */
  mute(): void {
    this.#isMuted = true;
    this.#unfollow();
  }

  #unfollow(): void {
    if (this.#batch) this.#options.batches.leave(this, this.#batch);
    this.#batch = undefined;
    for (const key of this.#keys) this.#options.hub.leave(key, this);
    this.#keys = new Set();
  }
}

/** Clients in batch mode that follow the same: one text for all of them. */
class SharedBatch implements Subscriber {
  readonly members = new Set<Outbox>();
  #texts: string[] = [];
  #length = 0;

  /** @param signature `keys` as one text */
  constructor(readonly keys: readonly string[], readonly signature: string) {}

  deliver(text: string): void {
    this.#texts.push(text);
    this.#length += text.length;
    if (this.#length > batchLength) this.flush();
  }

  /** Sends what waits. */
  flush(): void {
    if (this.#texts.length === 0) return;
    const text = `[${this.#texts.join()}]`;
    const count = this.#texts.length;
    this.#texts = [];
    this.#length = 0;
    for (const member of this.members) member.sendText(text, count);
  }
}

/** All batches, sent at one pace. */
export class SharedBatches {
  readonly #hub: Hub;
  readonly #batches = new Map<string, SharedBatch>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** The batch of those who follow these keys, with one more. */
  join(outbox: Outbox, keys: ReadonlySet<string>): SharedBatch {
    const sorted = [...keys].sort();
    const signature = sorted.join("\n");
    // What waits is of before this client came. Members that are too slow for it leave, and with the last its batch ends.
    this.#batches.get(signature)?.flush();
    const batch = this.#batches.get(signature) ?? this.#open(sorted, signature);
    batch.members.add(outbox);
    return batch;
  }

  leave(outbox: Outbox, batch: SharedBatch): void {
    batch.members.delete(outbox);
    if (batch.members.size > 0) return;
    this.#batches.delete(batch.signature);
    for (const key of batch.keys) this.#hub.leave(key, batch);
    if (this.#batches.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #open(keys: readonly string[], signature: string): SharedBatch {
    const batch = new SharedBatch(keys, signature);
    this.#batches.set(signature, batch);
    for (const key of keys) this.#hub.join(key, batch);
    this.#timer ??= setInterval(() => {
      for (const each of this.#batches.values()) each.flush();
    }, batchMs);
    return batch;
  }
}
