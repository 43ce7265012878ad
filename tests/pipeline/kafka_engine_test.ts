/**
 * The native path against consumer.ts: one topic, read by both into two databases, must give the same rows.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { ClickHouseClient } from "@clickhouse/client";
import { freePort } from "../../embedded/process/ports.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { createReplay } from "../../exchange/replayed_recording.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { engineGroup } from "../../lib/clickhouse/kafka_engine.ts";
import { createLogger } from "../../lib/process/log.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { splitStatements, sqlFolder } from "../../lib/clickhouse/sql_files.ts";
import { type Table, tables } from "../../lib/ingest/rows.ts";
import { loadStoredTrades } from "../../lib/ingest/trade_runs.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { root, type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { exchangeEnv, withExchange } from "../support/exchange.ts";
import { recorded, recording } from "../support/recording.ts";
import { rows } from "../../lib/clickhouse/rows.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

async function task(
  name: "migrate" | "replay",
  tape: Tape,
  args: string[],
  env: Record<string, string> = {},
) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `-P=${name}`, `tasks/${name}.ts`, ...args],
    cwd: root,
    env: { ...tape.env, NO_COLOR: "1", ...env },
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Runs `deno task migrate` with an option that must succeed. */
async function turn(tape: Tape, option: "--kafka-engine" | "--no-kafka-engine"): Promise<string> {
  const { code, out, err } = await task("migrate", tape, [option]);
  assert.equal(code, 0, err);
  return out;
}

/** A tape whose engine is turned off at the end, or it would go on reading. */
function nativeTape(env: Record<string, string>, body: (tape: Tape) => Promise<void>): Promise<void> {
  // `deno task migrate` sets the TTLs, and the frames are of July 2026: their book would be deleted while it is compared.
  return withTape(
    servers,
    { CLICKHOUSE_BOOK_DAYS: "0", CLICKHOUSE_ORDER_ID_DAYS: "0", ...env },
    async (tape) => {
      try {
        await body(tape);
      } finally {
        await task("migrate", tape, ["--no-kafka-engine"]);
      }
    },
  );
}

const untilEngineRead = (tape: Tape) => tape.untilRead(engineGroup(tape.config.KAFKA_GROUP));

/** All columns but two: when the row was written, and consumer.ts's batch, for the engine has none. */
function readTable(clickhouse: ClickHouseClient, table: Table): Promise<Record<string, unknown>[]> {
  const [raw, order] = table === "rejected"
    ? ["REPLACE (base64Encode(raw) AS raw)", "kafka_topic, kafka_partition, kafka_offset"]
    : ["", "ALL"];
  return rows(
    clickhouse,
    `SELECT * EXCEPT (ingested_at, batch) ${raw} FROM ${table} ${table === "products_state" ? "FINAL" : ""}
     ORDER BY ${order}`,
  );
}

const readView = (clickhouse: ClickHouseClient, view: string): Promise<unknown[]> =>
  rows(clickhouse, `SELECT * FROM ${view} ORDER BY ALL`);

/** consumer.ts reads the tape's topics into a database of its own. */
async function withConsumerBeside(
  tape: Tape,
  body: (clickhouse: ClickHouseClient) => Promise<void>,
): Promise<void> {
  const database = `${tape.config.CLICKHOUSE_DATABASE}_consumer`;
  const config = { ...tape.config, CLICKHOUSE_DATABASE: database };
  await migrate(config, () => {});
  const clickhouse = openClickHouse(config);
  const group = `${tape.config.KAFKA_GROUP}_beside`;
  try {
    const consumer = await tape.start("consumer", { CLICKHOUSE_DATABASE: database, KAFKA_GROUP: group });
    await tape.untilRead(group);
    await consumer.stop();
    await body(clickhouse);
  } finally {
    await clickhouse.command({ query: `DROP DATABASE ${database} SYNC` });
    await clickhouse.close();
  }
}

/** Where a frame is no JSON, or a level is none, the reasons differ behind the first word. */
function shortReason(row: Record<string, unknown>): Record<string, unknown> {
  const reason = String(row.reason).replace(/^not Unicode/, "not JSON");
  return { ...row, reason: /^[^.:]*/.exec(reason)?.[0] };
}

