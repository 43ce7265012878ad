/**
 * `deno task archive` and `deno task restore` against a real S3 server and the embedded ClickHouse: what is stored before
 * and after is compared row by row, as text.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { AwsClient } from "aws4fetch";
import assert from "node:assert/strict";
import { type Skip, testUnless } from "../support/skip.ts";
import { type Store, whyNoS3, withStore } from "../support/s3.ts";

const skip = await whyNoS3();

/** Tables and views → how all of them is read. Rolled-up tables as their readers see them: merged. */
const read = {
  trades: "SELECT * EXCEPT batch FROM trades",
  tickers: "SELECT * FROM tickers",
  book_changes: "SELECT * FROM book_changes",
  heartbeats: "SELECT * FROM heartbeats",
  feed_events: "SELECT * FROM feed_events",
  candles_1s: "SELECT * FROM candles_1s",
  candles_1d: "SELECT * FROM candles_1d",
  trade_gaps: "SELECT * FROM trade_gaps",
  completeness: "SELECT * FROM completeness",
  heartbeat_ends: "SELECT * FROM heartbeat_ends_state FINAL",
  book_levels: "SELECT * FROM book_levels FINAL",
  book_snapshots: "SELECT * FROM book_snapshots FINAL",
  book_connections: "SELECT * FROM book_connections_state FINAL",
  book_epochs: "SELECT * FROM book_epochs",
};
type Name = keyof typeof read;

async function textOf(clickhouse: ClickHouseClient, query: string): Promise<string> {
  const answer = await clickhouse.query({
    query: `SELECT * FROM (${query}) ORDER BY ALL`,
    format: "TabSeparated",
  });
  return await answer.text();
}

/** Names the first line that differs; a whole comparison of thousands would be printed otherwise. */
function sameLines(have: readonly string[], want: readonly string[], what: string): void {
  const at = want.findIndex((line, index) => line !== have[index]);
  if (at >= 0) assert.equal(have[at], want[at], what);
  assert.equal(have.length, want.length, what);
}

function sameContent<K extends string>(
  have: Record<K, string>,
  want: Record<K, string>,
  except: readonly K[] = [],
): void {
  for (const name of Object.keys(want) as K[]) {
    if (!except.includes(name)) sameLines(have[name].split("\n"), want[name].split("\n"), name);
  }
}

async function contentOf(clickhouse: ClickHouseClient): Promise<Record<Name, string>> {
  const texts = { ...read };
  for (const name of Object.keys(read) as Name[]) texts[name] = await textOf(clickhouse, read[name]);
  return texts;
}

/** The tables that views fill from book_changes, whatever migration made them, and their content as merged. */
async function fedByBook(clickhouse: ClickHouseClient): Promise<Record<string, string>> {
  const answer = await rows<{ target: string }>(
    clickhouse,
    `SELECT extract(create_table_query, 'TO \\\\w+\\\\.(\\\\w+)') AS target FROM system.tables
     WHERE database = currentDatabase() AND engine = 'MaterializedView'
       AND match(as_select, 'FROM \\\\w+\\\\.book_changes\\\\b')`,
  );
  const targets = answer.map(({ target }) => target);
  assert.ok(targets.length >= 3, `found only ${targets}`);
  const texts: Record<string, string> = {};
  for (const target of targets) texts[target] = await textOf(clickhouse, `SELECT * FROM ${target} FINAL`);
  return texts;
}

async function count(clickhouse: ClickHouseClient, query: string): Promise<number> {
  return Number((await textOf(clickhouse, `SELECT count() FROM (${query})`)).trim());
}

const stamps = "received_at, source, connection, kafka_partition, kafka_offset";
const stamped = (number: string) =>
  `toDateTime64('2026-07-07 00:00:00.000001', 6, 'UTC') + ${number}, 'feed', 'c1', 0, ${number}`;
const time = (number: string) =>
  `toDateTime64('2026-07-07 00:00:00', 6, 'UTC') + toIntervalMicrosecond((${number}) * 86123457)`;

function trades(product: string, ids: string): string {
  return `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, sequence, maker_order_id,
      taker_order_id, ${stamps}, batch)
    SELECT '${product}', id, ${time("id")}, toDecimal128('0.00000001', 18) * (id * id * id % 100003 + 1),
      toDecimal128('0.000000000000000001', 18) * (id + 1), if(id % 3 = 0, 'buy', 'sell'), id * 7, NULL,
      if(id % 7 = 0, NULL, reinterpretAsUUID(sipHash128(id))),
      ${stamped("id")}, 'b1' FROM (SELECT toUInt64(number) AS id FROM numbers(2000) WHERE ${ids})`;
}

