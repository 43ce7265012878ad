/**
 * `deno task backup` and `deno task restore --backup` against a real S3 server and the embedded ClickHouse.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { type Outcome, secretKey, whyNoS3, withStore } from "./s3.ts";
import { testUnless } from "./skip.ts";

const skip = await whyNoS3();

/** Every table and plain view of the database → count and digest of its rows. Rolled-up tables are read merged. */
async function contentOf(warehouse: ClickHouseClient): Promise<Record<string, string>> {
  const answer = await warehouse.query({
    query: `SELECT name, engine, arrayStringConcat(groupArray(if(startsWith(column.type, 'AggregateFunction'),
              concat('finalizeAggregation(', column.name, ')'), column.name)), ', ') AS columns
            FROM system.tables AS table
            INNER JOIN (SELECT * FROM system.columns WHERE database = currentDatabase() ORDER BY position) AS column
              ON column.table = table.name
            WHERE table.database = currentDatabase() AND engine != 'MaterializedView'
              AND position(create_table_query, '{') = 0
            GROUP BY name, engine`,
    format: "JSONEachRow",
  });
  const contents: Record<string, string> = {};
  for (
    const { name, engine, columns } of await answer.json<{ name: string; engine: string; columns: string }>()
  ) {
    // Merge: the states of candles, read as one table.
    const final = /^(Aggregating|Replacing|Merge$)/.test(engine) ? "FINAL" : "";
    const row = await warehouse.query({
      query: `SELECT count(), sum(cityHash64(formatRow('RowBinary', ${columns}))) FROM ${name} ${final}`,
      format: "TabSeparated",
    });
    contents[name] = (await row.text()).trim();
  }
  return contents;
}

/** All but the record of the migrations, which the copy has of its own. */
function sameTables({ migrations: _, ...others }: Record<string, string>): Record<string, string> {
  assert.ok(Object.keys(others).length > 20);
  return others;
}

async function insertTrades(warehouse: ClickHouseClient, first: number, last: number): Promise<void> {
  await warehouse.command({
    query:
      `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, received_at, source, connection, batch)
            SELECT 'BTC-USD', number, toDateTime64('2026-07-07 00:00:00', 6, 'UTC') + number,
              toDecimal128('0.00000001', 18) * number, toDecimal128('0.5', 18), 'buy', now64(6), 'feed', 'c1', 'b'
            FROM numbers(${first}, ${last - first + 1})`,
  });
}

function succeeded({ code, stdout, stderr }: Outcome): string {
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  assert.equal(stderr, "");
  return stdout;
}

