import assert from "node:assert/strict";
import { batchName, deduplicationToken, newLog } from "./batch_protocol.ts";
import { commitMetadata, type Committed, parseCommitted } from "../kafka/offsets.ts";

Deno.test("commitMetadata(): what is committed is read back", () => {
  const cases: Committed[] = [
    { offset: 5, log: "a1", before: 1767225600000000, inflight: { first: 5, last: 9 } },
    { offset: 0, log: "a1", inflight: { first: 0, last: 0 } },
    { offset: 10, log: "a1", before: 1767225600000000 },
    { offset: 10, log: "a1", ask: Number.MAX_SAFE_INTEGER },
    { offset: 10, log: "a1", before: 7, ask: 30, suspect: 0 },
  ];
  for (const committed of cases) {
    assert.deepEqual(parseCommitted(String(committed.offset), commitMetadata(committed)), committed);
  }
  assert.equal(
    commitMetadata({ log: "a1", before: 7, inflight: { first: 10, last: 20 } }),
    '{"log":"a1","before":7,"inflight":[10,20]}',
  );
});

Deno.test("parseCommitted(): a commit without metadata is somebody else's move, and knows no log", () => {
  assert.deepEqual(parseCommitted("7", ""), { offset: 7 });
  assert.deepEqual(parseCommitted("-1", null), { offset: -1 });
});

Deno.test("parseCommitted(): metadata of another program is refused", () => {
  const foreign = [
    "{}",
    "null",
    "[]",
    "x",
    '{"inflight":[1,2]}',
    '{"log":1}',
    '{"log":"a","before":"1"}',
    '{"log":"a","ask":null}',
    '{"log":"a","suspect":0.5}',
    '{"log":"a","inflight":[1]}',
    '{"log":"a","inflight":[2,1]}',
    '{"log":"a","inflight":[1,2.5]}',
    '{"log":"a","inflight":"1-2"}',
  ];
  for (const metadata of foreign) {
    assert.throws(() => parseCommitted("1", metadata), /choose another KAFKA_GROUP/, metadata);
  }
});

Deno.test("batchName(): the same offsets of another log, topic, partition or group are another batch", () => {
  const range = { first: 1, last: 9 };
  const name = batchName("clickhouse", "t", 3, "a1", range);
  assert.equal(name, "clickhouse/t/3/a1/1-9");
  assert.equal(deduplicationToken("trades", name), "trades/clickhouse/t/3/a1/1-9");
  assert.equal(deduplicationToken("trades", name, 2), "trades/clickhouse/t/3/a1/1-9/2");
  const others = [
    batchName("clickhouse", "t", 3, "a2", range),
    batchName("clickhouse", "t", 4, "a1", range),
    batchName("clickhouse", "u", 3, "a1", range),
    batchName("other", "t", 3, "a1", range),
  ];
  assert.equal(new Set([name, ...others]).size, 5);
  assert.notEqual(newLog(), newLog());
});
