/**
 * consumer.ts: Kafka → ClickHouse. Validates each message, writes typed rows so that each counts once whatever dies
 * (lib/batch.ts has the protocol), and puts what fails validation into `rejected`. Run with `deno task consumer`.
 *
 * @module
 */

import { Counter, Gauge, Histogram } from "prom-client";
import { batchName } from "./lib/batch.ts";
import { brokerVariables, openBroker, prepareTopics, topicSettings, topicVariables } from "./lib/broker.ts";
import { openFaultPoint } from "./lib/faultpoint.ts";
import { requireNoEngine } from "./lib/kafka_engine.ts";
import { latencyBuckets } from "./lib/metrics.ts";
import { requireSchema } from "./lib/migrations.ts";
import { readTopics, type Sink } from "./lib/reader.ts";
import { addRows, emptyRows, type Rows } from "./lib/rows.ts";
import { runService } from "./lib/service.ts";
import { openStorage } from "./lib/storage.ts";
import { nowMicros } from "./lib/time.ts";
import { openWarehouse, warehouseVariables } from "./lib/warehouse.ts";

const variables = [
  "KAFKA_GROUP",
  "CONSUMER_BATCH_ROWS",
  "CONSUMER_FLUSH_MS",
  ...brokerVariables,
  ...topicVariables,
  ...warehouseVariables,
] as const;

/** A batch in the making. */
interface Batch {
  rows: Rows;
  size: number;
  /** When each message was received, in µs. */
  receivedAt: number[];
}

await runService({ name: "consumer", metricsPort: 9102, variables }, async (service) => {
  const { config, log, registry, signal } = service;
  const registers = [registry];
  const messages = new Counter({
    name: "tapehouse_messages_total",
    help: "Messages read, by type; rejected is one.",
    labelNames: ["type"],
    registers,
  });
  const rowsWritten = new Counter({
    name: "tapehouse_rows_total",
    help: "Rows that ClickHouse has confirmed, by table.",
    labelNames: ["table"],
    registers,
  });
  const repeatedTrades = new Counter({
    name: "tapehouse_repeated_trades_total",
    help: "Trades that were stored already and were not inserted again.",
    registers,
  });
  const clickhouseErrors = new Counter({
    name: "tapehouse_clickhouse_errors_total",
    help: "Statements that ClickHouse didn't confirm; each is tried again.",
    registers,
  });
  const freshness = new Histogram({
    name: "tapehouse_freshness_seconds",
    help: "From the frame's arrival at the producer to its rows being queryable.",
    buckets: latencyBuckets,
    registers,
  });
  const lag = new Gauge({
    name: "tapehouse_lag_messages",
    help: "Messages in the topic that are not in ClickHouse yet.",
    labelNames: ["topic", "partition"],
    registers,
  });

  const faultPoint = Deno.env.get("CONSUMER_FAULT_POINT");
  const standAt = faultPoint ? openFaultPoint(faultPoint, log) : undefined;

  const warehouse = openWarehouse(config);
  let assigned = false;
  let trouble: string | null = null;
  service.setHealth(() => trouble ?? (assigned ? null : "no partitions assigned"));

  const storage = openStorage(warehouse, {
    onError(what, error, waitMs) {
      trouble = `ClickHouse: ${what}: ${error instanceof Error ? error.message : error}`;
      clickhouseErrors.inc();
      log.error("ClickHouse didn't confirm, trying again", { what, error, wait_ms: Math.round(waitMs) });
    },
  });

  // Once more after joining the group: lib/kafka_engine.ts looks for members after it has made its tables.
  const engine = new AbortController();
  const running = AbortSignal.any([signal, engine.signal]);
  const lookForEngine = () => requireNoEngine(warehouse, config.CLICKHOUSE_DATABASE, running, log);
  let noEngine = Promise.resolve();

  const sink: Sink<Batch> = {
    start: () => ({ rows: emptyRows(), size: 0, receivedAt: [] }),
    add(batch, message) {
      const { type, rows } = addRows(batch.rows, message);
      messages.inc({ type });
      batch.receivedAt.push(message.receivedAt);
      return batch.size += rows;
    },
    async write({ rows, receivedAt }, { topic, partition, range, lag: messagesLeft }, stillOurs, assertOurs) {
      const name = batchName(config.KAFKA_GROUP, topic, partition, range);
      await noEngine;
      const written = await storage.write(rows, name, stillOurs, assertOurs);
      for (const [table, count] of Object.entries(written.rows)) rowsWritten.inc({ table }, count);
      repeatedTrades.inc(written.repeatedTrades);
      trouble = null;
      const now = nowMicros();
      for (const received of receivedAt) freshness.observe((now - received) / 1e6);
      lag.set({ topic, partition }, messagesLeft);
    },
  };

  await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, signal, log);
  await lookForEngine();
  const kafka = openBroker(config, "consumer", log);
  await prepareTopics(kafka, topicSettings(config), signal, log);
  await readTopics({
    kafka,
    group: config.KAFKA_GROUP,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC],
    sink,
    maxSize: config.CONSUMER_BATCH_ROWS,
    flushMs: config.CONSUMER_FLUSH_MS,
    signal: running,
    log,
    onAssigned(now) {
      assigned = now;
      if (now) {
        noEngine = lookForEngine();
        noEngine.catch((error) => engine.abort(error));
      }
      storage.forget();
      // The partitions may be somebody else's now, and so is what is left in them.
      lag.reset();
    },
    ...(standAt ? { onStep: (point, place) => standAt(point, { ...place }) } : {}),
  });
  await warehouse.close();
  engine.signal.throwIfAborted();
});
