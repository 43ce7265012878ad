import assert from "node:assert/strict";
import type { Admin, Kafka } from "kafkajs";
import { Registry } from "prom-client";
import { ConsumerWatch } from "./consumer_watch.ts";
import { type Health, reasonList } from "../process/health.ts";
import { createLogger } from "../process/log.ts";
import { parseMetrics } from "../ops/prometheus.ts";
import type { Loop } from "../process/watchdog.ts";

/** A broker with one partition whose offsets are set by hand; `isAway` makes it refuse. */
function fakeKafka() {
  const state = { low: "0", high: "0", committed: "-1", isAway: false, receivedAt: 0, looks: 0 };
  const unlessAway = <T>(answer: () => T) => () =>
    state.isAway ? Promise.reject(new Error("connect ECONNREFUSED")) : Promise.resolve(answer());
  const admin = {
    connect: unlessAway(() => {}),
    disconnect: () => Promise.resolve(),
    fetchOffsets: unlessAway(() => [{
      topic: "t",
      partitions: [{ partition: 0, offset: state.committed, metadata: "" }],
    }]),
    fetchTopicOffsets: unlessAway(() => {
      state.looks++;
      return [{ partition: 0, offset: state.high, high: state.high, low: state.low }];
    }),
    fetchTopicOffsetsByTimestamp: (_topic: string, ms: number) =>
      Promise.resolve([{ partition: 0, offset: ms <= state.receivedAt ? state.committed : state.high }]),
    describeConfigs: unlessAway(() => ({
      resources: [{
        resourceName: "t",
        configEntries: [{ configName: "retention.ms", configValue: "3600000" }],
      }],
    })),
  };
  return { state, kafka: { admin: () => admin as unknown as Admin } as unknown as Kafka };
}