/** Two days, two products, every kind of value; two blocks a table, not in the order of time. */
async function fill(clickhouse: ClickHouseClient): Promise<void> {
  const largest = "'99999999999999999999.999999999999999999'";
  const statements = [
    trades("BTC-USD", "number BETWEEN 1000 AND 1600"),
    trades("BTC-USD", "number BETWEEN 1 AND 999 AND number != 500"),
    trades("ETH-USD", "number BETWEEN 1 AND 300"),
    ...["number >= 700", "number < 700"].map((some) =>
      `INSERT INTO tickers (product_id, sequence, time, price, best_bid, best_ask, taker_side, trade_id, volume_24h, ${stamps})
       SELECT if(number % 2, 'BTC-USD', 'ETH-USD'), number, ${time("number")}, toDecimal128(${largest}, 18),
         if(number % 3 = 0, NULL, toDecimal128('0.000000000000000001', 18)), toDecimal128('2', 18),
         if(number % 4 = 0, NULL, 'sell'), if(number % 5 = 0, NULL, number), NULL, ${stamped("number")}
       FROM numbers(1500) WHERE ${some}`
    ),
    ...["number >= 700", "number < 700"].map((some) =>
      `INSERT INTO book_changes (product_id, time, side, price, size, is_snapshot, position, ${stamps})
       SELECT if(number % 2, 'BTC-USD', 'ETH-USD'), ${time("number")}, if(number % 3, 'bid', 'ask'),
         toDecimal128('0.01', 18) * (number % 50 + 1), toDecimal128('1.5', 18) * (number % 7), number < 20, number % 4,
         ${stamped("intDiv(number, 20)")}
       FROM numbers(1500) WHERE ${some}`
    ),
    `INSERT INTO heartbeats (product_id, time, sequence, last_trade_id, ${stamps})
     SELECT if(number % 2, 'BTC-USD', 'ETH-USD'), ${time("number")}, number, if(number % 2, 1600, 300), ${
      stamped("number")
    }
     FROM numbers(1500)`,
    `INSERT INTO feed_events (time, event, product_id, channel, reason, details, ${stamps})
     SELECT ${
      time("number * 100")
    }, if(number % 2, 'connected', 'disconnected'), if(number % 3, '', 'A/B *%2FÜ{a,b}?#+'''), '',
       'ein\\tTab', '{}', ${stamped("number")} FROM numbers(12)`,
  ];
  for (const query of statements) await clickhouse.command({ query });
}

/** An object's bytes; `change` writes it again. */
async function object(store: Store, key: string, change?: (bytes: Uint8Array<ArrayBuffer>) => void) {
  const { S3_ACCESS_KEY: accessKeyId = "", S3_SECRET_KEY: secretAccessKey = "" } = store.env;
  const aws = new AwsClient({ accessKeyId, secretAccessKey, region: "us-east-1", service: "s3" });
  const response = await aws.fetch(store.s3.url(key));
  assert.equal(response.status, 200, key);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (change === undefined) return bytes;
  const changed = bytes.slice();
  change(changed);
  await store.s3.write(key, changed);
  return bytes;
}

/** Flips a bit in the middle. */
const damage = (bytes: Uint8Array) => {
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
};

/** A part of a test; what fails in it carries its name. */
async function step(name: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (error instanceof Error) error.message = `${name}: ${error.message}`;
    throw error;
  }
}

const folder = (database: string, table: string, date = "2026-07-07") =>
  `tapehouse/${database}/${table}/date=${date}`;

function succeeded({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }): string {
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  assert.equal(stderr, "");
  return stdout;
}

/** The last line of stderr; there must be `lines` of them, without a stack trace. */
function failed(
  { code, stderr }: { code: number; stderr: string },
  wanted: RegExp,
  options: { code?: number; lines?: number } = {},
): void {
  assert.equal(code, options.code ?? 1, stderr);
  assert.match(stderr, wanted);
  assert.equal(stderr.split("\n").length, options.lines ?? 1, stderr);
  assert.ok(!stderr.includes("s3cr3t"), stderr);
}

