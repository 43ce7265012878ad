/**
 * What becomes of the producer's memory when it starts without a broker, and when its feed ends for good.
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

async function hasExited(process: Servers["kafka"]): Promise<boolean> {
  return await Promise.race([process.exited.then(() => true), Promise.resolve().then(() => false)]);
}

Deno.test("producer: what it receives before the broker is there is kept, and no gap is left", () =>
  withMarket(servers, { rate: 100 }, async (market) => {
    const { tape } = market;
    servers.kafka.kill();
    await servers.kafka.exited;
    const producer = await tape.start("producer");
    await tape.until(
      "frames to be kept",
      async () => await readMetric(producer.metricsUrl, "tapehouse_feed_buffer_bytes") > 20_000,
    );
    const ready = await fetch(`${producer.metricsUrl}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /Kafka: not connected yet/);

    await servers.startKafka();
    await tape.start("consumer");
    await market.moreTrades(200);
    await market.prove();
    assert.equal(await tape.value("SELECT count() FROM trades WHERE source = 'backfill'"), "0");
    const connections = "SELECT uniqExact(connection) FROM trades";
    assert.equal(await tape.value(connections), "1", "the first connection has never been closed");
  }).finally(async () => {
    // Not to fail the next test too.
    if (await hasExited(servers.kafka)) await servers.startKafka();
  }));

Deno.test("producer: when the exchange refuses every product, its last words are stored before the process ends", () =>
  withMarket(servers, { rate: 100 }, async (market) => {
    const { tape } = market;
    await tape.start("consumer");
    const producer = await tape.launch("producer", { COINBASE_PRODUCTS: "NO-SUCH,NOT-THIS" });
    let code: number | undefined;
    producer.exited.then((status) => code = status.code);
    await tape.until("the producer to end", () => Promise.resolve(code !== undefined));
    assert.equal(code, 1);
    const [last] = (await producer.log()).slice(-1);
    assert.match(String(last?.message), /^The exchange refused every product/);
    await tape.untilRead();
    const refused = await tape.rows(
      "SELECT DISTINCT product_id FROM feed_events WHERE event = 'refused' ORDER BY 1",
    );
    assert.deepEqual(refused.map(({ product_id }) => product_id), ["NO-SUCH", "NOT-THIS"]);
  }));
