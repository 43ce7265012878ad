/**
 * The cluster form of the migrations on the embedded ClickHouse: every statement parses; on a cluster of one node the
 * tape flows through Distributed and local tables, and every view says what it says on a single server.
 *
 * The embedded engine runs neither `ON CLUSTER` nor replicated tables: here they are left out and MergeTree.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { clusterForm } from "../../lib/clickhouse/cluster.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { readMigrations } from "../../lib/clickhouse/sql_files.ts";
import { addRows, emptyRows, type Rows, tables } from "../../lib/ingest/rows.ts";
import { BatchWriter } from "../../lib/ingest/batch_writer.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { compactTradeRuns, loadStoredTrades } from "../../lib/ingest/trade_runs.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { type ConfiguredClickHouse, startConfiguredClickHouse } from "../support/configured_clickhouse.ts";
import { rows, tuples } from "../../lib/clickhouse/rows.ts";

const node = "<shard><internal_replication>true</internal_replication>" +
  "<replica><host>localhost</host><port>9000</port></replica></shard>";
const away = node.replace("</shard>", "<replica><host>localhost</host><port>1</port></replica></shard>");
const clusters = `<tcp_port>9000</tcp_port>
  <remote_servers><tape>${node}</tape><two>${node}${node}</two><away>${away}</away></remote_servers>`;
/** That of deploy/cluster, but that the one node is asked in the process itself: it has no network protocol. */
const profile = (/<default>([^]*)<\/default>/
  .exec(await Deno.readTextFile(new URL("../../deploy/cluster/users.xml", import.meta.url)))?.[1] ?? "")
  .replace("<prefer_localhost_replica>0</prefer_localhost_replica>", "");

const start = Date.UTC(2026, 6, 7, 22, 58) * 1000;
const parameters: Record<string, string> = {
  product: "'BTC-USD'",
  products: "['BTC-USD', 'ETH-USD']",
  from: "'2026-07-07 22:58:00'",
  to: "'2026-07-07 23:00:00'",
  at: "'2026-07-07 22:59:00'",
  interval: "'1m'",
  date: "'2026-07-07'",
  depth: "20",
  side: "'buy'",
  size: "'0.5'",
  // Of anomalies: low enough that two quiet minutes have some.
  price_jump: "0.0001",
  volume_spike: "1",
  z_score: "1",
  spread_ratio: "1",
  silence_seconds: "1",
  stale_intervals: "1",
  gap_seconds: "1",
};

const configIn = ({ env }: ConfiguredClickHouse, database: string) =>
  configOf({ ...env, CLICKHOUSE_DATABASE: database });

