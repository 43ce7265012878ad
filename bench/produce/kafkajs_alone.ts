/**
 * Nothing but kafkajs: the records that producer.ts would make, made before, sent in batches of a size that suits kafkajs
 * best. A process of its own.
 *
 * Arguments: the market's options as JSON (`MarketOptions`).
 *
 * @module
 */

import { brokerVariables, openBroker } from "../../lib/kafka/client.ts";
import { topicVariables } from "../../lib/kafka/topic_plan.ts";
import { readConfig } from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";
import { frameSteps, type MarketOptions, toRecord } from "../market.ts";

const batchMessages = 2000;

const options: MarketOptions = JSON.parse(Deno.args[0] ?? "{}");
const config = readConfig([...brokerVariables, ...topicVariables]);
const records = [...frameSteps(options)].flat().map((frame) => toRecord(frame, config));
const producer = openBroker(config, "alone", createLogger({}, { level: "error" }))
  .producer({ idempotent: true, maxInFlightRequests: 1 });
await producer.connect();
for (let from = 0; from < records.length; from += batchMessages) {
  const messages = Map.groupBy(records.slice(from, from + batchMessages), ({ topic }) => topic);
  await producer.sendBatch({
    acks: -1,
    topicMessages: [...messages].map(([topic, own]) => ({
      topic,
      messages: own.map(({ message }) => message),
    })),
  });
}
await producer.disconnect();
