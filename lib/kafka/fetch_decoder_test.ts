import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import Encoder from "kafkajs/src/protocol/encoder.js";
import { RecordBatch } from "kafkajs/src/protocol/recordBatch/v0/index.js";
import Record from "kafkajs/src/protocol/recordBatch/record/v0/index.js";
import { decodeByKafkajs, decodeFetch, type FetchAnswer } from "./fetch_decoder.ts";

const first = 2 ** 40;
const firstTimestamp = 1783465097123;

interface Options {
  compression?: number;
  transactional?: boolean;
  /** The attributes' second byte. */
  flags?: number;
}

/** A batch as kafkajs writes it: every kind of key, value and header. */
async function batch(at: number, options: Options = {}): Promise<Buffer> {
  const records = [
    { key: "BTC-USD", value: '{"type":"match"}', headers: { stamp: "1783465097123456 feed c-1" } },
    { key: null, value: Buffer.from([0, 0xff, 0x80]), headers: {} },
    { key: "é", value: "x".repeat(70_000), headers: { a: ["1", "2"], b: "" } },
    { key: "", value: "", headers: { a: "1" } },
  ].map((record, offsetDelta) =>
    Record({ ...record, offsetDelta, timestampDelta: offsetDelta * 100_000 - 50 })
  );
  const { buffer } = await RecordBatch({
    firstOffset: at,
    firstTimestamp,
    maxTimestamp: firstTimestamp + 7,
    lastOffsetDelta: records.length - 1,
    records,
    ...options,
  });
  if (options.flags !== undefined) buffer[22] |= options.flags;
  return buffer;
}

/** An answer of one topic with one partition. */
function answer(records: Buffer, aborted: number = -1): Buffer {
  const partition = new Encoder().writeInt32(3).writeInt16(0).writeInt64(first + 99).writeInt64(first + 98)
    .writeInt64(5).writeInt32(aborted);
  if (aborted > 0) partition.writeInt64(1).writeInt64(first);
  partition.writeInt32(-1).writeInt32(records.length).writeBufferInternal(records);
  return new Encoder().writeInt32(7).writeInt16(0).writeInt32(0).writeInt32(1)
    .writeString("market").writeInt32(1).writeEncoder(partition).buffer;
}

/** What a consumer sees. */
const seen = ({ responses, ...rest }: FetchAnswer) => ({
  ...rest,
  responses: responses.map(({ topicName, partitions }) => ({
    topicName,
    partitions: partitions.map(({ messages, abortedTransactions: _, ...partition }) => ({
      ...partition,
      messages: messages.map(({ offset, timestamp, key, value, headers, isControlRecord }) => ({
        ...{ offset, timestamp, key, value, isControlRecord },
        headers: { ...headers },
      })),
    })),
  })),
});

Deno.test("decodeFetch(): makes of an answer what kafkajs makes of it", async () => {
  const whole = Buffer.concat([
    await batch(first),
    await batch(first + 4),
    await batch(first + 8, { flags: 8 }),
  ]);
  const cases = {
    "several batches, one with the broker's time": whole,
    "a last batch that is cut off": whole.subarray(0, whole.length - 10),
    "a last batch whose header is cut off": Buffer.concat([whole, whole.subarray(0, 30)]),
    "nothing": Buffer.alloc(0),
  };
  for (const [title, records] of Object.entries(cases)) {
    const raw = answer(records);
    const own = seen(decodeFetch(raw));
    assert.deepEqual(own, seen(await decodeByKafkajs(raw)), title);
    const [message] = own.responses[0]?.partitions[0]?.messages ?? [];
    assert.equal(
      message?.headers.stamp?.toString(),
      title === "nothing" ? undefined : "1783465097123456 feed c-1",
    );
  }
});

Deno.test("decodeFetch(): leaves compressed batches, transactions and control records to kafkajs", async () => {
  const cases = {
    "gzip": answer(await batch(first, { compression: 1 })),
    "a transaction": answer(await batch(first, { transactional: true })),
    "a control batch": answer(await batch(first, { flags: 0x20 })),
    "behind a plain batch": answer(
      Buffer.concat([await batch(first), await batch(first + 4, { compression: 1 })]),
    ),
    "an aborted transaction": answer(await batch(first), 1),
  };
  for (const [title, raw] of Object.entries(cases)) {
    assert.throws(() => decodeFetch(raw), /compressed|transactions/, title);
  }
});
