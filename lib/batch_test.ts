import assert from "node:assert/strict";
import { batchName, deduplicationToken, inflightMetadata, parseCommitted } from "./batch.ts";

Deno.test("the in-flight batch survives the way through the commit's metadata", () => {
  const range = { first: 5, last: 5 };
  assert.deepEqual(parseCommitted("5", inflightMetadata(range)), { offset: 5, inflight: range });
  assert.equal(inflightMetadata({ first: 10, last: 20 }), '{"inflight":[10,20]}');
});

Deno.test("empty metadata means that nothing is in flight, and -1 that nothing was ever committed", () => {
  assert.deepEqual(parseCommitted("7", ""), { offset: 7 });
  assert.deepEqual(parseCommitted("-1", null), { offset: -1 });
});

Deno.test("metadata of another program is refused rather than guessed at", () => {
  for (
    const metadata of ["x", "{}", '{"inflight":[1]}', '{"inflight":[2,1]}', '{"inflight":["1","2"]}', "null"]
  ) {
    assert.throws(() => parseCommitted("1", metadata), /choose another KAFKA_GROUP/, metadata);
  }
});

Deno.test("a token names table, group, topic, partition and range, and nothing else", () => {
  const batch = batchName("clickhouse", "t", 3, { first: 1, last: 9 });
  assert.equal(batch, "clickhouse/t/3/1-9");
  assert.equal(deduplicationToken("trades", batch), "trades/clickhouse/t/3/1-9");
});
