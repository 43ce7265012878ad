import assert from "node:assert/strict";
import {
  deletedAfterDays,
  readRetention,
  retentionChange,
  type RetentionConfig,
  wantedRetention,
} from "./retention.ts";

const config = (values: Partial<RetentionConfig> = {}): RetentionConfig => ({
  CLICKHOUSE_CLUSTER: "",
  CLICKHOUSE_BOOK_DAYS: 30,
  CLICKHOUSE_ORDER_ID_DAYS: 30,
  CLICKHOUSE_STORAGE_POLICY: "",
  CLICKHOUSE_COLD_AFTER_DAYS: 0,
  ...values,
});
const ttls = (values?: Partial<RetentionConfig>) =>
  Object.fromEntries([...wantedRetention(config(values))].map(([table, { ttl }]) => [table, ttl]));
const none = { ttl: "", columns: {}, wholeParts: false, policy: "" };

Deno.test("retention: the book goes after its days, its snapshots a day before what they begin; the rest stays", () => {
  const day = (days: number) => `toDateTime(time) + toIntervalDay(${days})`;
  assert.deepEqual(ttls(), {
    book_changes: day(31),
    book_levels: day(31),
    book_snapshots: day(30),
    trades: "",
    tickers: "",
    heartbeats: "",
  });
  assert.deepEqual(new Set(Object.values(ttls({ CLICKHOUSE_BOOK_DAYS: 0 }))), new Set([""]));
});

Deno.test("retention: large tables move to the cold volume, unless their rows go before", () => {
  const tiered = { CLICKHOUSE_STORAGE_POLICY: "tiered", CLICKHOUSE_COLD_AFTER_DAYS: 7 };
  const cold = "toDateTime(time) + toIntervalDay(7) TO VOLUME 'cold'";
  assert.equal(ttls(tiered).trades, cold);
  assert.equal(ttls(tiered).book_changes, `${cold}, toDateTime(time) + toIntervalDay(31)`);
  assert.equal(
    ttls({ ...tiered, CLICKHOUSE_BOOK_DAYS: 6 }).book_changes,
    "toDateTime(time) + toIntervalDay(7)",
  );
  assert.equal(ttls(tiered).book_snapshots, "toDateTime(time) + toIntervalDay(30)");
  assert.throws(
    () => wantedRetention(config({ CLICKHOUSE_COLD_AFTER_DAYS: 7 })),
    /^ConfigError: CLICKHOUSE_COLD_AFTER_DAYS=7 needs CLICKHOUSE_STORAGE_POLICY: /,
  );
});

Deno.test("retention: what a table has is read from its engine", () => {
  const head = "MergeTree PARTITION BY toYYYYMMDD(time) ORDER BY (product_id, time)";
  const cases: [string, ReturnType<typeof readRetention>][] = [
    ["", none],
    [`${head} SETTINGS index_granularity = 8192`, none],
    [
      `${head} TTL toDateTime(time) + toIntervalDay(7) TO VOLUME 'cold', toDateTime(time) + toIntervalDay(31) ` +
      "SETTINGS non_replicated_deduplication_window = 10000, storage_policy = 'tiered', ttl_only_drop_parts = 1",
      {
        ttl: "toDateTime(time) + toIntervalDay(7) TO VOLUME 'cold', toDateTime(time) + toIntervalDay(31)",
        columns: {},
        wholeParts: true,
        policy: "tiered",
      },
    ],
    [`${head} TTL toDateTime(time) + toIntervalDay(1)`, {
      ...none,
      ttl: "toDateTime(time) + toIntervalDay(1)",
    }],
  ];
  for (const [engineFull, expected] of cases) assert.deepEqual(readRetention(engineFull), expected);
});

Deno.test("retention: only what differs is set, on a cluster in the local tables of every node", () => {
  const wanted = { ...none, ttl: "toDateTime(time) + toIntervalDay(31)", wholeParts: true };
  assert.equal(retentionChange("book_changes", wanted, wanted, ""), undefined);
  assert.equal(
    retentionChange("trades", none, { ...none, policy: "tiered", wholeParts: true }, ""),
    undefined,
  );
  assert.deepEqual(retentionChange("book_changes", wanted, none, "tape"), {
    table: "book_changes",
    change: "old rows go by whole parts, rows are deleted after 31 days",
    statements: [
      "ALTER TABLE book_changes_local ON CLUSTER tape MODIFY SETTING ttl_only_drop_parts = 1",
      "ALTER TABLE book_changes_local ON CLUSTER tape MODIFY TTL toDateTime(time) + toIntervalDay(31)",
    ],
  });
  assert.deepEqual(retentionChange("book_changes", none, wanted, "")?.statements, [
    "ALTER TABLE book_changes REMOVE TTL",
  ]);
});

Deno.test("retention: order ids go with their month, when its last day is old enough", () => {
  const create = (ttl: string) =>
    "CREATE TABLE market.trades (`product_id` LowCardinality(String), `maker_order_id` Nullable(UUID) CODEC(ZSTD(1))" +
    `${ttl}, \`taker_order_id\` Nullable(UUID) CODEC(ZSTD(1))${ttl}, \`batch\` String) ENGINE = MergeTree`;
  const ttl = "toLastDayOfMonth(time) + toIntervalDay(31)";
  const both = { maker_order_id: ttl, taker_order_id: ttl };
  const wanted = (days: number) => wantedRetention(config({ CLICKHOUSE_ORDER_ID_DAYS: days })).get("trades")!;
  const present = (of: string) => readRetention("MergeTree", create(of));
  assert.deepEqual(wanted(30).columns, both);
  assert.deepEqual(present(` TTL ${ttl}`).columns, both);
  assert.deepEqual(present("").columns, {});
  assert.equal(retentionChange("trades", wanted(30), present(` TTL ${ttl}`), ""), undefined);
  assert.equal(retentionChange("trades", wanted(0), present(""), ""), undefined);
  assert.deepEqual(retentionChange("trades", wanted(30), present(""), ""), {
    table: "trades",
    change:
      "maker_order_id goes with its month, 30 days later, taker_order_id goes with its month, 30 days later",
    statements: [
      `ALTER TABLE trades MODIFY COLUMN maker_order_id TTL ${ttl}`,
      `ALTER TABLE trades MODIFY COLUMN taker_order_id TTL ${ttl}`,
    ],
  });
  assert.deepEqual(retentionChange("trades", wanted(0), present(` TTL ${ttl}`), "tape")?.statements, [
    "ALTER TABLE trades_local ON CLUSTER tape MODIFY COLUMN maker_order_id REMOVE TTL",
    "ALTER TABLE trades_local ON CLUSTER tape MODIFY COLUMN taker_order_id REMOVE TTL",
  ]);
});

Deno.test("retention: rows are deleted by a TTL that doesn't move them", () => {
  const deleted = (ttl: string) => deletedAfterDays({ ...none, ttl });
  assert.equal(deleted(""), undefined);
  assert.equal(deleted("toDateTime(time) + toIntervalDay(7) TO VOLUME 'cold'"), undefined);
  assert.equal(deleted("toDateTime(time) + toIntervalDay(31)"), 31);
  const both = "toDateTime(time) + toIntervalDay(7) TO VOLUME 'cold', toDateTime(time) + toIntervalDay(31)";
  assert.equal(deleted(both), 31);
});
