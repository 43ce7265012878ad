/**
 * `deno task backup` and `deno task restore --backup` against a real S3 server and the embedded ClickHouse.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";
import { startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { createBackup } from "../../lib/archive/backup.ts";
import { type Moment, readClock } from "../../lib/archive/backup_moment.ts";
import { listBackups } from "../../lib/archive/backup_record.ts";
import { restoreBackup } from "../../lib/archive/backup_restore.ts";
import { rewindGroup } from "../../lib/archive/backup_rewind.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { fetchCommitted } from "../../lib/kafka/log_range.ts";
import { createLogger } from "../../lib/process/log.ts";
import { lossRows } from "../../lib/ingest/losses.ts";
import { columns, type Rows, tables } from "../../lib/ingest/rows.ts";
import { openS3, type S3 } from "../../lib/archive/s3.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { configOf } from "../support/config.ts";
import { withMarket } from "../support/stoppable_market.ts";
import { type Outcome, runTask, secretKey, startBucket, whyNoS3, withStore } from "../support/s3.ts";
import { simulatedTape } from "../support/simulated_tape.ts";
import { testUnless } from "../support/skip.ts";
import { root, startServers } from "../support/tape.ts";
import { rows } from "../../lib/clickhouse/rows.ts";

const skip = await whyNoS3();

/** Every table and plain view of the database → count and digest of its rows. Rolled-up tables are read merged. */
async function contentOf(clickhouse: ClickHouseClient): Promise<Record<string, string>> {
  const answer = await clickhouse.query({
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
    const row = await clickhouse.query({
      query: `SELECT count(), sum(cityHash64(formatRow('RowBinary', ${columns}))) FROM ${name} ${final}`,
      format: "TabSeparated",
    });
    contents[name] = (await row.text()).trim();
  }
  return contents;
}

/** All but what a restore writes itself: its own records, and trade_runs, whose rows it joins (the views of it are here). */
function sameTables(content: Record<string, string>): Record<string, string> {
  const { migrations: _, replays: __, trade_runs: ___, ...others } = content;
  assert.ok(Object.keys(others).length > 20);
  return others;
}

async function insertTrades(clickhouse: ClickHouseClient, first: number, last: number): Promise<void> {
  await clickhouse.command({
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
  "backup: a full and an incremental backup are restored elsewhere, table by table, and go on working",
  skip,
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("tape");
      // There is no Kafka here: the next test has one.
      const run = (name: string, ...args: string[]) => {
        const makes = name === "backup" && !args.includes("--list") && !args.includes("--check");
        return store.task(name, "tape", makes ? [...args, "--without-kafka"] : args);
      };
      const refused = async (wanted: RegExp, name: string, ...args: string[]) => {
        const { code, stderr } = await run(name, ...args);
        assert.equal(code, 1, stderr);
        assert.match(stderr, wanted);
        assert.equal(stderr.split("\n").length, 1, stderr);
      };
      await insertTrades(clickhouse, 1, 50_000);
      await clickhouse.command({
        query:
          `INSERT INTO heartbeats (product_id, time, sequence, last_trade_id, received_at, source, connection)
              VALUES ('BTC-USD', '2026-07-06 23:59:59', 1, 1, '2026-07-07 00:00:00', 'feed', 'c1'),
                ('BTC-USD', '2026-07-07 20:00:00', 2, 60000, '2026-07-07 20:00:00', 'feed', 'c1')`,
      });

      assert.equal(succeeded(await run("backup", "--list")), "no backup of tape yet");
      assert.match(
        succeeded(await run("backup", "--name", "first")),
        /^first +\S+ +full +[\d,]+ bytes +without Kafka$/,
      );
      const atFirst = await contentOf(clickhouse);
      assert.equal(atFirst.trades?.split("\t")[0], "50000");

      await insertTrades(clickhouse, 50_001, 50_100);
      assert.match(
        succeeded(await run("backup", "--name", "second")),
        /^second +\S+ +since first +[\d,]+ bytes +without Kafka$/,
      );
      const atSecond = await contentOf(clickhouse);
      await insertTrades(clickhouse, 50_101, 50_200);
      assert.match(succeeded(await run("backup", "--name", "third")), /^third +\S+ +since first +/);
      const atThird = await contentOf(clickhouse);
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
        /^trades +50,200 rows .+\nbackup third of tape restored into third: \d+ tables and views\n/ms,
      );
      const third = await store.migrate("third");
      assert.deepEqual(sameTables(await contentOf(third)), sameTables(atThird));
      for (const [name, content] of [["first", atFirst], ["second", atSecond]] as const) {
        succeeded(await run("restore", "--backup", name, "--into", name));
        assert.deepEqual(sameTables(await contentOf(await store.migrate(name))), sameTables(content), name);
      }
      assert.deepEqual(await contentOf(clickhouse), atThird);

      // The copy lives by itself: its views see its own rows, and those of nobody else.
      await insertTrades(third, 50_201, 50_300);
      const value = async (clickhouse: ClickHouseClient, query: string) =>
        (await (await clickhouse.query({ query, format: "TabSeparated" })).text()).trim();
      const trades = "SELECT sum(trades) FROM candles_1d";
      assert.equal(await value(third, trades), "50300");
      assert.equal(await value(clickhouse, trades), "50200");
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
      ) await clickhouse.command({ query });
      assert.match(succeeded(await run("backup", "--full", "--name", "engine")), /^engine +\S+ +full +/);
      for (const { key } of await store.s3.list("tapehouse/backups/tape/engine/")) {
        assert.ok(!key.includes("kafka_engine"), key);
        const text = key.endsWith(".sql") ? await store.s3.readText(key) ?? "" : "";
        assert.ok(!text.includes("passw0rd"), key);
      }
      for (const table of [`${engine}_mv`, engine]) {
        await clickhouse.command({ query: `DROP TABLE ${table} SYNC` });
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
      await clickhouse.command({ query: "DROP DATABASE tape SYNC" });
      assert.match(
        succeeded(await run("restore", "--backup", "third")),
        /^backup third of tape restored into tape: /m,
      );
      assert.deepEqual(sameTables(await contentOf(clickhouse)), sameTables(atThird));
      await insertTrades(clickhouse, 50_201, 50_210);
      assert.equal(await value(clickhouse, trades), "50210");
      assert.equal(await value(clickhouse, hours), "14");

      // A damaged object is noticed, although its size is right.
      const objects = await store.s3.list("tapehouse/backups/tape/fourth/");
      const largest = objects.filter(({ key }) => key.includes("/data/tape/trades/") && key.endsWith(".bin"))
        .toSorted((left, right) => right.bytes - left.bytes)[0];
      assert.ok(largest !== undefined);
      await store.s3.write(largest.key, new Uint8Array(largest.bytes));
      await refused(
        /^Backup fourth (is damaged: the files of trades|can't be restored)/,
        "backup",
        "--check",
        "fourth",
      );
      await refused(
        /^Backup fourth is damaged: trades was restored into fourth, .+ \(DROP DATABASE fourth\), and restore another backup\.$/,
        "restore",
        "--backup",
        "fourth",
        "--into",
        "fourth",
      );
      // What is restored and not proven is no database: not for a service, not for migrations, not for another restore.
      const unfinished = /^The restore of backup fourth into this database didn't end.+DROP DATABASE \w/;
      await refused(unfinished, "restore", "--backup", "third", "--into", "fourth");
      for (
        const [name, args] of [["migrate", []], ["stats", ["--date", "2026-07-07"]], ["backup", []]] as const
      ) {
        const { code, stderr } = await store.task(name, "fourth", [...args]);
        assert.equal(code, 1);
        assert.match(stderr, /The restore of backup fourth into this database didn't end/);
      }
      assert.match(
        succeeded(await run("backup", "--check", "third")),
        /^third .+ read back: \d+ tables can be restored$/,
      );
      assert.equal(
        await value(clickhouse, "SELECT count() FROM system.databases WHERE name LIKE '%check%'"),
        "0",
      );
    });
  },
);

const messageTables = ["trades", "tickers", "heartbeats", "book_changes", "feed_events"] as const;

/** Count and digest of what a FROM names. */
async function digestOf(clickhouse: ClickHouseClient, columns: string, from: string): Promise<string> {
  const answer = await clickhouse.query({
    query: `SELECT count(), sum(cityHash64(formatRow('RowBinary', ${columns}))) FROM ${from}`,
    format: "TabSeparated",
  });
  return (await answer.text()).trim();
}

/** The columns of a table, without some. */
async function columnsOf(
  clickhouse: ClickHouseClient,
  table: string,
  except: readonly string[],
): Promise<string> {
  const columns = await rows<{ name: string }>(
    clickhouse,
    `SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}
       AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY position`,
    { table },
  );
  return columns.map(({ name }) => name).filter((name) => !except.includes(name)).join(", ");
}

/** How many trades each of them knows of: the table, its runs, every level of the candles. */
async function tradesByTable(clickhouse: ClickHouseClient): Promise<Record<string, string>> {
  const counts = {
    trades: "SELECT count() FROM trades",
    "trades, once": "SELECT uniqExact(product_id, trade_id) FROM trades",
    trade_runs: `SELECT uniqExact(product_id, id) FROM
      (SELECT product_id, arrayJoin(range(first_trade_id, last_trade_id + 1)) AS id FROM trade_runs)`,
    ...Object.fromEntries(
      ["1s", "1m", "1h", "1d"].map((level) => [level, `SELECT sum(trades) FROM candles_${level}`]),
    ),
  };
  const known: Record<string, string> = {};
  for (const [name, query] of Object.entries(counts)) {
    known[name] = (await (await clickhouse.query({ query, format: "TabSeparated" })).text()).trim();
  }
  return known;
}

/** What two tapes of the same messages have in common, whatever batches they came in. */
async function tapeOf(clickhouse: ClickHouseClient): Promise<Record<string, string>> {
  const tape: Record<string, string> = {};
  for (const table of [...messageTables, "products_state"]) {
    const columns = await columnsOf(clickhouse, table, ["ingested_at", "batch"]);
    tape[table] = await digestOf(clickhouse, columns, table === "products_state" ? `${table} FINAL` : table);
  }
  for (const table of ["book_levels", "book_snapshots"]) {
    tape[table] = await digestOf(clickhouse, "*", `${table} FINAL`);
  }
  for (const table of ["heartbeat_ends_state", "book_connections_state"]) {
    tape[table] = await digestOf(clickhouse, "*", `${table} FINAL`);
  }
  for (const view of ["candles_1s", "candles_1m", "candles_1h", "candles_1d", "book_epochs"]) {
    tape[view] = await digestOf(clickhouse, "*", view);
  }
  tape.trade_gaps = await digestOf(clickhouse, "product_id, first_missing, last_missing", "trade_gaps");
  return { ...tape, ...await tradesByTable(clickhouse) };
}

testUnless(
  "backup: one of a tape under full writes is of one moment, and a consumer goes on from it to the exact tape",
  skip,
  async () => {
    const servers = await startServers();
    const bucket = await startBucket(servers.home);
    const products = ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"];
    const clients: ClickHouseClient[] = [];
    try {
      await withMarket(
        servers,
        {
          rate: 300,
          products,
          env: { COINBASE_CHANNELS: "ticker,matches,heartbeat,level2_batch,status", CONSUMER_FLUSH_MS: "20" },
        },
        async ({ tape, exchange, prove, moreTrades }) => {
          const env = { ...tape.env, ...bucket.env };
          const s3 = openS3({ ...tape.config, ...bucket.env, S3_REGION: "us-east-1" });
          const open = (database: string) => {
            const clickhouse = openClickHouse({ ...tape.config, CLICKHOUSE_DATABASE: database });
            clients.push(clickhouse);
            return clickhouse;
          };
          const stopping = new AbortController();
          await tape.start("consumer");
          await tape.start("consumer");
          const producer = await tape.start("producer");
          await tape.start("backfill", {}, ["--watch"]);
          let stopRollup = () => {};
          const watching = runTask(
            "rollup",
            { ...env, METRICS_PORT: String(freePort()), ROLLUP_INTERVAL_SECONDS: "5" },
            ["--watch"],
            (_, terminate) => stopRollup = terminate,
          );
          const faults = (async () => {
            while (!stopping.signal.aborted) {
              exchange.faults.inject({ swallowTrades: 20 });
              await sleep(3000, stopping.signal);
              exchange.faults.inject({ drop: true });
              await sleep(3000, stopping.signal);
            }
          })();
          const names = ["one", "two"];
          const copyOf = (name: string) => `${tape.config.CLICKHOUSE_DATABASE}_${name}`;
          try {
            for (const name of names) {
              await moreTrades(600);
              const kind = name === "one" ? "full" : "since one";
              const made = succeeded(await runTask("backup", env, ["--name", name]));
              assert.match(made, new RegExp(`^${name} +\\S+ +${kind} +[\\d,]+ bytes$`));
            }
            // The backups end in the middle of the tape.
            await moreTrades(600);
          } finally {
            stopping.abort();
            await faults;
            stopRollup();
          }
          const rollup = await watching;
          assert.equal(rollup.code, 0, rollup.stderr);
          await prove();
          // A frozen market goes on to tell of its books.
          await producer.stop();
          await tape.untilRead();

          for (const name of names) {
            const said = succeeded(await runTask("restore", env, ["--backup", name, "--into", copyOf(name)]));
            const copy = open(copyOf(name));
            const counts = await tradesByTable(copy);
            assert.equal(new Set(Object.values(counts)).size, 1, JSON.stringify(counts));
            assert.match(said, /^candle_states .+ equals trades/m);
            assert.match(said, /^every trade is stored once$/m);
            // The rows below the moment's offsets, all of them, and no other.
            const { moment } = JSON.parse(
              await s3.readText(`tapehouse/backups/${tape.config.CLICKHOUSE_DATABASE}/${name}.json`) ?? "",
            ) as { moment: Moment };
            for (const table of messageTables) {
              const { offsets } = table === "book_changes" ? moment.level2 : moment.market;
              const columns = await columnsOf(copy, table, []);
              const stored = await digestOf(copy, columns, table);
              const below = `${table} WHERE kafka_offset < [${offsets}][kafka_partition + 1]`;
              assert.equal(stored, await digestOf(tape.clickhouse, columns, below), `${name}: ${table}`);
              assert.equal(stored, await digestOf(copy, columns, below), `${name}: ${table}`);
              assert.notEqual(stored.split("\t")[0], "0", table);
              assert.notEqual(stored, await digestOf(tape.clickhouse, columns, table), `${name}: ${table}`);
            }
          }

          const live = { ...env, KAFKA_GROUP: `${tape.config.KAFKA_GROUP}_copy` };
          const args = ["--backup", "two", "--into", copyOf("two"), "--rewind-group"];
          const refused = await runTask("restore", env, args);
          assert.match(refused.stderr, /^Group \S+_group writes into t\w+, which is still there/);
          assert.equal(refused.code, 1);
          assert.match(
            succeeded(await runTask("restore", live, args)),
            /^group \S+_copy: \S+ goes on at \d+/,
          );
          await tape.start("consumer", { KAFKA_GROUP: live.KAFKA_GROUP, CLICKHOUSE_DATABASE: copyOf("two") });
          await tape.untilRead(live.KAFKA_GROUP);
          assert.deepEqual(await tapeOf(open(copyOf("two"))), await tapeOf(tape.clickhouse));
          // Rows were stored in it since: its moment is over.
          const late = await runTask("restore", live, args);
          assert.match(
            late.stderr,
            /^Group \S+ \(KAFKA_GROUP\) has 1 members: stop consumer\.ts, then run this again\.$/,
          );
        },
      );
    } finally {
      for (const client of clients) await client.close();
      await bucket.stop();
      await servers.stop();
    }
  },
);

/** The rows of two products for ten minutes, with their book, as one partition of one topic. */
const tenMinutes = () =>
  simulatedTape({
    products: ["BTC-USD", "ETH-USD"],
    rate: 4,
    from: Date.parse("2026-07-07T23:55:00Z") * 1000,
    hours: 1 / 6,
    bookMinutes: 8,
  });

/** The rows whose offset passes. */
function only(rows: Rows, passes: (offset: number) => boolean): Rows {
  return Object.fromEntries(
    tables.map((table) => {
      const at = (columns[table] as readonly string[]).indexOf("kafka_offset");
      return [table, rows[table].filter((row) => passes(Number(row[at])))];
    }),
  ) as unknown as Rows;
}

testUnless(
  "backup: one whose tables are of different moments is restored as one, whichever of them is ahead",
  skip,
  async () => {
    await withStore(async (store) => {
      const all = tenMinutes();
      const newest = Math.max(
        ...all.trades.map((row) => Number(row[columns.trades.indexOf("kafka_offset")])),
      );
      const cut = Math.floor(newest * 0.6);
      const rejected = (topic: string, offset: number) =>
        `INSERT INTO rejected (reason, raw_base64, kafka_topic, received_at, source, connection, kafka_partition, kafka_offset)
         VALUES ('bad', base64Encode('{"type":"l2update"}'), '${topic}', '2026-07-07 23:58:00', 'feed', 'c', 0, ${offset})`;
      // In Kafka, before it was read: of a topic of the moment it is found lost again, of any other one it stays.
      const lost = (topic: string) => {
        const at = "2026-07-07 23:58:00.000000";
        const book = { product_id: "BTC-USD", connection: "c", time: at, received_at: at };
        const loss = {
          topic,
          partition: 0,
          logName: "l",
          range: { first: cut, last: cut + 5 },
          reason: "expired",
        };
        return lossRows(loss, [book], Date.parse("2026-07-07T23:58:00Z") * 1000);
      };
      const early = async (database: string) => {
        const client = await store.migrate(database);
        // Of a topic that was made anew since: its offsets are above the cut, and its rows stay.
        await insertTape(client, only(tenMinutesOfOld(), () => true));
        await insertTape(client, only(all, (offset) => offset < cut));
        await client.command({ query: rejected("market", cut - 1) });
        await client.command({ query: rejected("elsewhere", cut + 1) });
        return client;
      };
      const wanted = await early("wanted");
      await insertBlock(wanted, "feed_events", lost("elsewhere"), crypto.randomUUID());
      const tornBy: Record<string, string[]> = {
        // The trades were taken first, then their candles and runs; the book's levels before its changes.
        ahead: [
          `DELETE FROM trades WHERE kafka_offset >= ${cut + 20} AND batch != 'old'`,
          `DELETE FROM heartbeats WHERE kafka_offset >= ${cut + 40} AND connection != 'old'`,
          `DELETE FROM book_levels WHERE interval = '1d' AND change >= ${cut} * 1048576 AND connection != 'old'`,
        ],
        // … and the other way round.
        behind: [
          "DELETE FROM trade_runs WHERE batch != 'old'",
          "DELETE FROM candle_states WHERE interval = '1h' AND time >= '2026-07-07 00:00:00'",
          `DELETE FROM book_changes WHERE kafka_offset >= ${cut + 30} AND connection != 'old'`,
        ],
      };
      for (const [database, statements] of Object.entries(tornBy)) {
        const client = await early(database);
        const config = configOf({ ...store.env, CLICKHOUSE_DATABASE: database });
        const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
        const backups = { clickhouse: server, s3: store.s3, config, database };
        const moment: Moment = {
          at: await readClock(server),
          cluster: "c",
          group: "g",
          market: { topic: "market", offsets: [cut], last: [null] },
          level2: { topic: "level2", offsets: [cut], last: [null] },
        };
        await insertTape(client, only(all, (offset) => offset >= cut));
        await client.command({ query: rejected("market", cut) });
        await client.command({ query: rejected("level2", cut) });
        for (const topic of ["market", "level2", "elsewhere"]) {
          await insertBlock(client, "feed_events", lost(topic), crypto.randomUUID());
        }
        await client.command({
          query: "INSERT INTO anomalies_checked VALUES ('BTC-USD', '2036-01-01 00:00:00')",
        });
        await client.command({
          query: `INSERT INTO book_depth_1s_state (* EXCEPT computed_at) SELECT * FROM book_depth_1s_between(
                    product = 'BTC-USD', from = '2026-07-08 00:03:00', to = '2026-07-08 00:04:00')`,
        });
        for (const query of statements) await client.command({ query });
        await createBackup(backups, "torn", undefined, () => Promise.resolve(moment));
        const { proof } = await restoreBackup(backups, "torn", `${database}_copy`);
        await server.close();

        const copy = await store.migrate(`${database}_copy`);
        // Of a product only its newest state is kept, and that may be one from after the moment.
        const { products_state: _, ...restored } = await tapeOf(copy);
        const { products_state: __, ...expected } = await tapeOf(wanted);
        assert.deepEqual(restored, expected, database);
        for (const table of ["rejected", "book_losses", "book_depth_1s_state"]) {
          const columns = await columnsOf(copy, table, ["ingested_at"]);
          assert.equal(await digestOf(copy, columns, table), await digestOf(wanted, columns, table), table);
        }
        const [checked] = await rows<{ at: string }>(
          copy,
          "SELECT toString(checked_to) AS at FROM anomalies_checked",
        );
        assert.equal(checked?.at, moment.at);
        const removed = (table: string) => proof.lines.find((line) => line.table === table)?.removed ?? 0;
        for (const table of ["trades", "tickers", "book_changes", "heartbeats"]) {
          assert.ok(removed(table) > 0, table);
        }
        assert.equal(removed("rejected"), 2);
        assert.equal(proof.doubles, 0);
      }
    });
  },
);

/** A tape of another year that an older topic brought, with higher offsets. */
function tenMinutesOfOld(): Rows {
  const rows = simulatedTape({
    products: ["ADA-USD"],
    rate: 1,
    from: Date.parse("2025-01-01T00:00:00Z") * 1000,
    hours: 1 / 12,
    bookMinutes: 4,
  });
  return Object.fromEntries(
    tables.map((table) => {
      const names = columns[table] as readonly string[];
      return [
        table,
        rows[table].map((row) =>
          row.map((value, index) => {
            if (names[index] === "kafka_offset") return Number(value) + 1_000_000;
            return names[index] === "batch" || names[index] === "connection" ? "old" : value;
          })
        ),
      ];
    }),
  ) as unknown as Rows;
}

/** Stores rows, one block a table; twice the same isn't meant. */
async function insertTape(clickhouse: ClickHouseClient, rows: Rows): Promise<void> {
  for (const table of tables) {
    if (rows[table].length > 0) await insertBlock(clickhouse, table, rows[table], crypto.randomUUID());
  }
}

testUnless(
  "backup: months whose trades were removed keep their candles and runs in a restore",
  skip,
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("trimmed");
      await insertTape(clickhouse, tenMinutesOfOld());
      await insertTape(clickhouse, tenMinutes());
      const views = ["candles_1s", "candles_1d", "trade_gaps", "completeness"];
      const read = async (clickhouse: ClickHouseClient) =>
        await Promise.all(views.map((view) => digestOf(clickhouse, "*", view)));
      const before = await read(clickhouse);
      await clickhouse.command({ query: "ALTER TABLE trades DROP PARTITION 202501" });
      succeeded(await store.task("backup", "trimmed", ["--name", "one", "--without-kafka"]));
      // A month counts as removed when its candles are a day old.
      const key = "tapehouse/backups/trimmed/one.json";
      const record = JSON.parse(await store.s3.readText(key) ?? "");
      assert.deepEqual(record.candles_only, []);
      await store.s3.write(key, JSON.stringify({ ...record, candles_only: ["202501"] }));
      succeeded(await store.task("restore", "trimmed", ["--backup", "one", "--into", "copy"]));
      assert.deepEqual(await read(await store.migrate("copy")), before);
    });
  },
);

