/**
 * The clients: what each follows, what is sent to it, and when it has to go. Nothing is queued here: what a client
 * doesn't read lies in its socket, is measured there, and has a limit.
 *
 * @module
 */

import { sleep } from "../backoff.ts";
import { isoMicros, nowMicros } from "../time.ts";
import type { Hub, Subscriber } from "./hub.ts";
import { firstLine, type Outgoing } from "./live.ts";
import {
  describeTopics,
  matches,
  maxRequestLength,
  parseRequest,
  type Request,
  type Topic,
  topicKey,
} from "./protocol.ts";

/** The part of a WebSocket that is used. */
export interface Socket {
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code: number, reason: string): void;
}

/** What clients may do. */
export interface ClientLimits {
  /** All clients together may leave so many bytes unread; one at most `clientBytes`. */
  bytes: number;
  clientBytes: number;
  /** Topics of one client. */
  topics: number;
  /** Of them, candles and books: they are computed, each interval and depth by itself. */
  computed: number;
  /** It is also the number of its messages that may wait to be answered. */
  messagesPerSecond: number;
  /** A client that follows nothing is sent away after so long. */
  idleMs: number;
}

/** Used where nothing else is said. */
export const clientLimits: ClientLimits = {
  bytes: 256 * 1024 * 1024,
  clientBytes: 4 * 1024 * 1024,
  topics: 2000,
  computed: 200,
  messagesPerSecond: 100,
  idleMs: 30_000,
};

/** What the clients need of the rest. */
export interface ClientsOptions {
  hub: Hub;
  simulated: boolean;
  limits: ClientLimits;
  /** Why a product can't be followed; undefined when it can. */
  refusal(product: string): Promise<string | undefined>;
  /**
   * What a topic starts with: at once where it is known, else a promise of a function that says it when it is called.
   * `tell` sends an error meanwhile.
   */
  opening(topic: Topic, tell: (reason: string) => void): Outgoing[] | Promise<() => Outgoing[]>;
  /** The number since which every message of a topic was published; Infinity when it isn't alive. */
  aliveSince(topic: Topic): number;
  onDropped(reason: string): void;
  onSent(messages: number): void;
}

/** All clients. */
export interface Clients {
  /** Takes an open socket; the caller hands on its messages and its end. */
  add(socket: Socket): { receive(data: unknown): void; ended(): void };
  /** Says an error to everybody. */
  tellAll(message: string, reason: string): void;
  closeAll(code: number, reason: string): void;
  readonly size: number;
}

interface Client extends Subscriber {
  socket: Socket;
  gone: boolean;
  topics: Map<string, Topic>;
  /** Of `topics`, those that have started. */
  active: Set<string>;
  batch: Batch | undefined;
  wantsBatch: boolean;
  second: number;
  messages: number;
  /** Requests that aren't answered yet. */
  waiting: number;
  idle: ReturnType<typeof setTimeout> | undefined;
  /** Requests are answered one after the other. */
  work: Promise<void>;
}

/** Clients in batch mode that follow the same: one text for all of them. */
interface Batch extends Subscriber {
  signature: string;
  keys: readonly string[];
  members: Set<Client>;
  texts: string[];
  length: number;
}

const batchMs = 50;
const batchLength = 64 * 1024;
/** What is sent at once of a replay; then the client has to read. */
const replayLength = 64 * 1024;
const readMs = 20;

const isComputed = ({ channel }: Topic) => channel === "candles" || channel === "book";

