/**
 * The exchange behaves badly, by its feed or by REST: what is missing comes by itself, what comes twice counts once.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Market, withMarket } from "../support/stoppable_market.ts";
import { type Servers, startServers } from "../support/tape.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

async function startAll({ tape }: Market, backfillEnv: Record<string, string> = {}) {
  const consumer = await tape.start("consumer");
  const producer = await tape.start("producer");
  const backfill = await tape.start("backfill", backfillEnv, ["--watch"]);
  return { consumer, producer, backfill };
}

/** Trades that came by REST, and how many events of a kind there were. */
async function filled({ tape }: Market): Promise<number> {
  return Number(await tape.value("SELECT count() FROM trades WHERE source = 'backfill'"));
}
async function events({ tape }: Market, event: string): Promise<number> {
  return Number(await tape.value(`SELECT count() FROM feed_events WHERE event = '${event}'`));
}

Deno.test("bad feed: a connection that drops every two seconds leaves gaps that are filled without anybody's help", () =>
  withMarket(servers, { rate: 300 }, async (market) => {
    await startAll(market);
    await market.moreTrades(100);
    market.exchange.faults.inject({ dropEverySeconds: 2 });
    await market.tape.until(
      "four disconnects of three products",
      async () => await events(market, "disconnected") >= 12,
    );
    market.exchange.faults.inject({ dropEverySeconds: 0 });
    await market.prove();
    assert.ok(await filled(market) > 0, "there were gaps");
    assert.ok(await events(market, "gap_filled") > 0);
  }));

Deno.test("bad feed: a connection that stays open and says nothing is left, and the gap is filled", () =>
  withMarket(servers, { rate: 300, env: { FEED_SILENCE_SECONDS: "2" } }, async (market) => {
    const { producer } = await startAll(market);
    await market.moreTrades(100);
    market.exchange.faults.inject({ silenceSeconds: 4 });
    await market.tape.until("the silence to be noticed", async () => await events(market, "silent") > 0);
    await market.tape.until("the producer to be well again", async () => {
      const response = await fetch(`${producer.metricsUrl}/healthz`);
      await response.body?.cancel();
      return response.ok;
    });
    await market.moreTrades(200);
    await market.prove();
    assert.ok(await filled(market) > 0, "there was a gap");
  }));

Deno.test("bad feed: of swallowed, repeated, late and reversed trades each is stored once, with the figures of the exchange", () =>
  withMarket(servers, { rate: 300 }, async (market) => {
    await startAll(market);
    await market.moreTrades(50);
    const { faults, ledger } = market.exchange;
    for (
      const fault of [{ swallowTrades: 7 }, { repeatTrades: 20 }, { lateTrades: 9 }, { swallowHeartbeats: 5 }]
    ) {
      faults.inject(fault);
      await market.moreTrades(60);
    }
    await market.prove();
    const trades = Object.values(ledger.report().trades);
    const sum = (of: "withheld" | "repeated" | "late") =>
      trades.reduce((n, product) => n + product[of].length, 0);
    assert.deepEqual([sum("withheld"), sum("repeated"), sum("late")], [7, 20, 9]);
    const missed = await market.tape.value(
      "SELECT count() FROM trades WHERE source = 'backfill' AND maker_order_id IS NULL",
    );
    assert.ok(Number(missed) >= 7, `only ${missed} came by REST`);
  }));

Deno.test("bad feed: a gap is filled though REST is too busy, broken, hanging and answers with the wrong page", () =>
  withMarket(servers, { rate: 200 }, async (market) => {
    const { backfill } = await startAll(market);
    await market.moreTrades(50);
    const { faults } = market.exchange;
    for (const answer of [429, 500, "wrong page", "hang"] as const) {
      faults.inject({ rest: { answer, requests: answer === "hang" ? 1 : 2 } });
      const before = await filled(market);
      faults.inject({ swallowTrades: 25 });
      await market.tape.until(
        `25 trades filled in spite of ${answer}`,
        async () => await filled(market) >= before + 25,
      );
    }
    await market.prove();
    const metrics = await fetch(`${backfill.metricsUrl}/metrics`).then((response) => response.text());
    for (const outcome of ["ok", "429", "500", "error"]) {
      assert.match(metrics, new RegExp(`tapehouse_rest_requests_total\\{outcome="${outcome}"\\} [1-9]`));
    }
  }));

Deno.test("bad feed: though backfill is killed again and again, the gaps are filled and nothing is double", () =>
  withMarket(servers, { rate: 400 }, async (market) => {
    const { tape } = market;
    await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(50);
    await producer.stop();
    // The market goes on without us: a gap of several pages.
    await market.moreMade(4000);
    await tape.start("producer");
    for (const least of [1, 500, 1500]) {
      const backfill = await tape.start("backfill", { COINBASE_REST_PER_SECOND: "2" }, ["--watch"]);
      await tape.until(`${least} trades filled`, async () => await filled(market) >= least);
      backfill.kill();
      await backfill.exited;
    }
    await tape.start("backfill", {}, ["--watch"]);
    await market.prove();
  }));
