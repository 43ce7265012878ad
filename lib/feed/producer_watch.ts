/**
 * What the producer tells of itself: what went through it, gauges of the feed and of the publisher, what is missing, and
 * whether its loop is stuck.
 *
 * @module
 */

import { Counter, Histogram, type Registry } from "prom-client";
import type { FeedItem } from "./feed_items.ts";
import type { Feed } from "./feed.ts";
import type { KafkaRecord } from "./kafka_record.ts";
import { knownTypes } from "./messages.ts";
import { gauge } from "../process/gauge.ts";
import { watchPublisher } from "./publisher_metrics.ts";
import { countKafkaErrors } from "../kafka/error_counter.ts";
import type { Publisher } from "./publisher.ts";
import { nowMicros } from "../core/time.ts";
import { latencyBuckets } from "../process/metrics_server.ts";
import type { Reporting } from "../process/service.ts";

/** The producer, watched from outside. */
export interface ProducerWatch {
  /** To be told each error of the Kafka client. */
  kafkaError(message: string): void;
  /** To be told of both once they are open. */
  opened(parts: { publisher?: Publisher; feed?: Feed }): void;
  /** An item was taken from the feed. */
  itemRead(item: FeedItem): void;
  /** The broker has confirmed messages of one topic. */
  sent(messages: readonly KafkaRecord[]): void;
  /** The producer ends: counts and logs what was received and is in no topic. */
  ended(): void;
}

/** Readiness and liveness are the service's from now on. */
export function watchProducer({ registry, log, setHealth, watch }: Reporting): ProducerWatch {
  const registers = [registry];
  let feed: Feed | undefined;
  let publisher: Publisher | undefined;
  let taken = 0;
  const errors = countKafkaErrors(registry);
  const publishing = watchPublisher(registry, () => publisher, errors);
  const counters = createCounters(registry);
  gauge(registers, "tapehouse_feed_buffer_bytes", {
    help: "Received and not yet taken by the publisher.",
    value: () => feed?.bufferedBytes ?? 0,
  });
  gauge(registers, "tapehouse_unproduced_messages", {
    help: "Received and not yet confirmed by the broker: what waits in memory is part of the tape's lag.",
    value: () => (feed?.bufferedItems ?? 0) + (publisher?.waiting.messages ?? 0),
  });
  gauge(registers, "tapehouse_feed_connections", {
    help: "Connections that the exchange has acknowledged.",
    value: () => feed?.connected ?? 0,
  });
  gauge(registers, "tapehouse_feed_connections_wanted", {
    help: "Connections that there should be.",
    value: () => feed?.wanted ?? 0,
  });
  gauge(registers, "tapehouse_feed_unacknowledged_channels", {
    help: "Channels of products that the exchange was asked for twice and never acknowledged.",
    value: () => feed?.unacknowledged.length ?? 0,
  });

  setHealth(() => [publishing.reason() ?? "", ...feedReasons(feed)]);
  watch({
    limitSeconds: 60,
    due() {
      if (feed === undefined || publisher === undefined) return null;
      // A full publisher waits for the broker.
      const { bufferedItems } = feed;
      if (bufferedItems > 0 && !publisher.waiting.isFull) return "frames wait in the feed and aren't taken";
      return publishing.due();
    },
    progress: () => taken + publishing.confirmed,
  });

  return {
    kafkaError: errors.note,
    opened(parts) {
      publisher = parts.publisher ?? publisher;
      feed = parts.feed ?? feed;
    },
    itemRead(item) {
      taken++;
      if (item.kind === "event") counters.events.inc({ event: item.event });
      else counters.frames.inc({ type: knownTypes.has(item.type) ? item.type : "other" });
    },
    sent(messages) {
      publishing.sent();
      const now = nowMicros();
      const [first] = messages;
      if (first !== undefined) counters.produced.inc({ topic: first.topic }, messages.length);
      for (const { receivedAt } of messages) counters.produceSeconds.observe((now - receivedAt) / 1e6);
    },
    ended() {
      const [unconfirmed, untaken] = [publisher?.waiting.messages ?? 0, feed?.bufferedItems ?? 0];
      if (unconfirmed + untaken === 0) return;
      counters.dropped.inc(unconfirmed + untaken);
      log.error("given up: received, and in no topic", { unconfirmed, untaken });
    },
  };
}

function createCounters(registry: Registry) {
  const registers = [registry];
  return {
    frames: new Counter({
      name: "tapehouse_frames_total",
      help: "Frames received, by type.",
      labelNames: ["type"],
      registers,
    }),
    events: new Counter({
      name: "tapehouse_feed_events_total",
      help: "What happened to the feed, by event.",
      labelNames: ["event"],
      registers,
    }),
    produced: new Counter({
      name: "tapehouse_produced_total",
      help: "Messages that the broker has confirmed, by topic.",
      labelNames: ["topic"],
      registers,
    }),
    produceSeconds: new Histogram({
      name: "tapehouse_produce_seconds",
      help: "From the frame's arrival to the broker's confirmation.",
      buckets: latencyBuckets,
      registers,
    }),
    dropped: new Counter({
      name: "tapehouse_dropped_messages_total",
      help:
        "Frames and feed events that were received and given up at the stop, because the broker was away.",
      registers,
    }),
  };
}

/** What the feed lacks, a line each. */
export function feedReasons(
  feed: Pick<Feed, "connected" | "wanted" | "unacknowledged"> | undefined,
): string[] {
  if (feed === undefined) return [];
  const { connected, wanted, unacknowledged } = feed;
  return [
    ...(connected === wanted ? [] : [`feed: ${connected} of ${wanted} connections are up`]),
    ...unacknowledged.map(({ channel, productId }) =>
      `feed: channel ${channel}${productId === "" ? "" : ` of ${productId}`} not acknowledged`
    ),
  ];
}