testUnless(
  "archive: a day is archived, dropped and restored with the same rows, and nothing damaged is dropped",
  skip,
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("tape");
      await fill(clickhouse);
      const whole = await contentOf(clickhouse);
      const task = (name: string, ...args: string[]) => store.task(name, "tape", args);

      await step("the first run writes, the second finds everything there", async () => {
        const first = succeeded(await task("archive", "--from", "2026-07-07", "--to", "2026-07-08"));
        assert.match(
          first,
          /^trades 2026-07-07: 2 products archived and read back, 0 unchanged, 1,302 rows in all$/m,
        );
        const objects = await store.s3.list("tapehouse/tape/");
        assert.ok(
          objects.some(({ key }) => key === `${folder("tape", "trades")}/product_id=BTC-USD/part.parquet`),
        );
        assert.ok(
          objects.some(({ key }) =>
            key ===
              `${
                folder("tape", "feed_events")
              }/product_id=A%2FB%20%2A%252F%C3%9C%7Ba%2Cb%7D%3F%23%2B%27/part.parquet`
          ),
        );
        const key = `${folder("tape", "trades")}/_manifest.json`;
        const manifest = await store.s3.readText(key);
        const second = succeeded(await task("archive", "--from", "2026-07-07", "--to", "2026-07-08"));
        assert.equal(second.split("\n").filter((line) => line.includes("unchanged")).length, 10);
        assert.equal(await store.s3.readText(key), manifest);
        const verified = succeeded(await task("archive", "--date", "2026-07-07", "--verify"));
        assert.match(
          verified,
          /^trades 2026-07-07: 1,302 rows in 2 files, read back, 2 of 2 products as in the table$/m,
        );
        sameContent(await contentOf(clickhouse), whole);
      });

      await step("--dry-run writes nothing, also for a day that isn't archived yet", async () => {
        const other = await store.migrate("dry");
        await fill(other);
        const said = succeeded(await store.task("archive", "dry", ["--date", "2026-07-07", "--dry-run"]));
        assert.match(said, /^trades 2026-07-07: 2 products would be archived, 0 unchanged$/m);
        assert.deepEqual(await store.s3.list("tapehouse/dry/"), []);
      });

      await step("a filled gap is archived again, and only its product", async () => {
        await clickhouse.command({
          query: trades("BTC-USD", "number = 500").replace("'feed'", "'backfill'"),
        });
        const said = succeeded(await task("archive", "--date", "2026-07-07"));
        assert.match(
          said,
          /^trades 2026-07-07: 1 products archived and read back, 1 unchanged, 1,303 rows in all$/m,
        );
      });
      const before = await contentOf(clickhouse);
      const fed = await fedByBook(clickhouse);

      await step("a damaged file is noticed by --verify and by --drop, which drops nothing", async () => {
        const key = `${folder("tape", "book_changes")}/product_id=ETH-USD/part.parquet`;
        const bytes = await object(store, key, damage);
        const damaged =
          /^book_changes 2026-07-07 ETH-USD: \S+ is damaged: \d+ bytes with SHA-256 \w+…, expected \d+ with \w+…\.\n/;
        failed(await task("archive", "--date", "2026-07-07", "--verify"), damaged, { lines: 2 });
        failed(await task("archive", "--date", "2026-07-07", "--drop"), damaged, { lines: 2 });
        failed(
          await store.task("restore", "tape", ["--date", "2026-07-07", "--table", "book_changes"]),
          /is damaged/,
        );
        sameContent(await contentOf(clickhouse), before);
        // A file of another size is seen without reading it.
        await store.s3.write(key, bytes.slice(1));
        failed(
          await task("archive", "--date", "2026-07-07"),
          /has \d+ bytes, expected \d+\. Archive again with --rewrite\.\n/,
          { lines: 2 },
        );
        succeeded(await task("archive", "--date", "2026-07-07", "--table", "book_changes", "--rewrite"));
        succeeded(await task("archive", "--date", "2026-07-07", "--verify"));
      });

      await step(
        "a manifest that says something else than the file is noticed, and nothing is dropped",
        async () => {
          const key = `${folder("tape", "book_changes")}/_manifest.json`;
          const text = await store.s3.readText(key) ?? "";
          await store.s3.write(key, text.replace(/"digest": "\w{8}/, '"digest": "00000000'));
          failed(
            await task("archive", "--date", "2026-07-07", "--verify"),
            /expected \d+ with 00000000\w{8}\.\n/,
            { lines: 2 },
          );
          const files = JSON.parse(text);
          for (
            const other of [
              { ...files, parts: files.parts.slice(1) },
              { ...files, parts: [files.parts[0], files.parts[0]] },
              { ...files, rows: files.rows + 1 },
              { ...files, database: "other" },
            ]
          ) {
            await store.s3.write(key, JSON.stringify(other));
            failed(
              await task("archive", "--date", "2026-07-07", "--verify", "--table", "book_changes"),
              /isn't a manifest of this day/,
              { lines: 2 },
            );
          }
          await store.s3.write(key, text.slice(0, 100));
          failed(await task("archive", "--date", "2026-07-07", "--drop"), /isn't a manifest of this day/, {
            lines: 2,
          });
          sameContent(await contentOf(clickhouse), before);
          await store.s3.write(key, text);
        },
      );

      await step("days within --keep-days stay, and so do tables that aren't kept by the day", async () => {
        const said = succeeded(
          await task("archive", "--date", "2026-07-07", "--drop", "--keep-days", "99999"),
        );
        assert.match(said, /^book_changes 2026-07-07: kept in the table \(--keep-days 99999\)$/m);
        failed(
          await task("archive", "--date", "2026-07-07", "--drop", "--table", "trades"),
          /only book_changes can$/,
          { code: 2 },
        );
        failed(
          await task("archive", "--date", "2026-07-07", "--drop", "--product", "BTC-USD"),
          /^--drop takes whole days/,
          { code: 2 },
        );
        sameContent(await contentOf(clickhouse), before);
      });

      for (const round of ["once", "and again"]) {
        await step(`the day is dropped and restored, ${round}`, async () => {
          const said = succeeded(await task("archive", "--date", "2026-07-07", "--drop"));
          assert.match(
            said,
            /^book_changes 2026-07-07: read back once more, 1,00\d rows dropped from the table$/m,
          );
          const dropped = await contentOf(clickhouse);
          assert.equal(await count(clickhouse, "SELECT * FROM book_changes WHERE time < '2026-07-08'"), 0);
          assert.ok(await count(clickhouse, "SELECT * FROM book_changes") > 400, "the other day stays");
          sameContent(dropped, before, ["book_changes"]);
          // What is no longer in the table must not be lost from the archive.
          assert.match(
            succeeded(await task("archive", "--date", "2026-07-07")),
            /^book_changes 2026-07-07: unchanged/m,
          );

          assert.match(
            succeeded(await task("restore", "--date", "2026-07-07", "--table", "book_changes")),
            /^book_changes 2026-07-07: 1,00\d rows restored into tape, 0 rows were there$/,
          );
          sameContent(await contentOf(clickhouse), before);
          sameContent(await fedByBook(clickhouse), fed);
          assert.match(
            succeeded(await task("restore", "--date", "2026-07-07")),
            /^trades 2026-07-07: 0 rows restored/m,
          );
          sameContent(await contentOf(clickhouse), before);
        });
      }

      await step(
        "a restore that was killed between its first rows and its last is finished by the next",
        async () => {
          const manifest = JSON.parse(
            await store.s3.readText(`${folder("tape", "book_changes")}/_manifest.json`) ?? "",
          );
          const [part] = manifest.parts;
          const name = `restore/tape/book_changes/2026-07-07/${part.product_id}/${part.sha256.slice(0, 16)}`;
          // What a kill leaves: the note that it was begun, and a part of the rows.
          await clickhouse.command({
            query:
              `INSERT INTO replays (name, partition, first, last, done) VALUES ('${name}', 0, 0, ${part.rows}, false)`,
          });
          succeeded(
            await task(
              "restore",
              "--date",
              "2026-07-07",
              "--table",
              "book_changes",
              "--product",
              part.product_id,
            ),
          );
          await clickhouse.command({
            query:
              `INSERT INTO replays (name, partition, first, last, done) VALUES ('${name}', 0, 0, ${part.rows}, false)`,
          });
          await clickhouse.command({
            query:
              `DELETE FROM book_changes WHERE product_id = '${part.product_id}' AND time < '2026-07-07 12:00:00'`,
          });
          succeeded(await task("restore", "--date", "2026-07-07", "--table", "book_changes"));
          sameContent(await contentOf(clickhouse), before);
        },
      );

      await step(
        "restored into another database, the views count every trade once, whatever was there",
        async () => {
          const other = await store.migrate("other");
          // Some are stored already, from elsewhere.
          await other.command({ query: trades("BTC-USD", "number BETWEEN 400 AND 600") });
          const args = ["--from", "2026-07-07", "--to", "2026-07-08", "--into", "other"];
          assert.match(
            succeeded(await task("restore", ...args, "--dry-run")),
            /^trades 2026-07-07: 1,102 rows would be restored into other, 201 rows were there$/m,
          );
          assert.equal(await count(other, "SELECT * FROM trades"), 201);
          const said = succeeded(await task("restore", ...args));
          assert.match(said, /^trades 2026-07-07: 1,102 rows restored into other, 201 rows were there$/m);
          const restored = await contentOf(other);
          // Those rows keep the moment at which they came here, and one of them didn't come from REST here.
          sameContent(restored, before, ["trades", "completeness"]);
          assert.equal(
            await textOf(other, "SELECT product_id, trade_id, time, price, size, taker_side FROM trades"),
            await textOf(
              clickhouse,
              "SELECT product_id, trade_id, time, price, size, taker_side FROM trades",
            ),
          );
          assert.match(
            succeeded(await task("restore", ...args)),
            /^trades 2026-07-07: 0 rows restored into other/m,
          );
          sameContent(await contentOf(other), restored);
        },
      );

      await step("trades that were removed by hand aren't counted a second time", async () => {
        const other = await store.migrate("other");
        await other.command({ query: "DELETE FROM trades WHERE product_id = 'ETH-USD' AND trade_id < 10" });
        const candles = await textOf(other, read.candles_1d);
        failed(
          await task("restore", "--date", "2026-07-07", "--table", "trades", "--into", "other"),
          /^trades 2026-07-07 ETH-USD: 291 of the archive's 300 are in the table\. .+ or a backup\.$/,
        );
        assert.equal(await textOf(other, read.candles_1d), candles);
      });

      await step(
        "rows that came to a dropped day are neither archived over it nor mixed with it",
        async () => {
          succeeded(await task("archive", "--date", "2026-07-07", "--drop"));
          await clickhouse.command({
            query:
              `INSERT INTO book_changes (product_id, time, side, price, size, is_snapshot, position, ${stamps})
                SELECT 'BTC-USD', ${time("5")}, 'bid', 1, 1, false, 0, ${stamped("99999")}`,
          });
          failed(
            await task("archive", "--date", "2026-07-07"),
            /was archived and dropped, and the table now holds 1 rows/,
            { lines: 2 },
          );
          failed(
            await task("restore", "--date", "2026-07-07", "--table", "book_changes"),
            /holds 1 rows that aren't those of the archive/,
          );
          await clickhouse.command({ query: "DELETE FROM book_changes WHERE kafka_offset = 99999" });
        },
      );

      await step("a dropped day that is archived anew in part stays on record as dropped", async () => {
        const day = ["--date", "2026-07-07", "--table", "book_changes"];
        succeeded(await task("restore", ...day, "--product", "BTC-USD"));
        succeeded(await task("archive", ...day, "--rewrite"));
        assert.match(
          succeeded(await task("archive", ...day, "--verify", "--product", "BTC-USD")),
          /^book_changes 2026-07-07: 50\d rows in 1 files, read back, 1 of 1 products as in the table$/,
        );
        await clickhouse.command({
          query:
            `INSERT INTO book_changes (product_id, time, side, price, size, is_snapshot, position, ${stamps})
              SELECT 'ETH-USD', ${time("5")}, 'bid', 1, 1, false, 0, ${stamped("99998")}`,
        });
        failed(
          await task("archive", ...day),
          /ETH-USD: the day was archived and dropped, and the table now holds 1 rows/,
          { lines: 2 },
        );
        await clickhouse.command({ query: "DELETE FROM book_changes WHERE kafka_offset = 99998" });
      });

      await step("a table that lost rows doesn't take them from the archive", async () => {
        await clickhouse.command({ query: "DELETE FROM tickers WHERE sequence = 3" });
        failed(
          await task("archive", "--date", "2026-07-07"),
          /^tickers 2026-07-07 BTC-USD: the archive holds \d+ rows, the table only \d+: not overwritten\./,
          { lines: 2 },
        );
      });
    });
  },
);

