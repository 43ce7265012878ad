/**
 * consumer.ts: Kafka → ClickHouse. Validates each message, writes typed rows so that each counts once whatever dies
 * (lib/batch.ts has the protocol), and puts what fails validation into `rejected`. Run with `deno task consumer`.
 *
 * @module
 */

import { Counter, Gauge, Histogram } from "prom-client";
import { retry } from "./lib/backoff.ts";
import { batchName, deduplicationToken } from "./lib/batch.ts";
import { brokerVariables, openBroker, prepareTopics, topicSettings, topicVariables } from "./lib/broker.ts";
import { latencyBuckets } from "./lib/metrics.ts";
import { requireSchema } from "./lib/migrations.ts";
import { readTopics, type Sink } from "./lib/reader.ts";
import { addRows, emptyRows, type Row, type Rows, tables, tradeKey } from "./lib/rows.ts";
import { runService } from "./lib/service.ts";
import { nowMicros } from "./lib/time.ts";
import { loadStoredTrades, newTrades, type StoredTrades } from "./lib/trade_runs.ts";
import { insertBlock, openWarehouse, warehouseVariables } from "./lib/warehouse.ts";

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

  const warehouse = openWarehouse(config);
  let assigned = false;
  let trouble: string | null = null;
  service.setHealth(() => trouble ?? (assigned ? null : "no partitions assigned"));

  // Known for the products of our partitions, and only while they are ours.
  let stored: StoredTrades = new Map();

  /** Tries until ClickHouse confirms, or the batch isn't ours any more. */
  function persist<T>(what: string, attempt: () => Promise<T>, stillOurs: AbortSignal): Promise<T> {
    return retry(attempt, {
      signal: stillOurs,
      onError(error, waitMs) {
        if (stillOurs.aborted) return;
        trouble = `ClickHouse: ${what}: ${error instanceof Error ? error.message : error}`;
        clickhouseErrors.inc();
        log.error("ClickHouse didn't confirm, trying again", { what, error, wait_ms: Math.round(waitMs) });
      },
    });
  }

  /** Leaves the trades that are not stored yet, each with its batch's name. */
  async function onlyNewTrades(rows: Row[], batch: string, stillOurs: AbortSignal): Promise<Row[]> {
    const known = stored;
    const unknown = [...new Set(rows.map((row) => tradeKey(row).productId))].filter((id) => !known.has(id));
    if (unknown.length > 0) {
      const load = () => loadStoredTrades(warehouse, unknown, batch);
      for (const [id, ids] of await persist("reading trade_runs", load, stillOurs)) known.set(id, ids);
    }
    const fresh = newTrades(rows, known).map((row) => [...row, batch]);
    repeatedTrades.inc(rows.length - fresh.length);
    return fresh;
  }

  const sink: Sink<Batch> = {
    start: () => ({ rows: emptyRows(), size: 0, receivedAt: [] }),
    add(batch, message) {
      const { type, rows } = addRows(batch.rows, message);
      messages.inc({ type });
      batch.receivedAt.push(message.receivedAt);
      return batch.size += rows;
    },
    async write({ rows, receivedAt }, { topic, partition, range, lag: messagesLeft }, stillOurs) {
      const name = batchName(config.KAFKA_GROUP, topic, partition, range);
      if (rows.trades.length > 0) rows.trades = await onlyNewTrades(rows.trades, name, stillOurs);
      await Promise.all(
        tables.filter((table) => rows[table].length > 0).map(async (table) => {
          const token = deduplicationToken(table, name);
          await persist(token, () => insertBlock(warehouse, table, rows[table], token, stillOurs), stillOurs);
          rowsWritten.inc({ table }, rows[table].length);
        }),
      );
      trouble = null;
      const now = nowMicros();
      for (const received of receivedAt) freshness.observe((now - received) / 1e6);
      lag.set({ topic, partition }, messagesLeft);
    },
  };

  await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, signal, log);
  const kafka = openBroker(config, "consumer", log);
  await prepareTopics(kafka, topicSettings(config), signal, log);
  await readTopics({
    kafka,
    group: config.KAFKA_GROUP,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC],
    sink,
    maxSize: config.CONSUMER_BATCH_ROWS,
    flushMs: config.CONSUMER_FLUSH_MS,
    signal,
    log,
    onAssigned(now) {
      assigned = now;
      stored = new Map();
    },
  });
  await warehouse.close();
});
