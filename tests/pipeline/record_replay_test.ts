/**
 * Recording, and replaying recordings and topics, against real Kafka and ClickHouse.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openBroker } from "../../lib/kafka/client.ts";
import { createReplay } from "../../exchange/replayed_recording.ts";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { readRecordedMessages, readRecording } from "../../lib/recording/recording.ts";
import { combineDigests, readDigests } from "../../lib/clickhouse/digest.ts";
import { createLogger } from "../../lib/process/log.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { recordingName } from "../../lib/recording/as_messages.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { root, type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { recorded, recording } from "../support/recording.ts";
import { exchangeEnv } from "../support/exchange.ts";

let servers: Servers;
let exchange: Exchange;

Deno.test.beforeAll(async () => {
  servers = await startServers();
  exchange = await startExchange({ source: createSimulation({ rate: 400 }) });
});

Deno.test.afterAll(async () => {
  await exchange.stop();
  await servers.stop();
});

const tape = (body: (tape: Tape) => Promise<void>) =>
  withTape(servers, { ...exchangeEnv(exchange), FEED_SOURCE: "simulator" }, body);

function spawn(name: "record" | "replay", tape: Tape, args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `${root}tasks/${name}.ts`, ...args],
    cwd: root,
    env: { ...tape.env, NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(name: "record" | "replay", tape: Tape, args: string[]) {
  const { code, stdout, stderr } = await spawn(name, tape, args).output();
  return { code, out: new TextDecoder().decode(stdout), errors: new TextDecoder().decode(stderr) };
}

/** Runs a replay that must succeed. */
async function replay(tape: Tape, ...args: string[]) {
  const { code, out, errors } = await run("replay", tape, args);
  assert.equal(code, 0, out + errors);
  const digest = /^digest ([0-9a-f]{16})$/m.exec(out)?.[1];
  assert.ok(digest, out);
  return { digest, newRows: newRows(out), out };
}

/** The column `new rows` of the table that a replay prints. */
function newRows(out: string): Record<string, number> {
  const rows = [...out.matchAll(/^(\w+) +(\d+) +(\d+)$/gm)].map(([, table, count]) => [table, Number(count)]);
  return Object.fromEntries(rows);
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((left, right) => left + right, 0);
}

let files = 0;

async function record(tape: Tape, seconds: number): Promise<string> {
  const path = `${servers.home}/feed-${++files}.ndjson.zst`;
  const { code, out, errors } = await run("record", tape, ["--to", path, "--for", `${seconds}s`]);
  assert.equal(code, 0, out + errors);
  assert.match(out, /^recorded \d+ s, \d+ frames, [\d.]+ MB$/m);
  return path;
}

async function digestOf(tape: Tape, database: string): Promise<string> {
  const clickhouse = openClickHouse({ ...tape.config, CLICKHOUSE_DATABASE: database });
  const digest = await combineDigests(await readDigests(clickhouse));
  await clickhouse.close();
  return digest;
}

/** Databases beside the tape's own, dropped afterwards. */
async function withDatabases(tape: Tape, count: number, body: (names: string[]) => Promise<void>) {
  const names = Array.from({ length: count }, (_, index) => `${tape.config.CLICKHOUSE_DATABASE}_${index}`);
  try {
    await body(names);
  } finally {
    for (const name of names) {
      await tape.clickhouse.command({ query: `DROP DATABASE IF EXISTS ${name} SYNC` });
    }
  }
}

Deno.test("replay: a recording gives the same digest in two databases, and once more adds nothing", () =>
  tape((tape) =>
    withDatabases(tape, 2, async ([first = "", second = ""]) => {
      const file = await record(tape, 4);
      const one = await replay(tape, "--file", file, "--database", first);
      const two = await replay(tape, "--file", file, "--database", second);
      assert.deepEqual(two.newRows, one.newRows);
      assert.equal(two.digest, one.digest);
      for (const table of ["trades", "tickers", "heartbeats", "book_changes", "feed_events"]) {
        assert.ok(one.newRows[table]! > 0, one.out);
      }
      assert.equal(one.newRows.rejected, 0);

      const again = await replay(tape, "--file", file, "--database", first);
      assert.equal(sum(again.newRows), 0, again.out);
      assert.equal(again.digest, one.digest);
      // The same recording by another name is the same recording.
      await Deno.copyFile(file, `${file}.copy.zst`);
      const copied = await replay(tape, "--file", `${file}.copy.zst`, "--database", first);
      assert.equal(sum(copied.newRows), 0, copied.out);
      assert.equal(copied.digest, one.digest);
      const only = await replay(tape, "--digest-only", "--database", first);
      assert.equal(only.digest, one.digest);

      // Times are the recorder's, not the replay's.
      const stamps = (await Array.fromAsync(readRecordedMessages(file))).map(({ stamp }) =>
        stamp!.receivedAt
      );
      const [row] = await tape.rows<{ least: string; most: string }>(
        `SELECT toString(toUnixTimestamp64Micro(min(received_at))) AS least,
                toString(toUnixTimestamp64Micro(max(received_at))) AS most FROM ${first}.trades WHERE source = 'replay'`,
      );
      assert.ok(Number(row?.least) >= Math.min(...stamps) && Number(row?.most) <= Math.max(...stamps));
    })
  ));

