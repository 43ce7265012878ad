/**
 * From feed events to Kafka: which topic, which key, which headers; batches of a few milliseconds.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type Kafka, type Message, Partitioners } from "kafkajs";
import { retry, sleep, unlessAborted } from "./backoff.ts";
import { explainBrokerError, maxMessageBytes } from "./broker.ts";
import type { FeedEvent, Frame, Notice } from "./coinbase/feed.ts";
import type { Logger } from "./log.ts";
import { FatalError } from "./service.ts";
import { isoMicros } from "./time.ts";

/** A batch of records and its headers must stay below the topic's limit, which also bounds a single frame. */
const maxFrameBytes = maxMessageBytes - 64 * 1024;
const maxBatchBytes = 4 * 1024 * 1024;
const maxBatchMessages = 10_000;
/** What `write` lets wait: one batch on its way and the next one filling. The rest stays in the feed's buffer. */
const maxPendingBytes = 2 * maxBatchBytes;

/** How long after the stop the broker may take to confirm what is on its way. */
const graceMs = 5000;

/** Where messages go. */
export interface Route {
  topic: string;
  level2Topic: string;
  /** The header `source`: feed, simulator, replay, backfill. */
  source: string;
}

/** A Kafka message and its topic. */
export interface Outgoing {
  topic: string;
  message: Message;
  bytes: number;
  /** µs since the epoch. */
  receivedAt: number;
}

/**
 * The message of an event: a frame's bytes untouched, a notice as `{"type":"feed_event",…}`; key = product_id, so that a
 * product's messages keep their order. A frame above the broker's limit becomes a notice with its beginning.
 */
export function outgoing(event: FeedEvent, route: Route): Outgoing {
  const value = event.kind === "notice"
    ? feedEventText(event)
    : typeof event.data === "string"
    ? event.data
    : Buffer.from(event.data);
  const bytes = Buffer.byteLength(value);
  if (event.kind === "frame" && bytes > maxFrameBytes) return outgoing(tooLarge(event), route);
  const level2 = event.kind === "frame" && (event.type === "l2update" || event.type === "snapshot");
  return {
    topic: level2 ? route.level2Topic : route.topic,
    bytes,
    receivedAt: event.receivedAt,
    message: {
      // Without a key kafkajs chooses a partition anew at each try, and a batch that is tried again must be the same.
      ...(event.productId === undefined ? { key: null, partition: 0 } : { key: event.productId }),
      value,
      timestamp: String(Math.floor(event.receivedAt / 1000)),
      headers: {
        received_at: String(event.receivedAt),
        source: route.source,
        connection: event.connection,
      },
    },
  };
}

function feedEventText({ event, receivedAt, productId, channel, reason, details }: Notice): string {
  const time = isoMicros(receivedAt);
  return JSON.stringify({ type: "feed_event", event, time, product_id: productId, channel, reason, details });
}

function tooLarge(frame: Frame): Notice {
  const head = typeof frame.data === "string" ? frame.data.slice(0, 500) : "";
  return {
    kind: "notice",
    event: "frame_too_large",
    receivedAt: frame.receivedAt,
    connection: frame.connection,
    reason: `a frame of ${frame.data.length} bytes is above the limit of ${maxFrameBytes}`,
    details: { bytes: frame.data.length, type: frame.type, head },
    ...(frame.productId === undefined ? {} : { productId: frame.productId }),
  };
}

/** Publishes feed events in order. */
export interface Publisher {
  /** Takes an event; waits while two batches wait for the broker. */
  write(event: FeedEvent): Promise<void>;
  /**
   * Sends what waits and disconnects.
   *
   * @throws {FatalError} when the broker takes longer than `timeoutMs`, with how many messages it didn't confirm
   */
  close(timeoutMs: number): Promise<void>;
}

/** How to publish. */
export interface PublisherOptions {
  kafka: Kafka;
  route: Route;
  log: Logger;
  /** Gives up connecting at once, and a broker that doesn't answer a few seconds later. */
  signal: AbortSignal;
  /** How long a message may wait for company. @default {5} */
  lingerMs?: number;
  /** Told after each batch that the broker has confirmed. */
  onSent?: (batch: readonly Outgoing[]) => void;
}

