/**
 * From the feed's items to Kafka: which topic, which key, which headers; batches of a few milliseconds.
 *
 * @module
 */

import type { Kafka, Producer } from "kafkajs";
import { sleep, unlessAborted } from "../core/retry.ts";
import { readLimits } from "../kafka/topics.ts";
import { type TopicLimits, unknownLimit } from "../kafka/topic_plan.ts";
import { explainBrokerError, kafkaErrorType } from "../kafka/kafka_errors.ts";
import type { FeedItem } from "./feed_items.ts";
import type { Logger } from "../process/log.ts";
import { FatalError } from "../core/errors.ts";
import {
  firstBatch,
  firstChunk,
  lostItsSequence,
  maxBatchBytes,
  maxRequestMessages,
  type Part,
  partsOf,
} from "./record_batches.ts";
import { batchBytes, type KafkaRecord, type Route, toKafkaRecord, tooLarge } from "./kafka_record.ts";
import { retryForever } from "../core/retry_forever.ts";

/** What `write` lets wait: one batch on its way and the next one filling. The rest stays in the feed's buffer. */
const maxPendingBytes = 2 * maxBatchBytes;
/** How long after the stop the broker may take to confirm what is on its way. */
const graceMs = 5000;
/** So far apart are rounds of requests, unless as many messages wait as a request takes. */
const lingerMs = 10;

/** What a publisher has taken and the broker hasn't confirmed. */
export interface Waiting {
  messages: number;
  bytes: number;
  /** When the oldest was received, µs since the epoch; undefined when there is none. */
  oldestAt: number | undefined;
  /** No more is taken until the broker confirms some. */
  isFull: boolean;
  /** Some are on their way, or are about to be sent again. */
  isSending: boolean;
}

/** Publishes the feed's items in order. */
export interface Publisher {
  /** What waits now. */
  readonly waiting: Waiting;
  /** Takes an item; waits while two batches wait for the broker. */
  write(item: FeedItem): Promise<void>;
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
  /** What `prepareTopics` has found: the topics' partitions and sizes. */
  limits: ReadonlyMap<string, TopicLimits>;
  log: Logger;
  /** Gives up connecting at once, and a broker that doesn't answer a few seconds later. */
  signal: AbortSignal;
  /** Told what the broker has confirmed, of one topic at a time. */
  onSent?: (messages: readonly KafkaRecord[]) => void;
}

/** A topic's sizes, as far as they are known. */
interface Room extends TopicLimits {
  /** Batches stay below; found out by trying where the broker's own limit is smaller than the topic's. */
  batchBytes: number;
}

/**
 * Connects an idempotent producer (acks=all). While the broker is away it keeps its batch and tries again without end,
 * always the same batch under the same sequence numbers, so that the topic holds it once.
 *
 * Each request carries one partition. Of a request with several, kafkajs can't say which were confirmed when one was
 * refused: it would send the others twice; and when a partition moves to a broker that has answered already, not at all.
 */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const publisher = new KafkaPublisher(options);
  await publisher.connected;
  return publisher;
}

class KafkaPublisher implements Publisher {
  readonly #options: PublisherOptions;
  /** Aborts when the broker is given up. */
  readonly #stopped = new AbortController();
  readonly #rooms = new Map<string, Room>();
  #producer: Promise<Producer>;
  /** Producers that were replaced and may still be used. */
  readonly #retired: Promise<Producer>[] = [];
  #pending: KafkaRecord[] = [];
  /** The batch that is on its way. */
  #sending: KafkaRecord[] = [];
  /** What the broker hasn't confirmed: `#pending` and what is on its way. */
  #unconfirmed = 0;
  #unconfirmedBytes = 0;
  #pumping: Promise<void> | undefined;
  #failure: unknown;
  #progress = Promise.withResolvers<void>();

