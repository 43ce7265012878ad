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

/** A Kafka message as tapehouse sees it. Messages of other producers lack our headers: Kafka's own time serves then. */
export function topicMessage(topic: string, partition: number, message: KafkaMessage): TopicMessage {
  const header = (name: string) => message.headers?.[name]?.toString() ?? "";
  const receivedAt = Number(header("received_at"));
  return {
    topic,
    partition,
    offset: Number(message.offset),
    value: message.value ?? new Uint8Array(),
    receivedAt: Number.isSafeInteger(receivedAt) && receivedAt > 0
      ? receivedAt
      : Number(message.timestamp) * 1000,
    source: header("source") || "unknown",
    connection: header("connection"),
  };
}
