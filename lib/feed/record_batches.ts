/**
 * How records are grouped for the broker: rounds of a few megabytes, a request for each partition, in chunks that the topic
 * takes.
 *
 * @module
 */

import { Partitioners } from "kafkajs";
import { batchOverhead, type KafkaRecord, messageBytes } from "./kafka_record.ts";

/** As much of `pending` as fits into one round; a single larger message goes alone. */
export function firstBatch(pending: readonly KafkaRecord[]): KafkaRecord[] {
  let bytes = 0;
  let count = 0;
  for (const message of pending) {
    if (count > 0 && (bytes + message.bytes > maxBatchBytes || count === maxBatchMessages)) break;
    bytes += message.bytes;
    count++;
  }
  return pending.slice(0, count);
}

/**
 * What goes into one request: as many messages as Kafka's format keeps below `maxBytes`, a single larger one alone; and no
 * more than kafkajs encodes at its best rate.
 */
export function firstChunk(messages: readonly KafkaRecord[], maxBytes: number): KafkaRecord[] {
  let bytes = batchOverhead;
  let count = 0;
  for (const message of messages) {
    bytes += messageBytes(message);
    if (count > 0 && (bytes > maxBytes || count === maxRequestMessages)) break;
    count++;
  }
  return messages.slice(0, count);
}

const partitioner = Partitioners.DefaultPartitioner();

/** `partitions/key` → the key's partition. Keys are products: there are few, and the same ones all the time. */
const known = new Map<string, number>();
const maxKnown = 10_000;

/** The partition of a key among so many. */
export function partitionOf(key: string, partitions: number): number {
  const id = `${partitions}/${key}`;
  const found = known.get(id);
  if (found !== undefined) return found;
  const chosen = choosePartition(key, partitions);
  if (known.size < maxKnown) known.set(id, chosen);
  return chosen;
}

function choosePartition(key: string, partitions: number): number {
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionId,
    leader: 0,
    partitionErrorCode: 0,
    replicas: [],
    isr: [],
  }));
  return partitioner({ topic: "", partitionMetadata, message: { key, value: null } });
}

/** The broker forgot the producer: its data is gone, or its id has expired. */
export function lostItsSequence(type: string | undefined): boolean {
  const types = [
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "UNKNOWN_PRODUCER_ID",
    "INVALID_PRODUCER_EPOCH",
    "PRODUCER_FENCED",
  ];
  return type !== undefined && types.includes(type);
}

export const maxBatchBytes = 4 * 1024 * 1024;

const maxBatchMessages = 10_000;
/** kafkajs keeps a buffer for each record until its request is sent: it is slower a message in larger ones (deno task bench produce). */
export const maxRequestMessages = 2000;

/** Messages of a batch for one partition. */
export interface Part {
  topic: string;
  partition: number;
  messages: KafkaRecord[];
}

/** Each message's partition is chosen once, by its key: as Java's clients do. */
export function partsOf(batch: readonly KafkaRecord[], partitionsOf: (topic: string) => number): Part[] {
  const parts = new Map<string, Part>();
  for (const record of batch) {
    const { topic, message } = record;
    const partition = message.partition ?? partitionOf(message.key as string, partitionsOf(topic));
    const id = `${partition} ${topic}`;
    const part = parts.get(id) ?? { topic, partition, messages: [] };
    part.messages.push(record);
    parts.set(id, part);
  }
  return [...parts.values()];
}
