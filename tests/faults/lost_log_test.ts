/**
 * What can become of Kafka's log behind the consumer's back: messages expire before they are read, the topic is made anew,
 * the group's place is gone or belongs to another log, ClickHouse loses what it had confirmed.
 *
 * @module
 */

import type { Admin } from "kafkajs";
import assert from "node:assert/strict";
import { openBroker } from "../../lib/kafka/client.ts";
import { fetchCommitted } from "../../lib/kafka/log_range.ts";
import { formatMicros, nowMicros } from "../../lib/core/time.ts";
import { createLogger } from "../../lib/process/log.ts";
import { type Market, withMarket } from "../support/stoppable_market.ts";
import { readMetric } from "../support/read_metric.ts";
import { startClickHouseProxy } from "../support/clickhouse_proxy.ts";
import { root, type Servers, startServers, withTape } from "../support/tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** With the order book: its changes can't be fetched again. */
const options = {
  rate: 300,
  env: { KAFKA_PARTITIONS: "1", COINBASE_CHANNELS: "matches,heartbeat,ticker,level2_batch" },
};

async function withAdmin<T>(market: Market, body: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = openBroker(market.tape.config, "test", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  try {
    return await body(admin);
  } finally {
    await admin.disconnect();
  }
}

/** The broker forgets a topic and makes the new one in its own time: false when that is why it can't answer. */
function isMissingTopic(error: Error & { type?: string }): false {
  if (error.type === "UNKNOWN_TOPIC_OR_PARTITION") return false;
  throw error;
}

const topicsOf = ({ tape }: Market) => [tape.config.KAFKA_TOPIC, tape.config.KAFKA_LEVEL2_TOPIC];

/** Starts both services, and waits until trades and a book are stored. */
async function startWithBook({ tape, moreTrades }: Market) {
  const consumer = await tape.start("consumer");
  const producer = await tape.start("producer");
  await moreTrades(50);
  await tape.until("a book", async () => await tape.value("SELECT count() FROM book_changes") !== "0");
  return { consumer, producer };
}

/** No message is stored twice, whatever table it went to. */
async function assertNoDoubles({ tape }: Market): Promise<void> {
  const keys = {
    trades: "product_id, trade_id",
    tickers: "kafka_partition, kafka_offset, received_at",
    heartbeats: "kafka_partition, kafka_offset, received_at",
    book_changes: "kafka_partition, kafka_offset, received_at, position",
  };
  for (const [table, key] of Object.entries(keys)) {
    assert.equal(await tape.value(`SELECT count() - uniqExact(${key}) FROM ${table}`), "0", table);
  }
}

/** With a backfill and what it lacked, a producer or a consumer, the tape goes on, and is whole. */
async function assertGoesOn(market: Market, lacked: "producer" | "consumer"): Promise<void> {
  await market.tape.start(lacked);
  await market.tape.start("backfill", {}, ["--watch"]);
  await market.moreTrades(50);
  await market.prove();
  await assertNoDoubles(market);
}

Deno.test("consumer: messages that expired before they were read end the book, and are an event, a counter and a log line", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    const { producer, ...started } = await startWithBook(market);
    let { consumer } = started;
    await consumer.stop();
    const last = Object.fromEntries(
      (await tape.rows("SELECT product_id, max(time) AS last FROM book_changes GROUP BY product_id"))
        .map((row) => [row.product_id, row.last]),
    );
    await market.moreMade(600);
    let lost = 0;
    await withAdmin(market, async (admin) => {
      for (const topic of topicsOf(market)) {
        const committed = await fetchCommitted(admin, tape.config.KAFKA_GROUP, topic, 0);
        const [{ high } = { high: "0" }] = await admin.fetchTopicOffsets(topic);
        const offset = Math.floor((committed.offset + Number(high)) / 2);
        assert.ok(offset > committed.offset + 10, `${topic}: ${committed.offset} of ${high}`);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] });
        lost += offset - committed.offset;
      }
    });
    consumer = await tape.start("consumer");
    await tape.start("backfill", {}, ["--watch"]);
    const line = await tape.untilLogged(consumer, "messages expired in the topic before they were read");
    assert.equal(line.partition, 0);
    await tape.until(
      "both losses counted",
      async () => await readMetric(consumer.metricsUrl, "tapehouse_kafka_lost_messages_total") === lost,
    );
    const events = await tape.rows(
      "SELECT * FROM feed_events WHERE event = 'messages_lost' AND connection = ''",
    );
    assert.deepEqual(events.map(({ reason }) => /^offsets \d+ to \d+ of \S+\/0 expired/.test(reason ?? "")), [
      true,
      true,
    ]);
    // The connection goes on, and its book doesn't: a part of its changes is missing.
    await market.moreTrades(50);
    const epochs = await tape.rows(
      "SELECT product_id, ended_by, max(valid_to) AS valid_to FROM book_epochs GROUP BY product_id, ended_by",
    );
    assert.deepEqual(
      Object.fromEntries(
        epochs.map(({ product_id, ended_by, valid_to }) => [product_id, [ended_by, valid_to]]),
      ),
      Object.fromEntries(Object.entries(last).map(([product, time]) => [product, ["lost frame", time]])),
    );
    await market.prove();
    await assertNoDoubles(market);
    await producer.stop();
  }));

