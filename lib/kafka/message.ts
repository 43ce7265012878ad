/**
 * A message of the topics, whoever read it.
 *
 * @module
 */

import type { KafkaMessage } from "kafkajs";

/** A message of a topic. */
export interface TopicMessage {
  topic: string;
  partition: number;
  offset: number;
  value: Uint8Array;
  /** µs since the epoch when the producer received the frame. */
  receivedAt: number;
  source: string;
  connection: string;
}

/** What the producer knows of a message besides its bytes. */
export type Stamp = Pick<TopicMessage, "receivedAt" | "source" | "connection">;

/** The header that carries the stamp. One: headers are much of what kafkajs spends on a message. */
export const stampHeader = "stamp";

/** A stamp as its header's text: `1783465097123456 feed 1a2b3c4d-1`. */
export function stampText({ receivedAt, source, connection }: Stamp): string {
  return `${receivedAt} ${source} ${connection}`;
}

/**
 * A Kafka message as tapehouse sees it. Its stamp may also be three headers, as messages were written before; those of
 * other producers have none: Kafka's own time serves then.
 */
export function topicMessage(topic: string, partition: number, message: KafkaMessage): TopicMessage {
  return {
    topic,
    partition,
    offset: Number(message.offset),
    value: message.value ?? new Uint8Array(),
    ...stampOf(message),
  };
}

function stampOf({ headers = {}, timestamp }: KafkaMessage): Stamp {
  const header = (name: string) => headers[name]?.toString() ?? "";
  const text = header(stampHeader);
  const first = text.indexOf(" ");
  const second = text.indexOf(" ", first + 1);
  const isOne = first > 0 && second > first;
  const receivedAt = Number(isOne ? text.slice(0, first) : header("received_at"));
  return {
    receivedAt: Number.isSafeInteger(receivedAt) && receivedAt > 0 ? receivedAt : kafkaMicros(timestamp),
    source: (isOne ? text.slice(first + 1, second) : header("source")) || "unknown",
    connection: isOne ? text.slice(second + 1) : header("connection"),
  };
}

/** Kafka's own time in µs; a producer may have written anything there, and -1 is "none". */
function kafkaMicros(timestamp: string): number {
  const millis = Number(timestamp);
  return millis >= 0 && millis <= latestMillis ? millis * 1000 : 0;
}

/** The latest time in ms that is a safe integer in µs. */
const latestMillis = Math.floor(Number.MAX_SAFE_INTEGER / 1000);
