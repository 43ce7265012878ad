/**
 * producer.ts: Coinbase's WebSocket → Kafka. Every frame's bytes untouched, stamped when they arrived; what happens to
 * the feed travels between them as feed events. Run with `deno task producer`.
 *
 * @module
 */

import { Counter, Gauge, Histogram } from "prom-client";
import { brokerVariables, openBroker, prepareTopics, topicSettings, topicVariables } from "./lib/broker.ts";
import { openFeed } from "./lib/coinbase/feed.ts";
import { knownTypes } from "./lib/coinbase/messages.ts";
import { latencyBuckets } from "./lib/metrics.ts";
import { openPublisher } from "./lib/publisher.ts";
import { runService } from "./lib/service.ts";
import { nowMicros } from "./lib/time.ts";

const variables = [
  "COINBASE_WS_URL",
  "COINBASE_PRODUCTS",
  "COINBASE_CHANNELS",
  "FEED_SOURCE",
  "FEED_PRODUCTS_PER_CONNECTION",
  "FEED_SILENCE_SECONDS",
  "FEED_BUFFER_MB",
  ...brokerVariables,
  ...topicVariables,
] as const;

await runService({ name: "producer", metricsPort: 9101, variables }, async (service) => {
  const { config, log, registry, signal } = service;
  const registers = [registry];
  const frames = new Counter({
    name: "tapehouse_frames_total",
    help: "Frames received, by type.",
    labelNames: ["type"],
    registers,
  });
  const notices = new Counter({
    name: "tapehouse_feed_events_total",
    help: "What happened to the feed, by event.",
    labelNames: ["event"],
    registers,
  });
  const produced = new Counter({
    name: "tapehouse_produced_total",
    help: "Messages that the broker has confirmed, by topic.",
    labelNames: ["topic"],
    registers,
  });
  const produceSeconds = new Histogram({
    name: "tapehouse_produce_seconds",
    help: "From the frame's arrival to the broker's confirmation.",
    buckets: latencyBuckets,
    registers,
  });

  const kafka = openBroker(config, "producer", log);
  await prepareTopics(kafka, topicSettings(config), signal, log);
  const publisher = await openPublisher({
    kafka,
    log,
    signal,
    route: {
      topic: config.KAFKA_TOPIC,
      level2Topic: config.KAFKA_LEVEL2_TOPIC,
      source: config.FEED_SOURCE,
    },
    onSent(batch) {
      const now = nowMicros();
      for (const { topic, receivedAt } of batch) {
        produced.inc({ topic });
        produceSeconds.observe((now - receivedAt) / 1e6);
      }
    },
  });

  const feed = openFeed({
    url: config.COINBASE_WS_URL,
    products: config.COINBASE_PRODUCTS,
    channels: config.COINBASE_CHANNELS,
    productsPerConnection: config.FEED_PRODUCTS_PER_CONNECTION,
    silenceMs: config.FEED_SILENCE_SECONDS * 1000,
    bufferBytes: config.FEED_BUFFER_MB * 1024 * 1024,
    signal,
    log,
  });
  new Gauge({
    name: "tapehouse_feed_buffer_bytes",
    help: "Received and not yet taken by the publisher.",
    registers,
    collect() {
      this.set(feed.bufferedBytes);
    },
  });
  new Gauge({
    name: "tapehouse_feed_connections",
    help: "Connections that the exchange has acknowledged.",
    registers,
    collect() {
      this.set(feed.connected);
    },
  });
  service.setHealth(() =>
    feed.connected === feed.wanted ? null : `${feed.connected} of ${feed.wanted} connections are up`
  );

  for await (const event of feed) {
    if (event.kind === "frame") frames.inc({ type: knownTypes.has(event.type) ? event.type : "other" });
    else notices.inc({ event: event.event });
    await publisher.write(event);
  }
  await publisher.close(5000);
});
