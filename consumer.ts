/**
 * consumer.ts: Kafka → ClickHouse. Validates each message, writes typed rows so that each counts once whatever dies
 * (lib/batch.ts has the protocol), and puts what fails validation into `rejected`. Run with `deno task consumer`.
 *
 * @module
 */

import { Counter, Gauge, Histogram } from "prom-client";
import { retry } from "./lib/backoff.ts";
import { deduplicationToken } from "./lib/batch.ts";
import { brokerVariables, openBroker } from "./lib/broker.ts";
import { latencyBuckets } from "./lib/metrics.ts";
import { requireSchema } from "./lib/migrations.ts";
import { readTopics, type Sink } from "./lib/reader.ts";
import { addRows, emptyRows, type Rows, tables } from "./lib/rows.ts";
import { runService } from "./lib/service.ts";
import { nowMicros } from "./lib/time.ts";
import { insertBlock, openWarehouse, warehouseVariables } from "./lib/warehouse.ts";

const variables = [
  "KAFKA_TOPIC",
  "KAFKA_LEVEL2_TOPIC",
  "KAFKA_GROUP",
  "CONSUMER_BATCH_ROWS",
  "CONSUMER_FLUSH_MS",
  ...brokerVariables,
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
  const insertErrors = new Counter({
    name: "tapehouse_insert_errors_total",
    help: "Inserts that ClickHouse didn't confirm; each is tried again.",
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

  const warehouse = openWarehouse(config);
  let assigned = false;
  let trouble: string | null = null;
  service.setHealth(() => trouble ?? (assigned ? null : "no partitions assigned"));

  const sink: Sink<Batch> = {
    start: () => ({ rows: emptyRows(), size: 0, receivedAt: [] }),
    add(batch, message) {
      const { type, rows } = addRows(batch.rows, message);
      messages.inc({ type });
      batch.receivedAt.push(message.receivedAt);
      return batch.size += rows;
    },
    async write(batch, { topic, partition, range, lag: messagesLeft }, stillOurs) {
      await Promise.all(
        tables.filter((table) => batch.rows[table].length > 0).map(async (table) => {
          const token = deduplicationToken(table, topic, partition, range);
          await retry(() => insertBlock(warehouse, table, batch.rows[table], token, stillOurs), {
            signal: stillOurs,
            onError(error, waitMs) {
              if (stillOurs.aborted) return;
              trouble = `ClickHouse doesn't take rows for ${table}: ${
                error instanceof Error ? error.message : error
              }`;
              insertErrors.inc();
              log.error("insert not confirmed, trying again", {
                table,
                token,
                error,
                wait_ms: Math.round(waitMs),
              });
            },
          });
          rowsWritten.inc({ table }, batch.rows[table].length);
        }),
      );
      trouble = null;
      const now = nowMicros();
      for (const receivedAt of batch.receivedAt) freshness.observe((now - receivedAt) / 1e6);
      lag.set({ topic, partition }, messagesLeft);
    },
  };

  await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, signal, log);
  await readTopics({
    kafka: openBroker(config, "consumer", log),
    group: config.KAFKA_GROUP,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC],
    sink,
    maxSize: config.CONSUMER_BATCH_ROWS,
    flushMs: config.CONSUMER_FLUSH_MS,
    signal,
    log,
    onAssigned: (now) => assigned = now,
  });
  await warehouse.close();
});
