/**
 * From an exchange's frames to ClickHouse's rows, through the real entrypoints, Kafka and ClickHouse: what is stored is
 * compared with what was sent, row by row.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openBroker } from "../../lib/kafka/client.ts";
import { createReplay } from "../../exchange/replayed_recording.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { createLogger } from "../../lib/process/log.ts";
import { candleQuery, canonical, intervals } from "../../lib/ops/proof.ts";
import { type Expected, expectedCandles, expectedRows, queries } from "../support/expected.ts";
import { type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { exchangeEnv, withExchange } from "../support/exchange.ts";
import { recorded, recordedFrames, recording } from "../support/recording.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** The tables and candles hold exactly what the frames say. */
async function assertStored(tape: Tape, frames: readonly string[]): Promise<Expected> {
  const expected = expectedRows(frames);
  for (const [table, query] of Object.entries(queries) as [keyof Expected, string][]) {
    const [stored, wanted] = [canonical(await tape.rows(query)), canonical(expected[table])];
    assert.equal(stored.length, wanted.length, table);
    assert.deepEqual(stored, wanted, table);
  }
  for (const [view, seconds] of Object.entries(intervals)) {
    const wanted = canonical(expectedCandles(expected.trades, seconds));
    assert.deepEqual(canonical(await tape.rows(candleQuery(view))), wanted, view);
  }
  return expected;
}

/** Waits until as many rows are stored as the frames have. */
async function untilStored(tape: Tape, frames: () => readonly string[]): Promise<void> {
  await tape.until("all rows in ClickHouse", async () => {
    const expected = expectedRows(frames());
    for (const table of Object.keys(queries) as (keyof Expected)[]) {
      const stored = Number(await tape.value(`SELECT count() FROM ${table}`));
      if (stored < expected[table].length) return false;
    }
    return true;
  });
}

/** The channels of the recording; it ends, and the silence after it is no reason to connect again. */
const replayEnv = { COINBASE_CHANNELS: "matches,heartbeat,level2_batch", FEED_SILENCE_SECONDS: "3600" };

Deno.test("pipeline: the real recording is in ClickHouse to the last digit and microsecond", async () => {
  const source = await createReplay(recording, { speed: Infinity, once: true });
  await withExchange(
    { source, record: true },
    (exchange) =>
      withTape(
        servers,
        { ...exchangeEnv(exchange), ...replayEnv },
        async (tape) => {
          await tape.start("consumer");
          await tape.start("producer");
          const frames = await recordedFrames();
          await untilStored(tape, () => frames);
          const { trades, book_changes, heartbeats } = await assertStored(tape, frames);
          assert.equal(trades.length, recorded.trades);
          assert.equal(
            book_changes.filter(({ is_snapshot }) => is_snapshot === "false").length,
            recorded.bookChanges,
          );
          assert.equal(heartbeats.length, recorded.heartbeats);
          assert.equal(await tape.value("SELECT count() FROM rejected"), "0");
          assert.equal(await tape.value("SELECT count() FROM trade_gaps"), "0");
        },
      ),
  );
});

Deno.test(
  "pipeline: a consumer killed again and again while it replays loses nothing and doubles nothing",
  async () => {
    const source = await createReplay(recording, { speed: 20, once: true });
    await withExchange({ source, record: true }, (exchange) =>
      withTape(
        servers,
        { ...exchangeEnv(exchange), ...replayEnv },
        async (tape) => {
          const frames = await recordedFrames();
          await tape.start("producer");
          let consumer = await tape.start("consumer", { CONSUMER_FLUSH_MS: "50" });
          for (const rows of [1000, 60_000, 70_000]) {
            await tape.until(
              `${rows} book changes`,
              async () => Number(await tape.value("SELECT count() FROM book_changes")) >= rows,
            );
            consumer.kill();
            await consumer.exited;
            consumer = await tape.start("consumer", { CONSUMER_FLUSH_MS: "50" });
          }
          await untilStored(tape, () => frames);
          await assertStored(tape, frames);
        },
      ));
  },
);