/** What becomes of a statement: passed on; passed on and never answered; neither. */
type Verdict = "pass" | "hold" | "lose";

/** Stands between a task and ClickHouse, and stops the task at an exact place. `reached` when it did. */
function startGate(target: string, decide: (statement: string) => Verdict | Promise<Verdict>) {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const addresses: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname, search, searchParams } = new URL(request.url);
    addresses.push(decodeURIComponent(search));
    const body = await request.arrayBuffer();
    const headers = new Headers(request.headers);
    headers.delete("host");
    // The client sends a statement as the body, with parameters that are secret as a form, and one that has rows behind it
    // in the address.
    const isForm = headers.get("content-type")?.startsWith("multipart/form-data");
    const statement = isForm
      ? String((await new Response(body, { headers }).formData()).get("query"))
      : new TextDecoder().decode(body);
    const verdict = await decide(searchParams.get("query") ?? statement);
    if (verdict !== "lose") {
      const answer = await fetch(new URL(pathname + search, target), {
        method: request.method,
        headers,
        body,
      });
      const bytes = await answer.arrayBuffer();
      if (verdict === "pass") return new Response(bytes, answer);
    }
    reached.resolve();
    await opened.promise;
    return new Response(null, { status: 503 });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    reached: reached.promise,
    async stop() {
      opened.resolve();
      await server.shutdown();
      // Proxies and servers log addresses.
      for (const address of addresses) assert.ok(!/s3cr3t|secret_key|access_key/.test(address), address);
    },
  };
}

