/**
 * `deno task topics`: creates the topics and sets what differs from the configuration.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import {
  brokerVariables,
  ensureTopics,
  explainBrokerError,
  openBroker,
  topicSettings,
  topicVariables,
} from "../lib/broker.ts";
import { runTask } from "../lib/cli.ts";
import { readConfig } from "../lib/config.ts";
import { createLogger } from "../lib/log.ts";
import { FatalError } from "../lib/service.ts";

await runTask(async () => {
  const { dryRun } = new Command("topics")
    .description("Create the topics, and set what differs from the configuration.")
    .option("--dry-run", "print what would be done, and do nothing")
    .exitOverride()
    .parse(["", "", ...Deno.args])
    .opts();

  const config = readConfig([...brokerVariables, ...topicVariables]);
  const admin = openBroker(config, "topics", createLogger({ task: "topics" }, { level: "error" })).admin();
  try {
    await admin.connect();
    const changes = await ensureTopics(admin, topicSettings(config), dryRun ?? false);
    for (const { topic, change } of changes) console.log(`${topic}: ${change}`);
    if (changes.length === 0) console.log("the topics are as they should be");
    else if (dryRun) console.log("nothing was done");
  } catch (error) {
    const explained = explainBrokerError(error);
    if (explained instanceof FatalError) throw explained;
    throw new FatalError(
      `Kafka at ${config.KAFKA_BROKERS.join(",")} (KAFKA_BROKERS): ${(error as Error).message}`,
    );
  } finally {
    await admin.disconnect();
  }
});
