/**
 * `deno task doctor` on a tape that is well, and on tapes with something wrong.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openBroker } from "../../lib/kafka/client.ts";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import type { Checked } from "../../lib/ops/doctor.ts";
import { createLogger } from "../../lib/process/log.ts";
import { columns, type Row, type Table } from "../../lib/ingest/rows.ts";
import { formatMicros, nowMicros } from "../../lib/core/time.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { root, type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { exchangeEnv } from "../support/exchange.ts";

let servers: Servers;
let exchange: Exchange;

Deno.test.beforeAll(async () => {
  servers = await startServers();
  exchange = await startExchange({ source: createSimulation({ rate: 100 }) });
});

Deno.test.afterAll(async () => {
  await exchange.stop();
  await servers.stop();
});

const tape = (body: (tape: Tape) => Promise<void>) =>
  withTape(servers, {
    ...exchangeEnv(exchange),
    FEED_SOURCE: "simulator",
  }, body);

async function run(tape: Tape, args: string[] = [], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `${root}tasks/doctor.ts`, ...args],
    cwd: root,
    env: { ...tape.env, ...env },
    stdin: "null",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), errors: new TextDecoder().decode(stderr) };
}

/** What the doctor says as JSON, by check; its exit code must fit. */
async function examine(tape: Tape, env: Record<string, string> = {}): Promise<Record<string, Checked>> {
  const { code, out, errors } = await run(tape, ["--json"], env);
  assert.equal(errors, "");
  const { ok, checks } = JSON.parse(out) as { ok: boolean; checks: Checked[] };
  assert.equal(ok, checks.every(({ status }) => status !== "trouble"));
  assert.equal(code, ok ? 0 : 1);
  return Object.fromEntries(checks.map((check) => [check.name, check]));
}

/** The checks that are in trouble. */
function troubles(checks: Record<string, Checked>): string[] {
  return Object.values(checks).filter(({ status }) => status === "trouble").map(({ name }) => name);
}

function row<T extends Table>(
  table: T,
  values: Partial<Record<(typeof columns)[T][number], Row[number]>>,
): Row {
  const usual: Record<string, Row[number]> = {
    time: formatMicros(nowMicros()),
    received_at: formatMicros(nowMicros()),
    source: "simulator",
    connection: "",
    kafka_partition: 0,
    kafka_offset: 0,
    maker_order_id: null,
    taker_order_id: null,
  };
  const all: Record<string, Row[number] | undefined> = { ...usual, ...values };
  return columns[table].map((name) => all[name] === undefined ? 0 : all[name]);
}

Deno.test("doctor: a tape that runs is well in every respect; once its consumer has stopped it isn't", () =>
  tape(async (tape) => {
    const consumer = await tape.start("consumer");
    await tape.start("producer");
    await tape.until(
      "trades of both products",
      async () =>
        await tape.value("SELECT uniqExact(product_id) FROM trades") === "2" &&
        await tape.value("SELECT count() FROM heartbeat_ends_state") !== "0",
    );
    const checks = await examine(tape);
    const words = Object.values(checks).map(({ name, status, found }) => `${status} ${name}: ${found}`);
    assert.deepEqual(troubles(checks), [], words.join("\n"));
    for (
      const name of ["environment", "broker", "topics", "consumer", "clickhouse", "migrations", "freshness"]
    ) {
      assert.equal(checks[name]?.status, "ok", words.join("\n"));
    }
    for (
      const name of [
        "retention",
        "completeness",
        "doubles",
        "trade runs",
        "candles",
        "rejected",
        "feed events",
        "parts",
        "clocks",
        "exchange",
      ]
    ) {
      assert.equal(checks[name]?.status, "ok", words.join("\n"));
    }
    assert.match(
      checks.consumer!.found,
      /, 1 member; t\d+_\d+_market \d+ behind( \(.+?\))?, t\d+_\d+_level2 \d+ behind( \(.+?\))?$/,
    );
    assert.match(checks.freshness!.found, /BTC-USD received .* ago, newest trade .* old/);

    const { code, out } = await run(tape);
    assert.equal(code, 0);
    assert.equal(out.trimEnd().split("\n").length, Object.keys(checks).length);
    assert.match(out, /^✓ clickhouse +http:\/\/127\.0\.0\.1:\d+ version [\d.]+, up for /m);

    await consumer.stop();
    const stopped = await examine(tape);
    assert.deepEqual(troubles(stopped), ["consumer"]);
    assert.match(stopped.consumer!.found, /has no member; /);
    assert.equal(stopped.consumer!.advice, "deno task consumer");
  }));