/** Runs a task on `tape` and kills it at the n-th statement that begins so. */
async function killed(
  store: Store,
  task: [name: string, ...args: string[]],
  verdict: Verdict,
  beginning: string,
  n: number,
): Promise<void> {
  let seen = 0;
  const gate = startGate(
    store.env.CLICKHOUSE_URL ?? "",
    (statement) => statement.startsWith(beginning) && ++seen === n ? verdict : "pass",
  );
  try {
    const { promise: started, resolve } = Promise.withResolvers<() => void>();
    const [name, ...args] = task;
    const outcome = store.task(name, "tape", args, { started: resolve, env: { CLICKHOUSE_URL: gate.url } });
    const kill = await started;
    const early = outcome.then((ended) => assert.fail(`it ended before that: ${JSON.stringify(ended)}`));
    early.catch(() => {});
    await Promise.race([gate.reached, early]);
    kill();
    assert.equal((await outcome).signal, "SIGKILL");
  } finally {
    await gate.stop();
  }
}

testUnless("archive: kill -9 while a day is archived and restored costs nothing", skip, async () => {
  await withStore(async (store) => {
    const clickhouse = await store.migrate("tape");
    await clickhouse.command({
      query: `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, ${stamps}, batch)
              SELECT concat('P', toString(number % 10), '-USD'), intDiv(number, 10) + 1,
                toDateTime64('2026-07-07 00:00:00', 6, 'UTC') + toIntervalMillisecond(intDiv(number, 10) * 40),
                toDecimal128('0.01', 18) * (number % 977 + 1), toDecimal128('0.1', 18), 'buy', ${
        stamped("number")
      }, 'b'
              FROM numbers(20000)`,
    });
    const before = await contentOf(clickhouse);

    const files = async () => (await store.s3.list(folder("tape", "trades"))).map(({ key }) => key);
    for (const _ of ["once", "and again"]) {
      await killed(store, ["archive", "--date", "2026-07-07"], "hold", "INSERT INTO FUNCTION s3", 3);
      const left = await files();
      assert.ok(left.length === 3 && left.every((key) => key.endsWith(".parquet")), `${left}`);
    }
    failed(
      await store.task("archive", "tape", ["--date", "2026-07-07", "--verify"]),
      /has no manifest beside it/,
      { lines: 2 },
    );
    failed(
      await store.task("restore", "tape", ["--date", "2026-07-07"]),
      /^The archive of tape holds nothing of what was asked for\.$/,
    );
    succeeded(await store.task("archive", "tape", ["--date", "2026-07-07"]));
    assert.equal((await files()).length, 11);
    succeeded(await store.task("archive", "tape", ["--date", "2026-07-07", "--verify"]));

    const other = await store.migrate("other");
    const args = ["--date", "2026-07-07", "--into", "other"];
    const restored = () => count(other, "SELECT * FROM trades");
    await killed(store, ["restore", ...args], "hold", "INSERT INTO trades", 3);
    assert.equal(await restored(), 6000);
    // The third is stored and not noted as done: it comes again, and changes nothing.
    await killed(store, ["restore", ...args], "lose", "INSERT INTO trades", 3);
    assert.equal(await restored(), 8000);
    await killed(store, ["restore", ...args], "lose", "INSERT INTO replays", 2);
    assert.equal(await restored(), 10_000);
    succeeded(await store.task("restore", "tape", args));
    sameContent(await contentOf(other), before);
  });
});