Deno.test("replay: a part of a topic gives what the live consumer stored, and no group's place is touched", () =>
  tape((tape) =>
    withDatabases(tape, 2, async ([whole = "", parts = ""]) => {
      await tape.start("consumer");
      const producer = await tape.start("producer");
      await tape.until("some hundred trades", async () =>
        Number(await tape.value("SELECT count() FROM trades")) > 300);
      await producer.stop();
      const admin = openBroker(tape.config, "test", createLogger({}, { level: "error" })).admin();
      await admin.connect();
      try {
        const { KAFKA_GROUP, KAFKA_TOPIC, KAFKA_LEVEL2_TOPIC } = tape.config;
        const topics = [KAFKA_TOPIC, KAFKA_LEVEL2_TOPIC];
        const lag = async () => {
          const ends = (await Promise.all(topics.map((topic) =>
            admin.fetchTopicOffsets(topic)
          ))).flat();
          const committed = (await admin.fetchOffsets({ groupId: KAFKA_GROUP, topics }))
            .flatMap(({ partitions }) => partitions);
          const total = (offsets: { offset: string }[]) =>
            offsets.reduce((left, { offset }) => left + Math.max(0, Number(offset)), 0);
          return total(ends) - total(committed);
        };
        await tape.until("the consumer at the end", async () => await lag() === 0);
        const before = await admin.fetchOffsets({ groupId: KAFKA_GROUP, topics });
        const groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId).sort();

        const beside = await run("replay", tape, ["--topic"]);
        assert.equal(beside.code, 1, beside.out);
        assert.match(
          beside.errors,
          /^A consumer \(group .*\) writes this topic into .* now: stop it first, or choose another --database\.\n$/,
        );

        const all = await replay(tape, "--topic", "--database", whole);
        assert.equal(all.digest, await digestOf(tape, tape.config.CLICKHOUSE_DATABASE));
        for (const table of ["trades", "tickers", "heartbeats", "book_changes", "feed_events"]) {
          const columns = table === "trades" ? "* EXCEPT (ingested_at, batch)" : "* EXCEPT (ingested_at)";
          const hash = (database: string) =>
            tape.value(`SELECT (count(), sum(cityHash64(${columns}))) FROM ${database}.${table}`);
          assert.equal(await hash(whole), await hash(tape.config.CLICKHOUSE_DATABASE), table);
        }

        // In two parts, cut by time: the halves make the whole, and what was replayed is passed over.
        const middle = await tape.value(
          "SELECT formatDateTime(toDateTime(avg(toUnixTimestamp64Micro(received_at)) / 1e6), '%FT%TZ') FROM trades",
        );
        const second = await replay(tape, "--topic", "--from", middle, "--database", parts);
        assert.ok(second.newRows.trades! < all.newRows.trades!, second.out);
        const rest = await replay(tape, "--topic", "--database", parts);
        assert.ok(rest.newRows.trades! > 0, rest.out);
        assert.equal(rest.digest, all.digest);

        assert.deepEqual(await admin.fetchOffsets({ groupId: KAFKA_GROUP, topics }), before);
        assert.deepEqual((await admin.listGroups()).groups.map(({ groupId }) => groupId).sort(), groups);
      } finally {
        await admin.disconnect();
      }
    })
  ));