testUnless(
  "a full and an incremental backup are restored elsewhere, table by table, and go on working",
  skip,
  async () => {
    await withStore(async (store) => {
      const warehouse = await store.migrate("tape");
      const run = (name: string, ...args: string[]) => store.task(name, "tape", args);
      const refused = async (wanted: RegExp, name: string, ...args: string[]) => {
        const { code, stderr } = await run(name, ...args);
        assert.equal(code, 1, stderr);
        assert.match(stderr, wanted);
        assert.equal(stderr.split("\n").length, 1, stderr);
      };
      await insertTrades(warehouse, 1, 50_000);
      await warehouse.command({
        query:
          `INSERT INTO heartbeats (product_id, time, sequence, last_trade_id, received_at, source, connection)
              VALUES ('BTC-USD', '2026-07-06 23:59:59', 1, 1, '2026-07-07 00:00:00', 'feed', 'c1'),
                ('BTC-USD', '2026-07-07 20:00:00', 2, 60000, '2026-07-07 20:00:00', 'feed', 'c1')`,
      });

      assert.equal(succeeded(await run("backup", "--list")), "no backup of tape yet");
      assert.match(succeeded(await run("backup", "--name", "first")), /^first +\S+ +full +[\d,]+ bytes$/);
      const atFirst = await contentOf(warehouse);
      assert.equal(atFirst.trades?.split("\t")[0], "50000");

      await insertTrades(warehouse, 50_001, 50_100);
      assert.match(
        succeeded(await run("backup", "--name", "second")),
        /^second +\S+ +since first +[\d,]+ bytes$/,
      );
      await insertTrades(warehouse, 50_101, 50_200);
      assert.match(succeeded(await run("backup", "--name", "third")), /^third +\S+ +since first +/);
      const atThird = await contentOf(warehouse);
      const bytes = new Map(
        succeeded(await run("backup", "--list")).split("\n").map((line) => {
          const [name = "", , , size = ""] = line.split(/ {2,}/);
          return [name, Number(size.replace(/\D/g, ""))];
        }),
      );
      assert.deepEqual([...bytes.keys()], ["first", "second", "third"]);
      assert.ok((bytes.get("third") ?? Infinity) < (bytes.get("first") ?? 0) / 2, JSON.stringify([...bytes]));

      // No key of S3 lies in S3.
      for (const { key } of await store.s3.list("tapehouse/backups/")) {
        if (!/\.(backup|json|sql)$/.test(key)) continue;
        const text = await store.s3.readText(key) ?? "";
        assert.ok(!text.includes(secretKey) && !text.includes("&apos;Key") && !text.includes("s3cr3t"), key);
      }

      assert.match(
        succeeded(await run("restore", "--backup", "third", "--into", "third")),
        /^backup third of tape restored into third: \d+ tables and views$/,
      );
      const third = await store.migrate("third");
      assert.deepEqual(sameTables(await contentOf(third)), sameTables(atThird));
      succeeded(await run("restore", "--backup", "first", "--into", "first"));
      const first = await store.migrate("first");
      assert.deepEqual(sameTables(await contentOf(first)), sameTables(atFirst));
      assert.deepEqual(await contentOf(warehouse), atThird);

      // The copy lives by itself: its views see its own rows, and those of nobody else.
      await insertTrades(third, 50_201, 50_300);
      const value = async (client: ClickHouseClient, query: string) =>
        (await (await client.query({ query, format: "TabSeparated" })).text()).trim();
      const trades = "SELECT sum(trades) FROM candles_1d";
      assert.equal(await value(third, trades), "50300");
      assert.equal(await value(warehouse, trades), "50200");
      assert.equal(await value(third, "SELECT first_missing, last_missing FROM trade_gaps"), "50301\t60000");
      const hours = "SELECT count() FROM candles(product = 'BTC-USD', interval = '1h', " +
        "from = '2026-07-07 00:00:00', to = '2026-07-08 00:00:00')";
      assert.equal(await value(third, hours), "14");

      await refused(
        /^Database third holds \d+ tables and views: restore --into another one/,
        "restore",
        "--backup",
        "first",
        "--into",
        "third",
      );
      await refused(
        /^There is no finished backup none of tape\. There are \(newest last\): first, second, third\.$/,
        "restore",
        "--backup",
        "none",
        "--into",
        "x",
      );
      await refused(/^There is a backup third of tape already/, "backup", "--name", "third");
      const absent = await store.task("backup", "absent", []);
      assert.equal(
        absent.stderr,
        "There is no database absent with tables (CLICKHOUSE_DATABASE): nothing to back up.",
      );

      assert.match(succeeded(await run("backup", "--full", "--name", "fourth")), /^fourth +\S+ +full +/);
      assert.match(succeeded(await run("backup", "--name", "fifth")), /^fifth +\S+ +since fourth +/);

      // The Kafka engine isn't backed up: it would read as soon as it is restored, and it holds the broker's password.
      const engine = "kafka_engine_messages";
      for (
        const query of [
          `CREATE TABLE ${engine} (raw String) ENGINE = Kafka SETTINGS kafka_broker_list = '127.0.0.1:9',
             kafka_topic_list = 'a', kafka_group_name = 'a', kafka_format = 'RawBLOB', kafka_sasl_password = 'passw0rd'`,
          `CREATE MATERIALIZED VIEW ${engine}_mv ENGINE = Null AS SELECT raw FROM ${engine}`,
        ]
      ) await warehouse.command({ query });
      assert.match(succeeded(await run("backup", "--full", "--name", "engine")), /^engine +\S+ +full +/);
      for (const { key } of await store.s3.list("tapehouse/backups/tape/engine/")) {
        assert.ok(!key.includes("kafka_engine"), key);
        const text = key.endsWith(".sql") ? await store.s3.readText(key) ?? "" : "";
        assert.ok(!text.includes("passw0rd"), key);
      }
      for (const table of [`${engine}_mv`, engine]) {
        await warehouse.command({ query: `DROP TABLE ${table} SYNC` });
      }

      // Without its record a backup wasn't finished, and isn't built on.
      await store.s3.write("tapehouse/backups/tape/sixth/.backup", "what a kill leaves");
      await refused(
        /^There is no finished backup sixth of tape\./,
        "restore",
        "--backup",
        "sixth",
        "--into",
        "x",
      );
      await refused(
        /^There is a backup sixth of tape already, whole or unfinished: choose another --name\.$/,
        "backup",
        "--name",
        "sixth",
      );

      // A lost database comes back in its place.
      await warehouse.command({ query: "DROP DATABASE tape SYNC" });
      assert.match(
        succeeded(await run("restore", "--backup", "third")),
        /^backup third of tape restored into tape: /,
      );
      assert.deepEqual(await contentOf(warehouse), atThird);
      await insertTrades(warehouse, 50_201, 50_210);
      assert.equal(await value(warehouse, trades), "50210");
      assert.equal(await value(warehouse, hours), "14");

      // A damaged object is noticed, although its size is right.
      const objects = await store.s3.list("tapehouse/backups/tape/fourth/");
      const largest = objects.filter(({ key }) => key.includes("/data/tape/trades/") && key.endsWith(".bin"))
        .toSorted((left, right) => right.bytes - left.bytes)[0];
      assert.ok(largest !== undefined);
      await store.s3.write(largest.key, new Uint8Array(largest.bytes));
      await refused(
        /^Backup fourth is damaged: trades was restored into fourth, .+ \(DROP DATABASE fourth\), and restore another backup\.$/,
        "restore",
        "--backup",
        "fourth",
        "--into",
        "fourth",
      );
    });
  },
);