testUnless(
  "archive: a drop that rows overtake drops nothing, and one that is killed can be repeated",
  skip,
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("tape");
      const change = (product: string, number: number) =>
        clickhouse.command({
          query:
            `INSERT INTO book_changes (product_id, time, side, price, size, is_snapshot, position, ${stamps})
                SELECT '${product}', ${time(`${number}`)}, 'bid', 1, 1, false, 0, ${stamped(`${number}`)}`,
        });
      const changes = () => count(clickhouse, "SELECT * FROM book_changes");
      const args = ["--date", "2026-07-07", "--table", "book_changes"];
      for (const number of [1, 2, 3]) await change("A-USD", number);
      succeeded(await store.task("archive", "tape", args));

      // The table is looked at to archive it, to see whether it holds anything, and once more after all files were read.
      let looks = 0;
      const gate = startGate(store.env.CLICKHOUSE_URL ?? "", async (statement): Promise<Verdict> => {
        if (/FROM `book_changes` WHERE/.test(statement) && ++looks === 3) {
          // As many rows as before, and not the same.
          await change("A-USD", 4);
          await clickhouse.command({ query: "DELETE FROM book_changes WHERE kafka_offset = 1" });
        }
        return "pass";
      });
      const overtaken = await store.task("archive", "tape", [...args, "--drop"], {
        env: { CLICKHOUSE_URL: gate.url },
      });
      await gate.stop();
      failed(
        overtaken,
        /^book_changes 2026-07-07: not dropped: the table isn't what the archive holds\. Archive it again\.\n/,
        { lines: 2 },
      );
      assert.equal(await changes(), 3);

      await killed(store, ["archive", ...args, "--drop"], "lose", "ALTER TABLE", 1);
      assert.equal(await changes(), 3);
      await killed(store, ["archive", ...args, "--drop"], "hold", "ALTER TABLE", 1);
      assert.equal(await changes(), 0);
      // It is on record that the day was dropped: what comes now, even of a new product, doesn't get into the archive.
      await change("B-USD", 5);
      failed(await store.task("archive", "tape", args), /B-USD: the day was archived and dropped, /, {
        lines: 2,
      });
      assert.match(
        succeeded(await store.task("restore", "tape", args)),
        /^book_changes 2026-07-07: 3 rows restored into tape, 0 rows were there$/,
      );
      assert.equal(await changes(), 4);

      // A table of other partitions than days would lose other days too.
      const odd = await store.migrate("odd");
      for (
        const query of [
          `CREATE TABLE monthly ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (product_id, time)
           AS SELECT * FROM tape.book_changes`,
          "DROP TABLE book_changes",
          "RENAME TABLE monthly TO book_changes",
        ]
      ) await odd.command({ query });
      failed(
        await store.task("archive", "odd", [...args, "--drop"]),
        /^book_changes 2026-07-07: not dropped: its partitions are toYYYYMM\(time\), not days\.\n/,
        { lines: 2 },
      );
      assert.equal(await count(odd, "SELECT * FROM book_changes"), 4);

      // What a TTL would delete at the next merge isn't restored.
      const brief = await store.migrate("brief");
      await brief.command({
        query: "ALTER TABLE book_changes MODIFY TTL toDateTime(time) + toIntervalDay(31)",
      });
      failed(
        await store.task("restore", "tape", [...args, "--into", "brief"]),
        /^book_changes 2026-07-07: the table deletes rows after 31 days: nothing restored\. Restore --into a database .+ first\.$/,
      );
      assert.equal(await count(brief, "SELECT * FROM book_changes"), 0);

      // A day without rows is no error, and is in no archive.
      assert.equal(succeeded(await store.task("archive", "tape", ["--date", "2026-06-01", "--drop"])), "");
      assert.deepEqual(await store.s3.list(folder("tape", "book_changes", "2026-06-01")), []);
    });
  },
);