Deno.test("replay: one that is killed and repeated counts once, also when its last batch had landed", () =>
  tape((tape) =>
    withDatabases(tape, 2, async ([clean = "", killed = ""]) => {
      const file = await record(tape, 4);
      const expected = await replay(tape, "--file", file, "--database", clean);
      const counts = (database: string) =>
        Promise.all(
          Object.keys(expected.newRows).map((table) =>
            // Merges leave one row a product in products_state.
            tape.value(`SELECT count() FROM ${database}.${table === "products_state" ? "products" : table}`)
          ),
        );

      // So slowly that it can't be over before the kill.
      const child = spawn("replay", tape, ["--file", file, "--database", killed, "--speed", "0.02"]);
      await tape.until(
        "some batches are written",
        async () =>
          Number(await tape.value(`SELECT countIf(done) FROM ${killed}.replays`).catch(() => "0")) >= 3,
      );
      child.kill("SIGKILL");
      await child.output();
      assert.notEqual(await digestOf(tape, killed), expected.digest);
      // As if the kill had come after the insert and before its record.
      await tape.clickhouse.command({
        query:
          `ALTER TABLE ${killed}.replays DELETE WHERE done AND last = (SELECT max(last) FROM ${killed}.replays)`,
        clickhouse_settings: { mutations_sync: "1" },
      });
      const repeated = await replay(tape, "--file", file, "--database", killed);
      assert.match(repeated.out, / [1-9]\d* of them written by an earlier replay/);
      assert.equal(repeated.digest, expected.digest);
      assert.deepEqual(await counts(killed), await counts(clean));
    })
  ));

Deno.test("replay: a batch that was begun and not written is written again exactly, or the replay refuses", () =>
  tape((tape) =>
    withDatabases(tape, 3, async ([clean = "", begun = "", cut = ""]) => {
      const file = await record(tape, 2);
      const name = await recordingName(file);
      const begin = async (database: string, first: number, last: number) => {
        await migrate({ ...tape.config, CLICKHOUSE_DATABASE: database }, () => {});
        await tape.clickhouse.insert({
          table: `${database}.replays`,
          values: [{ name, partition: 0, first, last, done: false }],
          format: "JSONEachRow",
        });
      };
      await begin(begun, 20, 60);
      const { digest } = await replay(tape, "--file", file, "--database", begun);
      assert.equal(digest, (await replay(tape, "--file", file, "--database", clean)).digest);
      assert.deepEqual(
        await tape.rows(
          `SELECT toString(first) AS first, toString(last) AS last FROM ${begun}.replays
           WHERE done ORDER BY replays.first LIMIT 2`,
        ),
        [{ first: "1", last: "19" }, { first: "20", last: "60" }],
      );

      await begin(cut, 20, 1e9);
      const { code, errors } = await run("replay", tape, ["--file", file, "--database", cut]);
      assert.equal(code, 1);
      assert.match(errors, /20 to 1000000000 were being written when an earlier replay was killed/);
    })
  ));

Deno.test("replay: the first Ctrl-C ends a replay after its batch, and the same command goes on", () =>
  tape((tape) =>
    withDatabases(tape, 2, async ([clean = "", stopped = ""]) => {
      const file = await record(tape, 3);
      const expected = await replay(tape, "--file", file, "--database", clean);
      const child = spawn("replay", tape, ["--file", file, "--database", stopped, "--speed", "0.02"]);
      const output = child.output();
      await tape.until("a batch is written", async () =>
        Number(
          await tape.value(`SELECT countIf(done) FROM ${stopped}.replays`).catch(() => "0"),
        ) >= 1);
      child.kill("SIGINT");
      const { code, stdout } = await output;
      assert.equal(code, 130);
      assert.match(new TextDecoder().decode(stdout), /^stopped; the same command goes on from here$/m);
      assert.equal((await replay(tape, "--file", file, "--database", stopped)).digest, expected.digest);
    })
  ));

Deno.test("record: a killed recorder's file reads up to its last flush, and the exchange plays it", () =>
  tape(async (tape) => {
    const path = `${servers.home}/killed.ndjson.zst`;
    const child = spawn("record", tape, ["--to", path]);
    const size = async () => (await Deno.stat(path).catch(() => undefined))?.size ?? 0;
    await tape.until("a flush", async () => await size() > 0);
    const before = await size();
    await tape.until("another flush", async () => await size() > before);
    child.kill("SIGKILL");
    await child.output();
    const frames = await Array.fromAsync(readRecording(path));
    const types = new Set(frames.map(({ message }) => message.type));
    for (
      const type of ["subscriptions", "match", "ticker", "heartbeat", "snapshot", "l2update", "feed_event"]
    ) {
      assert.ok(types.has(type), type);
    }

    const market = await createReplay(path);
    assert.deepEqual(market.products.map(({ id }) => id).sort(), ["BTC-USD", "ETH-USD"]);

    // What is torn after that is no more than the flush that was under way.
    const bytes = await Deno.readFile(path);
    await Deno.writeFile(`${path}.torn.zst`, bytes.subarray(0, bytes.length - 10));
    let torn = false;
    const left = await Array.fromAsync(
      readRecordedMessages(`${path}.torn.zst`, { onTorn: () => torn = true }),
    );
    assert.ok(torn && left.length > 0 && left.length < frames.length);
  }));