/** Both have stored the same, row by row and in all columns; returns how many rows. */
async function assertSame(tape: Tape, consumer: ClickHouseClient): Promise<Record<Table, number>> {
  const counts: Partial<Record<Table, number>> = {};
  for (const table of tables) {
    const read = async (clickhouse: ClickHouseClient) => {
      const rows = await readTable(clickhouse, table);
      return table === "rejected" ? rows.map(shortReason) : rows;
    };
    const [native, wanted] = [await read(tape.clickhouse), await read(consumer)];
    assert.equal(native.length, wanted.length, table);
    assert.deepEqual(native, wanted, table);
    counts[table] = native.length;
  }
  return counts as Record<Table, number>;
}

/** The views of trades say the same, and the runs of stored ids are the same. */
async function assertSameViews(tape: Tape, consumer: ClickHouseClient): Promise<void> {
  for (const view of ["candles_1s", "candles_1m", "candles_1h", "candles_1d", "trade_gaps", "completeness"]) {
    assert.deepEqual(await readView(tape.clickhouse, view), await readView(consumer, view), view);
  }
  const products = (await tape.rows<{ id: string }>("SELECT DISTINCT product_id AS id FROM trades")).map((
    { id },
  ) => id);
  const runs = async (clickhouse: ClickHouseClient) =>
    [...(await loadStoredTrades(clickhouse, products, "")).stored].map(([id, ids]) => [id, ids.runs]);
  assert.deepEqual(await runs(tape.clickhouse), await runs(consumer), "trade_runs");
}

/** Puts frames into the topic: an object is written as JSON. */
async function produce(
  tape: Tape,
  frames: readonly (Record<string, unknown> | string | Uint8Array<ArrayBuffer>)[],
  headers: Record<string, string> = {},
): Promise<void> {
  const kafka = openBroker(tape.config, "test", createLogger({}, { level: "error" }));
  const producer = kafka.producer();
  await producer.connect();
  try {
    const messages = frames.map((frame) => {
      const text = typeof frame === "string" || frame instanceof Uint8Array ? frame : JSON.stringify(frame);
      return { value: Buffer.from(text as string), partition: 0, headers };
    });
    await producer.send({ topic: tape.config.KAFKA_TOPIC, messages });
  } finally {
    await producer.disconnect();
  }
}

Deno.test("kafka engine: the real recording has the same rows as with consumer.ts, to the last column", async () => {
  const source = await createReplay(recording, { speed: Infinity, once: true });
  await withExchange({ source, record: true }, (exchange) =>
    nativeTape({
      ...exchangeEnv(exchange),
      // The channels of the recording; it ends, and the silence after it is no reason to connect again.
      COINBASE_CHANNELS: "matches,heartbeat,level2_batch",
      FEED_SILENCE_SECONDS: "3600",
    }, async (tape) => {
      assert.match(await turn(tape, "--kafka-engine"), /^the Kafka engine is on \(group \w+_engine\)$/m);
      const producer = await tape.start("producer");
      await tape.until("all heartbeats", async () =>
        Number(await tape.value("SELECT count() FROM heartbeats")) === recorded.heartbeats);
      await producer.stop();
      await untilEngineRead(tape);
      await withConsumerBeside(tape, async (consumer) => {
        const counts = await assertSame(tape, consumer);
        await assertSameViews(tape, consumer);
        assert.equal(counts.trades, recorded.trades);
        assert.equal(counts.rejected, 0);
        assert.equal(counts.book_changes, recorded.bookLevels + recorded.bookChanges);
      });
      assert.equal(await tape.value("SELECT count() FROM trade_gaps"), "0");
    }));
});

