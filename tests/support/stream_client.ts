/**
 * Clients of the stream for tests, and a stream for them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Registry } from "prom-client";
import { openBroker } from "../../lib/kafka/client.ts";
import { createLogger } from "../../lib/process/log.ts";
import { openStream, type Stream, type StreamOptions } from "../../lib/stream/live_stream.ts";
import { type Tape } from "./tape.ts";
import { hangMs } from "./until.ts";

/** What a client hears. */
export type Message = Record<string, unknown> & { type: string; seq: number };

/** A log that nobody reads. */
export const quiet = createLogger({}, { write: () => {} });

/** A client of the stream that keeps all it hears. */
export interface TestClient {
  messages: Message[];
  /** Nothing once the socket has closed: who waits for an answer then is told why there is none. */
  say(message: object): void;
  /** The first message that fits, heard already or still to come; fails when the socket closes before. */
  until(what: string, fits: (message: Message, index: number) => boolean): Promise<Message>;
  /** Resolves with the close code. */
  closed: Promise<{ code: number; reason: string }>;
  /** Of the subprotocols that were offered, the one that the server speaks. */
  protocol: string;
  close(): Promise<void>;
}

/**
 * Opens a socket; resolves once it is open.
 *
 * @throws {Error} when it is refused, with what the server answered
 */
export async function connect(url: string | URL, options: WebSocketOptions = {}): Promise<TestClient> {
  const socket = new WebSocket(url, options);
  const messages: Message[] = [];
  let news = Promise.withResolvers<void>();
  const tell = () => {
    news.resolve();
    news = Promise.withResolvers();
  };
  let end: { code: number; reason: string } | undefined;
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  const opened = Promise.withResolvers<void>();
  socket.onopen = () => opened.resolve();
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    messages.push(...(Array.isArray(frame) ? frame : [frame]));
    tell();
  };
  // Behind the opening it is told as a close, too.
  socket.onerror = (event) => opened.reject(new Error((event as ErrorEvent).message));
  socket.onclose = ({ code, reason }) => {
    end = { code, reason };
    opened.reject(new Error(`closed before it was open: ${code} ${reason}`));
    closed.resolve(end);
    tell();
  };
  await opened.promise;
  return {
    messages,
    say(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    async until(what, fits) {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        tell();
      }, hangMs);
      try {
        for (let index = 0;; index++) {
          while (index >= messages.length) {
            if (isLate || end) {
              const why = end ? `the socket closed with ${end.code} ${end.reason}` : "it hangs";
              assert.fail(`never heard: ${what}: ${why}; last: ${JSON.stringify(messages.slice(-3))}`);
            }
            await news.promise;
          }
          if (fits(messages[index]!, index)) return messages[index]!;
        }
      } finally {
        clearTimeout(timer);
      }
    },
    closed: closed.promise,
    protocol: socket.protocol,
    async close() {
      socket.close();
      await closed.promise;
    },
  };
}

/** A stream on a port of its own; `?client=` names whose socket it is. */
export async function withStream(
  tape: Tape,
  options: Partial<StreamOptions>,
  body: (stream: Stream, url: string) => Promise<void>,
): Promise<void> {
  const stream = openStream({
    config: tape.config,
    clickhouse: tape.clickhouse,
    log: quiet,
    registry: new Registry(),
    ...options,
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => stream.upgrade(request, new URL(request.url).searchParams.get("client") ?? "one"),
  );
  try {
    await tape.until(
      "the stream to read from Kafka",
      () => Promise.resolve(stream.status().kafka.ok),
    );
    await body(stream, `ws://127.0.0.1:${server.addr.port}/api/stream`);
  } finally {
    await stream.close();
    await server.shutdown();
  }
}

/** The topics of a tape without a producer. */
export async function makeTopics(tape: Tape): Promise<void> {
  const admin = openBroker(tape.config, "test", quiet).admin();
  await admin.connect();
  await admin.createTopics({
    topics: [tape.config.KAFKA_TOPIC, tape.config.KAFKA_LEVEL2_TOPIC].map((topic) => ({
      topic,
      numPartitions: 2,
    })),
  });
  await admin.disconnect();
}