Deno.test("record: Ctrl-C finishes the recording, and --rotate begins new files", () =>
  tape(async (tape) => {
    const folder = await Deno.makeTempDir({ dir: servers.home });
    const child = spawn("record", tape, ["--to", `${folder}/feed.ndjson.zst`, "--rotate", "1s"]);
    const names = async () => (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
    await tape.until("three files", async () => (await names()).length >= 3);
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    const trades = new Set<string>();
    for (const name of await names()) {
      assert.match(name, /^feed-\d{8}T\d{6}Z\.ndjson\.zst$/);
      for await (const { message } of readRecording(`${folder}/${name}`)) {
        if (message.type === "match") trades.add(`${message.product_id} ${message.trade_id}`);
      }
    }
    assert.ok(trades.size > 100);
  }));

Deno.test("replay: simulated data doesn't get into the database market", () =>
  tape(async (tape) => {
    const file = await record(tape, 1);
    const { code, errors } = await run("replay", tape, ["--file", file, "--database", "market"]);
    assert.equal(code, 1);
    assert.match(
      errors,
      /^This is simulated data \(source simulator\), and market is the database of the real market/,
    );
    assert.equal(await tape.value("SELECT count() FROM market.trades"), "0");
    await tape.clickhouse.command({ query: "DROP DATABASE market SYNC" });
  }));

Deno.test("replay: wrong arguments are one line that says what was expected", () =>
  tape(async (tape) => {
    const cases: ["record" | "replay", string[], number, RegExp][] = [
      ["record", [], 2, /required option '--to <file>' not specified/],
      ["record", ["--to", "feed.ndjson"], 2, /Expected a name that ends with \.zst/],
      ["record", ["--to", `${servers.home}/no/such/feed.zst`], 1, /no\/such\/feed\.zst can't be written: /],
      ["record", ["--to", "x.zst", "--for", "soon"], 2, /Expected a duration of at least a second/],
      ["replay", [], 2, /expected --file FILE, --topic or --digest-only/],
      ["replay", ["--file", "x", "--topic"], 2, /cannot be used with option/],
      ["replay", ["--file", "x", "--from", "1"], 2, /--from and --to need --topic/],
      ["replay", ["--topic", "--from", "yesterday"], 2, /Expected an offset such as 1000 or a time/],
      ["replay", ["--file", "/no/such/file"], 1, /^\/no\/such\/file: no such file$/m],
      ["replay", ["--topic"], 1, /^There is no topic t\d+_\d+_market\.$/m],
      ["replay", ["--digest-only", "--database", "nowhere"], 1, /^Database nowhere can't be digested: /m],
      ["replay", ["--digest-only", "--database", "a-b"], 2, /^CLICKHOUSE_DATABASE=a-b: expected letters/m],
    ];
    for (const [name, args, expectedCode, message] of cases) {
      const { code, errors } = await run(name, tape, args);
      assert.equal(code, expectedCode, `${name} ${args.join(" ")}: ${errors}`);
      assert.match(errors, message);
      assert.doesNotMatch(errors, /\n {4}at /);
    }
  }));

Deno.test(
  "replay: a recording of Coinbase's own frames is stored to the last trade, dated by its own times",
  () =>
    tape((tape) =>
      withDatabases(tape, 1, async ([database = ""]) => {
        const { newRows } = await replay(tape, "--file", recording, "--database", database);
        assert.equal(newRows.rejected, 0);
        assert.equal(newRows.heartbeats, recorded.heartbeats);
        assert.equal(newRows.trades, recorded.trades);
        assert.equal(
          await tape.value(`SELECT sum(last_trade_id - first_trade_id + 1) FROM ${database}.trade_runs`),
          String(recorded.trades),
        );
        assert.equal(
          await tape.value(`SELECT toString(toStartOfMinute(max(received_at))) FROM ${database}.trades`),
          "2026-07-07 22:59:00",
        );
      })
    ),
);
