/**
 * The WebSocket: one connection that comes back by itself, goes on where it was when the server still knows, and says
 * when it couldn't, so that what was missed is loaded anew.
 *
 * @module
 */

import { changes, type Channel } from "./channels.ts";
import { clockOffset, type Exchange } from "./latency.ts";
import { micros } from "./time.ts";

/** A message of the stream; which fields there are depends on `type`. */
export interface StreamMessage {
  type: string;
  seq?: number;
  time?: string;
  received_at?: string;
  product_id?: string;
  [field: string]: unknown;
}

/** How the connection is: `waiting` for the next try; `reason` is the server's, empty when it said none. */
export type Connection =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "waiting"; until: number; reason: string };

/** What the client tells. */
export interface StreamEvents {
  /** A data message. */
  message(message: StreamMessage): void;
  /** The connection's state changed. */
  connection(connection: Connection): void;
  /** Connected again, but what was sent meanwhile is lost: load it anew. */
  lost(): void;
  /** The server refused something. */
  refused(reason: string): void;
  /** The server's data isn't the exchange's. */
  simulated(simulated: boolean): void;
}

const pingEvery = 5_000;
/** Without a message and without a pong for so long the connection is dead, whatever TCP says. */
const silence = 15_000;

/** How long to wait before try `attempt` (from 0), in ms: doubling from 250 to 10 000, of which up to a half by chance. */
export function retryDelay(attempt: number, random: number): number {
  const whole = Math.min(10_000, 250 * 2 ** Math.min(attempt, 10));
  return Math.round(whole * (0.5 + random / 2));
}

/** A frame is a message, or an array of them with `batch: true`; what isn't either is null. */
export function parseFrame(text: string): StreamMessage[] | null {
  try {
    const frame: unknown = JSON.parse(text);
    const list: unknown[] = Array.isArray(frame) ? frame : [frame];
    return list.every(isMessage) ? list : null;
  } catch {
    return null;
  }
}

function isMessage(value: unknown): value is StreamMessage {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/**
 * Connects, and stays so until the page goes.
 *
 * @param options.address of the stream, asked anew at each try (the token may have changed)
 */
export function openStream(options: { address: () => string; events: StreamEvents }) {
  const { events } = options;
  let socket: WebSocket | null = null;
  let wanted: Channel[] = [];
  let subscribed: Channel[] = [];
  /** Where the stream is; seq 0 before the first message. */
  let position: { stream: string; seq: number } | null = null;
  let attempt = 0;
  let heardAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let exchanges: Exchange[] = [];
  let resuming = false;

  function connect(): void {
    clearTimeout(timer);
    events.connection({ state: "connecting" });
    const opened = new WebSocket(options.address());
    socket = opened;
    subscribed = [];
    heardAt = performance.now();
    // Another server, or the same after this machine slept: its clock is compared anew.
    exchanges = [];
    let reason = "";
    opened.onopen = () => {
      ping();
      resuming = position !== null;
      synchronise();
    };
    opened.onmessage = ({ data }) => {
      heardAt = performance.now();
      const messages = typeof data === "string" ? parseFrame(data) : null;
      if (messages === null) return events.refused("the server sent what isn't the stream's protocol");
      for (const message of messages) {
        if (message.type === "slow" || message.type === "error") {
          reason = String(message.reason ?? message.message ?? message.type);
        }
        receive(message);
      }
    };
    opened.onclose = (close) => {
      if (socket !== opened) return;
      socket = null;
      const wait = retryDelay(attempt++, Math.random());
      timer = setTimeout(connect, wait);
      events.connection({
        state: "waiting",
        until: Date.now() + wait,
        reason: reason || close.reason,
      });
    };
  }

  function receive(message: StreamMessage): void {
    switch (message.type) {
      case "subscriptions": {
        attempt = 0;
        const stream = String(message.stream);
        events.connection({ state: "open" });
        events.simulated(message.simulated === true);
        if (resuming && message.resumed !== true) events.lost();
        resuming = false;
        if (position?.stream !== stream) position = { stream, seq: message.seq ?? 0 };
        return;
      }
      case "pong":
        exchanges = [
          ...exchanges.slice(-11),
          {
            sent: Number(message.time),
            came: performance.now(),
            server: micros(String(message.server_time)) / 1000,
          },
        ].filter(({ server }) => Number.isFinite(server));
        return;
      case "error":
        return events.refused(String(message.message ?? message.reason ?? "the server refused something"));
      case "slow":
        return;
      default:
        if (position !== null && message.seq !== undefined && message.seq > position.seq) {
          position.seq = message.seq;
        }
        events.message(message);
    }
  }

  function synchronise(): void {
    if (socket?.readyState !== WebSocket.OPEN) return;
    const requests = changes(subscribed, wanted);
    for (const request of requests) {
      const first = subscribed.length === 0 && request.type === "subscribe";
      socket.send(JSON.stringify({
        ...request,
        batch: true,
        ...(first && resuming && position !== null && { resume: position }),
      }));
    }
    subscribed = wanted;
  }

  function ping(): void {
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({ type: "ping", time: performance.now() }));
  }

  setInterval(() => {
    if (socket === null) return;
    if (performance.now() - heardAt > silence) return reconnect();
    ping();
  }, pingEvery);

  /** Drops the connection and tries at once. */
  function reconnect(): void {
    const old = socket;
    socket = null;
    old?.close();
    connect();
  }

  return {
    connect,
    reconnect,
    /** From now on these channels. */
    want(channels: Channel[]): void {
      wanted = channels;
      synchronise();
    },
    /** The server's clock minus the page's `performance.now()`, in ms; null before the first pong. */
    offset: (): number | null => exchanges.length === 0 ? null : clockOffset(exchanges),
  };
}
