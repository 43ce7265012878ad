/**
 * What becomes of an item of the feed in Kafka: which topic, which key, which stamp.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Message } from "kafkajs";
import { isoMicros } from "../core/time.ts";
import { stampHeader, stampText } from "../kafka/message.ts";
import type { FeedEvent, FeedItem, Frame } from "./feed_items.ts";

/** Where messages go. */
export interface Route {
  topic: string;
  level2Topic: string;
  /** Where they come from, for their stamp: feed, simulator, replay, backfill. */
  source: string;
}

/** A Kafka message and its topic. kafkajs calls the record of Kafka a message. */
export interface KafkaRecord {
  topic: string;
  message: Message;
  /** Of the value. */
  bytes: number;
  /** µs since the epoch. */
  receivedAt: number;
  item: FeedItem;
}

/**
 * The message of an item: a frame's bytes untouched, a feed event as `{"type":"feed_event",…}`; key = product_id, so that a
 * product's messages keep their order. A frame above the topic's limit becomes a feed event with its beginning.
 *
 * @param maxMessageBytes a topic's limit of a batch's size; undefined when it isn't known
 */
export function toKafkaRecord(
  item: FeedItem,
  route: Route,
  maxMessageBytes: (topic: string) => number | undefined = () => undefined,
): KafkaRecord {
  const value = item.kind === "event"
    ? feedEventText(item)
    : typeof item.data === "string"
    ? item.data
    : Buffer.from(item.data);
  const level2 = item.kind === "frame" && (item.type === "l2update" || item.type === "snapshot");
  const message: KafkaRecord = {
    topic: level2 ? route.level2Topic : route.topic,
    bytes: Buffer.byteLength(value),
    receivedAt: item.receivedAt,
    item,
    message: {
      // Without a key kafkajs chooses a partition anew at each try, and a batch that is tried again must be the same.
      ...(item.productId === undefined ? { key: null, partition: 0 } : { key: item.productId }),
      value,
      timestamp: String(Math.floor(item.receivedAt / 1000)),
      headers: { [stampHeader]: stampText({ ...item, source: route.source }) },
    },
  };
  const limit = maxMessageBytes(message.topic);
  return item.kind === "frame" && limit !== undefined && batchBytes([message]) > limit
    ? toKafkaRecord(tooLarge(item, limit), route)
    : message;
}

function feedEventText({ event, receivedAt, productId, channel, reason, details }: FeedEvent): string {
  const time = isoMicros(receivedAt);
  return JSON.stringify({ type: "feed_event", event, time, product_id: productId, channel, reason, details });
}

export function tooLarge(frame: Frame, limit: number): FeedEvent {
  const head = typeof frame.data === "string" ? frame.data.slice(0, 500) : "";
  return {
    kind: "event",
    event: "frame_too_large",
    receivedAt: frame.receivedAt,
    connection: frame.connection,
    reason: `a frame of ${frame.data.length} bytes is above the topic's limit of ${limit}`,
    details: { bytes: frame.data.length, type: frame.type, head },
    ...(frame.productId === undefined ? {} : { productId: frame.productId }),
  };
}

/** The most bytes that Kafka's format makes of these messages as one batch. */
export function batchBytes(messages: readonly KafkaRecord[]): number {
  return messages.reduce((sum, message) => sum + messageBytes(message), batchOverhead);
}

export function messageBytes({ bytes, message: { key, headers } }: KafkaRecord): number {
  let sum = bytes + messageOverhead + (key === null || key === undefined ? 0 : Buffer.byteLength(key));
  for (const [name, value] of Object.entries(headers ?? {})) {
    sum += name.length + Buffer.byteLength(String(value)) + 4;
  }
  return sum;
}

/** What Kafka's format adds to a message, and to a batch of them, at the most. */
const messageOverhead = 64;

export const batchOverhead = 128;
