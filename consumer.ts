/**
 * consumer.ts: Kafka → ClickHouse. Validates each message, writes typed rows so that each counts once whatever dies
 * (lib/consume/batch_protocol.ts has the protocol), and puts what fails validation into `rejected`. Run with `deno task consumer`.
 *
 * @module
 */

import { clickhouseVariables, openClickHouse } from "./lib/clickhouse/client.ts";
import { assertWindows } from "./lib/clickhouse/dedup_window.ts";
import { waitForNoKafkaEngine } from "./lib/clickhouse/kafka_engine.ts";
import { waitForSchema } from "./lib/clickhouse/migrations.ts";
import { ConfigError } from "./lib/core/errors.ts";
import { rowContent } from "./lib/ingest/batch_rows.ts";
import { BatchWriter, type BatchWriterEvents } from "./lib/ingest/batch_writer.ts";
import { createIngestCounters, type IngestCounters } from "./lib/ingest/consumer_metrics.ts";
import { openStore, type StoreEvents } from "./lib/ingest/losses.ts";
import { ConsumerWatch } from "./lib/ingest/consumer_watch.ts";
import { batchName } from "./lib/consume/batch_protocol.ts";
import { brokerVariables, openBroker } from "./lib/kafka/client.ts";
import { fetchPartitionCount, prepareTopics } from "./lib/kafka/topics.ts";
import { topicSettings, topicVariables } from "./lib/kafka/topic_plan.ts";
import { consume } from "./lib/consume/consume.ts";
import { memberName, memberVariables, takeOver } from "./lib/consume/group_member.ts";
import type { Config } from "./lib/process/config.ts";
import { chosenFaultPoint, openFaultPoint } from "./lib/process/fault_point.ts";
import type { Logger } from "./lib/process/log.ts";
import { runService } from "./lib/process/service.ts";

const variables = [
  ...memberVariables,
  "CONSUMER_BATCH_ROWS",
  "CONSUMER_FLUSH_MS",
  ...brokerVariables,
  ...topicVariables,
  ...clickhouseVariables,
] as const;

await runService({ name: "consumer", metricsPort: 9102, variables }, async (service) => {
  const { config, log, registry, signal } = service;
  const { KAFKA_GROUP: group, KAFKA_TOPIC: topic, KAFKA_LEVEL2_TOPIC: level2Topic } = config;
  assertFlushFits(config);
  const watch = new ConsumerWatch(service, { group, topics: [topic, level2Topic] });
  const counters = createIngestCounters(registry);
  const faultPoint = chosenFaultPoint();
  const standAt = faultPoint ? openFaultPoint(faultPoint, log) : undefined;

  const clickhouse = openClickHouse(config);
  const events = tellEvents(log, watch, counters);
  const writer = new BatchWriter(clickhouse, events);
  const store = openStore(clickhouse, writer, { group, topic, level2Topic, ...events });

  // Once more after joining the group: lib/clickhouse/kafka_engine.ts looks for members after it has made its tables.
  const engine = new AbortController();
  const running = AbortSignal.any([signal, engine.signal]);
  const lookForEngine = () => waitForNoKafkaEngine(clickhouse, config.CLICKHOUSE_DATABASE, running, log);
  let noEngine = Promise.resolve();

  const kafka = openBroker(config, memberName(config), log, watch.kafkaError);
  // At once: others in the group needn't wait for what this one waits for.
  const takenOver = takeOver(kafka, config, signal, log);
  await waitForSchema(clickhouse, config.CLICKHOUSE_DATABASE, signal, log);
  await lookForEngine();
  watch.clickhouse(null);
  await prepareTopics(kafka, topicSettings(config), signal, log);
  await assertWindows(clickhouse, await fetchPartitionCount(kafka, config), config.CONSUMER_FLUSH_MS);
  const watching = watch.run(kafka, running);
  const content = rowContent();
  await takenOver;

  await consume({
    kafka,
    group,
    topics: [topic, level2Topic],
    content,
    store,
    maxSize: config.CONSUMER_BATCH_ROWS,
    flushMs: config.CONSUMER_FLUSH_MS,
    sessionMs: config.KAFKA_SESSION_MS,
    signal: running,
    log,
    onAssigned(now, partitions) {
      watch.assigned(now ? partitions : undefined);
      if (now) {
        noEngine = lookForEngine();
        noEngine.catch((error) => engine.abort(error));
      }
      writer.invalidate();
    },
    onRead: (messages) => watch.read(messages),
    async onStep(point, batch) {
      watch.step(point, batch);
      await standAt?.(point, { ...batch });
    },
  }, async (batch) => {
    const { partition, range } = batch;
    await batch.begin();
    await noEngine;
    const name = batchName(group, batch.topic, partition, batch.logName, range);
    const written = await writer.write(batch.content, { ...batch, name });
    counters.written(batch, written);
    if (written.reusedNumbers > 0) {
      const where = { topic: batch.topic, partition, ...range, trades: written.reusedNumbers };
      log.error("the exchange numbers trades anew: these are in rejected", where);
    }
    await batch.commit(written);
    content.release(batch.content);
  });
  await watching;
  await clickhouse.close();
  engine.signal.throwIfAborted();
});

function tellEvents(
  log: Logger,
  watch: ConsumerWatch,
  counters: IngestCounters,
): BatchWriterEvents & StoreEvents {
  return {
    onError(what, error, waitMs) {
      watch.clickhouse(`${what}: ${error instanceof Error ? error.message : error}`);
      counters.clickhouseErrors.inc();
      log.error("ClickHouse didn't confirm, trying again", { what, error, wait_ms: Math.round(waitMs) });
    },
    onConfirmed: (askedAt) => watch.clickhouse(null, askedAt),
    onRepair(repair) {
      counters.repairs.inc();
      log.error("tables disagreed and are mended", { ...repair });
    },
    onLateInsert(table, seconds, removed) {
      log.warn("an insert was late, and was looked at again", { table, seconds, removed });
    },
    onLoss({ topic, partition, range }) {
      if (range) counters.lostMessages.inc({ topic, partition }, range.last - range.first + 1);
    },
  };
}

/**
 * Between two fetches kafkajs doesn't look at the group: it must not miss that the others divide it anew.
 *
 * @throws {ConfigError}
 */
function assertFlushFits(
  { CONSUMER_FLUSH_MS, KAFKA_SESSION_MS }: Config<"CONSUMER_FLUSH_MS" | "KAFKA_SESSION_MS">,
): void {
  if (CONSUMER_FLUSH_MS <= KAFKA_SESSION_MS / 2) return;
  throw new ConfigError(
    `CONSUMER_FLUSH_MS=${CONSUMER_FLUSH_MS}: expected at most half of KAFKA_SESSION_MS (${KAFKA_SESSION_MS})`,
  );
}
