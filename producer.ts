/**
 * producer.ts: Coinbase's WebSocket → Kafka. Every frame's bytes untouched, stamped when they arrived; what happens to
 * the feed travels between them as feed events. Run with `deno task producer`.
 *
 * @module
 */

import { brokerVariables, openBroker } from "./lib/kafka/client.ts";
import { prepareTopics } from "./lib/kafka/topics.ts";
import { topicSettings, topicVariables } from "./lib/kafka/topic_plan.ts";
import { type Feed, openFeed } from "./lib/feed/feed.ts";
import { type ProducerWatch, watchProducer } from "./lib/feed/producer_watch.ts";
import { openPublisher, type Publisher } from "./lib/feed/publisher.ts";
import { runService } from "./lib/process/service.ts";

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
  const { config, log, signal } = service;
  const watch = watchProducer(service);
  const kafka = openBroker(config, "producer", log, watch.kafkaError);
  const topics = topicSettings(config);

  // At once, whether the broker is there or not: its buffer keeps what comes meanwhile.
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
  watch.opened({ feed });

  let publisher: Publisher | undefined;
  try {
    const limits = await prepareTopics(kafka, topics, signal, log);
    const { KAFKA_TOPIC: topic, KAFKA_LEVEL2_TOPIC: level2Topic, FEED_SOURCE: source } = config;
    const route = { topic, level2Topic, source };
    publisher = await openPublisher({ kafka, limits, route, log, signal, onSent: watch.sent });
    watch.opened({ publisher });
    await publishAll(feed, publisher, watch);
  } finally {
    // A broker that refuses us at the start has been told of already.
    if (publisher !== undefined || signal.aborted) watch.ended();
  }
});

/** Whatever ends the feed: what was received before is stored first. */
async function publishAll(feed: Feed, publisher: Publisher, watch: ProducerWatch): Promise<void> {
  const ended = await writeAll(feed, publisher, watch).then(() => undefined, (error) => ({ error }));
  await publisher.close(5000);
  if (ended) throw ended.error;
}

async function writeAll(feed: Feed, publisher: Publisher, watch: ProducerWatch): Promise<void> {
  for await (const item of feed) {
    watch.itemRead(item);
    await publisher.write(item);
  }
}
