/**
 * The WebSocket: one connection that comes back by itself. What is said on it is in stream_session.ts.
 *
 * @module
 */

import type { Channel } from "./channels.ts";
import { createStreamSession, parseFrame, type SessionEvents, type StreamMessage } from "./stream_session.ts";

/** How the connection is: `waiting` for the next try; `reason` is the server's, empty when it said none. */
export type Connection =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "waiting"; until: number; reason: string };

/** What the client tells. */
export interface StreamEvents extends Omit<SessionEvents, "subscribed"> {
  /** The connection's state changed. */
  connection(connection: Connection): void;
}

const pingEvery = 5_000;
/** Without a message and without a pong for so long the connection is dead, whatever TCP says. */
const silence = 15_000;

/** How long to wait before try `attempt` (from 0), in ms: doubling from 250 to 10 000, of which up to a half by chance. */
export function retryDelay(attempt: number, random: number): number {
  const whole = Math.min(10_000, 250 * 2 ** Math.min(attempt, 10));
  return Math.round(whole * (0.5 + random / 2));
}

/** What a socket tells. */
interface SocketEvents {
  open(): void;
  /** A frame; null when it isn't the stream's protocol. */
  frame(messages: StreamMessage[] | null): void;
  /** `reason` is the server's, empty when it said none. */
  close(reason: string): void;
}

/** One WebSocket. */
function openSocket(address: string, protocols: string[], events: SocketEvents) {
  const socket = new WebSocket(address, protocols);
  let reason = "";
  socket.onopen = () => events.open();
  socket.onmessage = ({ data }) => {
    const messages = typeof data === "string" ? parseFrame(data) : null;
    const trouble = messages?.findLast(({ type }) => type === "slow" || type === "error");
    if (trouble !== undefined) reason = String(trouble.reason ?? trouble.message ?? trouble.type);
    events.frame(messages);
  };
  socket.onclose = (close) => events.close(reason || close.reason);
  return {
    isOpen: () => socket.readyState === WebSocket.OPEN,
    send: (text: string) => socket.send(text),
    close: () => socket.close(),
  };
}

/**
 * Connects, and stays so until the page goes.
 *
 * @param options.address of the stream
 * @param options.protocols to offer, asked anew at each try (the token may have changed)
 */
export function openStream(
  options: { address: () => string; protocols: () => string[]; events: StreamEvents },
) {
  const { events } = options;
  let socket: ReturnType<typeof openSocket> | null = null;
  let attempt = 0;
  let heardAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const session = createStreamSession({
    ...events,
    subscribed() {
      attempt = 0;
      events.connection({ state: "open" });
    },
  });

  function connect(): void {
    clearTimeout(timer);
    events.connection({ state: "connecting" });
    const opened = openSocket(options.address(), options.protocols(), {
      open() {
        ping();
        session.opened();
        synchronise();
      },
      frame(messages) {
        heardAt = performance.now();
        if (messages === null) return events.refused("the server sent what isn't the stream's protocol");
        for (const message of messages) session.receive(message, heardAt);
      },
      close(reason) {
        if (socket !== opened) return;
        socket = null;
        const wait = retryDelay(attempt++, Math.random());
        timer = setTimeout(connect, wait);
        events.connection({ state: "waiting", until: Date.now() + wait, reason });
      },
    });
    socket = opened;
    session.connecting();
    heardAt = performance.now();
  }

  function synchronise(): void {
    if (!socket?.isOpen()) return;
    for (const request of session.requests()) socket.send(request);
  }

  function ping(): void {
    if (socket?.isOpen()) socket.send(JSON.stringify({ type: "ping", time: performance.now() }));
  }

  /** Drops the connection and tries at once. */
  function reconnect(): void {
    const old = socket;
    socket = null;
    old?.close();
    connect();
  }

  setInterval(() => {
    if (socket === null) return;
    if (performance.now() - heardAt > silence) reconnect();
    else ping();
  }, pingEvery);

  return {
    connect,
    reconnect,
    /** From now on these channels. */
    want(channels: Channel[]): void {
      session.want(channels);
      synchronise();
    },
    /** The server's clock minus the page's `performance.now()`, in ms; null before the first pong. */
    offset: session.offset,
  };
}

/** The stream that openStream makes. */
export type Stream = ReturnType<typeof openStream>;
