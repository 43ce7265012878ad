/**
 * The consumer ends, sleeps or is replaced between any two steps of a batch: every trade counts once all the same.
 *
 * @module
 */

import assert from "node:assert/strict";
import { faultPoints, reachedMessage } from "../../lib/process/fault_point.ts";
import { type Market, withMarket } from "../support/stoppable_market.ts";
import { type Servers, type Service, startServers } from "../support/tape.ts";

const replayed = "a batch may have landed, writing it again";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** Starts a consumer and waits until it stands still between two steps; returns it and the batch's place. */
async function consumerAt({ tape }: Market, point: string) {
  const consumer = await tape.start("consumer", { TAPEHOUSE_FAULT_POINT: point });
  const { topic, partition, logName, range } = await tape.untilLogged(consumer, reachedMessage);
  const { first, last } = range as { first: number; last: number };
  const batch = `${tape.env.KAFKA_GROUP}/${topic}/${partition}/${logName}/${first}-${last}`;
  const rows = async () => Number(await tape.value(`SELECT count() FROM trades WHERE batch = '${batch}'`));
  return { consumer, batch, last, rows };
}

async function killed(service: Service): Promise<void> {
  service.kill();
  await service.exited;
}

/** One partition: the first batch of a consumer that starts late has trades. */
const oneByOne = { rate: 300, env: { KAFKA_PARTITIONS: "1" } };

for (const point of faultPoints) {
  Deno.test(`consumer: one that is killed ${point} is followed by one that neither loses nor doubles a trade`, () =>
    withMarket(servers, oneByOne, async (market) => {
      const { tape } = market;
      await tape.start("producer");
      let consumer = await tape.start("consumer");
      await market.moreTrades(50);
      await consumer.stop();

      const first = await consumerAt(market, point);
      const hasLanded = point === "after the inserts" || point === "after the final commit";
      assert.equal(await first.rows() > 0, hasLanded);
      await killed(first.consumer);
      const onRecord = point === "after the in-flight commit" || point === "after the inserts";
      if (onRecord) {
        const second = await consumerAt(market, point);
        assert.equal(second.batch, first.batch, "the batch on record is written again under its name");
        await killed(second.consumer);
      }

      consumer = await tape.start("consumer");
      await market.moreTrades(50);
      await market.prove();
      const again = (await consumer.log()).filter(({ message }) => message === replayed);
      if (point === "after the final commit") {
        // The same commit may say that the next batch has begun; the one that is stored it never names.
        assert.ok(again.every(({ first: begun }) => Number(begun) > first.last), JSON.stringify(again));
      } else {
        assert.equal(again.length, onRecord ? 1 : 0);
      }
    }));
}

Deno.test("consumer: when it is asked to stop, it finishes the batch that it has begun", () =>
  withMarket(servers, oneByOne, async (market) => {
    const { tape } = market;
    await tape.start("producer");
    for (const point of faultPoints.slice(0, 3)) {
      const { consumer, rows } = await consumerAt(market, point);
      const stopped = consumer.stop();
      await tape.untilLogged(consumer, "stopping");
      Deno.kill(consumer.pid, "SIGCONT");
      await stopped;
      assert.ok(await rows() > 0, point);
      assert.equal((await consumer.exited).code, 0);
    }
    const next = await tape.start("consumer");
    await market.moreTrades(50);
    assert.ok(!(await next.log()).some(({ message }) => message === replayed), "nothing was left in flight");
    await market.prove();
  }));

Deno.test("consumer: one that slept while another took over its batch wakes up and inserts nothing", () =>
  withMarket(servers, oneByOne, async (market) => {
    const { tape } = market;
    await tape.start("producer");
    const before = await tape.start("consumer");
    await market.moreTrades(50);
    await before.stop();
    const zombie = await consumerAt(market, "after the in-flight commit");
    Deno.kill(zombie.consumer.pid, "SIGSTOP");
    assert.equal(await zombie.rows(), 0);

    const heir = await tape.start("consumer");
    await tape.untilLogged(heir, replayed);
    await market.moreTrades(100);
    const batchRows = await zombie.rows();
    assert.ok(batchRows > 0, "the heir has written the batch under the name on record");

    Deno.kill(zombie.consumer.pid, "SIGCONT");
    await tape.untilLogged(
      zombie.consumer,
      "the group has moved on, the batch is left to whoever has its partition now",
    );
    // It may come back as a member of the group, with partitions that are its own then.
    await market.moreTrades(100);
    assert.equal(await zombie.rows(), batchRows);
    await market.prove();
  }));

Deno.test("consumer: though consumers come and go while batches are in flight, every trade is stored once", () =>
  withMarket(servers, { rate: 600 }, async (market) => {
    const { tape } = market;
    await tape.start("producer");
    const first = await tape.start("consumer");
    await market.moreTrades(100);
    // It joins, and the group is divided anew while the first one writes.
    const second = await tape.start("consumer");
    await tape.untilLogged(second, "partitions assigned");
    await market.moreTrades(100);
    // Leaving hands over at once; dying hands over when the session is over.
    await first.stop();
    await market.moreTrades(100);
    const third = await consumerAt(market, "after the inserts");
    await killed(third.consumer);
    await market.moreTrades(100);
    await market.prove();
  }));

Deno.test("consumer: when a month ends inside of a batch that is written twice, both sides have their candles", () => {
  const midnight = Date.UTC(2026, 10, 1) * 1000;
  return withMarket(servers, { ...oneByOne, startAt: midnight - 6e6 }, async (market) => {
    const { tape } = market;
    await tape.start("producer");
    await tape.until("the new month", () => Promise.resolve(market.now() > midnight));
    await market.moreMade(100);
    const { consumer, rows, batch } = await consumerAt(market, "after the inserts");
    const months = `SELECT uniqExact(toYYYYMM(time)) FROM trades WHERE batch = '${batch}'`;
    assert.equal(await tape.value(months), "2");
    const before = await rows();
    await killed(consumer);
    const next = await tape.start("consumer");
    await tape.untilLogged(next, replayed);
    await market.moreTrades(50);
    assert.equal(await rows(), before);
    const { products } = await market.prove();
    assert.equal(await tape.value("SELECT count() FROM candles_1d"), String(2 * products.length));
  });
});