/** What the embedded engine runs of the cluster form. */
function oneNode(statement: string, cluster: string): string {
  return statement
    .replaceAll(` ON CLUSTER ${cluster}`, "")
    .replace(/Replicated(\w*MergeTree)\('[^']*', '\{replica\}'(?:, )?/, "$1(");
}

async function createOnOneNode(
  running: ConfiguredClickHouse,
  database: string,
  cluster: string,
): Promise<void> {
  const server = openClickHouse(configIn(running, "default"));
  await server.command({ query: `CREATE DATABASE ${database}` });
  await server.close();
  const clickhouse = openClickHouse(configIn(running, database));
  for (const { statements } of clusterForm(await readMigrations(), cluster)) {
    for (const statement of statements) await clickhouse.command({ query: oneNode(statement, cluster) });
  }
  await clickhouse.close();
}

/** Two minutes of two products as the exchange simulator sends them, a batch each ten seconds. */
function simulatedBatches(): Rows[] {
  let now = start;
  const market = createSimulation({ products: ["BTC-USD", "ETH-USD"], rate: 20, clock: () => now });
  const channels = ["level2_batch", "ticker", "matches", "heartbeat"] as const;
  market.pull(() => false);
  let frames = channels.flatMap((channel) =>
    ["BTC-USD", "ETH-USD"].flatMap((product) => market.opening(channel, product))
  );
  let offset = 0;
  return Array.from({ length: 12 }, () => {
    const rows = emptyRows();
    for (let second = 0; second < 10; second++) {
      for (const { text } of frames) {
        const value = new TextEncoder().encode(text);
        const stamp = { receivedAt: now, source: "simulator", connection: "c1" };
        addRows(rows, { topic: "t", partition: 0, offset: offset++, value, ...stamp });
      }
      now += 1_000_000;
      frames = market.pull((channel) => channels.includes(channel as typeof channels[number]));
    }
    return rows;
  });
}

/**
 * A client that leaves `ON CLUSTER` out, which the embedded engine refuses.
 *
 * @param fails the statement that isn't run but ends with an error
 */
function withoutOnCluster(clickhouse: ClickHouseClient, cluster: string, fails?: string) {
  const sent: string[] = [];
  const client: ClickHouseClient = new Proxy(clickhouse, {
    get(target, name) {
      if (name !== "command") {
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (params: Parameters<ClickHouseClient["command"]>[0]) => {
        sent.push(params.query);
        if (fails !== undefined && params.query.includes(fails)) throw new Error("interrupted");
        return target.command({ ...params, query: params.query.replace(` ON CLUSTER ${cluster}`, "") });
      };
    },
  });
  return { client, sent };
}

/**
 * Every view with its answer, one string a row; what depends on when it was asked is left out.
 *
 * @param only views that have this parameter
 */
async function answers(clickhouse: ClickHouseClient, only = ""): Promise<Map<string, string[]>> {
  const views = await rows<{ name: string; query: string }>(
    clickhouse,
    `SELECT name, create_table_query AS query FROM system.tables
     WHERE database = currentDatabase() AND engine = 'View' ORDER BY name`,
  );
  const found = new Map<string, string[]>();
  for (const { name, query } of views) {
    const names = [...new Set([...query.matchAll(/\{(\w+):/g)].map(([, parameter = ""]) => parameter))];
    if (only !== "" && !names.includes(only)) continue;
    const unknown = names.filter((parameter) => parameters[parameter] === undefined);
    assert.deepEqual(unknown, [], `${name} can't be asked: what are these parameters?`);
    const values = names.map((parameter) => `${parameter} = ${parameters[parameter]}`).join(", ");
    const answer = await rows<Record<string, unknown>>(
      clickhouse,
      `SELECT * FROM ${name}${values && `(${values})`}`,
    );
    found.set(name, answer.map(({ ingested_at: _, ...row }) => JSON.stringify(row)).sort());
  }
  return found;
}

Deno.test("cluster form: on one node every statement parses, and every view says what it says without", async (t) => {
  const server = await startConfiguredClickHouse(clusters, profile);
  const plainConfig = configIn(server, "plain");
  const plain = openClickHouse(plainConfig);
  const cluster = openClickHouse(configIn(server, "clustered"));
  try {
    await t.step("ClickHouse's own parser reads every rewritten statement", async () => {
      const statements = clusterForm(await readMigrations(), "tape").flatMap(({ statements }) => statements);
      assert(statements.length > 50);
      for (const statement of statements) {
        const answer = await fetch(server.url, {
          method: "POST",
          headers: server.headers,
          body: `EXPLAIN AST ${statement}`,
        });
        assert.equal(answer.status, 200, `${await answer.text()}\n${statement}`);
      }
    });

    await migrate(plainConfig, () => {});
    await createOnOneNode(server, "clustered", "tape");
    const batches = simulatedBatches();
    const never = new AbortController().signal;
    const onError = (what: string, error: unknown) => {
      throw new Error(what, { cause: error });
    };
    for (const clickhouse of [plain, cluster]) {
      const writer = new BatchWriter(clickhouse, { onError });
      for (const [i, rows] of batches.entries()) {
        await writer.write(rows, { name: `b${i}`, mayBeStored: false, signal: never });
      }
    }

    await t.step("the same numbers in every view", async () => {
      const [expected, found] = [await answers(plain), await answers(cluster)];
      assert.deepEqual([...found.keys()], [...expected.keys()]);
      const filled = [...expected].filter(([, rows]) => rows.length > 0).map(([name]) => name);
      for (
        const name of [
          "candles",
          "completeness",
          "hourly_stats",
          "spreads_1s",
          "book_at",
          "book_depth_at",
          "anomalies_live",
        ]
      ) {
        assert(filled.includes(name), `${name} is empty: nothing was compared`);
      }
      for (const [name, rows] of expected) assert.deepEqual(found.get(name), rows, name);
    });

    await t.step("a batch that is written again under its name changes nothing, views included", async () => {
      const gaps = async () => (await answers(cluster)).get("trade_gaps");
      const before = await gaps();
      for (const table of tables) {
        const rows = batches[5]?.[table] ?? [];
        if (rows.length === 0) continue;
        const own = table === "trades" ? rows.map((row) => [...row, "b5"]) : rows;
        for (const _ of [1, 2]) await insertBlock(cluster, table, own, `again ${table}`);
        const [count] = await tuples(cluster, `SELECT count() FROM ${table}`);
        const total = batches.reduce((sum, batch) => sum + batch[table].length, 0);
        // Once more under another token, and not twice.
        assert.deepEqual(count, [total + rows.length], table);
      }
      // Rule 3: what the consumer itself writes again, in another batch, is no new trade.
      const writer = new BatchWriter(cluster, { onError });
      const { repeatedTrades, rows } = await writer.write(
        { ...emptyRows(), trades: batches[7]?.trades ?? [] },
        { name: "c7", mayBeStored: false, signal: never },
      );
      assert.deepEqual([repeatedTrades, rows], [batches[7]?.trades.length, {}]);
      assert.deepEqual(await gaps(), before);
    });

    await t.step(
      "trade_runs: rows are joined for good, and an end between two statements changes nothing",
      async () => {
        const known = async () =>
          [
            (await loadStoredTrades(cluster, ["BTC-USD", "ETH-USD"], "")).stored,
            (await loadStoredTrades(cluster, ["BTC-USD", "ETH-USD"], "b3")).stored,
            (await answers(cluster)).get("trade_gaps"),
          ].map((found) =>
            JSON.stringify(found instanceof Map ? [...found].map(([id, { runs }]) => [id, runs]) : found)
          );
        const runsOf = async (product: string) =>
          Number(
            (await tuples(cluster, "SELECT count() FROM trade_runs WHERE product_id = {product:String}", {
              product,
            }))[0]?.[0],
          );
        const before = await known();
        const [bitcoin, ether] = [await runsOf("BTC-USD"), await runsOf("ETH-USD")];
        assert(bitcoin > 10 && ether > 10, `${bitcoin} and ${ether} rows`);

        const interrupted = withoutOnCluster(cluster, "tape", "DELETE");
        await assert.rejects(compactTradeRuns(interrupted.client, "BTC-USD", "b3"), {
          message: "interrupted",
        });
        assert.deepEqual(await known(), before);
        assert(await runsOf("BTC-USD") > bitcoin);

        const whole = withoutOnCluster(cluster, "tape");
        await compactTradeRuns(whole.client, "BTC-USD", "b3");
        assert.deepEqual(await known(), before);
        // b3 may have to be written again and keeps its row; before and after it there is a run.
        assert.equal(await runsOf("BTC-USD"), 3);
        assert.equal(await runsOf("ETH-USD"), ether);
        const deletes = whole.sent.filter((query) => query.includes("DELETE"));
        assert.match(
          deletes.join(),
          /^\s*DELETE FROM trade_runs_local ON CLUSTER tape\s+WHERE product_id = /,
        );
        // A replicated table refuses a subquery there.
        assert.doesNotMatch(deletes.join(), /SELECT/);
        // Again there is nothing to join.
        const again = withoutOnCluster(cluster, "tape");
        await compactTradeRuns(again.client, "BTC-USD", "b3");
        assert.deepEqual(again.sent.map((query) => query.trim().split(" ")[0]), ["INSERT"]);
      },
    );

    await t.step(
      "trade_runs: nothing is deleted while a replica is away, which may lack what was joined",
      async () => {
        await createOnOneNode(server, "replica_away", "away");
        const clickhouse = openClickHouse(configIn(server, "replica_away"));
        const writer = new BatchWriter(clickhouse, { onError });
        for (const [i, rows] of batches.slice(0, 3).entries()) {
          await writer.write(rows, { name: `b${i}`, mayBeStored: false, signal: never });
        }
        const before = await loadStoredTrades(clickhouse, ["BTC-USD"], "");
        const { client, sent } = withoutOnCluster(clickhouse, "away");
        await compactTradeRuns(client, "BTC-USD", "");
        assert.equal(sent.filter((query) => query.includes("DELETE")).length, 0);
        const after = await loadStoredTrades(clickhouse, ["BTC-USD"], "");
        assert.deepEqual(after.stored.get("BTC-USD")?.runs, before.stored.get("BTC-USD")?.runs);
        await clickhouse.close();
      },
    );

    await t.step("a question about one product goes to its shard only, inside of views too", async () => {
      // Both shards are this node: whoever asks both is told everything twice.
      await createOnOneNode(server, "sharded", "two");
      const sharded = openClickHouse(configIn(server, "sharded"));
      const writer = new BatchWriter(sharded, { onError });
      for (const [i, rows] of batches.entries()) {
        await writer.write(rows, { name: `b${i}`, mayBeStored: false, signal: never });
      }
      const count = async (settings: string) =>
        Number(
          (await tuples(sharded, `SELECT count() FROM trades WHERE product_id = 'BTC-USD' ${settings}`))[0]
            ?.[0],
        );
      const trades = batches.flatMap((rows) =>
        rows.trades
      ).filter(([product]) => product === "BTC-USD").length;
      assert.equal(await count(""), trades);
      assert.equal(await count("SETTINGS optimize_skip_unused_shards = 0"), 2 * trades);
      const [expected, found] = [await answers(plain, "product"), await answers(sharded, "product")];
      assert(found.size > 15, [...found.keys()].join());
      for (const [name, rows] of expected) assert.deepEqual(found.get(name), rows, name);
      const { stored } = await loadStoredTrades(sharded, ["BTC-USD", "ETH-USD"], "");
      assert.deepEqual(stored.get("BTC-USD")?.runs.length, 1);
      await sharded.close();
    });

    await t.step(
      "with two shards no view is refused, as it would be without the profile's setting",
      async () => {
        await createOnOneNode(server, "two_shards", "two");
        const two = openClickHouse(configIn(server, "two_shards"));
        await answers(two);
        await two.close();
        const address = new URL(server.url);
        address.searchParams.set("database", "two_shards");
        address.searchParams.set("distributed_product_mode", "deny");
        const refused = await fetch(address, {
          method: "POST",
          headers: server.headers,
          body:
            "SELECT count() FROM book_changes WHERE connection IN (SELECT connection FROM book_snapshots)",
        });
        assert.match(await refused.text(), /DISTRIBUTED_IN_JOIN_SUBQUERY_DENIED/);
      },
    );

    await t.step("a database keeps the form that it was made in", async () => {
      await assert.rejects(migrate({ ...plainConfig, CLICKHOUSE_CLUSTER: "tape" }, () => {}), {
        name: "FatalError",
        message: /^Database plain has the tables of a single server, and CLICKHOUSE_CLUSTER=tape needs /,
      });
      await cluster.command({
        query: `CREATE TABLE migrations AS plain.migrations
                ENGINE = Distributed('tape', 'plain', 'migrations', cityHash64(name))`,
      });
      await assert.rejects(migrate(configIn(server, "clustered"), () => {}), {
        name: "FatalError",
        message: "Database clustered has the tables of a cluster: set CLICKHOUSE_CLUSTER to its name.",
      });
    });
  } finally {
    await Promise.all([plain.close(), cluster.close()]);
    await server.stop();
  }
});

Deno.test("migrate: a cluster that the server doesn't know is refused, and a profile that would count trades twice", async () => {
  const server = await startConfiguredClickHouse(clusters);
  try {
    const config = configIn(server, "market");
    await assert.rejects(migrate({ ...config, CLICKHOUSE_CLUSTER: "nowhere" }, () => {}), {
      name: "FatalError",
      message:
        /^CLICKHOUSE_CLUSTER=nowhere: the server knows no such cluster\. .*deploy\/cluster\/server\.xml\.$/,
    });
    await assert.rejects(migrate({ ...config, CLICKHOUSE_CLUSTER: "tape" }, () => {}), {
      name: "FatalError",
      message:
        "CLICKHOUSE_CLUSTER=tape: the user's settings profile must have distributed_foreground_insert = 1 " +
        "(it is 0) and distributed_product_mode = global (it is deny): see deploy/cluster/users.xml.",
    });
  } finally {
    await server.stop();
  }
});
