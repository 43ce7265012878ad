/**
 * What is said to the stream and what comes of its answers, connection after connection; it knows nothing of sockets.
 * It goes on where it was when the server still knows, and says when it couldn't, so that what was missed is loaded anew.
 *
 * @module
 */

import { microsOf } from "../../lib/core/time.ts";
import { changes, type Channel } from "./channels.ts";
import { clockOffset, type Exchange } from "./latency.ts";

/** A message of the stream; which fields there are depends on `type`. */
export interface StreamMessage {
  type: string;
  seq?: number;
  time?: string;
  received_at?: string;
  product_id?: string;
  [field: string]: unknown;
}

/** What the server said. */
export interface SessionEvents {
  /** A data message. */
  message(message: StreamMessage): void;
  /** What was asked for is followed. */
  subscribed(): void;
  /** Connected again, but what was sent meanwhile is lost: load it anew. */
  lost(): void;
  /** The server refused something. */
  refused(reason: string): void;
  /** Whether the server's data isn't the exchange's. */
  simulated(simulated: boolean): void;
}

/** The clocks are compared by so many pings, the newest. */
const keptExchanges = 12;

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

/** A session that wants nothing yet. */
export function createStreamSession(events: SessionEvents) {
  let wanted: Channel[] = [];
  let subscribed: Channel[] = [];
  /** Where the stream is; seq 0 before the first message. */
  let position: { stream: string; seq: number } | null = null;
  let exchanges: Exchange[] = [];
  let resuming = false;

  function acknowledged(message: StreamMessage): void {
    const stream = String(message.stream);
    events.subscribed();
    events.simulated(message.simulated === true);
    if (resuming && message.resumed !== true) events.lost();
    resuming = false;
    if (position?.stream !== stream) position = { stream, seq: message.seq ?? 0 };
  }

  return {
    /** A connection is made: nothing is subscribed there yet. */
    connecting(): void {
      subscribed = [];
      // Another server, or the same after this machine slept: its clock is compared anew.
      exchanges = [];
    },
    /** The connection is there: what comes next resumes. */
    opened(): void {
      resuming = position !== null;
    },
    /** From now on these channels. */
    want(channels: Channel[]): void {
      wanted = channels;
    },
    /** What to send so that what is wanted is subscribed. */
    requests(): string[] {
      const requests = changes(subscribed, wanted).map((request) => {
        const first = subscribed.length === 0 && request.type === "subscribe";
        const resume = first && resuming && position !== null && { resume: position };
        return JSON.stringify({ ...request, batch: true, ...resume });
      });
      subscribed = wanted;
      return requests;
    },
    /** A message that came at `now`, `performance.now()`. */
    receive(message: StreamMessage, now: number): void {
      switch (message.type) {
        case "subscriptions":
          return acknowledged(message);
        case "pong": {
          const server = microsOf(String(message.server_time)) / 1000;
          const exchange = { sent: Number(message.time), came: now, server };
          if (Number.isFinite(server)) exchanges = [...exchanges, exchange].slice(-keptExchanges);
          return;
        }
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
    },
    /** The server's clock minus the page's `performance.now()`, in ms; null before the first pong. */
    offset: (): number | null => exchanges.length === 0 ? null : clockOffset(exchanges),
  };
}