async function withWatch(
  body: (parts: {
    watch: ConsumerWatch;
    reasons: () => Promise<string[]>;
    loop: Loop;
    value: (name: string) => Promise<number | undefined>;
    broker: ReturnType<typeof fakeKafka>["state"];
    /** The broker is looked at once and no more. */
    look: () => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  const registry = new Registry();
  let health: Health = () => null;
  let loop: Loop | undefined;
  const watch = new ConsumerWatch({
    registry,
    log: createLogger({}, { write: () => {} }),
    setHealth: (next) => health = next,
    watch: (next) => loop = next,
  }, { group: "g", topics: ["t"] });
  const { state, kafka } = fakeKafka();
  const look = async () => {
    const stop = new AbortController();
    const before = state.looks;
    const running = watch.run(kafka, stop.signal);
    const failures = () => value("tapehouse_lag_poll_errors_total");
    const failed = await failures();
    while (state.looks === before && await failures() === failed) {
      await new Promise((go) => setTimeout(go, 5));
    }
    // The look is over when its time stands in the metrics.
    await new Promise((go) => setTimeout(go, 50));
    stop.abort();
    await running;
  };
  const value = async (name: string) =>
    parseMetrics(await registry.metrics()).find((sample) => sample.name === name)?.value;
  try {
    await body({
      watch,
      reasons: async () => reasonList(await health()),
      loop: loop!,
      value,
      broker: state,
      look,
    });
  } finally {
    // Ends its timers.
    await watch.run(kafka, AbortSignal.abort());
  }
}

const place = { topic: "t", partition: 0 };
const batch = (first: number, last: number, lag: number) => {
  const receivedAt = (Date.now() - 61_000) * 1000;
  return { ...place, range: { first, last }, lag, receivedAt };
};

Deno.test("consumer watch: says what is missing, ClickHouse and Kafka each by their name", () =>
  withWatch(async ({ watch, reasons }) => {
    assert.deepEqual(await reasons(), ["ClickHouse: no answer yet", "Kafka: no partition is assigned"]);
    watch.clickhouse(null);
    watch.kafkaError("connect ECONNREFUSED");
    assert.deepEqual(await reasons(), ["Kafka: no partition is assigned; last error: connect ECONNREFUSED"]);
    // More consumers than partitions.
    watch.assigned({ t: [] });
    assert.equal((await reasons()).length, 1);
    watch.assigned({ t: [0] });
    assert.deepEqual(await reasons(), []);
    watch.clickhouse("trades/1: refused");
    assert.deepEqual(await reasons(), ["ClickHouse: trades/1: refused"]);
    // Another partition's insert, which had begun before that, is done.
    watch.clickhouse(null, performance.now() - 1000);
    assert.deepEqual(await reasons(), ["ClickHouse: trades/1: refused"]);
    watch.clickhouse(null);
    watch.assigned(undefined);
    assert.equal((await reasons()).length, 1);
  }));

Deno.test("consumer watch: lag and age follow what is read and written, without asking the broker", () =>
  withWatch(async ({ watch, value }) => {
    const receivedAt = (Date.now() - 60_000) * 1000;
    watch.assigned({ t: [0] });
    watch.read({ ...place, offset: 10, receivedAt, end: 12 });
    watch.read({ ...place, offset: 12, receivedAt: receivedAt + 30e6, end: 15 });
    assert.equal(await value("tapehouse_lag_messages"), 5);
    assert.ok((await value("tapehouse_oldest_unwritten_seconds"))! >= 60);
    watch.step("before the in-flight commit", batch(10, 14, 3));
    watch.step("after the in-flight commit", batch(10, 14, 3));
    assert.ok((await value("tapehouse_inflight_seconds"))! > 0);
    assert.equal(await value("tapehouse_last_commit_timestamp_seconds"), undefined);
    watch.step("after the final commit", batch(10, 14, 3));
    assert.equal(await value("tapehouse_inflight_seconds"), 0);
    assert.equal(await value("tapehouse_lag_messages"), 3);
    assert.ok((await value("tapehouse_last_commit_timestamp_seconds"))! > 0);
    watch.read({ ...place, offset: 15, receivedAt, end: 18 });
    watch.step("before the in-flight commit", batch(15, 17, 0));
    // The group takes the partition away in the middle: what was begun is not under way any more, and still not stored.
    watch.assigned(undefined);
    assert.equal(await value("tapehouse_inflight_seconds"), 0);
    assert.equal(await value("tapehouse_lag_messages"), 3);
    assert.ok((await value("tapehouse_oldest_unwritten_seconds"))! >= 60);
  }));

Deno.test("consumer watch: what nobody has read has its lag, age and retention left from the broker", () =>
  withWatch(async ({ value, broker, look }) => {
    Object.assign(broker, { low: "5", high: "1000", committed: "400", receivedAt: Date.now() - 600_000 });
    await look();
    assert.equal(await value("tapehouse_lag_messages"), 600);
    const age = (await value("tapehouse_oldest_unwritten_seconds"))!;
    assert.ok(age >= 600 && age < 640, String(age));
    const left = (await value("tapehouse_retention_left_seconds"))!;
    assert.ok(left <= 3000 && left > 2900, String(left));
    // The topic is made anew, or an operator moves the group back: the broker is right.
    Object.assign(broker, { low: "0", high: "7", committed: "2", receivedAt: Date.now() });
    await look();
    assert.equal(await value("tapehouse_lag_messages"), 5);
    Object.assign(broker, { committed: "7" });
    await look();
    assert.equal(await value("tapehouse_lag_messages"), 0);
    assert.equal(await value("tapehouse_oldest_unwritten_seconds"), 0);
  }));

Deno.test("consumer watch: a step is due only while Kafka answers, our messages wait and nothing is under way", () =>
  withWatch(async ({ watch, reasons, loop, value, broker, look }) => {
    watch.clickhouse(null);
    Object.assign(broker, { high: "100", committed: "40" });
    await look();
    // They are another's.
    assert.equal(loop.due(), null);
    watch.assigned({ t: [0] });
    assert.equal(loop.due(), "60 messages wait in Kafka, and none is read");
    const before = loop.progress();
    watch.read({ ...place, offset: 40, receivedAt: Date.now() * 1000, end: 41 });
    assert.notEqual(loop.progress(), before);
    // ClickHouse is waited for.
    watch.step("after the in-flight commit", batch(40, 99, 0));
    assert.equal(loop.due(), null);
    watch.step("after the final commit", batch(40, 99, 0));
    assert.equal(loop.due(), null);
    Object.assign(broker, { high: "200", committed: "100" });
    await look();
    assert.equal(loop.due(), "100 messages wait in Kafka, and none is read");
    broker.isAway = true;
    await look();
    assert.equal(loop.due(), null);
    assert.deepEqual(await reasons(), ["Kafka: no answer"]);
    assert.equal(await value("tapehouse_lag_poll_errors_total"), 1);
    assert.equal(await value("tapehouse_lag_messages"), 100);
  }));