Deno.test("pipeline: a simulated market is in ClickHouse row by row, tickers and products too", async () => {
  const source = createSimulation({ rate: 400, products: ["BTC-USD", "ETH-USD", "DOGE-USD"] });
  await withExchange({ source, record: true }, (exchange) =>
    withTape(
      servers,
      { ...exchangeEnv(exchange), COINBASE_PRODUCTS: "BTC-USD,ETH-USD,DOGE-USD", FEED_SOURCE: "simulator" },
      async (tape) => {
        await tape.start("consumer");
        await tape.start("producer");
        await tape.until("2000 trades", async () =>
          Number(await tape.value("SELECT count() FROM trades")) >= 2000);
        exchange.faults.inject({ silenceSeconds: 3600 });
        await untilStored(tape, () =>
          exchange.ledger.frames);
        const { trades } = await assertStored(tape, exchange.ledger.frames);
        assert.ok(trades.length >= 2000);
        assert.equal(await tape.value("SELECT count() FROM rejected"), "0");
        assert.equal(await tape.value("SELECT DISTINCT source FROM trades"), "simulator");
        const products = await tape.rows(
          "SELECT product_id, toString(base_increment) AS increment FROM products",
        );
        assert.ok(products.some(({ product_id }) => product_id === "DOGE-USD"), JSON.stringify(products));
        const received =
          "SELECT min(received_at >= time - INTERVAL 1 SECOND AND ingested_at >= received_at) FROM trades";
        assert.equal(await tape.value(received), "1");
      },
    ));
});

Deno.test("pipeline: a product that the exchange refuses is recorded and left out; the rest goes on", async () => {
  await withExchange(
    { source: createSimulation({ rate: 50 }) },
    (exchange) =>
      withTape(
        servers,
        { ...exchangeEnv(exchange), COINBASE_PRODUCTS: "BTC-USD,NONE-USD,ETH-USD" },
        async (tape) => {
          await tape.start("consumer");
          const producer = await tape.start("producer");
          await tape.until(
            "trades of both products",
            async () => await tape.value("SELECT uniqExact(product_id) FROM trades") === "2",
          );
          const refused = "SELECT product_id, reason FROM feed_events WHERE event = 'refused'";
          await tape.until("the refusal", async () => (await tape.rows(refused)).length > 0);
          assert.deepEqual(await tape.rows(refused), [{
            product_id: "NONE-USD",
            reason: "Failed to subscribe: NONE-USD is not a valid product",
          }]);
          assert.ok(
            (await producer.log()).some(({ level, product }) => level === "error" && product === "NONE-USD"),
          );
          assert.equal(
            (await fetch(`${producer.metricsUrl}/healthz`).then((answer) => answer.text())).trim(),
            "ok",
          );
        },
      ),
  );
});

Deno.test("pipeline: bad frames are rejected with their reason and place, or tolerated; nothing stops and nothing is lost", async () => {
  const match = {
    type: "match",
    trade_id: 5,
    side: "buy",
    size: "1",
    price: "2",
    product_id: "BAD-USD",
    sequence: 1,
    time: "2026-07-07T22:58:17.164892Z",
  };
  const text = (change: Record<string, unknown>) => JSON.stringify({ ...match, ...change });
  const large = JSON.stringify({ type: "surprise", filler: "x".repeat(5 * 1024 * 1024) });
  const rejected: [string, RegExp][] = [
    ['{"type":"match","trade_id":1', /^not JSON/],
    ["\0\0\0", /^not JSON/],
    ["", /^not JSON/],
    ["[1,2", /^not JSON/],
    [text({ size: "0.-10000" }), /^size: expected a decimal/],
    [text({ time: "0001-01-01T00:00:00.000000Z" }), /^time: expected a time from 1970/],
    [text({ price: 2 }), /^price: invalid input: expected string/],
    [text({ trade_id: undefined }), /^trade_id: /],
    [text({ product_id: "BAD\u0000USD\n" }), /^product_id: /],
    ['{"type":"surprise"}', /unknown message type "surprise"/],
    ["5", /./],
    [large, /unknown message type "surprise"/],
  ];
  const tolerated = [
    text({ unknown_field: { a: [1] } }),
    '{"type":"ticker","product_id":"BAD-USD","sequence":1,"price":"1"}',
    '{"type":"ticker","product_id":"BAD-USD","sequence":1,"price":"1","time":"0001-01-01T00:00:00.000000Z"}',
    '{"type":"received","product_id":"BAD-USD"}',
  ];
  await withExchange(
    { source: createSimulation({ rate: 50 }) },
    (exchange) =>
      withTape(servers, exchangeEnv(exchange), async (tape) => {
        const consumer = await tape.start("consumer");
        const producer = await tape.start("producer");
        await tape.until("trades", async () => await tape.value("SELECT count() > 0 FROM trades") === "1");
        for (const frame of [...rejected.map(([frame]) => frame), ...tolerated]) {
          exchange.faults.inject({ raw: frame });
        }
        const count = "SELECT count() FROM rejected";
        await tape.until("the rejected", async () => Number(await tape.value(count)) >= rejected.length);
        await tape.until(
          "the tolerated",
          async () =>
            Number(await tape.value("SELECT count() FROM tickers WHERE product_id = 'BAD-USD'")) === 2,
        );

        const stored = await tape.rows(
          "SELECT base64Encode(raw) AS raw, reason, kafka_topic, kafka_offset, connection FROM rejected",
        );
        assert.equal(stored.length, rejected.length);
        for (const [frame, reason] of rejected) {
          const row = stored.find(({ raw }) => raw === new TextEncoder().encode(frame).toBase64());
          assert.match(row?.reason ?? "not stored", reason, frame.slice(0, 60));
          assert.equal(row?.kafka_topic, tape.env.KAFKA_TOPIC);
          assert.notEqual(row?.connection, "");
        }
        const noTime = "SELECT count() FROM tickers WHERE product_id = 'BAD-USD' AND time = received_at";
        assert.equal(await tape.value(noTime), "2");
        assert.equal(await tape.value("SELECT count() FROM trades WHERE product_id = 'BAD-USD'"), "1");
        const before = Number(await tape.value("SELECT count() FROM trades"));
        await tape.until(
          "trades after that",
          async () => Number(await tape.value("SELECT count() FROM trades")) > before + 50,
        );
        for (const service of [consumer, producer]) {
          const errors = (await service.log()).filter(({ level }) => level === "error");
          assert.deepEqual(errors, [], service.name);
        }
      }),
  );
});