testUnless("backup: what S3 doesn't give back as it was made isn't one", skip, async () => {
  await withStore(async (store) => {
    const clickhouse = await store.migrate("tape");
    await insertTrades(clickhouse, 1, 1000);
    const config = configOf(store.env);
    const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
    try {
      const damaging: S3 = {
        ...store.s3,
        async list(prefix) {
          const objects = await store.s3.list(prefix);
          const data = objects.find(({ key }) => /\/data\/tape\/trades\/.+data\.bin$/.test(key));
          if (data !== undefined) await store.s3.write(data.key, new Uint8Array(data.bytes));
          return objects;
        },
      };
      const backups = { clickhouse: server, s3: damaging, config, database: "tape" };
      await assert.rejects(createBackup(backups, "bad", undefined, undefined), {
        name: "FatalError",
        message: /^Backup bad (is damaged: the files of trades|can't be restored)/,
      });
      assert.deepEqual(await listBackups({ ...backups, s3: store.s3 }), []);
      // A replay that runs meanwhile can't be told apart from what the consumer stores.
      const at = await readClock(server);
      await clickhouse.command({
        query: "INSERT INTO replays (name, partition, first, last, done) VALUES ('a topic', 0, 1, 9, false)",
      });
      const topic = { topic: "t", offsets: [], last: [] };
      const moment: Moment = { at, cluster: "c", group: "g", market: topic, level2: topic };
      await assert.rejects(
        createBackup({ ...backups, s3: store.s3 }, "replayed", undefined, () => Promise.resolve(moment)),
        { message: /^A replay or a restore wrote into tape while it was backed up \(a topic\)/ },
      );
    } finally {
      await server.close();
    }
  });
});

Deno.test("backup: a group is pointed to the moment even where its messages have expired, so that the loss is found", async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
  const kafka = await startKafka({ home, port: freePort(), jars });
  const config = configOf({ KAFKA_BROKERS: kafka.brokers });
  const broker = openBroker(config, "test", createLogger({}, { write: () => {} }));
  const admin = broker.admin();
  const producer = broker.producer();
  try {
    await Promise.all([admin.connect(), producer.connect()]);
    const topic = config.KAFKA_TOPIC;
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] });
    const messages = Array.from({ length: 10 }, (_, index) => ({ value: String(index) }));
    await producer.send({ topic, messages });
    // kafkajs has to know the partition's leader.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "6" }] });
    const moment: Moment = {
      at: "2026-07-07 00:00:00.000000",
      cluster: "c",
      group: "g",
      market: { topic, offsets: [4], last: [null] },
      level2: { topic: config.KAFKA_LEVEL2_TOPIC, offsets: [], last: [] },
    };
    const [line = ""] = await rewindGroup(moment, config);
    assert.match(line, /goes on at 4; 2 messages between the backup and the topic's beginning are gone/);
    assert.deepEqual(await fetchCommitted(admin, config.KAFKA_GROUP, topic, 0), { offset: 4 });
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect()]);
    await kafka.stop();
    await Deno.remove(home, { recursive: true });
  }
});