  constructor(options: PublisherOptions) {
    const { signal } = options;
    this.#options = options;
    this.#learnLimits(options.limits);
    this.#producer = unlessAborted(this.#connect(signal), signal);
    // A broker that is away must not keep the process from stopping.
    signal.addEventListener("abort", () => setTimeout(() => this.#giveUp(graceMs), graceMs), { once: true });
  }

  /** Resolves when the broker has answered. */
  get connected(): Promise<unknown> {
    return this.#producer;
  }

  get waiting(): Waiting {
    return {
      messages: this.#unconfirmed,
      bytes: this.#unconfirmedBytes,
      oldestAt: (this.#sending[0] ?? this.#pending[0])?.receivedAt,
      isFull: this.#unconfirmedBytes > maxPendingBytes,
      isSending: this.#pumping !== undefined,
    };
  }

  async write(item: FeedItem): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#enqueue(item);
    this.#pumping ??= this.#pump();
    while (this.#unconfirmedBytes > maxPendingBytes && this.#failure === undefined) {
      await this.#progress.promise;
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(timeoutMs: number): Promise<void> {
    const timeout = new AbortController();
    await Promise.race([this.#pumping, sleep(timeoutMs, timeout.signal)]);
    timeout.abort();
    this.#giveUp(timeoutMs);
    if (this.#failure !== undefined) throw this.#failure;
    await (await this.#producer).disconnect();
  }

  #giveUp(afterMs: number): void {
    if (this.#failure !== undefined || this.#unconfirmed === 0) return;
    this.#failure = new FatalError(
      `The broker didn't confirm the last ${this.#unconfirmed} messages within ${afterMs} ms: they are a gap now.`,
    );
    this.#stopped.abort();
    this.#announceProgress();
  }

  /** Waits for a broker that is away; gives up when it refuses us. */
  #connect(until: AbortSignal): Promise<Producer> {
    const { kafka, log } = this.#options;
    return retryForever("the broker can't be used", async () => {
      const created = kafka.producer({
        idempotent: true,
        maxInFlightRequests: 1,
        retry: { initialRetryTime: 100, maxRetryTime: 2000, retries: 5 },
      });
      try {
        await created.connect();
        return created;
      } catch (error) {
        created.disconnect().catch(() => {});
        throw explainBrokerError(error);
      }
    }, { signal: until, log });
  }

  #learnLimits(limits: ReadonlyMap<string, TopicLimits>): void {
    for (const [topic, found] of limits) {
      const batchBytes = Math.min(maxBatchBytes, found.maxMessageBytes ?? unknownLimit);
      this.#rooms.set(topic, { ...found, batchBytes });
    }
  }

  #roomOf(topic: string): Room {
    return this.#rooms.get(topic) ?? { partitions: 1, maxMessageBytes: undefined, batchBytes: unknownLimit };
  }

  #enqueue(item: FeedItem): void {
    const record = toKafkaRecord(item, this.#options.route, (topic) => this.#roomOf(topic).maxMessageBytes);
    this.#pending.push(record);
    this.#unconfirmed++;
    this.#unconfirmedBytes += record.bytes;
  }

  /** Sends until nothing is pending. While a batch is on its way the next one fills. */
  async #pump(): Promise<void> {
    try {
      for (let begunAt = performance.now(); this.#pending.length > 0;) {
        // A request for each frame would cost the broker more than the frames do.
        const restMs = begunAt + lingerMs - performance.now();
        if (restMs > 0 && this.#pending.length < maxRequestMessages) await sleep(restMs);
        begunAt = performance.now();
        this.#sending = firstBatch(this.#pending);
        this.#pending = this.#pending.slice(this.#sending.length);
        const parts = partsOf(this.#sending, (topic) => this.#roomOf(topic).partitions);
        const outcomes = await Promise.allSettled(parts.map((part) => this.#sendPart(part)));
        // Nobody uses a replaced producer any more.
        for (const old of this.#retired.splice(0)) old.then((client) => client.disconnect()).catch(() => {});
        const failed = outcomes.find((outcome) => outcome.status === "rejected");
        if (failed) throw failed.reason;
        this.#sending = [];
        this.#announceProgress();
      }
    } catch (error) {
      this.#failure ??= error;
      this.#announceProgress();
    }
    this.#pumping = undefined;
  }

  /** Sends a partition's messages in order, in as many requests as the topic's limit needs. */
  async #sendPart({ topic, partition, messages }: Part): Promise<void> {
    for (let rest = messages; rest.length > 0;) {
      const chunk = firstChunk(rest, this.#roomOf(topic).batchBytes);
      const outcome = await this.#sendChunk(topic, partition, chunk);
      if (outcome === "too large") {
        await this.#shrink(topic, chunk);
        if (chunk.length > 1) continue;
        this.#replaceByEvent(chunk[0]!);
      } else if (outcome === "no such partition") {
        await sleep(200, this.#stopped.signal);
        await this.#relearn([topic]);
        // First in line again, for a partition that is there.
        this.#pending = [...rest, ...this.#pending];
        return;
      } else {
        this.#noteConfirmed(chunk);
        this.#options.onSent?.(chunk);
      }
      rest = rest.slice(chunk.length);
    }
  }

  #noteConfirmed(messages: readonly KafkaRecord[]): void {
    this.#unconfirmed -= messages.length;
    this.#unconfirmedBytes -= messages.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Sends one request until the broker has confirmed it, or can't take it as it is. */
  async #sendChunk(
    topic: string,
    partition: number,
    chunk: readonly KafkaRecord[],
  ): Promise<"confirmed" | "too large" | "no such partition"> {
    const messages = chunk.map(({ message }) => ({ ...message, partition }));
    let own = this.#producer;
    return await retryForever("the broker didn't confirm a batch", async () => {
      try {
        const answers = await (await own).sendBatch({ acks: -1, topicMessages: [{ topic, messages }] });
        // kafkajs has nobody to send to, and says nothing, when the partition doesn't exist.
        const answered = answers.some((answer) =>
          answer.topicName === topic && answer.partition === partition
        );
        return answered ? "confirmed" : "no such partition";
      } catch (error) {
        const type = kafkaErrorType(error);
        if (type === "MESSAGE_TOO_LARGE" || type === "RECORD_LIST_TOO_LARGE") return "too large";
        if (lostItsSequence(type)) own = this.#replaceProducer(own);
        throw explainBrokerError(error);
      }
    }, {
      signal: this.#stopped.signal,
      log: this.#options.log,
      fields: { topic, partition, messages: chunk.length },
    });
  }

  /** Goes on as a new producer, unless another partition's request has done so already. */
  #replaceProducer(own: Promise<Producer>): Promise<Producer> {
    if (this.#producer === own) {
      this.#retired.push(own);
      this.#producer = this.#connect(this.#stopped.signal);
    }
    return this.#producer;
  }

  /** The broker takes less than we thought: its limit was lowered, or it has a smaller one of its own. */
  async #shrink(topic: string, refused: readonly KafkaRecord[]): Promise<void> {
    await this.#relearn([topic]);
    const room = this.#roomOf(topic);
    const size = batchBytes(refused);
    if (room.batchBytes >= size) this.#rooms.set(topic, { ...room, batchBytes: Math.ceil(size / 2) });
    this.#options.log.warn("the broker refused a batch as too large, sending smaller ones", {
      topic,
      bytes: size,
      max_message_bytes: room.maxMessageBytes,
    });
  }

  async #relearn(topics: readonly string[]): Promise<void> {
    const { kafka, log } = this.#options;
    const limits = await retryForever("the broker can't be used", () => readLimits(kafka, topics), {
      signal: this.#stopped.signal,
      log,
      explain: explainBrokerError,
    });
    this.#learnLimits(limits);
  }

  /** A frame that goes alone and is still too large is told instead of lost. */
  #replaceByEvent(refused: KafkaRecord): void {
    if (refused.item.kind === "event") {
      throw new FatalError(
        `topic ${refused.topic} refuses a message of ${refused.bytes} bytes as too large: raise its max.message.bytes ` +
          "(`deno task topics`).",
      );
    }
    this.#noteConfirmed([refused]);
    const known = this.#roomOf(refused.topic).maxMessageBytes ?? Infinity;
    this.#enqueue(tooLarge(refused.item, Math.min(known, batchBytes([refused]) - 1)));
  }

  #announceProgress(): void {
    this.#progress.resolve();
    this.#progress = Promise.withResolvers<void>();
  }
}