Deno.test("kafka engine: a simulated market with reconnects, repeated and late trades and bad frames has the same rows as with consumer.ts", async () => {
  const source = createSimulation({ rate: 400, products: ["BTC-USD", "ETH-USD", "DOGE-USD"] });
  await withExchange({ source }, (exchange) =>
    nativeTape({
      ...exchangeEnv(exchange),
      COINBASE_PRODUCTS: "BTC-USD,ETH-USD,DOGE-USD,NONE-USD",
      FEED_SOURCE: "simulator",
    }, async (tape) => {
      await turn(tape, "--kafka-engine");
      // Two producers: each trade comes twice, by two connections.
      const producers = [await tape.start("producer"), await tape.start("producer")];
      const trades = async () => Number(await tape.value("SELECT count() FROM trades"));
      await tape.until("500 trades", async () => await trades() >= 500);
      exchange.faults.inject({ repeatTrades: 100, lateTrades: 20, swallowTrades: 5 });
      for (
        const frame of [
          '{"type":"match"',
          "[1,2",
          "5",
          '{"type":"surprise"}',
          '{"type":"match","trade_id":"5"}',
        ]
      ) {
        exchange.faults.inject({ raw: frame });
      }
      await tape.until("1000 trades", async () => await trades() >= 1000);
      exchange.faults.inject({ drop: true });
      const connected = "SELECT count() FROM feed_events WHERE event = 'connected'";
      await tape.until("new connections", async () => Number(await tape.value(connected)) >= 4);
      const before = await trades();
      await tape.until("more trades", async () => await trades() >= before + 500);
      for (const producer of producers) await producer.stop();
      await untilEngineRead(tape);
      await withConsumerBeside(tape, async (consumer) => {
        const counts = await assertSame(tape, consumer);
        await assertSameViews(tape, consumer);
        assert.equal(counts.rejected, 10);
        for (const table of tables) assert.ok(counts[table] > 0, table);
      });
      assert.equal(await tape.value("SELECT count() - uniqExact(product_id, trade_id) FROM trades"), "0");
      assert.notEqual(await tape.value("SELECT count() FROM trade_gaps"), "0");
    }));
});

const match = {
  type: "match",
  trade_id: 5,
  side: "buy",
  size: "1",
  price: "2",
  product_id: "A-B",
  sequence: 1,
  time: "2026-07-07T22:58:17.164892Z",
};
const ticker = { type: "ticker", product_id: "A-B", sequence: 1, price: "1" };
const update = { type: "l2update", product_id: "A-B", changes: [["buy", "1", "2"]] };
const snapshot = { type: "snapshot", product_id: "A-B", bids: [["1", "2"]], asks: [] };
const product = {
  id: "A-B",
  base_currency: "A",
  quote_currency: "B",
  base_increment: "0.01",
  quote_increment: "1",
  status: "online",
};
const status = (change: Record<string, unknown>) => ({
  type: "status",
  products: [product, { ...product, ...change }],
});
const event = { type: "feed_event", event: "gap", time: "2026-07-07T22:58:17Z" };