testUnless("archive: a wrong setting, and a server that is away or refuses, is one line", skip, async () => {
  await withStore(async (store) => {
    await fill(await store.migrate("tape"));
    const run = (name: string, args: string[], env: Record<string, string>) =>
      store.task(name, "tape", args, { env });
    const day = ["--date", "2026-07-07"];
    for (const [name, args] of [["archive", day], ["restore", day], ["backup", []]] as const) {
      const is = async (env: Record<string, string>, wanted: RegExp, code = 1) =>
        failed(await run(name, [...args], env), wanted, { code });
      await is(
        { S3_ENDPOINT: "", S3_BUCKET: "" },
        /^S3_ENDPOINT, S3_BUCKET aren't set: the archive and the backups need/,
        2,
      );
      await is({ S3_ENDPOINT: "ftp://x" }, /^S3_ENDPOINT=ftp:\/\/x: expected a URL that starts with/, 2);
      await is(
        { S3_BUCKET: "nope" },
        /^S3 at \S+ \(S3_ENDPOINT\) has no bucket nope \(S3_BUCKET\): create it/,
      );
      await is(
        { S3_SECRET_KEY: "s3cr3t-wrong" },
        /refuses a listing of tape \(SignatureDoesNotMatch\): check/,
      );
      await is(
        { S3_ENDPOINT: "http://127.0.0.1:9" },
        /^S3 at http:\/\/127\.0\.0\.1:9 \(S3_ENDPOINT\) doesn't answer: /,
      );
      await is(
        { CLICKHOUSE_URL: "http://127.0.0.1:9" },
        /^ClickHouse at http:\/\/127\.0\.0\.1:9 \(CLICKHOUSE_URL\) doesn't answer: /,
      );
    }
    failed(await store.task("archive", "absent", day), /^ClickHouse at \S+ \(CLICKHOUSE_URL\): .*absent/);
    failed(
      await store.task("restore", "tape", [...day, "--into", "absent"]),
      /^Database absent lacks tables\/001_trades.+deno task migrate/,
    );
    const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
    const arguments_: [string, string[], RegExp][] = [
      ["archive", ["--date", "2026-02-30"], /^--date 2026-02-30: expected a day such as 2026-07-07$/],
      ["archive", ["--date", tomorrow], /: expected a day that is over \(UTC\)$/],
      [
        "archive",
        ["--from", "2026-07-08", "--to", "2026-07-07"],
        /^--from 2026-07-08 is after --to 2026-07-07$/,
      ],
      ["archive", ["--table", "rejected"], /^--table rejected: expected trades, .+ backups/],
      ["archive", ["--keep-days", "-1"], /^--keep-days -1: expected a whole number of days$/],
      ["archive", ["--back", "0"], /^--back 0: expected a number of days, 1 or more$/],
      ["restore", [...day, "--rewind-group"], /^--rewind-group goes with --backup/],
      ["restore", [], /^Say what to restore: --date, --from, or --backup$/],
      ["restore", ["--backup", "x", "--date", "2026-07-07"], /^--backup is restored whole/],
      ["restore", [...day, "--into", "a;b"], /^--into a;b: expected letters, digits or _$/],
      ["backup", ["--name", "a/b"], /^--name a\/b: expected letters, digits, _, \. or -$/],
    ];
    for (const [name, args, wanted] of arguments_) failed(await run(name, args, {}), wanted, { code: 2 });
  });
});

testUnless(
  "archive: a day of last week that changed is written again, and restore warns of a tape that begins years earlier",
  skip,
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("tape");
      const dayAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
      const trade = (day: string, id: number) =>
        clickhouse.command({
          query: `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, ${stamps}, batch)
                  VALUES ('BTC-USD', ${id}, '${day} 12:00:00', 1, 1, 'buy', '${day} 12:00:00', 'feed', 'c', 0, ${id}, 'b')`,
        });
      await trade(dayAgo(3), 5_000_001);
      await trade(dayAgo(1), 5_000_003);
      // On a slow machine it also tells how far it is.
      const lines = async (...args: string[]) =>
        succeeded(await store.task("archive", "tape", args)).replace(/^\[#* *\] .*\n/gm, "");
      assert.match(
        await lines(),
        new RegExp(`^trades ${dayAgo(3)}: 1 products .+\\ntrades ${dayAgo(1)}: 1 products`),
      );
      // The gap is filled, days later.
      await trade(dayAgo(3), 5_000_002);
      const second = await lines();
      assert.match(
        second,
        new RegExp(`^trades ${dayAgo(3)}: 1 products archived and read back, .+ 2 rows in all$`, "m"),
      );
      assert.match(second, new RegExp(`^trades ${dayAgo(1)}: unchanged, 1 rows$`, "m"));

      await trade("2020-01-01", 7);
      await lines("--date", "2020-01-01");
      const other = await store.migrate("other");
      succeeded(await store.task("restore", "tape", ["--date", dayAgo(1), "--into", "other"]));
      const old = await store.task("restore", "tape", ["--date", "2020-01-01", "--into", "other"]);
      assert.equal(old.code, 0);
      assert.match(
        old.stderr,
        /^warning: BTC-USD: the tape of other begins earlier now, and trades 8 to 5000002 \(4,999,995\) count as missing\./,
      );
      assert.equal(await count(other, "SELECT * FROM trades"), 2);
    });
  },
);

