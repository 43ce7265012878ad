import assert from "node:assert/strict";
import { Registry } from "prom-client";
import { brokerVariables, openBroker } from "../kafka/client.ts";
import { readConfig } from "../process/config.ts";
import { watchPublisher } from "./publisher_metrics.ts";
import { countKafkaErrors } from "../kafka/error_counter.ts";
import { createLogger } from "../process/log.ts";
import { parseMetrics } from "../ops/prometheus.ts";
import type { Publisher, Waiting } from "./publisher.ts";
import { nowMicros } from "../core/time.ts";

Deno.test("kafka: an error of the client is logged with topic, partition and member, and counted", async () => {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({}, { level: "debug", write: (line) => lines.push(JSON.parse(line)) });
  const registry = new Registry();
  const errors = countKafkaErrors(registry);
  const kafka = openBroker(readConfig(brokerVariables, () => undefined), "test", log, errors.note);
  assert.equal(errors.recent(), null);
  const place = { topic: "market", partition: 3, memberId: "tapehouse-consumer-1", groupId: "clickhouse" };
  kafka.logger().error("Error when calling eachBatch", {
    ...place,
    error: "offset out of range",
    stack: "…",
  });
  kafka.logger().warn("only a warning");
  const { level, message, topic, partition, member, group, error, stack } = lines[0] ?? {};
  assert.deepEqual([level, message], ["warn", "kafka: Error when calling eachBatch"]);
  assert.deepEqual({ topic, partition, member, group, error, stack }, {
    topic: "market",
    partition: 3,
    member: "tapehouse-consumer-1",
    group: "clickhouse",
    error: "offset out of range",
    stack: undefined,
  });
  assert.equal(errors.recent(), "offset out of range");
  const samples = parseMetrics(await registry.metrics());
  assert.equal(samples.find(({ name }) => name === "tapehouse_kafka_errors_total")?.value, 1);
});

Deno.test("publisher watch: late confirmations are a reason, and what nobody sends is due", async () => {
  const registry = new Registry();
  const errors = countKafkaErrors(registry);
  let publisher: Publisher | undefined;
  const watch = watchPublisher(registry, () => publisher, errors);
  assert.equal(watch.reason(), "Kafka: not connected yet");
  assert.equal(watch.due(), null);
  const waiting = (seconds: number | undefined, isSending = true) => {
    const state: Waiting = {
      messages: seconds === undefined ? 0 : 7,
      bytes: 700,
      oldestAt: seconds === undefined ? undefined : nowMicros() - seconds * 1e6,
      isFull: false,
      isSending,
    };
    publisher = { waiting: state } as Publisher;
  };
  waiting(undefined);
  assert.equal(watch.reason(), null);
  waiting(1);
  assert.equal(watch.reason(), null);
  waiting(12);
  assert.equal(watch.reason(), "Kafka: 7 messages wait for its confirmation, the oldest for 12 s");
  errors.note("connect ECONNREFUSED");
  assert.match(watch.reason()!, /the oldest for 12 s; last error: connect ECONNREFUSED$/);
  assert.equal(watch.due(), null);
  waiting(12, false);
  assert.equal(watch.due(), "7 messages wait and none is being sent");
  const value = async (name: string) =>
    parseMetrics(await registry.metrics()).find((sample) => sample.name === name)?.value ?? NaN;
  assert.equal(await value("tapehouse_publisher_pending_messages"), 7);
  assert.ok(await value("tapehouse_publisher_oldest_pending_seconds") >= 12);
  assert.equal(await value("tapehouse_publisher_confirmed_timestamp_seconds"), 0);
  watch.sent();
  assert.equal(watch.confirmed, 1);
  assert.ok(await value("tapehouse_publisher_confirmed_timestamp_seconds") > 1e9);
});