Deno.test("kafka engine: what is rejected and what isn't is the same as in lib/feed/messages.ts, in the same words", () =>
  nativeTape({ KAFKA_PARTITIONS: "1" }, async (tape) => {
    const bytes = (...values: number[]) =>
      new Uint8Array([...new TextEncoder().encode('{"type":"'), ...values]);
    const sameWords = [
      { ...match, price: 2 },
      { ...match, price: undefined },
      { ...match, price: null },
      { ...match, price: "0.000" },
      { ...match, price: "1e5" },
      { ...match, price: "-1" },
      { ...match, price: "1234567890123456789012" },
      { ...match, price: "0.1234567890123456789" },
      { ...match, price: "x".repeat(200) },
      { ...match, trade_id: "5" },
      { ...match, trade_id: -1 },
      { ...match, trade_id: 1.5 },
      { ...match, trade_id: Number.MAX_SAFE_INTEGER + 1 },
      { ...match, side: "up" },
      { ...match, time: 5 },
      { ...match, time: "2026-02-30T00:00:00Z" },
      { ...match, time: "2026-07-07T22:58Z" },
      { ...match, time: "1969-12-31T23:59:59.999999Z" },
      { ...match, time: "2106-01-01T00:00:00Z" },
      { ...match, time: "0001-01-01T00:00:00.000000Z" },
      { ...match, product_id: "A B" },
      { ...match, product_id: "A\u00a0B" },
      { ...match, product_id: "" },
      { ...match, product_id: "A".repeat(65) },
      { ...match, sequence: null },
      { ...match, maker_order_id: 5 },
      { ...match, type: "surprise" },
      { ...match, type: 5 },
      { ...match, type: undefined },
      { ...ticker, time: 5 },
      { ...ticker, time: "yesterday" },
      { ...ticker, best_ask: "" },
      { ...ticker, volume_30d: null },
      { ...ticker, side: "none" },
      { type: "heartbeat", product_id: "A-B", time: match.time, sequence: 1 },
      { ...update, changes: "none" },
      { ...snapshot, asks: undefined },
      { type: "status", products: 5 },
      { type: "status", products: [product, 5] },
      status({ id: undefined }),
      status({ quote_increment: "x" }),
      status({ status_message: 5 }),
      status({ post_only: "yes" }),
      { ...event, event: "party" },
      { ...event, channel: 5 },
      { ...event, details: [] },
      { ...event, product_id: "" },
      "5",
      " [1, 2]",
      "null",
      '"text"',
      bytes(0xff, 0x22, 0x7d),
    ];
    const otherWords = [
      '{"type":"match"',
      "\0\0",
      " ",
      '{"type":"surprise\\ud800"}',
      { ...update, changes: [["buy", "1", "2"], ["up", "1", "2"]] },
      { ...update, changes: [["buy", "1"]] },
      { ...snapshot, bids: [["1", "2"], ["1", 2]] },
      { ...snapshot, bids: [["1", "2", "3"]] },
      { ...snapshot, bids: ["1"] },
    ];
    const accepted = [
      { ...match, unknown: { a: [1, "x"] } },
      {
        ...match,
        trade_id: 6,
        price: "12345678901234567890.123456789012345678",
        size: "0.000000000000000001",
      },
      { ...match, trade_id: 7, side: "sell", time: "2026-07-07T22:58:17.123456789Z", sequence: undefined },
      { ...match, trade_id: 8, time: "2105-12-31T23:59:59Z", maker_order_id: 'a"b/é\n', taker_order_id: "" },
      { ...match, trade_id: Number.MAX_SAFE_INTEGER, type: "last_match", time: "1970-01-01T00:00:00.1Z" },
      { ...match, trade_id: 8, price: "9" },
      { ...match, product_id: "Ü/\\-B" },
      '{"type":"ticker","type":"match","trade_id":1,"trade_id":1e2,"side":"buy","size":"1","price":"2","product_id":"D-D",' +
      '"time":"2026-07-07T22:58:17Z","price":"3"} ',
      `\ufeff${JSON.stringify({ ...match, trade_id: 9 })}`,
      ticker,
      { ...ticker, time: "0001-01-01T00:00:00.000000Z" },
      {
        ...ticker,
        time: match.time,
        best_bid: "0",
        best_bid_size: "1.10",
        best_ask: "3",
        best_ask_size: "0.00000001",
        side: "sell",
        trade_id: 5,
        last_size: "1",
        open_24h: "1",
        high_24h: "1",
        low_24h: "1",
        volume_24h: "1",
        volume_30d: "99999999999999999999",
      },
      { type: "heartbeat", product_id: "A-B", time: match.time, sequence: 0, last_trade_id: 0 },
      update,
      { ...update, time: match.time, changes: [["sell", "1.5", "0"], ["buy", "1", "0.00"]] },
      { ...update, changes: [] },
      { ...snapshot, time: match.time, asks: [["3", "4"], ["5", "0.1"]] },
      { ...snapshot, bids: [] },
      status({ id: "C-D", status_message: null }),
      status({
        id: "E-F",
        status_message: "a/b",
        display_name: "E/F",
        trading_disabled: true,
        post_only: false,
        limit_only: true,
        cancel_only: true,
        min_market_funds: "1",
      }),
      { type: "status", products: [] },
      event,
      {
        ...event,
        time: "2026-07-07T22:58:18.5Z",
        product_id: "A-B",
        channel: "level2",
        reason: 'a "reason"/é',
        details: { first: 1, text: "a/b\n", list: [1.5, null, true], deep: { empty: {} } },
      },
      { ...event, details: {} },
      { type: "subscriptions" },
      { type: "error", message: "x" },
    ];
    await turn(tape, "--kafka-engine");
    const headers = { received_at: "1783465097123456", source: "simulator", connection: "c/1" };
    const frames = [...sameWords, ...otherWords, ...accepted];
    await produce(tape, frames, headers);
    // Other producers don't know our headers.
    await produce(tape, [ticker, { ...ticker, price: 5 }]);
    await produce(tape, [ticker], { received_at: "soon", source: "", connection: "" });
    await untilEngineRead(tape);
    await withConsumerBeside(tape, async (consumer) => {
      const counts = await assertSame(tape, consumer);
      assert.equal(counts.rejected, sameWords.length + otherWords.length + 1);
      assert.equal(counts.trades, 8);
      const [native, wanted] = [
        await readTable(tape.clickhouse, "rejected"),
        await readTable(consumer, "rejected"),
      ];
      for (const [index, row] of native.entries()) {
        const offset = Number(row.kafka_offset);
        if (offset < sameWords.length || offset >= frames.length) assert.deepEqual(row, wanted[index]);
        else assert.notEqual(row.reason, wanted[index]?.reason, "these words are the same, after all");
      }
    });
  }));

