/**
 * The broker is away longer than the producer can remember.
 *
 * @module
 */

import assert from "node:assert/strict";
import { withMarket } from "../support/stoppable_market.ts";
import { readMetric } from "../support/read_metric.ts";
import { type Servers, startServers } from "../support/tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

Deno.test("broker outage: when it is longer than the buffer lasts, the feed closes, says so, and the gap is filled", () =>
  withMarket(servers, { rate: 4000, env: { FEED_BUFFER_MB: "1" } }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    const producer = await tape.start("producer", { COINBASE_CHANNELS: "matches,heartbeat,ticker" });
    await tape.start("backfill", {}, ["--watch"]);
    await market.moreTrades(2000);

    servers.kafka.kill();
    await servers.kafka.exited;
    await tape.untilLogged(producer, "buffer full, closing the feed until half of it is free");
    // What the publisher still takes on its way makes room in the buffer, and the feed opens once more.
    let looks = 0;
    await tape.until("the feed to stay closed", async () => {
      looks = await readMetric(producer.metricsUrl, "tapehouse_feed_connections") === 0 ? looks + 1 : 0;
      return looks === 20;
    });
    const full = await readMetric(producer.metricsUrl, "process_resident_memory_bytes");
    await market.moreMade(10_000);
    assert.equal(await readMetric(producer.metricsUrl, "tapehouse_feed_connections"), 0);
    assert.ok(await readMetric(producer.metricsUrl, "tapehouse_feed_buffer_bytes") < 2 * 1024 * 1024);
    const waiting = await readMetric(producer.metricsUrl, "tapehouse_unproduced_messages");
    assert.ok(waiting > 1000, `${waiting} messages wait in memory`);
    const grown = await readMetric(producer.metricsUrl, "process_resident_memory_bytes") - full;
    assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes more while nothing was taken`);

    await servers.startKafka();
    await market.moreTrades(2000);
    await market.prove();
    for (const product of market.products) {
      const marks = "SELECT count() > 0 FROM feed_events WHERE event = 'buffer_full' AND product_id =";
      assert.equal(await tape.value(`${marks} '${product}'`), "1", product);
    }
    assert.ok(Number(await tape.value("SELECT count() FROM trades WHERE source = 'backfill'")) > 1000);
    await tape.until("the consumer to be well again", async () => {
      const response = await fetch(`${consumer.metricsUrl}/healthz`);
      await response.body?.cancel();
      return response.ok;
    });
  }));
