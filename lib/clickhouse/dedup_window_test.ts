import assert from "node:assert/strict";
import { blocksIn, readWindows, wantedWindow } from "./dedup_window.ts";

Deno.test("wantedWindow(): a quarter of an hour of blocks, at least 10,000, refused beyond a million", () => {
  assert.equal(blocksIn(60, 4, 250), 960);
  const cases: [partitions: number, flushMs: number, window: number][] = [
    [4, 250, 14_400],
    [1, 250, 10_000],
    [32, 250, 115_200],
    [4, 10, 360_000],
    [11, 10, 990_000],
  ];
  for (const [KAFKA_PARTITIONS, CONSUMER_FLUSH_MS, window] of cases) {
    assert.equal(wantedWindow({ KAFKA_PARTITIONS, CONSUMER_FLUSH_MS }), window);
  }
  assert.throws(
    () => wantedWindow({ KAFKA_PARTITIONS: 32, CONSUMER_FLUSH_MS: 10 }),
    /^ConfigError: KAFKA_PARTITIONS=32 with CONSUMER_FLUSH_MS=10: 2880000 blocks .* Set CONSUMER_FLUSH_MS to 29 or more\.$/,
  );
  assert.equal(wantedWindow({ KAFKA_PARTITIONS: 32, CONSUMER_FLUSH_MS: 29 }), 993_104);
});

Deno.test("readWindows(): what ClickHouse writes, and its defaults", () => {
  assert.deepEqual(
    readWindows(
      "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 5, replicated_deduplication_window = 6, " +
        "replicated_deduplication_window_seconds = 7, index_granularity = 8192",
    ),
    { plain: 5, replicated: 6, seconds: 7 },
  );
  assert.deepEqual(readWindows("MergeTree ORDER BY a SETTINGS index_granularity = 8192"), {
    plain: 0,
    replicated: 10_000,
    seconds: 3600,
  });
});