const versions = ["duckdb==1.4.4", "pyarrow==21.0.0"];
const venv = new URL("../../.tapehouse/python-parquet", import.meta.url).pathname;

/** Readers that share no code with ClickHouse, installed once by pip. */
async function whyNoPython(): Promise<Skip | undefined> {
  const run = async (command: string, ...args: string[]) => {
    try {
      return (await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()).success;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  };
  const there = () => run(`${venv}/bin/python`, "-c", "import duckdb, pyarrow");
  if (await there()) return;
  await run("python3", "-m", "venv", venv);
  await run(`${venv}/bin/pip`, "install", "-q", "--only-binary=:all:", ...versions);
  if (await there()) return;
  return {
    reason: "DuckDB and PyArrow can't be installed: Python 3 with venv and pip, or a network, is missing",
    avoidable: true,
  };
}

const script = `
import sys, duckdb, pyarrow.dataset as ds
folder, columns = sys.argv[1], sys.argv[2].split(",")
text = lambda v: "NULL" if v is None else str(v)
wanted = ", ".join(f"CAST({c} AS VARCHAR)" for c in columns)
rows = duckdb.sql(f"SELECT {wanted} FROM read_parquet('{folder}/**/*.parquet', hive_partitioning=1)").fetchall()
print("\\n".join(sorted("\\t".join(text(v) for v in row) for row in rows)))
print("--")
table = ds.dataset(folder, format="parquet", partitioning="hive").to_table(columns=columns)
print("\\n".join(sorted("\\t".join(text(v) for v in row.values()) for row in table.to_pylist())))
print("--")
for key in ["BTC-USD"]:
    path = f"{folder}/date=2026-07-07/product_id={key}/part.parquet"
    print("\\n".join(str(v[0]) for v in duckdb.sql(f"SELECT * FROM read_parquet('{path}')").project(columns[2]).fetchall()))
`;
import { rows } from "../../lib/clickhouse/rows.ts";

testUnless(
  "archive: DuckDB and PyArrow read the same decimals from the files, in order",
  skip ?? await whyNoPython(),
  async () => {
    await withStore(async (store) => {
      const clickhouse = await store.migrate("tape");
      await fill(clickhouse);
      succeeded(await store.task("archive", "tape", ["--from", "2026-07-07", "--to", "2026-07-08"]));
      const cases = {
        trades: ["date", "product_id", "trade_id", "price", "size", "taker_side", "taker_order_id"],
        tickers: [
          "date",
          "product_id",
          "sequence",
          "price",
          "best_bid",
          "best_ask",
          "taker_side",
          "trade_id",
          "volume_24h",
        ],
      };
      for (const [table, columns] of Object.entries(cases)) {
        for (const { key } of await store.s3.list(`tapehouse/tape/${table}/`)) {
          const path = `${store.home}/files/${key}`;
          await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
          await Deno.writeFile(path, await object(store, key));
        }
        const { success, stdout, stderr } = await new Deno.Command(`${venv}/bin/python`, {
          args: ["-c", script, `${store.home}/files/tapehouse/tape/${table}`, columns.join(",")],
        }).output();
        assert.ok(success, new TextDecoder().decode(stderr));
        const [duckdb = "", pyarrow = "", order = ""] = new TextDecoder().decode(stdout).split("--\n");
        const answer = await clickhouse.query({
          query: `SELECT ${
            columns.map((name) =>
              name === "date" ? "toString(toDate(time, 'UTC'))" : `ifNull(toString(${name}), 'NULL')`
            )
          } FROM ${table}`,
          format: "TabSeparated",
          clickhouse_settings: { output_format_decimal_trailing_zeros: 1 },
        });
        const lines = (text: string) => text.trim().split("\n").sort();
        // ClickHouse's toString cuts trailing zeros, the readers don't; and Python writes 1E-18.
        const plain = (text: string) =>
          lines(text).map((line) => line.split("\t").map(canonical).join("\t")).sort();
        const wanted = plain(await answer.text());
        assert.ok(wanted.length > 1400);
        assert.deepEqual(plain(duckdb), wanted);
        assert.deepEqual(plain(pyarrow), wanted);
        const ids = order.trim().split("\n").map(Number);
        assert.ok(ids.length > 400);
        assert.deepEqual(ids, ids.toSorted((left, right) => left - right), "in order");
      }
    });
  },
);

/** `1.500`, `1.5` and `1.5E-1` in one form: digits and a power of ten; what isn't a decimal stays as it is. */
function canonical(text: string): string {
  const match = /^(\d+)\.?(\d*)(?:E([+-]\d+))?$/.exec(text);
  if (match === null) return text;
  const [, whole = "", fraction = "", exponent = "0"] = match;
  const digits = BigInt(whole + fraction).toString();
  const trimmed = digits === "0" ? "0" : digits.replace(/0+$/, "");
  return `${trimmed}e${
    digits === "0" ? 0 : Number(exponent) - fraction.length + digits.length - trimmed.length
  }`;
}
