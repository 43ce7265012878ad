/**
 * Consumers with a name of their own (KAFKA_MEMBER): one that is started again takes over from itself, and from nobody else.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Consumer, Kafka } from "kafkajs";
import { sleep } from "../../lib/core/retry.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { faultPoints, reachedMessage } from "../../lib/process/fault_point.ts";
import { endPredecessor, memberName, sessionOptions } from "../../lib/consume/group_member.ts";
import { createLogger } from "../../lib/process/log.ts";
import { withMarket } from "../support/stoppable_market.ts";
import { type Servers, startServers, type Tape, withTape } from "../support/tape.ts";
import { hangMs } from "../support/until.ts";

const tookOver = "took over from the member of the same name";
const silent = createLogger({}, { write: () => {} });

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

/** So long that whoever waited for its end would hang. */
const endless = { KAFKA_SESSION_MS: "1800000" };
const market = { rate: 300, env: { ...endless, KAFKA_PARTITIONS: "1" } };

Deno.test("consumer: killed and started again under its name, it goes on at once, at every step of a batch", () =>
  withMarket(servers, market, async ({ tape, moreTrades, prove }) => {
    await tape.start("producer");
    for (const point of faultPoints) {
      const first = await tape.start("consumer", { KAFKA_MEMBER: "one", TAPEHOUSE_FAULT_POINT: point });
      await tape.untilLogged(first, reachedMessage);
      first.kill();
      await first.exited;
    }
    const last = await tape.start("consumer", { KAFKA_MEMBER: "one" });
    await tape.untilLogged(last, tookOver);
    await moreTrades(50);
    await prove();
  }));

Deno.test("consumer: one that sleeps while its successor takes its name wakes up and stores nothing twice", () =>
  withMarket(servers, market, async ({ tape, moreTrades, prove }) => {
    await tape.start("producer");
    const zombie = await tape.start("consumer", {
      KAFKA_MEMBER: "one",
      TAPEHOUSE_FAULT_POINT: "after the in-flight commit",
    });
    await tape.untilLogged(zombie, reachedMessage);
    Deno.kill(zombie.pid, "SIGSTOP");
    const heir = await tape.start("consumer", { KAFKA_MEMBER: "one" });
    await tape.untilLogged(heir, tookOver);
    await moreTrades(50);
    Deno.kill(zombie.pid, "SIGCONT");
    await tape.untilLogged(
      zombie,
      "the group has moved on, the batch is left to whoever has its partition now",
    );
    // Both live now: the older one comes back as a new member and lets the younger be.
    await moreTrades(100);
    await prove();
    assert.equal((await heir.log()).filter(({ message }) => message === tookOver).length, 1);
  }));

Deno.test("consumer: a session that the broker doesn't allow ends it with one line", () =>
  withTape(servers, { KAFKA_SESSION_MS: "3600000" }, async (tape) => {
    const consumer = await tape.start("consumer");
    assert.notEqual((await consumer.exited).code, 0);
    const errors = (await consumer.log()).filter(({ level, message }) =>
      level === "error" && String(message).startsWith("Kafka refused KAFKA_SESSION_MS")
    );
    assert.equal(errors.length, 1);
    assert.match(String(errors[0]?.message), /group\.min\.session\.timeout\.ms/);
    assert.equal(errors[0]?.stack, undefined);
  }));

/** A member of the tape's group that reads its topic, in this process. */
async function join(
  tape: Tape,
  name: string,
  sessionMs: number,
): Promise<{ kafka: Kafka; consumer: Consumer }> {
  const config = { ...tape.config, KAFKA_MEMBER: name };
  const kafka = openBroker(config, memberName(config), silent);
  const consumer = kafka.consumer({
    groupId: tape.config.KAFKA_GROUP,
    maxWaitTimeInMs: 100,
    ...sessionOptions(sessionMs),
  });
  const joined = Promise.withResolvers<void>();
  consumer.on(consumer.events.GROUP_JOIN, () => joined.resolve());
  await consumer.connect();
  await consumer.subscribe({ topics: [tape.config.KAFKA_TOPIC] });
  await consumer.run({ eachMessage: () => Promise.resolve() });
  await joined.promise;
  return { kafka, consumer };
}

/** A tape whose topic is there. */
function withTopic(body: (tape: Tape) => Promise<void>): Promise<void> {
  return withTape(servers, {}, async (tape) => {
    const admin = openBroker(tape.config, "test", silent).admin();
    await admin.connect();
    try {
      await admin.createTopics({ topics: [{ topic: tape.config.KAFKA_TOPIC, numPartitions: 4 }] });
      await body(tape);
    } finally {
      await admin.disconnect();
    }
  });
}

/** The members' ids by their clients' names. */
async function membersOf(tape: Tape): Promise<{ name: string; id: string }[]> {
  const admin = openBroker(tape.config, "test", silent).admin();
  await admin.connect();
  const { groups } = await admin.describeGroups([tape.config.KAFKA_GROUP]);
  await admin.disconnect();
  return groups.flatMap(({ members }) =>
    members.map(({ clientId, memberId }) => ({ name: clientId, id: memberId }))
  );
}

Deno.test("endPredecessor(): lets go whoever has the very same name, and nobody without one", () =>
  withTopic(async (tape) => {
    const members: Awaited<ReturnType<typeof join>>[] = [];
    try {
      for (const name of ["a", "a", "ab", ""]) members.push(await join(tape, name, 60_000));
      const { kafka } = await join(tape, "c", 60_000).then((member) => {
        members.push(member);
        return member;
      });
      const before = await membersOf(tape);
      const letGo = (name: string) => endPredecessor(kafka, { ...tape.config, KAFKA_MEMBER: name });
      assert.deepEqual([await letGo(""), await letGo("b"), await letGo("A")], [0, 0, 0]);
      assert.deepEqual(await membersOf(tape), before);
      assert.equal(await letGo("a"), 2);
      // They live, so they come back, as others.
      const after = (await membersOf(tape)).map(({ id }) => id);
      for (const { name, id } of before) {
        assert.equal(after.includes(id), name !== "tapehouse-consumer-a", name);
      }
    } finally {
      await Promise.all(members.map(({ consumer }) => consumer.disconnect()));
    }
  }));

Deno.test("kafkajs: a clock that is set back by an hour stops no heartbeat", () =>
  withTopic(async (tape) => {
    const sessionMs = 1500;
    const { consumer } = await join(tape, "", sessionMs);
    let heartbeats = 0;
    const left: string[] = [];
    consumer.on(consumer.events.HEARTBEAT, () => heartbeats++);
    consumer.on(consumer.events.REBALANCING, () => left.push("rebalancing"));
    consumer.on(consumer.events.GROUP_JOIN, () => left.push("joined again"));
    const now = Date.now;
    Date.now = () => now() - 3_600_000;
    try {
      const deadline = performance.now() + hangMs;
      const since = performance.now();
      while (heartbeats < 12 || performance.now() - since < 3 * sessionMs) {
        assert.ok(performance.now() < deadline, `${heartbeats} heartbeats`);
        assert.deepEqual(left, []);
        await sleep(50);
      }
      assert.deepEqual(left, []);
    } finally {
      Date.now = now;
      await consumer.disconnect();
    }
  }));