Deno.test("kafka engine: an empty message leaves no row, the only one that the engine passes over without a word", () =>
  nativeTape({ KAFKA_PARTITIONS: "1" }, async (tape) => {
    await turn(tape, "--kafka-engine");
    await produce(tape, ["", ticker]);
    await untilEngineRead(tape);
    await withConsumerBeside(tape, async (consumer) => {
      assert.equal((await readTable(tape.clickhouse, "rejected")).length, 0);
      assert.equal((await readTable(consumer, "rejected")).length, 1);
      assert.deepEqual(await readTable(tape.clickhouse, "tickers"), await readTable(consumer, "tickers"));
    });
  }));

Deno.test("kafka engine: from consumer.ts to the engine and back, twice, nothing is lost or double, and never both work at once", () =>
  withExchange(
    { source: createSimulation({ rate: 300 }) },
    (exchange) =>
      nativeTape({ ...exchangeEnv(exchange), FEED_SOURCE: "simulator" }, async (tape) => {
        const more = async () => {
          const trades = async () => Number(await tape.value("SELECT count() FROM trades"));
          const before = await trades();
          await tape.until("more trades", async () => await trades() >= before + 200);
        };
        const producer = await tape.start("producer");
        for (const round of [1, 2]) {
          const consumer = await tape.start("consumer");
          await more();
          const refused = await task("migrate", tape, ["--kafka-engine"]);
          assert.equal(refused.code, 1);
          assert.match(
            refused.err,
            /^A consumer \(group \w+\) writes this topic into \w+ now: stop consumer\.ts first\.\n$/,
          );
          assert.match((await task("migrate", tape, ["--status"])).out, /^kafka engine: off$/m);

          await consumer.stop();
          const on = await turn(tape, "--kafka-engine");
          assert.match(
            on,
            /^\w+_market: group \w+_engine goes on where \w+_group was, in \d partitions$/m,
            `round ${round}`,
          );
          await assertRefused(tape);
          await more();
          assert.match(await turn(tape, "--kafka-engine"), /^the Kafka engine was on already/m);
          assert.match(
            (await task("migrate", tape, ["--status"])).out,
            /^kafka engine: on, 8 partitions assigned, \d+ messages/m,
          );
          const off = await turn(tape, "--no-kafka-engine");
          assert.match(off, /^\w+_market: group \w+_group goes on where \w+_engine was, in \d partitions$/m);
          assert.match(off, /^the Kafka engine is off$/m);
        }
        assert.match(await turn(tape, "--no-kafka-engine"), /^the Kafka engine was off already$/m);
        const consumer = await tape.start("consumer");
        await more();
        await producer.stop();
        await tape.untilRead();
        await consumer.stop();
        await withConsumerBeside(tape, async (whole) => {
          await assertSame(tape, whole);
          await assertSameViews(tape, whole);
        });
      }),
  ));

/** consumer.ts and `deno task replay` say in one line why they don't start. */
async function assertRefused(tape: Tape): Promise<void> {
  const reason =
    /^ClickHouse's Kafka engine loads \w+ .*: run `deno task migrate --no-kafka-engine` first\.$/;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=consumer", "consumer.ts"],
    cwd: root,
    env: { ...tape.env, METRICS_PORT: String(freePort()) },
  }).output();
  assert.equal(code, 1);
  assert.match(JSON.parse(new TextDecoder().decode(stderr).trim().split("\n").at(-1) ?? "").message, reason);
  for (const args of [["--topic"], ["--file", "deno.json"]]) {
    const refused = await task("replay", tape, args);
    assert.equal(refused.code, 1, refused.out);
    assert.match(refused.err.trim(), reason);
  }
}

Deno.test("kafka engine: a consumer that slept while the engine was turned on stops when it wakes", () =>
  nativeTape({}, async (tape) => {
    const consumer = await tape.start("consumer");
    await tape.untilLogged(consumer, "partitions assigned");
    Deno.kill(consumer.pid, "SIGSTOP");
    try {
      await tape.until(
        "the group to forget the sleeper",
        async () => (await task("migrate", tape, ["--kafka-engine"])).code === 0,
      );
    } finally {
      Deno.kill(consumer.pid, "SIGCONT");
    }
    await tape.until(
      "the consumer to say why it stops",
      async () => /^ClickHouse's Kafka engine loads /.test(String((await consumer.log()).at(-1)?.message)),
    );
    assert.equal((await consumer.exited).code, 1);
  }));