/** Opens the set of clients. */
export function createClients(options: ClientsOptions): Clients {
  const { hub, limits } = options;
  const clients = new Set<Client>();
  const batches = new Map<string, Batch>();
  let timer: ReturnType<typeof setInterval> | undefined;

  function flush(batch: Batch): void {
    if (batch.texts.length === 0) return;
    const text = `[${batch.texts.join()}]`;
    const count = batch.texts.length;
    batch.texts = [];
    batch.length = 0;
    for (const client of batch.members) sendText(client, text, count);
  }

  function openBatch(keys: readonly string[], signature: string): Batch {
    const batch: Batch = {
      signature,
      keys,
      members: new Set(),
      texts: [],
      length: 0,
      deliver(text) {
        batch.texts.push(text);
        batch.length += text.length;
        if (batch.length > batchLength) flush(batch);
      },
    };
    batches.set(signature, batch);
    for (const key of keys) hub.join(key, batch);
    timer ??= setInterval(() => {
      for (const each of batches.values()) flush(each);
    }, batchMs);
    return batch;
  }

  /** After a change of what the client follows, or how: it gets all that was before the change, and nothing twice. */
  function enlist(client: Client, before: ReadonlySet<string>): void {
    if (client.batch) {
      flush(client.batch);
      leaveBatch(client, client.batch);
    } else for (const key of before) hub.leave(key, client);
    if (client.gone || client.active.size === 0) return;
    if (!client.wantsBatch) {
      for (const key of client.active) hub.join(key, client);
      return;
    }
    const keys = [...client.active].sort();
    const signature = keys.join("\n");
    const batch = batches.get(signature) ?? openBatch(keys, signature);
    // What waits is of before this client came.
    flush(batch);
    batch.members.add(client);
    client.batch = batch;
  }

  function leaveBatch(client: Client, batch: Batch): void {
    client.batch = undefined;
    batch.members.delete(client);
    if (batch.members.size > 0) return;
    batches.delete(batch.signature);
    for (const key of batch.keys) hub.leave(key, batch);
    if (batches.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  function sendText(client: Client, text: string, count: number): void {
    if (client.gone) return;
    const limit = Math.min(limits.clientBytes, limits.bytes / clients.size);
    const unread = client.socket.bufferedAmount;
    if (unread > limit) {
      const reason = `${unread} bytes are unread, the limit is ${Math.floor(limit)}`;
      client.socket.send(JSON.stringify({ type: "slow", reason }));
      drop(client, 1008, `slow: ${reason}`);
      options.onDropped("slow");
      return;
    }
    client.socket.send(text);
    options.onSent(count);
  }

  /** Something that only this client is told; in batch mode after what it is to get before. */
  function tell(client: Client, messages: readonly object[]): void {
    if (messages.length === 0) return;
    if (client.batch) flush(client.batch);
    if (client.wantsBatch) sendText(client, JSON.stringify(messages), messages.length);
    else for (const message of messages) sendText(client, JSON.stringify(message), 1);
  }

  function drop(client: Client, code: number, reason: string): void {
    forget(client);
    // A close frame has room for 123 bytes.
    client.socket.close(code, reason.slice(0, 120));
  }

  function forget(client: Client): void {
    if (client.gone) return;
    client.gone = true;
    clearTimeout(client.idle);
    const before = new Set(client.active);
    client.active.clear();
    client.topics.clear();
    if (client.batch) leaveBatch(client, client.batch);
    else for (const key of before) hub.leave(key, client);
    clients.delete(client);
  }

  function watchIdle(client: Client): void {
    clearTimeout(client.idle);
    if (client.gone || client.topics.size > 0) return;
    client.idle = setTimeout(() => {
      const reason = `a client has to follow something within ${limits.idleMs / 1000} s`;
      tell(client, [{ type: "error", message: "No subscription", reason }]);
      drop(client, 1008, "no subscription");
      options.onDropped("idle");
    }, limits.idleMs);
  }

  function receive(client: Client, data: unknown): void {
    if (client.gone) return;
    const second = Math.floor(performance.now() / 1000);
    if (second !== client.second) [client.second, client.messages] = [second, 0];
    if (++client.messages > limits.messagesPerSecond || client.waiting >= limits.messagesPerSecond) {
      const reason = client.waiting < limits.messagesPerSecond
        ? `at most ${limits.messagesPerSecond} messages a second`
        : `at most ${limits.messagesPerSecond} messages that wait for their answers`;
      tell(client, [{ type: "error", message: "Rate limit exceeded", reason }]);
      drop(client, 1008, reason);
      options.onDropped("rate");
      return;
    }
    const text = typeof data === "string" ? data : "";
    const parsed = parseRequest(text);
    if ("error" in parsed) {
      tell(client, [parsed.error]);
      // Whoever says so much would say it again.
      if (text.length > maxRequestLength) drop(client, 1009, parsed.error.reason);
      return;
    }
    client.waiting++;
    client.work = client.work.then(() => handle(client, parsed.request)).catch((error) =>
      tell(client, [{ type: "error", message: "Failed", reason: String(error) }])
    ).finally(() => client.waiting--);
  }

  async function handle(client: Client, request: Request): Promise<void> {
    if (client.gone) return;
    if (request.type === "ping") {
      tell(client, [{ type: "pong", time: request.time, server_time: isoMicros(nowMicros()) }]);
    } else if (request.type === "unsubscribe") {
      const before = new Set(client.active);
      for (const [key, topic] of client.topics) {
        if (!request.filters.some((filter) => matches(filter, topic))) continue;
        client.topics.delete(key);
        client.active.delete(key);
      }
      enlist(client, before);
      tell(client, [subscriptions(client, false)]);
      watchIdle(client);
    } else await subscribe(client, request);
  }

  async function subscribe(client: Client, request: Request & { type: "subscribe" }): Promise<void> {
    const refused = new Map<string, string>();
    for (const product of new Set(request.topics.map(({ productId }) => productId))) {
      const reason = product === "" ? undefined : await options.refusal(product);
      if (reason !== undefined) refused.set(product, reason);
    }
    if (client.gone) return;
    const errors = [...refused.values()];
    const added: Topic[] = [];
    let room = limits.computed - [...client.topics.values()].filter(isComputed).length;
    for (const topic of request.topics) {
      const key = topicKey(topic);
      if (refused.has(topic.productId) || client.topics.has(key)) continue;
      if (client.topics.size >= limits.topics) {
        errors.push(`too many subscriptions: at most ${limits.topics}`);
        break;
      }
      if (isComputed(topic) && --room < 0) continue;
      client.topics.set(key, topic);
      added.push(topic);
    }
    if (room < 0) errors.push(`too many candles and books: at most ${limits.computed} together`);
    const before = new Set(client.active);
    client.wantsBatch = request.batch ?? client.wantsBatch;
    tell(client, errors.map((reason) => ({ type: "error", message: "Failed to subscribe", reason })));
    const { resume } = request;
    const resumed = resume !== undefined && hub.covers(resume.stream, resume.seq) &&
      added.every((topic) => options.aliveSince(topic) <= resume.seq);
    tell(client, [subscriptions(client, resumed)]);
    watchIdle(client);
    if (resumed && !await replay(client, resume.seq, new Set(added.map(topicKey)))) return;
    // From here to enlist() nothing waits: what is sent now and what is published after it leave nothing out.
    const now: Topic[] = resumed ? added : [];
    const openings: object[] = [];
    const later: [Topic, Promise<() => Outgoing[]>][] = [];
    for (const topic of resumed ? [] : added) {
      const opening = options.opening(topic, (reason) => trouble(client, topic, reason));
      if (opening instanceof Promise) later.push([topic, opening]);
      else {
        openings.push(...opening.map(numbered));
        now.push(topic);
      }
    }
    tell(client, openings);
    for (const topic of now) client.active.add(topicKey(topic));
    enlist(client, before);
    for (const [topic, opening] of later) {
      opening.catch((error) => {
        trouble(client, topic, firstLine(error));
        return () => [];
      }).then((say) => activate(client, topic, say));
    }
  }

  /** Sends what was missed, no faster than the client reads; true when the client has all of it. */
  async function replay(client: Client, seq: number, keys: ReadonlySet<string>): Promise<boolean> {
    for (let from = seq;;) {
      const { texts, seq: upTo } = hub.after(from, keys, replayLength);
      if (client.wantsBatch && texts.length > 0) sendText(client, `[${texts.join()}]`, texts.length);
      else for (const text of texts) sendText(client, text, 1);
      from = upTo;
      if (from === hub.seq) return !client.gone;
      await untilRead(client);
      if (client.gone) return false;
      if (!hub.covers(hub.stream, from)) {
        drop(client, 1008, "slow: what was missed is no longer remembered");
        options.onDropped("slow");
        return false;
      }
    }
  }

  async function untilRead(client: Client): Promise<void> {
    while (!client.gone && client.socket.bufferedAmount > replayLength) await sleep(readMs);
  }

  /** The topic can start: its present state, taken at this moment, then all that follows. */
  async function activate(client: Client, topic: Topic, say: () => Outgoing[]): Promise<void> {
    const key = topicKey(topic);
    // Many large snapshots at once are no reason to call a client slow.
    await untilRead(client);
    // It may have unsubscribed, and even subscribed again, meanwhile.
    if (client.gone || client.topics.get(key) !== topic) return;
    tell(client, say().map(numbered));
    const before = new Set(client.active);
    client.active.add(key);
    enlist(client, before);
  }

  function trouble(client: Client, topic: Topic, reason: string): void {
    if (client.topics.get(topicKey(topic)) !== topic) return;
    const { channel, productId } = topic;
    tell(client, [{ type: "error", message: "No snapshot yet", reason, channel, product_id: productId }]);
  }

  /** A snapshot holds all up to the newest number. */
  const numbered = ({ type, fields }: Outgoing) => ({ type, seq: hub.seq, ...fields });

  const subscriptions = (client: Client, resumed: boolean) => ({
    type: "subscriptions",
    stream: hub.stream,
    seq: hub.seq,
    resumed,
    simulated: options.simulated,
    channels: describeTopics(client.topics.values()),
  });

  return {
    add(socket) {
      const client: Client = {
        socket,
        gone: false,
        topics: new Map(),
        active: new Set(),
        batch: undefined,
        wantsBatch: false,
        second: 0,
        messages: 0,
        waiting: 0,
        idle: undefined,
        work: Promise.resolve(),
        deliver: (text) => sendText(client, text, 1),
      };
      clients.add(client);
      watchIdle(client);
      return { receive: (data) => receive(client, data), ended: () => forget(client) };
    },
    tellAll(message, reason) {
      for (const client of clients) tell(client, [{ type: "error", message, reason }]);
    },
    closeAll(code, reason) {
      for (const client of clients) drop(client, code, reason);
    },
    get size() {
      return clients.size;
    },
  };
}