Deno.test("consumer: a batch is begun at CONSUMER_BATCH_ROWS, or CONSUMER_FLUSH_MS after the one before it", () =>
  withTape(servers, { KAFKA_PARTITIONS: "1" }, async (tape) => {
    const topic = tape.config.KAFKA_TOPIC;
    const kafka = openBroker(tape.config, "test", createLogger({}, { level: "error" }));
    const admin = kafka.admin();
    const producer = kafka.producer();
    await Promise.all([admin.connect(), producer.connect()]);
    try {
      await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
      const match = { type: "match", product_id: "BTC-USD", side: "buy", size: "1", price: "1" };
      const send = (first: number, last: number) =>
        producer.send({
          topic,
          acks: -1,
          messages: Array.from({ length: last - first + 1 }, (_, index) => ({
            key: "BTC-USD",
            value: JSON.stringify({ ...match, trade_id: first + index, time: new Date().toISOString() }),
          })),
        });
      await send(1, 25);
      const flushMs = 1500;
      await tape.start("consumer", { CONSUMER_BATCH_ROWS: "10", CONSUMER_FLUSH_MS: String(flushMs) });
      const stored = (count: number) =>
        tape.until(
          `${count} trades`,
          async () => await tape.value("SELECT count() FROM trades") === `${count}`,
        );
      await stored(25);
      await send(26, 26);
      await stored(26);
      const batches = await tape.rows<{ offsets: string; at: string }>(
        `SELECT splitByChar('/', batch)[-1] AS offsets, toString(toUnixTimestamp64Milli(max(ingested_at))) AS at
         FROM trades GROUP BY batch ORDER BY at`,
      );
      assert.deepEqual(batches.map(({ offsets }) => offsets), ["0-9", "10-19", "20-24", "25-25"]);
      // What isn't full waits, counted from the beginning of the batch before; on the way to ClickHouse some of it is lost.
      const [, full, rest, last] = batches.map(({ at }) => Number(at));
      assert.ok(rest! - full! >= flushMs / 2, `${rest! - full!} ms`);
      assert.ok(last! - rest! >= flushMs / 2, `${last! - rest!} ms`);
    } finally {
      await Promise.all([admin.disconnect(), producer.disconnect()]);
    }
  }));

Deno.test("pipeline: with ClickHouse away and back and Kafka killed and back, nothing is lost and nothing is double", async () => {
  const source = createSimulation({ rate: 200 });
  await withExchange(
    { source, record: true },
    (exchange) =>
      withTape(servers, exchangeEnv(exchange), async (tape) => {
        const consumer = await tape.start("consumer", { CONSUMER_FLUSH_MS: "50" });
        const producer = await tape.start("producer");
        const trades = async () => Number(await tape.value("SELECT count() FROM trades"));
        await tape.until("trades", async () => await trades() > 100);

        await servers.clickhouse.stop();
        await tape.until("the consumer to notice", async () =>
          (await consumer.log()).some(({ message }) =>
            message === "ClickHouse didn't confirm, trying again"
          ));
        const ill = await fetch(`${consumer.metricsUrl}/healthz`);
        assert.deepEqual([ill.status, (await ill.text()).startsWith("ClickHouse: ")], [503, true]);
        await servers.startClickHouse();
        const before = await trades();
        await tape.until("trades after ClickHouse is back", async () => await trades() > before + 100);

        servers.kafka.kill();
        await servers.kafka.exited;
        await servers.startKafka();
        const then = await trades();
        await tape.until("trades after Kafka is back", async () => await trades() > then + 100);

        exchange.faults.inject({ silenceSeconds: 3600 });
        await untilStored(tape, () => exchange.ledger.frames);
        await producer.stop();
        await assertStored(tape, exchange.ledger.frames);
      }),
  );
});