/**
 * Connects an idempotent producer (acks=all). While the broker is away it keeps its batch and tries again without end,
 * always the same batch under the same sequence numbers, so that the topic holds it once.
 */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { kafka, route, log, lingerMs = 5 } = options;
  const stopped = new AbortController();
  const { signal } = options;
  let producer = await unlessAborted(connect(), signal);
  let pending: Outgoing[] = [];
  let pendingBytes = 0;
  let pumping: Promise<void> | undefined;
  let failure: unknown;
  let progress = Promise.withResolvers<void>();
  // A broker that is away must not keep the process from stopping.
  signal.addEventListener("abort", () => setTimeout(() => giveUp(graceMs), graceMs), { once: true });

  function giveUp(afterMs: number): void {
    if (failure !== undefined || pending.length === 0) return;
    failure = new FatalError(
      `The broker didn't confirm the last ${pending.length} messages within ${afterMs} ms: they are a hole now.`,
    );
    stopped.abort();
    announceProgress();
  }

  async function connect() {
    const created = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      createPartitioner: Partitioners.DefaultPartitioner,
      retry: { initialRetryTime: 100, maxRetryTime: 2000, retries: Number.MAX_SAFE_INTEGER },
    });
    await created.connect().catch((error) => {
      throw explainBrokerError(error);
    });
    return created;
  }

  /** Sends until nothing is pending. While a batch is on its way the next one fills. */
  async function pump(): Promise<void> {
    await sleep(lingerMs);
    try {
      while (pending.length > 0) {
        const batch = firstBatch(pending);
        await retry(() => send(batch), {
          signal: stopped.signal,
          onError(error, waitMs) {
            if (error instanceof FatalError) throw error;
            log.error("the broker refused a batch, trying again", {
              error,
              messages: batch.length,
              wait_ms: waitMs,
            });
          },
        });
        pending = pending.slice(batch.length);
        pendingBytes -= batch.reduce((sum, { bytes }) => sum + bytes, 0);
        options.onSent?.(batch);
        announceProgress();
      }
    } catch (error) {
      failure ??= error;
      announceProgress();
    }
    pumping = undefined;
  }

  async function send(batch: readonly Outgoing[]): Promise<void> {
    try {
      await producer.sendBatch({ acks: -1, topicMessages: byTopic(batch) });
    } catch (error) {
      if (lostItsSequence(error)) {
        // The broker forgot this producer (its data is gone, or the id has expired): go on as a new one.
        const old = producer;
        producer = await connect();
        old.disconnect().catch(() => {});
      }
      throw explainBrokerError(error);
    }
  }

  function announceProgress(): void {
    progress.resolve();
    progress = Promise.withResolvers<void>();
  }

  return {
    async write(event) {
      if (failure !== undefined) throw failure;
      const message = outgoing(event, route);
      pending.push(message);
      pendingBytes += message.bytes;
      pumping ??= pump();
      while (pendingBytes > maxPendingBytes && failure === undefined) await progress.promise;
    },
    async close(timeoutMs) {
      const timeout = new AbortController();
      await Promise.race([pumping, sleep(timeoutMs, timeout.signal)]);
      timeout.abort();
      giveUp(timeoutMs);
      if (failure !== undefined) throw failure;
      await producer.disconnect();
    },
  };
}

/** As much of `pending` as fits into one request; a single larger message goes alone. */
function firstBatch(pending: readonly Outgoing[]): Outgoing[] {
  let bytes = 0;
  let count = 0;
  for (const message of pending) {
    if (count > 0 && (bytes + message.bytes > maxBatchBytes || count === maxBatchMessages)) break;
    bytes += message.bytes;
    count++;
  }
  return pending.slice(0, count);
}

function byTopic(batch: readonly Outgoing[]): { topic: string; messages: Message[] }[] {
  const topics = Map.groupBy(batch, ({ topic }) => topic);
  return [...topics].map(([topic, group]) => ({ topic, messages: group.map(({ message }) => message) }));
}

function lostItsSequence(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause ?? error : undefined;
  const types = [
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "UNKNOWN_PRODUCER_ID",
    "INVALID_PRODUCER_EPOCH",
    "PRODUCER_FENCED",
  ];
  return cause instanceof Error && "type" in cause && types.includes(String(cause.type));
}