Deno.test("consumer: messages that expire while it waits for ClickHouse are noticed without a restart", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    await tape.start("producer");
    await tape.start("backfill", {}, ["--watch"]);
    await market.moreTrades(50);
    servers.clickhouse.kill();
    await servers.clickhouse.exited;
    await market.moreMade(600);
    await withAdmin(market, async (admin) => {
      for (const topic of topicsOf(market)) {
        const [{ high } = { high: "0" }] = await admin.fetchTopicOffsets(topic);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: high }] });
      }
    });
    await servers.startClickHouse();
    await tape.untilLogged(consumer, "messages expired in the topic before they were read");
    await market.prove();
    await assertNoDoubles(market);
  }));

Deno.test("consumer: a topic that was made anew is read from its start, and nothing of it is taken for known", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    await tape.start("consumer");
    const producer = await tape.start("producer");
    await tape.start("backfill", {}, ["--watch"]);
    await market.moreTrades(100);
    await producer.stop();
    await tape.untilRead();
    const before = Number(await tape.value("SELECT max(kafka_offset) FROM trades"));
    await withAdmin(market, (admin) => admin.deleteTopics({ topics: topicsOf(market) }));
    const madeAnew = formatMicros(nowMicros());
    await tape.start("producer");
    await market.moreTrades(200);
    // Smaller offsets than those that are stored.
    const again =
      `SELECT min(kafka_offset) FROM trades WHERE source != 'backfill' AND received_at > '${madeAnew}'`;
    assert.ok(Number(await tape.value(again)) < before);
    await market.prove();
    await assertNoDoubles(market);
  }));

Deno.test("consumer: an empty topic in place of the one that was read ends the books, and that is told once", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    const { producer, ...started } = await startWithBook(market);
    let { consumer } = started;
    await producer.stop();
    await tape.untilRead();
    await consumer.stop();
    await withAdmin(market, (admin) => admin.deleteTopics({ topics: topicsOf(market) }));
    const told = () =>
      tape.value("SELECT count() FROM feed_events WHERE event = 'messages_lost' AND connection = ''");
    for (let start = 1; start <= 2; start++) {
      consumer = await tape.start("consumer");
      await tape.until("a place in both logs", () =>
        withAdmin(market, async (admin) => {
          const places = await Promise.all(
            topicsOf(market).map((topic) => fetchCommitted(admin, tape.config.KAFKA_GROUP, topic, 0)),
          );
          return places.every(({ offset, log }) => offset === 0 && log !== undefined);
        }).catch(isMissingTopic));
      assert.equal(await told(), "2", `start ${start}`);
      assert.equal(await tape.value("SELECT countIf(ended_by = 'open') FROM book_epochs"), "0");
      await consumer.stop();
    }
  }));

Deno.test("consumer: a group without commits beside a database with its rows stores nothing twice", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    let consumer = await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(200);
    await producer.stop();
    await tape.untilRead();
    await consumer.stop();
    const rows = () =>
      Promise.all(
        ["trades", "tickers", "heartbeats", "book_changes"].map((table) =>
          tape.value(`SELECT count() FROM ${table}`)
        ),
      );
    const before = await rows();
    await withAdmin(market, (admin) => admin.deleteGroups([tape.config.KAFKA_GROUP]).then(() => {}));
    // Killed after its first batch: what is behind has to be asked for still.
    consumer = await tape.start("consumer", {
      CONSUMER_BATCH_ROWS: "20",
      TAPEHOUSE_FAULT_POINT: "after the final commit",
    });
    await tape.untilLogged(
      consumer,
      "the group knows nothing of this log: ClickHouse is asked what it has of it",
    );
    await tape.until("a batch of each topic", () =>
      withAdmin(market, async (admin) => {
        const places = topicsOf(market).map((topic) =>
          fetchCommitted(admin, tape.config.KAFKA_GROUP, topic, 0)
        );
        return (await Promise.all(places)).some(({ offset }) => offset > 0);
      }));
    consumer.kill();
    await consumer.exited;
    consumer = await tape.start("consumer");
    await tape.untilRead();
    assert.deepEqual(await rows(), before);
    await assertNoDoubles(market);
    await assertGoesOn(market, "producer");
  }));

Deno.test("consumer: a place beyond the log's end stops it with one line; `topics --reset-group` makes it begin anew", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    let consumer = await tape.start("consumer");
    await tape.start("producer");
    await market.moreTrades(100);
    await consumer.stop();
    const group = tape.config.KAFKA_GROUP;
    const topic = tape.config.KAFKA_TOPIC;
    await withAdmin(market, async (admin) => {
      await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: "9999999" }] });
    });
    consumer = await tape.start("consumer");
    const { code } = await consumer.exited;
    assert.equal(code, 1);
    const errors = (await consumer.log()).filter(({ level }) => level === "error");
    assert.equal(errors.length, 1, JSON.stringify(errors));
    assert.match(
      String(errors[0]?.message),
      new RegExp(
        `^Group ${group} has read ${topic}, partition 0, up to offset 9999999, and the log ends at \\d+: .*--reset-group`,
      ),
    );
    const reset = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-P=topics", "tasks/topics.ts", "--reset-group"],
      cwd: root,
      env: tape.env,
    }).output();
    assert.equal(reset.code, 0, new TextDecoder().decode(reset.stderr));
    await assertGoesOn(market, "consumer");
  }));

