/**
 * The publisher against a real broker: topics' limits, a broker that forgets, one that is away.
 *
 * @module
 */

import { type Admin, ConfigResourceTypes } from "kafkajs";
import assert from "node:assert/strict";
import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { retry, sleep, unlessAborted } from "../../lib/core/retry.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { readLimits } from "../../lib/kafka/topics.ts";
import type { TopicLimits } from "../../lib/kafka/topic_plan.ts";
import type { FeedItem } from "../../lib/feed/feed_items.ts";
import { createLogger } from "../../lib/process/log.ts";
import { openPublisher, type Publisher } from "../../lib/feed/publisher.ts";
import type { TopicMessage } from "../../lib/kafka/message.ts";
import { planTopicRange, readTopicRange } from "../../lib/kafka/topic_range.ts";
import { nowMicros } from "../../lib/core/time.ts";
import { root } from "../support/tape.ts";
import { hangMs } from "../support/until.ts";
import { configOf } from "../support/config.ts";

let home: string;
let broker: RunningKafka;
let admin: Admin;
const quiet = createLogger({}, { write: () => {} });
const port = freePort();
const start = () => startKafka({ home, port, jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` });
const client = () => openBroker(configOf({ KAFKA_BROKERS: `127.0.0.1:${port}` }), "test", quiet);

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  broker = await start();
  admin = client().admin();
  await admin.connect();
});
Deno.test.afterAll(async () => {
  await admin.disconnect();
  await broker.stop();
  await Deno.remove(home, { recursive: true });
});

let topics = 0;

/** Makes two topics and a publisher to them. */
async function open(
  config: Record<string, string>,
  limits?: (found: Map<string, TopicLimits>) => Map<string, TopicLimits>,
  signal = new AbortController().signal,
) {
  const name = `t${++topics}`;
  const route = { topic: `${name}_market`, level2Topic: `${name}_level2`, source: "simulator" };
  const names = [route.topic, route.level2Topic];
  await admin.createTopics({
    waitForLeaders: false,
    topics: names.map((topic) => ({
      topic,
      numPartitions: 2,
      configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
    })),
  });
  const lines: string[] = [];
  const errors: string[] = [];
  const log = createLogger({}, {
    write(text) {
      const { message, error } = JSON.parse(text);
      lines.push(message);
      if (error !== undefined) errors.push(String(error));
    },
  });
  const kafka = client();
  const known = async () => {
    const found = await readLimits(kafka, names);
    assert.equal(found.size, 2);
    return found;
  };
  const found = await retry(known, { signal: AbortSignal.timeout(hangMs), onError: () => {} });
  const publisher = await openPublisher({ kafka, route, log, signal, limits: limits?.(found) ?? found });
  return { publisher, route, lines, errors };
}

/** Kafka forgets producers whose newest message is older than a day. */
let clock = nowMicros();

/** A frame of so many bytes with a number in it. */
function frame(
  number: number,
  bytes: number,
  type = "ticker",
  productId: string | null = "BTC-USD",
): FeedItem {
  const head = `{"type":"${type}","n":${number},"pad":"`;
  return {
    kind: "frame",
    type,
    receivedAt: clock += 1000,
    connection: "c-1",
    data: `${head}${"x".repeat(Math.max(0, bytes - head.length - 2))}"}`,
    ...(productId === null ? {} : { productId }),
  };
}

/** Asks until the broker leads the topic's partitions: one that has just been started, or has just made them, doesn't yet. */
async function whenLed<T>(ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + hangMs;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const { type } = error as { type?: string };
      if (type !== "NOT_LEADER_FOR_PARTITION" || performance.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

/** All messages of a topic, by partition, in order. */
async function readAll(topic: string): Promise<Map<number, TopicMessage[]>> {
  const found = new Map<number, TopicMessage[]>([[0, []], [1, []]]);
  const ranges = await whenLed(() => planTopicRange(admin, [topic], undefined, undefined));
  for await (const message of readTopicRange(client(), ranges, AbortSignal.timeout(hangMs))) {
    found.get(message.partition)!.push(message);
  }
  return found;
}

const parsed = (messages: Iterable<TopicMessage>) =>
  [...messages].map(({ value }) => JSON.parse(new TextDecoder().decode(value)) as Record<string, unknown>);
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n);

async function setLimit(topic: string, bytes: number): Promise<void> {
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{
      type: ConfigResourceTypes.TOPIC,
      name: topic,
      configEntries: [{ name: "max.message.bytes", value: String(bytes) }],
    }],
  });
}

async function writeAll(publisher: Publisher, items: Iterable<FeedItem>): Promise<void> {
  for (const item of items) await publisher.write(item);
  await publisher.close(hangMs);
}

Deno.test("publisher: requests and frames keep to the topic's own limit", async () => {
  const { publisher, route, lines } = await open({ "max.message.bytes": "100000" });
  await writeAll(publisher, [
    ...numbers(40).map((n) => frame(n, 30_000)),
    frame(40, 99_000),
    frame(41, 100_000),
    frame(42, 500_000, "snapshot"),
  ]);
  const messages = parsed([...(await readAll(route.topic)).values()].flat());
  assert.deepEqual(
    messages.filter(({ type }) => type === "ticker").map(({ n }) => n),
    numbers(41),
    "those that fit, in order and once",
  );
  const told = messages.filter(({ type }) => type === "feed_event");
  assert.deepEqual(
    told.map(({ event, details }) => [event, (details as Record<string, unknown>).bytes]),
    [["frame_too_large", 100_000], ["frame_too_large", 500_000]],
  );
  assert.deepEqual(parsed([...(await readAll(route.level2Topic)).values()].flat()), []);
  assert.deepEqual(lines, [], "nothing had to be tried twice");
});

