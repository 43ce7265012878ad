/**
 * Three brokers, each topic on all of them: one may go.
 *
 * @module
 */

import assert from "node:assert/strict";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import { newClusterId } from "../../embedded/kafka/properties.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { describeTopic } from "../../lib/kafka/topics.ts";
import { createLogger } from "../../lib/process/log.ts";
import { withMarket } from "../support/stoppable_market.ts";
import { readMetric } from "../support/read_metric.ts";
import { root, type Servers } from "../support/tape.ts";

let home: string;
let servers: Servers;
let brokers: RunningKafka[];

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
  const id = newClusterId();
  const controllers = [1, 2, 3].map(() => freePort());
  const voters = controllers.map((port, index) => `${index + 1}@127.0.0.1:${port}`).join(",");
  const clickhouse = startClickHouse({ home, port: freePort(), logFile: `${home}/logs/clickhouse.log` });
  brokers = await Promise.all(controllers.map((controllerPort, index) =>
    startKafka({
      home: `${home}/broker${index + 1}`,
      port: freePort(),
      jars,
      cluster: {
        id,
        controllerPort,
        properties: {
          "node.id": index + 1,
          "controller.quorum.voters": voters,
          "offsets.topic.replication.factor": 3,
        },
      },
    })
  ));
  servers = {
    home,
    kafka: { ...brokers[0]!, brokers: brokers.map(({ brokers }) => brokers).join(",") },
    clickhouse: await clickhouse,
    startKafka: () => Promise.reject(new Error("not here")),
    startClickHouse: () => Promise.reject(new Error("not here")),
    stop: () => Promise.resolve(),
  };
});
Deno.test.afterAll(async () => {
  await Promise.all([...brokers, servers.clickhouse].map((process) => process.stop()));
  await Deno.remove(home, { recursive: true });
});

Deno.test("brokers: one of three dies and the tape goes on, whole and with nothing stored twice", () =>
  withMarket(servers, {
    rate: 300,
    env: { KAFKA_REPLICATION: "3", COINBASE_CHANNELS: "matches,heartbeat,ticker,level2_batch" },
  }, async (market) => {
    const { tape } = market;
    const producer = await tape.start("producer");
    await tape.start("consumer");
    await market.moreTrades(500);

    const admin = openBroker(tape.config, "test", createLogger({}, { write: () => {} })).admin();
    await admin.connect();
    const state = await describeTopic(admin, tape.config.KAFKA_TOPIC);
    assert.equal(state?.replication, 3);
    assert.deepEqual(state?.config?.get("min.insync.replicas"), { value: "2", own: true });

    // It leads partitions of both topics: their batches have to find the next leader.
    const { topics } = await admin.fetchTopicMetadata({ topics: [tape.config.KAFKA_TOPIC] });
    const leader = topics[0]!.partitions[0]!.leader;
    await admin.disconnect();
    brokers[leader - 1]!.kill();
    await brokers[leader - 1]!.exited;
    await market.moreTrades(1000);
    await market.prove();

    const survivors = openBroker(tape.config, "test", createLogger({}, { write: () => {} })).admin();
    await survivors.connect();
    // Only trades are known by their numbers. Of all else nothing came twice if the topics hold as many messages as the
    // broker has confirmed; that never comes true once one was stored twice.
    await tape.until("the topics to hold what was confirmed, and no more", async () => {
      const confirmed = await readMetric(producer.metricsUrl, "tapehouse_produced_total");
      let held = 0;
      for (const topic of [tape.config.KAFKA_TOPIC, tape.config.KAFKA_LEVEL2_TOPIC]) {
        for (const { high } of await survivors.fetchTopicOffsets(topic)) held += Number(high);
      }
      return held === confirmed;
    });
    await survivors.disconnect();
  }));