Deno.test("consumer: what ClickHouse lost of the newest rows is written again from the topic at the next start", () =>
  withMarket(servers, options, async (market) => {
    const { tape } = market;
    let consumer = await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(200);
    await producer.stop();
    await tape.untilRead();
    await consumer.stop();
    const tables = ["trades", "tickers", "heartbeats", "book_changes"];
    const rows = () => Promise.all(tables.map((table) => tape.value(`SELECT count() FROM ${table}`)));
    const before = await rows();
    const newest = "received_at > (SELECT max(received_at) - INTERVAL 2 SECOND FROM trades)";
    for (const table of tables) {
      await tape.clickhouse.command({ query: `DELETE FROM ${table} WHERE ${newest}` });
    }
    assert.notDeepEqual(await rows(), before);
    consumer = await tape.start("consumer");
    await tape.until("the rows again", async () => JSON.stringify(await rows()) === JSON.stringify(before));
    await tape.untilLogged(consumer, "tables disagreed and are mended");
    assert.ok(await readMetric(consumer.metricsUrl, "tapehouse_restored_rows_total") > 0);
    await assertGoesOn(market, "producer");
  }));

Deno.test("consumer: killed while it looks further back for what ClickHouse lost, the next one looks as far", async () => {
  const env = { KAFKA_PARTITIONS: "1", KAFKA_MEMBER: "one" };
  await withTape(servers, env, async (tape) => {
    const proxy = startClickHouseProxy(() => servers.clickhouse.url);
    try {
      let consumer = await tape.start("consumer");
      await tape.untilLogged(consumer, "partitions assigned");
      const producer = openBroker(tape.config, "test", createLogger({}, { level: "error" })).producer();
      await producer.connect();
      // Three were received five minutes ago, three now: a first look reaches thirty seconds back.
      const now = Date.now();
      const messages = [300_000, 299_000, 298_000, 2000, 1000, 0].map((age, index) => ({
        partition: 0,
        timestamp: String(now - age),
        headers: { received_at: String((now - age) * 1000), source: "test", connection: "c-1" },
        value: JSON.stringify({
          type: "heartbeat",
          product_id: "A-B",
          sequence: index,
          last_trade_id: 0,
          time: new Date(now - age).toISOString(),
        }),
      }));
      await producer.send({ topic: tape.config.KAFKA_TOPIC, messages });
      await producer.disconnect();
      const stored = () => tape.value("SELECT count() FROM heartbeats");
      await tape.until("all heartbeats", async () => await stored() === "6");
      await tape.untilRead();
      await consumer.stop();
      await tape.clickhouse.command({ query: "DELETE FROM heartbeats WHERE true" });

      const second = Promise.withResolvers<void>();
      let inserts = 0;
      proxy.onInsert = (table) => {
        if (table !== "heartbeats" || ++inserts === 1) return "pass";
        second.resolve();
        return { status: 500, body: "Code: 1000. DB::Exception: away. (POCO_EXCEPTION)\n" };
      };
      consumer = await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
      await second.promise;
      assert.equal(await stored(), "3");
      consumer.kill();
      await consumer.exited;
      consumer = await tape.start("consumer");
      await tape.until("the old heartbeats too", async () => await stored() === "6");
      await tape.until("no suspicion any more", async () => {
        const admin = openBroker(tape.config, "test", createLogger({}, { level: "error" })).admin();
        await admin.connect();
        const place = await fetchCommitted(admin, tape.config.KAFKA_GROUP, tape.config.KAFKA_TOPIC, 0);
        await admin.disconnect();
        return place.offset === 6 && place.suspect === undefined;
      });
      assert.equal(await tape.value("SELECT count() - uniqExact(kafka_offset) FROM heartbeats"), "0");
    } finally {
      await proxy.stop();
    }
  });
});

Deno.test("consumer: offsets that hold no message, a foreign transaction's markers, are passed over", () =>
  withMarket(servers, { ...options, rate: 100 }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    await tape.start("producer");
    await market.moreTrades(20);
    const kafka = openBroker(tape.config, "foreign", createLogger({}, { level: "error" }));
    const foreign = kafka.producer({ transactionalId: "foreign", idempotent: true, maxInFlightRequests: 1 });
    await foreign.connect();
    for (let times = 0; times < 5; times++) {
      const transaction = await foreign.transaction();
      await transaction.send({
        topic: tape.config.KAFKA_TOPIC,
        messages: [{ value: `{"type":"subscriptions","channels":[]}`, partition: 0 }],
      });
      await transaction.commit();
    }
    await foreign.disconnect();
    await market.moreTrades(100);
    assert.equal(await readMetric(consumer.metricsUrl, "tapehouse_kafka_lost_messages_total"), 0);
    await market.prove();
  }));