Deno.test("publisher: a limit that is lowered while it runs costs nothing but the frames above it", async () => {
  const { publisher, route, lines } = await open({ "max.message.bytes": "8000000" });
  await publisher.write(frame(0, 300_000));
  while ((await readAll(route.topic)).values().every((messages) => messages.length === 0));
  await setLimit(route.topic, 100_000);
  await writeAll(publisher, numbers(60).map((n) => frame(n + 1, n === 30 ? 200_000 : 30_000)));
  const messages = parsed([...(await readAll(route.topic)).values()].flat());
  assert.deepEqual(
    messages.filter(({ type }) => type === "ticker").map(({ n }) => n),
    numbers(61).filter((n) => n !== 31),
  );
  const told = messages.filter(({ type }) => type === "feed_event");
  assert.deepEqual(told.map(({ event }) => event), ["frame_too_large"]);
  assert.ok(lines.includes("the broker refused a batch as too large, sending smaller ones"));
});

Deno.test("publisher: where the limit can't be read, smaller requests are tried, and frames that fit alone get in", async () => {
  const unknown = (found: Map<string, TopicLimits>) =>
    new Map([...found].map(([topic, { partitions }]) => [topic, { partitions, maxMessageBytes: undefined }]));
  const { publisher, route } = await open({ "max.message.bytes": "100000" }, unknown);
  await writeAll(publisher, [
    ...numbers(50).map((n) => frame(n, 30_000)),
    frame(50, 98_000),
    frame(51, 120_000),
  ]);
  const messages = parsed([...(await readAll(route.topic)).values()].flat());
  assert.deepEqual(messages.filter(({ type }) => type === "ticker").map(({ n }) => n), numbers(51));
  assert.equal(messages.filter(({ event }) => event === "frame_too_large").length, 1);
});

Deno.test("publisher: a product's messages lie in its partition, those without a product in partition 0, in order", async () => {
  const { publisher, route } = await open({});
  // The partitions that Java's clients choose, of two.
  const products: [string | null, number][] = [["BTC-USD", 1], ["ETH-USD", 0], [null, 0], ["SOL-USD", 1]];
  await writeAll(publisher, numbers(400).map((n) => frame(n, 100, "status", products[n % 4]![0])));
  const partitions = await readAll(route.topic);
  for (const partition of [0, 1]) {
    const own = numbers(400).filter((n) => products[n % 4]![1] === partition);
    assert.deepEqual(parsed(partitions.get(partition)!).map(({ n }) => n), own);
  }
});

Deno.test("publisher: a topic that is made anew with fewer partitions gets every message", async () => {
  const { publisher, route } = await open({});
  // SOL-USD's is partition 1 of 2, and there will be none.
  await publisher.write(frame(0, 100, "ticker", "SOL-USD"));
  while ((await readAll(route.topic)).get(1)!.length === 0);
  await admin.deleteTopics({ topics: [route.topic] });
  await admin.createTopics({ topics: [{ topic: route.topic, numPartitions: 1 }], waitForLeaders: false });
  await writeAll(publisher, numbers(20).map((n) => frame(n + 1, 100, "ticker", "SOL-USD")));
  const partitions = await readAll(route.topic);
  assert.deepEqual(parsed(partitions.get(0)!).map(({ n }) => n), numbers(21).slice(1));
});

Deno.test("publisher: goes on as a new producer when the broker's disk has lost the newest messages", async () => {
  const { publisher, route, errors } = await open({});
  const write = async (from: number, to: number) => {
    for (let n = from; n < to; n++) {
      await publisher.write(frame(n, 100));
      // A request each: the broker remembers the last five of a producer.
      while (true) {
        const stored = [...(await ends(route.topic)).values()].reduce((sum, high) => sum + high, 0);
        if (stored > n) break;
      }
    }
  };
  const ends = async (topic: string) => {
    const offsets = await whenLed(() => admin.fetchTopicOffsets(topic));
    return new Map(offsets.map(({ partition, high }) => [partition, Number(high)]));
  };
  await write(0, 3);
  await broker.stop();
  await copyFolder(`${home}/kafka/data`, `${home}/kafka/data.before`);
  broker = await start();
  await write(3, 13);
  await broker.stop();
  await Deno.remove(`${home}/kafka/data`, { recursive: true });
  await Deno.rename(`${home}/kafka/data.before`, `${home}/kafka/data`);
  broker = await start();
  await publisher.write(frame(13, 100));
  await publisher.close(hangMs);
  const messages = parsed([...(await readAll(route.topic)).values()].flat());
  assert.deepEqual(messages.map(({ n }) => n), [0, 1, 2, 13]);
  assert.ok(errors.includes("The broker received an out of order sequence number"), errors.join("\n"));
});

Deno.test("publisher: a stop while the broker is away and 8 MiB wait ends with how many are a gap", async () => {
  const stop = new AbortController();
  const { publisher } = await open({}, undefined, stop.signal);
  broker.kill();
  await broker.exited;
  let written = 0;
  const writing = (async () => {
    for (;; written++) await publisher.write(frame(written, 1_000_000));
  })();
  writing.catch(() => {});
  // The ninth waits for room.
  while (written < 8) await new Promise((resolve) => setTimeout(resolve, 10));
  stop.abort();
  await assert.rejects(
    unlessAborted(writing, AbortSignal.timeout(hangMs)),
    /The broker didn't confirm the last 9 messages within 5000 ms: they are a gap now/,
  );
  await assert.rejects(publisher.close(100), /they are a gap now/);
  broker = await start();
});

async function copyFolder(from: string, to: string): Promise<void> {
  const { success } = await new Deno.Command("cp", { args: ["-a", from, to] }).output();
  assert.ok(success);
}