Deno.test("kafka engine: after a consumer that was killed in the middle of a batch the engine isn't turned on", () =>
  nativeTape({}, async (tape) => {
    const consumer = await tape.start("consumer", { TAPEHOUSE_FAULT_POINT: "after the inserts" });
    await produce(tape, [ticker]);
    await tape.until("the ticker", async () => await tape.value("SELECT count() FROM tickers") === "1");
    consumer.kill();
    await consumer.exited;
    let refused = "";
    await tape.until("the group to forget the killed one", async () => {
      refused = (await task("migrate", tape, ["--kafka-engine"])).err;
      return !refused.startsWith("A consumer (group");
    });
    assert.match(
      refused,
      /^A killed consumer \(group \w+\) left a batch that may have landed \(\w+, partition 0, offsets 0 to 0\): start consumer\.ts, let it finish, stop it, and run this again\.\n$/,
    );
    assert.match((await task("migrate", tape, ["--status"])).out, /^kafka engine: off$/m);
    const next = await tape.start("consumer");
    await tape.untilRead();
    await next.stop();
    await turn(tape, "--kafka-engine");
    await produce(tape, [ticker]);
    await untilEngineRead(tape);
    assert.equal(await tape.value("SELECT count() FROM tickers"), "2");
  }));

Deno.test("kafka engine: what a torn block leaves out of candles and runs, repair.sql makes anew from trades", () =>
  nativeTape({}, async (tape) => {
    await turn(tape, "--kafka-engine");
    const trade = (trade_id: number) => ({
      ...match,
      trade_id,
      price: String(trade_id),
      time: `2026-07-07T2${trade_id % 3}:5${trade_id % 10}:00.5Z`,
    });
    await produce(tape, [1, 2, 3, 6, 7, 20].map(trade));
    await produce(tape, [11, 12].map(trade), { source: "backfill" });
    await untilEngineRead(tape);
    await turn(tape, "--no-kafka-engine");
    const views = [
      "candles_1s",
      "candles_1m",
      "candles_1h",
      "candles_1d",
      "trade_gaps",
      "trade_fills",
      "completeness",
    ];
    const read = () => Promise.all(views.map((view) => readView(tape.clickhouse, view)));
    const whole = await read();
    assert.equal(whole[4]?.length, 3);
    await tape.clickhouse.command({ query: "DELETE FROM trade_runs WHERE first_trade_id = 6" });
    await tape.clickhouse.command({
      query: "DELETE FROM candle_states WHERE interval = '1h' AND time > '2026-07-07 21:00:00'",
    });
    assert.notDeepEqual(await read(), whole);
    const repair = splitStatements(await Deno.readTextFile(`${sqlFolder}/kafka_engine/repair.sql`));
    for (const _time of [1, 2]) {
      for (const query of repair) await tape.clickhouse.command({ query });
      assert.deepEqual(await read(), whole);
    }
  }));

Deno.test("kafka engine: when ClickHouse is killed under it, every trade is stored once, and nothing of the rest is lost", () =>
  withExchange(
    { source: createSimulation({ rate: 300 }) },
    (exchange) =>
      nativeTape({ ...exchangeEnv(exchange), FEED_SOURCE: "simulator" }, async (tape) => {
        await turn(tape, "--kafka-engine");
        const producer = await tape.start("producer");
        const trades = async () => Number(await tape.value("SELECT count() FROM trades"));
        await tape.until("trades", async () => await trades() >= 500);
        servers.clickhouse.kill();
        await servers.clickhouse.exited;
        await servers.startClickHouse();
        const before = await trades();
        await tape.until("trades after that", async () => await trades() >= before + 200);
        await producer.stop();
        await untilEngineRead(tape);
        await withConsumerBeside(tape, async (consumer) => {
          assert.deepEqual(await readTable(tape.clickhouse, "trades"), await readTable(consumer, "trades"));
          for (const table of tables) {
            const once = async (clickhouse: ClickHouseClient) =>
              new Set((await readTable(clickhouse, table)).map((row) => JSON.stringify(row)));
            assert.deepEqual(await once(tape.clickhouse), await once(consumer), table);
          }
        });
      }),
  ));
