import assert from "node:assert/strict";
import { clusterForm, clusterStatements, shardingKeys } from "./cluster.ts";
import { readMigrations } from "./sql_files.ts";

const tables = new Map([["trades", "product_id"], ["candle_states", "product_id"], [
  "rejected",
  "reason",
]]);
const form = (statement: string) => clusterStatements(statement, "tape", tables);

Deno.test("cluster form: a table becomes a replicated one on every node and a Distributed one over them, by product", () => {
  assert.deepEqual(
    form(`-- Every trade.
CREATE TABLE IF NOT EXISTS trades
(
    product_id LowCardinality(String),
    trade_id UInt64
)
ENGINE = MergeTree
ORDER BY (product_id, trade_id)
SETTINGS non_replicated_deduplication_window = 10000`),
    [
      `-- Every trade.
CREATE TABLE IF NOT EXISTS trades_local ON CLUSTER tape
(
    product_id LowCardinality(String),
    trade_id UInt64
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
ORDER BY (product_id, trade_id)
SETTINGS non_replicated_deduplication_window = 10000`,
      `CREATE TABLE IF NOT EXISTS trades ON CLUSTER tape AS trades_local
ENGINE = Distributed('tape', currentDatabase(), 'trades_local', cityHash64(product_id))`,
    ],
  );
});

Deno.test("cluster form: an engine keeps its arguments; a table without products goes by the first column of its order key", () => {
  const [local, distributed] = form(
    "CREATE TABLE IF NOT EXISTS x\n(\n    name String\n)\nENGINE = ReplacingMergeTree(received_at)\nORDER BY (name, b)",
  ) ?? [];
  assert.match(local ?? "", /^ENGINE = ReplicatedReplacingMergeTree\('.*', '\{replica\}', received_at\)$/m);
  assert.match(distributed ?? "", /cityHash64\(name\)\)$/);
});

Deno.test("cluster form: all tables of sql/ but rejected and replays are spread by product", async () => {
  const statements = (await readMigrations()).flatMap((file) => file.statements);
  const others = [...shardingKeys(statements)].filter(([, key]) => key !== "product_id");
  assert.deepEqual(others, [["rejected", "kafka_topic"], ["replays", "name"]]);
});

Deno.test("cluster form: a materialized view goes from local to local table, and its columns keep their table's name", () => {
  assert.deepEqual(
    form(`CREATE MATERIALIZED VIEW IF NOT EXISTS m TO candle_states AS
SELECT trades.time, x.a FROM trades INNER JOIN rejected AS x ON x.a = trades.a WHERE b IN (SELECT b FROM numbers(3))`),
    [`CREATE MATERIALIZED VIEW IF NOT EXISTS m ON CLUSTER tape TO candle_states_local AS
SELECT trades.time, x.a FROM trades_local AS trades INNER JOIN rejected_local AS x ON x.a = trades.a WHERE b IN (SELECT b FROM numbers(3))`],
  );
});

Deno.test("cluster form: a view reads what it read; a column is altered in both tables, a setting in the local one", () => {
  assert.deepEqual(form("CREATE VIEW IF NOT EXISTS v AS\nSELECT * FROM trades FINAL"), [
    "CREATE VIEW IF NOT EXISTS v ON CLUSTER tape AS\nSELECT * FROM trades FINAL",
  ]);
  assert.deepEqual(form("ALTER TABLE trades MODIFY COLUMN price CODEC(ZSTD(3))"), [
    "ALTER TABLE trades_local ON CLUSTER tape MODIFY COLUMN price CODEC(ZSTD(3))",
    "ALTER TABLE trades ON CLUSTER tape MODIFY COLUMN price CODEC(ZSTD(3))",
  ]);
  assert.deepEqual(form("ALTER TABLE trades MODIFY SETTING x = 1"), [
    "ALTER TABLE trades_local ON CLUSTER tape MODIFY SETTING x = 1",
  ]);
});

Deno.test("cluster form: what has no cluster form is refused by file and line, and what is empty changes nothing", () => {
  const file = (statement: string) => [{ name: "099_x", checksum: "", statements: [statement] }];
  for (
    const statement of [
      "DROP TABLE trades",
      "CREATE TABLE IF NOT EXISTS y\n(\n    a Int8\n)\nENGINE = Memory",
    ]
  ) {
    assert.throws(() => clusterForm(file(`-- why\n${statement}`), "tape"), {
      name: "FatalError",
      message:
        /^sql\/099_x\.sql, at "(DROP TABLE trades|CREATE TABLE IF NOT EXISTS y)": this statement has no cluster form\./,
    });
    assert.deepEqual(clusterForm(file(statement), ""), file(statement));
  }
});

Deno.test("cluster form: every migration of sql/ has a cluster form, with its checksum, and no materialized view writes to all shards", async () => {
  const files = await readMigrations();
  const forms = clusterForm(files, "tape");
  assert.deepEqual(forms.map(({ checksum }) => checksum), files.map(({ checksum }) => checksum));
  for (const statement of forms.flatMap(({ statements }) => statements)) {
    const code = statement.replace(/^(--.*\n|\n)+/, "");
    assert.match(code, /^(CREATE|ALTER) .*ON CLUSTER tape/, code.slice(0, 80));
    assert.doesNotMatch(code, /^ENGINE = (Replacing|Aggregating)?MergeTree/m);
    if (code.startsWith("CREATE MATERIALIZED")) assert.match(code, / TO \w+_local AS\n/);
  }
});
