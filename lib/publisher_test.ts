import assert from "node:assert/strict";
import type { Frame, Notice } from "./coinbase/feed.ts";
import { parseMessage } from "./coinbase/messages.ts";
import { outgoing } from "./publisher.ts";

const route = { topic: "market", level2Topic: "level2", source: "feed" };
const frame: Frame = {
  kind: "frame",
  type: "match",
  productId: "BTC-USD",
  receivedAt: 1783465097123456,
  connection: "c-1",
  data: ' {"type":"match", "x":"é"}\n',
};

Deno.test("a frame travels as it came, under its product, with its stamps in the headers", () => {
  const { topic, bytes, message } = outgoing(frame, route);
  assert.equal(topic, "market");
  assert.equal(bytes, 28);
  assert.deepEqual(message, {
    key: "BTC-USD",
    value: frame.data,
    timestamp: "1783465097123",
    headers: { received_at: "1783465097123456", source: "feed", connection: "c-1" },
  });
});

Deno.test("the book goes to a topic of its own, all else to the other; no product, no key", () => {
  const cases: [string, string][] = [
    ["snapshot", "level2"],
    ["l2update", "level2"],
    ["ticker", "market"],
    ["status", "market"],
    ["", "market"],
  ];
  for (const [type, topic] of cases) assert.equal(outgoing({ ...frame, type }, route).topic, topic, type);
  const { productId: _, ...anonymous } = frame;
  assert.equal(outgoing(anonymous, route).message.key, null);
});

Deno.test("a binary frame keeps its bytes", () => {
  const data = new Uint8Array([0, 255, 10]);
  assert.deepEqual(new Uint8Array(outgoing({ ...frame, data }, route).message.value as Uint8Array), data);
});

Deno.test("a notice becomes a feed event that the consumer's schema accepts", () => {
  const notice: Notice = {
    kind: "notice",
    event: "gap",
    receivedAt: frame.receivedAt,
    connection: "c-1",
    productId: "BTC-USD",
    details: { first_missing: 5, last_missing: 7 },
  };
  const { topic, message } = outgoing(notice, route);
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

Deno.test("a frame above the broker's limit is told instead of lost: its size and its beginning", () => {
  const data = `{"type":"snapshot","pad":"${"x".repeat(17 * 1024 * 1024)}"}`;
  const { topic, message, bytes } = outgoing({ ...frame, type: "snapshot", data }, route);
  assert.equal(topic, "market");
  assert.ok(bytes < 2000);
  const event = JSON.parse(String(message.value));
  assert.equal(event.event, "frame_too_large");
  assert.equal(event.details.bytes, data.length);
  assert.ok(data.startsWith(event.details.head));
});
