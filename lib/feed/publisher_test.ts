import assert from "node:assert/strict";
import type { FeedEvent, Frame } from "./feed_items.ts";
import { parseMessage } from "./messages.ts";
import { firstChunk, partitionOf } from "./record_batches.ts";
import { toKafkaRecord } from "./kafka_record.ts";

const route = { topic: "market", level2Topic: "level2", source: "feed" };
const frame: Frame = {
  kind: "frame",
  type: "match",
  productId: "BTC-USD",
  receivedAt: 1783465097123456,
  connection: "c-1",
  data: ' {"type":"match", "x":"é"}\n',
};

Deno.test("publisher: a frame travels as it came, under its product, with its stamp in a header", () => {
  const { topic, bytes, message } = toKafkaRecord(frame, route);
  assert.equal(topic, "market");
  assert.equal(bytes, 28);
  assert.deepEqual(message, {
    key: "BTC-USD",
    value: frame.data,
    timestamp: "1783465097123",
    headers: { stamp: "1783465097123456 feed c-1" },
  });
});

Deno.test("publisher: the book goes to a topic of its own, all else to the other; no product, no key", () => {
  const cases: [string, string][] = [
    ["snapshot", "level2"],
    ["l2update", "level2"],
    ["ticker", "market"],
    ["status", "market"],
    ["", "market"],
  ];
  for (const [type, topic] of cases) {
    assert.equal(toKafkaRecord({ ...frame, type }, route).topic, topic, type);
  }
  const { productId: _, ...anonymous } = frame;
  const { key, partition } = toKafkaRecord(anonymous, route).message;
  assert.deepEqual({ key, partition }, { key: null, partition: 0 });
});

Deno.test("publisher: a binary frame keeps its bytes", () => {
  const data = new Uint8Array([0, 255, 10]);
  assert.deepEqual(
    new Uint8Array(toKafkaRecord({ ...frame, data }, route).message.value as Uint8Array),
    data,
  );
});

Deno.test("publisher: a feed event becomes a message that the consumer's schema accepts", () => {
  const feedEvent: FeedEvent = {
    kind: "event",
    event: "gap",
    receivedAt: frame.receivedAt,
    connection: "c-1",
    productId: "BTC-USD",
    details: { first_missing: 5, last_missing: 7 },
  };
  const { topic, message } = toKafkaRecord(feedEvent, route);
  assert.equal(topic, "market");
  assert.equal(message.key, "BTC-USD");
  assert.deepEqual(parseMessage(new TextEncoder().encode(String(message.value))).message, {
    type: "feed_event",
    event: "gap",
    time: "2026-07-07T22:58:17.123456Z",
    product_id: "BTC-USD",
    details: { first_missing: 5, last_missing: 7 },
  });
});

Deno.test("publisher: a frame above its topic's limit is told instead of lost, by its size and its beginning", () => {
  const limits: Record<string, number> = { market: 1_048_588, level2: 100_000 };
  const data = `{"type":"snapshot","pad":"${"x".repeat(100_000)}"}`;
  const { topic, message, bytes } = toKafkaRecord(
    { ...frame, type: "snapshot", data },
    route,
    (of) => limits[of],
  );
  assert.equal(topic, "market");
  assert.ok(bytes < 2000);
  const event = JSON.parse(String(message.value));
  assert.equal(event.event, "frame_too_large");
  assert.equal(event.details.bytes, data.length);
  assert.ok(data.startsWith(event.details.head));
  assert.equal(toKafkaRecord({ ...frame, data }, route, (of) => limits[of]).message.value, data);
  assert.equal(toKafkaRecord({ ...frame, type: "snapshot", data }, route).topic, "level2");
});

Deno.test("publisher: a request takes as many messages as its topic's limit allows, and a single larger one", () => {
  const messages = Array.from(
    { length: 10 },
    () => toKafkaRecord({ ...frame, data: "x".repeat(1000) }, route),
  );
  assert.equal(firstChunk(messages, 1_000_000).length, 10);
  const three = firstChunk(messages, 3900).length;
  assert.equal(three, 3);
  assert.equal(firstChunk(messages, 10).length, 1);
});

Deno.test("publisher: keys lie in the partitions that Java's clients choose", () => {
  // Of org.apache.kafka.clients.producer.internals.BuiltInPartitioner.partitionForKey, among 4 and 1000.
  const cases: [string, number, number][] = [["BTC-USD", 1, 41], ["ETH-USD", 0, 8], ["SOL-USD", 1, 65]];
  for (const [key, ofFour, ofThousand] of cases) {
    assert.deepEqual([partitionOf(key, 4), partitionOf(key, 1000)], [ofFour, ofThousand], key);
  }
});
