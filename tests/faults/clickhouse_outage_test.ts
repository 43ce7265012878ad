/**
 * ClickHouse is away, refuses, doesn't answer, or has done what it doesn't confirm.
 *
 * The full disk is simulated: a proxy answers as ClickHouse does then; the embedded engine can't be given a small disk.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { createLogger } from "../../lib/process/log.ts";
import { type ClickHouseProxy, startClickHouseProxy, type Verdict } from "../support/clickhouse_proxy.ts";
import { type Market, withMarket } from "../support/stoppable_market.ts";
import { type Servers, startServers } from "../support/tape.ts";

const channels = "matches,heartbeat,ticker";
const unconfirmed = "ClickHouse didn't confirm, trying again";
const broken: Verdict = { status: 500, body: "Code: 1000. DB::Exception: broken. (POCO_EXCEPTION)\n" };
const diskFull: Verdict = {
  status: 500,
  body: "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)\n",
};

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** A market of which only the consumer talks to ClickHouse through the proxy. */
async function withProxy(body: (market: Market, proxy: ClickHouseProxy) => Promise<void>): Promise<void> {
  const proxy = startClickHouseProxy(() => servers.clickhouse.url);
  try {
    await withMarket(
      servers,
      { rate: 400, env: { COINBASE_CHANNELS: channels } },
      (market) => body(market, proxy),
    );
  } finally {
    await proxy.stop();
  }
}

/** No heartbeat is lost or double, though only trades are told apart by their number. */
async function assertHeartbeats({ tape, exchange }: Market): Promise<void> {
  const sent = Object.values(exchange.ledger.report().sent).reduce((sum, of) => sum + (of.heartbeat ?? 0), 0);
  assert.equal(await tape.value("SELECT count() FROM heartbeats"), String(sent));
  const places = "SELECT count() - uniqExact(kafka_partition, kafka_offset) FROM";
  for (const table of ["heartbeats", "tickers", "trades"]) {
    assert.equal(await tape.value(`${places} ${table}`), "0", table);
  }
}

Deno.test("clickhouse outage: failures now and then and lost confirmations lose and double nothing", () =>
  withProxy(async (market, proxy) => {
    const { tape } = market;
    let inserts = 0;
    const course: Verdict[] = [
      "pass",
      broken,
      "pass",
      "lose answer",
      "pass",
      diskFull,
      "lose answer",
      "pass",
    ];
    proxy.onInsert = () => course[inserts++ % course.length] ?? "pass";
    const consumer = await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
    await tape.start("producer");
    await tape.until("sixty inserts", () => Promise.resolve(inserts > 60));
    proxy.onInsert = () => "pass";
    await market.prove();
    await assertHeartbeats(market);
    assert.ok(proxy.counts["lose answer"] > 10 && proxy.counts.refused > 10, JSON.stringify(proxy.counts));
    await tape.untilLogged(consumer, unconfirmed);
  }));

Deno.test("clickhouse outage: a consumer that dies when a batch has landed in one table and not in the others loses and doubles nothing", () =>
  withProxy(async (market, proxy) => {
    const { tape } = market;
    await tape.start("producer");
    let refused = 0;
    proxy.onInsert = (table) => {
      if (table === "trades") return "pass";
      refused++;
      return broken;
    };
    const consumer = await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
    await tape.until(
      "trades without the rest of their batch",
      async () => refused > 3 && await market.trades() > 0,
    );
    assert.equal(await tape.value("SELECT count() FROM heartbeats"), "0");
    consumer.kill();
    await consumer.exited;
    proxy.onInsert = () => "pass";
    await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
    await market.moreTrades(100);
    await market.prove();
    await assertHeartbeats(market);
  }));

Deno.test("clickhouse outage: when the disk is full (simulated), the consumer says so, waits, and goes on when there is room", () =>
  withProxy(async (market, proxy) => {
    const { tape } = market;
    await tape.start("producer");
    const consumer = await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
    await market.moreTrades(50);
    proxy.onInsert = () => diskFull;
    const line = await tape.untilLogged(consumer, unconfirmed);
    assert.match(String(line.error), /not enough space/);
    const health = await fetch(`${consumer.metricsUrl}/healthz`);
    assert.equal(health.status, 503);
    assert.match(await health.text(), /^ClickHouse: .*not enough space/);
    await tape.until("several tries", () => Promise.resolve(proxy.counts.refused > 8));
    proxy.onInsert = () => "pass";
    await market.moreTrades(50);
    await market.prove();
    await assertHeartbeats(market);
    assert.equal(
      (await fetch(`${consumer.metricsUrl}/healthz`).then((answer) => answer.text())).trim(),
      "ok",
    );
  }));

/** The ids of the consumer group's members. */
async function membersOf({ tape: { config } }: Market): Promise<string[]> {
  const admin = openBroker(config, "test", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  const { groups } = await admin.describeGroups([config.KAFKA_GROUP]);
  await admin.disconnect();
  return groups.flatMap(({ members }) => members.map(({ memberId }) => memberId));
}

Deno.test("clickhouse outage: while ClickHouse hangs for longer than a session, the consumer keeps its partitions and stops when asked, and the next one writes the batch", () =>
  withProxy(async (market, proxy) => {
    const { tape } = market;
    await tape.start("producer");
    const sessionMs = 2500;
    const consumer = await tape.start("consumer", {
      CLICKHOUSE_URL: proxy.url,
      KAFKA_SESSION_MS: String(sessionMs),
    });
    await market.moreTrades(50);
    const before = await membersOf(market);
    assert.equal(before.length, 1);
    proxy.onInsert = () => "hold answer";
    await tape.until("an insert without an answer", () => Promise.resolve(proxy.counts["hold answer"] > 0));
    // Without a heartbeat the broker would expel it within a session.
    await sleep(2 * sessionMs);
    assert.deepEqual(await membersOf(market), before);
    await consumer.stop();
    const status = await consumer.exited;
    assert.deepEqual([status.code, status.signal], [0, null], "it ended by itself");
    proxy.onInsert = () => "pass";
    const next = await tape.start("consumer", { CLICKHOUSE_URL: proxy.url });
    await tape.untilLogged(next, "a batch may have landed, writing it again");
    await market.moreTrades(50);
    await market.prove();
    await assertHeartbeats(market);
  }));

Deno.test("clickhouse outage: kills in the middle of inserts, twice, and some tries in vain lose and double nothing", () =>
  withMarket(servers, { rate: 1000, env: { COINBASE_CHANNELS: channels } }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    await tape.start("producer");
    for (let times = 1; times <= 2; times++) {
      await market.moreTrades(300);
      servers.clickhouse.kill();
      await servers.clickhouse.exited;
      const failures = async () =>
        (await consumer.log()).filter(({ message }) => message === unconfirmed).length;
      const before = await failures();
      await tape.until("five tries in vain", async () => await failures() >= before + 5);
      await servers.startClickHouse();
    }
    await market.moreTrades(300);
    await market.prove();
    await assertHeartbeats(market);
  }));