Deno.test("doctor: a tape that never ran lacks topics, consumer and data, and is told the tasks", () =>
  tape(async (tape) => {
    const checks = await examine(tape);
    assert.deepEqual(troubles(checks), ["topics", "consumer", "freshness"]);
    assert.match(checks.topics!.found, /_market and t\d+_\d+_level2 are missing$/);
    assert.equal(checks.topics!.advice, "deno task topics");
  }));

Deno.test("doctor: one missing topic, and one set otherwise, are named", () =>
  tape(async (tape) => {
    const { KAFKA_TOPIC, KAFKA_LEVEL2_TOPIC } = tape.config;
    const admin = openBroker(tape.config, "test", createLogger({}, { level: "error" })).admin();
    await admin.connect();
    try {
      await admin.createTopics({ topics: [{ topic: KAFKA_TOPIC, numPartitions: 4 }], waitForLeaders: true });
      const checks = await examine(tape);
      assert.equal(checks.topics?.status, "trouble");
      assert.equal(checks.topics.found, `${KAFKA_LEVEL2_TOPIC} is missing`);
      await admin.createTopics({
        topics: [{ topic: KAFKA_LEVEL2_TOPIC, numPartitions: 2 }],
        waitForLeaders: true,
      });
      const { topics } = await examine(tape, { KAFKA_PARTITIONS: "4" });
      assert.equal(topics?.status, "warning");
      assert.match(topics.found, new RegExp(`${KAFKA_LEVEL2_TOPIC}: partitions 2 → 4`));
      assert.match(topics.found, new RegExp(`${KAFKA_TOPIC}: max\\.message\\.bytes \\d+ → 16777216`));
      // Who hasn't said how many there should be takes what is there.
      const { topics: unsaid } = await examine(tape);
      assert.doesNotMatch(unsaid!.found, /partitions/);
    } finally {
      await admin.disconnect();
    }
  }));

Deno.test("doctor: migrations that are pending, missing or changed are trouble", () =>
  tape(async (tape) => {
    await tape.clickhouse.command({
      query: "ALTER TABLE migrations DELETE WHERE name = 'tables/004_trade_runs'",
      clickhouse_settings: { mutations_sync: "1" },
    });
    const { migrations } = await examine(tape);
    assert.equal(migrations?.status, "trouble");
    assert.match(migrations.found, /tables\/004_trade_runs/);

    const none = await examine(tape, { CLICKHOUSE_DATABASE: "nothing_here" });
    assert.equal(none.migrations?.found, "database nothing_here has none");
    assert.equal(none.migrations.advice, "deno task migrate");
    // Said once, not by every check that would have asked the database.
    assert.equal(none.gaps?.found, "not checked, see migrations");
    assert.equal(none.disk?.status, checksDisk(none));
  }));

/** The disk of this machine may be in any state; what counts is that it was looked at. */
function checksDisk({ disk }: Record<string, Checked>): string {
  assert.match(disk?.found ?? "", / GB free$|see migrations$/);
  return disk?.status ?? "";
}

Deno.test("doctor: a gap, a given-up gap and rejected rows are found", () =>
  tape(async (tape) => {
    const old = formatMicros(nowMicros() - 7200e6);
    const trade = (id: number) =>
      row("trades", {
        product_id: "BTC-USD",
        trade_id: id,
        price: "1",
        size: "1",
        taker_side: "buy",
        time: old,
        received_at: old,
        batch: "test",
      });
    await insertBlock(tape.clickhouse, "trades", [trade(1), trade(2), trade(6), trade(9)], "trades");
    await tape.clickhouse.insert({
      table: "trade_gaps_given_up",
      values: [{ product_id: "BTC-USD", first_missing: 7, last_missing: 8, reason: "test" }],
      format: "JSONEachRow",
    });
    const rejected = (reason: string) => row("rejected", { reason, raw_base64: btoa("x"), kafka_topic: "t" });
    await insertBlock(
      tape.clickhouse,
      "rejected",
      [rejected("price: expected a decimal"), rejected("not JSON"), rejected("price: expected a decimal")],
      "rejected",
    );
    const event = (name: string, reason: string) =>
      row("feed_events", { event: name, reason, product_id: "", channel: "", details: "" });
    await insertBlock(
      tape.clickhouse,
      "feed_events",
      [event("silent", ""), event("connected", ""), event("disconnected", "the producer stops")],
      "feed_events",
    );
    const checks = await examine(tape);
    assert.equal(checks.gaps?.status, "trouble");
    assert.match(
      checks.gaps.found,
      /^1 gap, 3 trades missing for up to 2 h: BTC-USD 3 to 5; 2 trades are given up$/,
    );
    assert.equal(checks.completeness?.status, "warning");
    assert.match(
      checks.completeness.found,
      /^44\.4444 % of the 9 trades of the last 24 h; 1 product-hours? /,
    );
    assert.equal(checks.rejected?.status, "warning");
    assert.equal(
      checks.rejected.found,
      "3 in the last 24 h: 2 × price: expected a decimal; 1 × not JSON",
    );
    assert.equal(checks["feed events"]?.found, "in the last hour: 1 × silent");
    assert.equal(checks.freshness?.status, "trouble");
    assert.match(
      checks.freshness.found,
      /^ETH-USD has no data; BTC-USD received 2 h ago, newest trade 2 h old$/,
    );
  }));

