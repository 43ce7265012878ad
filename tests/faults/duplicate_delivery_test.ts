/**
 * The same trades come several times, by design: a second producer, a second reading of the whole topic.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Market, withMarket } from "../support/stoppable_market.ts";
import { readMetric } from "../support/read_metric.ts";
import { type Servers, type Service, startServers } from "../support/tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** Rows and contents of what counts trades. */
async function fingerprint({ tape }: Market): Promise<Record<string, unknown>> {
  const of = (table: string) =>
    tape.rows(`SELECT count() AS rows, groupBitXor(cityHash64(*)) AS hash FROM ${table}`);
  const sums = ["candles_1s", "candles_1m", "candles_1h", "candles_1d"].map((view) =>
    tape.rows(`SELECT count() AS candles, sum(trades) AS trades, sum(volume) AS volume FROM ${view}`)
  );
  return { trades: await of("trades"), runs: await of("trade_runs"), candles: await Promise.all(sums) };
}

async function untilSubscribed({ tape, products }: Market, producer: Service): Promise<void> {
  await tape.until(
    `${producer.name} ${producer.pid} to be subscribed`,
    async () =>
      (await producer.log()).filter(({ message }) => message === "subscribed").length >= products.length,
  );
}

Deno.test("duplicate delivery: of the same trades from two producers each is stored once, and the death of either leaves no gap", () =>
  withMarket(servers, { rate: 300 }, async (market) => {
    const { tape } = market;
    await tape.start("consumer");
    const channels = { COINBASE_CHANNELS: "ticker,matches,heartbeat,level2_batch,status" };
    const main = await tape.start("producer", channels);
    const guard = await tape.start("producer", { COINBASE_CHANNELS: "matches,heartbeat" });
    await untilSubscribed(market, main);
    await untilSubscribed(market, guard);
    await market.moreTrades(200);

    main.kill();
    await main.exited;
    await market.moreTrades(200);
    const back = await tape.start("producer", channels);
    await untilSubscribed(market, back);
    await market.moreTrades(50);

    guard.kill();
    await guard.exited;
    await market.moreTrades(200);
    // No backfill runs here: a gap would stay.
    await market.prove();
    const rows = await tape.rows("SELECT DISTINCT connection FROM trades");
    const first = new Set(rows.map(({ connection }) => connection));
    for (const [name, producer] of Object.entries({ main, guard, back })) {
      const connected = (await producer.log()).filter(({ message }) => message === "connected");
      const isFirst = connected.some(({ connection }) => first.has(String(connection)));
      assert.ok(isFirst, `${name} was first with some trades`);
    }
    assert.equal(await tape.value("SELECT count() FROM trades WHERE source = 'backfill'"), "0");
  }));

Deno.test("duplicate delivery: the whole topic, read again by another group, adds no row and changes no candle", () =>
  withMarket(servers, { rate: 400 }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(500);
    // With a gap that was filled, and with repeats.
    market.exchange.faults.inject({ swallowTrades: 10 });
    market.exchange.faults.inject({ repeatTrades: 10 });
    await tape.start("backfill", {}, ["--watch"]);
    await market.moreTrades(300);
    await market.prove();
    await producer.stop();
    await tape.untilRead();
    await consumer.stop();
    const before = await fingerprint(market);

    const group = `${tape.env.KAFKA_GROUP}_again`;
    const second = await tape.start("consumer", { KAFKA_GROUP: group });
    await tape.untilRead(group);
    assert.deepEqual(await fingerprint(market), before);
    const repeated = await readMetric(second.metricsUrl, "tapehouse_repeated_trades_total");
    assert.ok(
      repeated >= Number(await tape.value("SELECT count() FROM trades")),
      `${repeated} were recognised`,
    );
  }));

Deno.test("proof: it notices a lost trade, a double one, and a candle that is wrong", () =>
  withMarket(servers, { rate: 300 }, async (market) => {
    const { tape } = market;
    await tape.start("consumer");
    await tape.start("producer");
    await market.moreTrades(100);
    await market.prove();
    const problems = () => market.prove().then(() => "", (error: Error) => error.message);
    const product = "product_id = 'ETH-USD'";
    const one = `(SELECT min(trade_id) + 1 FROM trades WHERE ${product})`;

    await tape.clickhouse.command({
      query: `INSERT INTO trades SELECT * FROM trades WHERE ${product} AND trade_id = ${one}`,
    });
    const double = await problems();
    assert.match(double, /ETH-USD: (\d+) rows for \d+ trades: some are double/);
    assert.match(double, /candles_1s: 1 of \d+ candles are not as the exchange's trades make them/);
    assert.match(double, /candles_1d: 1 of 3 candles/);

    await tape.clickhouse.command({ query: `DELETE FROM trades WHERE ${product} AND trade_id = ${one}` });
    assert.match(await problems(), /ETH-USD: \d+ trades for the ids \d+ to \d+: 1 lost/);

    const first = `(SELECT min(trade_id) FROM trades WHERE ${product})`;
    await tape.clickhouse.command({ query: `DELETE FROM trades WHERE ${product} AND trade_id = ${first}` });
    assert.match(await problems(), /ETH-USD: stored from trade \d+ on, and \d+ was stored: 2 lost/);
  }));
