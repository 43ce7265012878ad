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
import { clusterForm } from "../lib/cluster.ts";
import { createSimulation } from "../lib/coinbase/exchange/simulation.ts";
import { readConfig, type Variable, variables } from "../lib/config.ts";
import { migrate, readMigrations } from "../lib/migrations.ts";
import { addRows, emptyRows, type Rows, tables } from "../lib/rows.ts";
import { openStorage } from "../lib/storage.ts";
import { joinStoredTrades } from "../lib/trade_runs.ts";
import { insertBlock, openWarehouse } from "../lib/warehouse.ts";
import { startConfiguredClickHouse } from "./configured_clickhouse.ts";

const node = "<shard><internal_replication>true</internal_replication>" +
  "<replica><host>localhost</host><port>9000</port></replica></shard>";
const clusters =
  `<tcp_port>9000</tcp_port><remote_servers><tape>${node}</tape><two>${node}${node}</two></remote_servers>`;
const profile = "<distributed_foreground_insert>1</distributed_foreground_insert>" +
  "<distributed_product_mode>global</distributed_product_mode>";

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
};

function configOf(url: string, database: string) {
  return {
    ...readConfig(Object.keys(variables) as Variable[], () => undefined),
    CLICKHOUSE_URL: url,
    CLICKHOUSE_DATABASE: database,
  };
}

/** What the embedded engine runs of the cluster form. */
function oneNode(statement: string, cluster: string): string {
  return statement
    .replaceAll(` ON CLUSTER ${cluster}`, "")
    .replace(/Replicated(\w*MergeTree)\('[^']*', '\{replica\}'(?:, )?/, "$1(")
    .replace(
      /\breplicated_deduplication_window = (\d+), \w+ = \d+/,
      "non_replicated_deduplication_window = $1",
    );
}

async function createOnOneNode(url: string, database: string, cluster: string): Promise<void> {
  const server = openWarehouse(configOf(url, "default"));
  await server.command({ query: `CREATE DATABASE ${database}` });
  await server.close();
  const warehouse = openWarehouse(configOf(url, database));
  for (const { statements } of clusterForm(await readMigrations(), cluster)) {
    for (const statement of statements) await warehouse.command({ query: oneNode(statement, cluster) });
  }
  await warehouse.close();
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

/** Every view with its answer, one string a row; what depends on when it was asked is left out. */
async function answers(warehouse: ClickHouseClient): Promise<Map<string, string[]>> {
  const rows = async <T>(query: string) =>
    await (await warehouse.query({ query, format: "JSONEachRow" })).json<T>();
  const views = await rows<{ name: string; query: string }>(
    `SELECT name, create_table_query AS query FROM system.tables
     WHERE database = currentDatabase() AND engine = 'View' ORDER BY name`,
  );
  const found = new Map<string, string[]>();
  for (const { name, query } of views) {
    // A newer view may have a parameter that isn't known here; it is told by name.
    const names = [...new Set([...query.matchAll(/\{(\w+):/g)].map(([, parameter]) => parameter ?? ""))];
    if (names.some((parameter) => parameters[parameter] === undefined)) {
      console.log(`not asked: ${name}(${names.join(", ")})`);
      continue;
    }
    const values = names.map((parameter) => `${parameter} = ${parameters[parameter]}`).join(", ");
    const answer = await rows<Record<string, unknown>>(`SELECT * FROM ${name}${values && `(${values})`}`);
    found.set(name, answer.map(({ ingested_at: _, ...row }) => JSON.stringify(row)).sort());
  }
  return found;
}

Deno.test("the cluster form on one node: every statement parses, and every view says what it says without", async (t) => {
  const server = await startConfiguredClickHouse(clusters, profile);
  const plainConfig = configOf(server.url, "plain");
  const plain = openWarehouse(plainConfig);
  const cluster = openWarehouse(configOf(server.url, "clustered"));
  try {
    await t.step("ClickHouse's own parser reads every rewritten statement", async () => {
      const statements = clusterForm(await readMigrations(), "tape").flatMap(({ statements }) => statements);
      assert(statements.length > 50);
      for (const statement of statements) {
        const answer = await fetch(server.url, { method: "POST", body: `EXPLAIN AST ${statement}` });
        assert.equal(answer.status, 200, `${await answer.text()}\n${statement}`);
      }
    });

    await migrate(plainConfig, () => {});
    await createOnOneNode(server.url, "clustered", "tape");
    const batches = simulatedBatches();
    const never = new AbortController().signal;
    const onError = (what: string, error: unknown) => {
      throw new Error(what, { cause: error });
    };
    for (const warehouse of [plain, cluster]) {
      const storage = openStorage(warehouse, { onError });
      for (const [i, rows] of batches.entries()) await storage.write(rows, `b${i}`, never);
    }

    await t.step("the same numbers in every view", async () => {
      const [expected, found] = [await answers(plain), await answers(cluster)];
      assert.deepEqual([...found.keys()], [...expected.keys()]);
      const filled = [...expected].filter(([, rows]) => rows.length > 0).map(([name]) => name);
      for (
        const name of ["candles", "completeness", "hourly_stats", "spreads_1s", "book_at", "book_depth_at"]
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
        const count = async () =>
          (await (await cluster.query({
            query: `SELECT count() AS rows FROM ${table}`,
            format: "JSONEachRow",
          })).json<{ rows: string }>())[0]?.rows;
        const total = batches.reduce((sum, batch) => sum + batch[table].length, 0);
        // Once more under another token, and not twice.
        assert.equal(Number(await count()), total + rows.length, table);
      }
      // Rule 3: what the consumer itself writes again, in another batch, is no new trade.
      const storage = openStorage(cluster, { onError });
      const { repeatedTrades, rows } = await storage.write(
        { ...emptyRows(), trades: batches[7]?.trades ?? [] },
        "c7",
        never,
      );
      assert.deepEqual([repeatedTrades, rows], [batches[7]?.trades.length, {}]);
      // A Distributed table has no DELETE: the runs stay as they are, and the consumer goes on.
      await joinStoredTrades(cluster, "BTC-USD", "");
      assert.deepEqual(await gaps(), before);
    });

    await t.step(
      "with two shards no view is refused, as it would be without the profile's setting",
      async () => {
        await createOnOneNode(server.url, "two_shards", "two");
        const two = openWarehouse(configOf(server.url, "two_shards"));
        await answers(two);
        await two.close();
        const address = new URL(server.url);
        address.searchParams.set("database", "two_shards");
        address.searchParams.set("distributed_product_mode", "deny");
        const refused = await fetch(address, {
          method: "POST",
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
      await assert.rejects(migrate(configOf(server.url, "clustered"), () => {}), {
        name: "FatalError",
        message: "Database clustered has the tables of a cluster: set CLICKHOUSE_CLUSTER to its name.",
      });
    });
  } finally {
    await Promise.all([plain.close(), cluster.close()]);
    await server.stop();
  }
});

Deno.test("migrate refuses a cluster that the server doesn't know, and a profile that would count trades twice", async () => {
  const server = await startConfiguredClickHouse(clusters);
  try {
    const config = configOf(server.url, "market");
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
