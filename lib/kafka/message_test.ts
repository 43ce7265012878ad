import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { KafkaMessage } from "kafkajs";
import { stampHeader, stampText, topicMessage } from "./message.ts";

const message = (headers: Record<string, string>, timestamp = "1783465097000"): KafkaMessage => ({
  key: null,
  value: Buffer.from("{}"),
  timestamp,
  attributes: 0,
  offset: "7",
  headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
});

const stampOf = (headers: Record<string, string>) => {
  const { receivedAt, source, connection } = topicMessage("t", 1, message(headers));
  return { receivedAt, source, connection };
};

Deno.test("topicMessage(): the stamp that was written is read, whatever the connection is called", () => {
  for (const connection of ["1a2b3c4d-1", "", "a name of one's own"]) {
    const stamp = { receivedAt: 1783465097123456, source: "feed", connection };
    assert.deepEqual(stampOf({ [stampHeader]: stampText(stamp) }), stamp);
  }
});

Deno.test("topicMessage(): a stamp in three headers is read as well", () => {
  const headers = { received_at: "1783465097123456", source: "backfill", connection: "c-1" };
  assert.deepEqual(stampOf(headers), {
    receivedAt: 1783465097123456,
    source: "backfill",
    connection: "c-1",
  });
});

Deno.test("topicMessage(): without a stamp, or with another program's, Kafka's own time serves", () => {
  const unknown = { receivedAt: 1783465097000000, source: "unknown", connection: "" };
  assert.deepEqual(stampOf({}), unknown);
  assert.deepEqual(stampOf({ [stampHeader]: "7" }), unknown);
  assert.deepEqual(stampOf({ received_at: "-1" }), unknown);
  assert.deepEqual(stampOf({ [stampHeader]: "now feed c-1" }), {
    ...unknown,
    source: "feed",
    connection: "c-1",
  });
});

Deno.test("topicMessage(): a time of Kafka's that can't be one is the epoch, and not an error for ever", () => {
  for (const timestamp of ["-1", "9223372036854775807", "x"]) {
    assert.equal(topicMessage("t", 1, message({}, timestamp)).receivedAt, 0, timestamp);
  }
});