Deno.test("doctor: a planted double, a missing run, a run without its trade and a wrong candle are found, each by its check", () =>
  tape(async (tape) => {
    const { clickhouse } = tape;
    // A second ago is today for all but the first second of a day.
    const at = formatMicros(nowMicros() - 1e6);
    const trade = (id: number, price = "100") =>
      row("trades", {
        product_id: "BTC-USD",
        trade_id: id,
        price,
        size: "1",
        taker_side: "buy",
        batch: "test",
        time: at,
        received_at: at,
      });
    const ids = Array.from({ length: 20 }, (_, index) => index + 1);
    await insertBlock(clickhouse, "trades", ids.map((id) => trade(id)), "first");
    const well = await examine(tape);
    for (const name of ["doubles", "trade runs", "candles"]) {
      assert.equal(well[name]?.status, "ok", well[name]?.found);
    }
    assert.match(well.doubles!.found, /^none among the 20 trades/);
    assert.match(well.candles!.found, /^the 4 candles of the last 3 days are/);

    // What counts twice counts twice everywhere: only the number of rows tells.
    await insertBlock(clickhouse, "trades", [trade(7)], "second");
    const double = await examine(tape);
    assert.equal(double.doubles?.status, "trouble");
    assert.match(double.doubles.found, /^1 rows too many: BTC-USD \d{4}-\d\d-\d\d has 21 rows of 20 trades$/);
    assert.equal(double["trade runs"]?.status, "ok", double["trade runs"]?.found);
    assert.equal(double.candles?.status, "ok", double.candles?.found);

    const settings = { mutations_sync: "1" } as const;
    const command = (query: string) => clickhouse.command({ query, clickhouse_settings: settings });
    await command("DELETE FROM trade_runs WHERE last_trade_id >= 1");
    await command(
      `INSERT INTO trade_runs SELECT 'BTC-USD', 1, 14, now64(6), now64(6), now64(6), now64(6), 'simulator', 'x'`,
    );
    await command(
      `INSERT INTO trade_runs SELECT 'BTC-USD', 21, 23, now64(6), now64(6), now64(6), now64(6), 'simulator', 'y'`,
    );
    // Not through the candles' views: they would count it.
    const runs = await examine(tape);
    assert.equal(runs["trade runs"]?.status, "trouble");
    assert.equal(
      runs["trade runs"].found,
      "BTC-USD: 6 trades are in no run (15 to 20); BTC-USD: 3 trades of runs aren't stored (21 to 23)",
    );

    await command("DELETE FROM candle_states WHERE interval = '1m' AND product_id = 'BTC-USD'");
    await command(
      `INSERT INTO candle_states SELECT interval, product_id, time, argMinState(toDecimal128('99', 18), toUInt64(0)), 100, 100,
         argMaxState(toDecimal128('100', 18), toUInt64(1)), 0, 0, 0, 0, 0
       FROM candle_states WHERE interval IN ('1h', '1d') GROUP BY interval, product_id, time`,
    );
    const candles = await examine(tape);
    assert.equal(candles.candles?.status, "trouble");
    assert.match(
      candles.candles.found,
      /^3 of the 4 candles of the last 3 days aren't what the trades make: BTC-USD [\d-]+ [\d:.]+ of candles_1m …$/,
    );
    const day = at.slice(0, 10);
    const nextDay = new Date(Date.parse(day) + 86_400_000).toISOString().slice(0, 10);
    for (const name of ["doubles", "trade runs", "candles"]) {
      const [page, heading = ""] = candles[name]!.advice.replace(/^.*?docs/, "docs").split(", ");
      const text = await Deno.readTextFile(`${root}${page}`);
      const section = text.split(/^###? /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
      const sql = /```sql\n(.*?)```/s.exec(section)?.[1] ??
        assert.fail(`${page} has no SQL under ${heading}`);
      for (const statement of sql.split(";").map((part) => part.trim()).filter(Boolean)) {
        await command(statement.replaceAll("2026-07-07", day).replaceAll("2026-07-08", nextDay));
      }
    }
    const repaired = await examine(tape);
    for (const name of ["doubles", "trade runs", "candles"]) {
      assert.equal(repaired[name]?.status, "ok", repaired[name]?.found);
    }
    assert.equal(await tape.value("SELECT count() FROM trades"), "20");
  }));

Deno.test("doctor: trades that heartbeats have told of for minutes are missing, not on their way", () =>
  tape(async (tape) => {
    const heartbeat = (secondsAgo: number, last_trade_id: number) => {
      const time = formatMicros(nowMicros() - secondsAgo * 1e6);
      return row("heartbeats", { product_id: "BTC-USD", last_trade_id, time, received_at: time });
    };
    await insertBlock(
      tape.clickhouse,
      "trades",
      [row("trades", {
        product_id: "BTC-USD",
        trade_id: 1,
        price: "1",
        size: "1",
        taker_side: "buy",
        batch: "test",
      })],
      "trades",
    );
    await insertBlock(tape.clickhouse, "heartbeats", [heartbeat(600, 1), heartbeat(0, 2)], "arriving");
    assert.equal((await examine(tape)).gaps?.found, "no trade is missing");
    await insertBlock(tape.clickhouse, "heartbeats", [heartbeat(300, 2)], "missing");
    const { gaps } = await examine(tape);
    assert.equal(gaps?.status, "trouble");
    assert.equal(gaps.found, "1 gap, 1 trades missing for up to 5 m: BTC-USD 2 to 2");
  }));

Deno.test("doctor: servers that don't answer are trouble once each, and an exchange that doesn't is a warning", () =>
  tape(async (tape) => {
    const nobody = "127.0.0.1:1";
    const withoutClickHouse = await examine(tape, { CLICKHOUSE_URL: `http://${nobody}` });
    assert.equal(withoutClickHouse.clickhouse?.status, "trouble");
    assert.match(withoutClickHouse.clickhouse.found, /ECONNREFUSED/);
    assert.equal(withoutClickHouse.gaps?.found, "not checked, see clickhouse");
    assert.equal(withoutClickHouse.broker?.status, "ok");

    const withoutKafka = await examine(tape, {
      KAFKA_BROKERS: nobody,
      COINBASE_REST_URL: `http://${nobody}`,
    });
    assert.equal(withoutKafka.broker?.status, "trouble");
    assert.match(withoutKafka.broker.found, /^127\.0\.0\.1:1: Connection refused/);
    assert.equal(withoutKafka.topics?.found, "not checked, see broker");
    assert.equal(withoutKafka.clickhouse?.status, "ok");
    assert.equal(withoutKafka.exchange?.status, "warning");
  }));

Deno.test("doctor: a ClickHouse that accepts and never answers doesn't keep the doctor waiting", async () => {
  const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of silent) connections.push(connection);
  })();
  try {
    await tape(async (tape) => {
      const { port } = silent.addr as Deno.NetAddr;
      const checks = await examine(tape, { CLICKHOUSE_URL: `http://127.0.0.1:${port}` });
      assert.equal(checks.clickhouse?.status, "trouble");
      assert.match(checks.clickhouse.found, /no answer/);
    });
  } finally {
    silent.close();
    await accepting;
    connections.forEach((connection) => connection.close());
  }
});

Deno.test("doctor: a stopped ClickHouse is trouble, and well again when it is back", () =>
  tape(async (tape) => {
    await servers.clickhouse.stop();
    try {
      assert.ok(troubles(await examine(tape)).includes("clickhouse"));
    } finally {
      await servers.startClickHouse();
    }
    assert.equal((await examine(tape)).clickhouse?.status, "ok");
  }));

Deno.test("doctor: a wrong variable is named, and stops only the checks that need it", () =>
  tape(async (tape) => {
    const checks = await examine(tape, { CLICKHOUSE_DATABASE: "a-b" });
    assert.equal(checks.environment?.status, "trouble");
    assert.match(checks.environment.found, /^CLICKHOUSE_DATABASE=a-b: expected letters, digits or _$/);
    assert.equal(checks.gaps?.found, "not checked, see environment");
    assert.equal(checks.broker?.status, "ok");
    const { code, errors } = await run(tape, ["--jsn"]);
    assert.equal(code, 2);
    assert.match(errors, /unknown option '--jsn'/);
  }));
