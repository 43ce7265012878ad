/**
 * `deno task topics`: creates the topics and sets what differs from the configuration; the one place that changes topics.
 * `--reset-group` makes the consumers begin anew.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import type { Admin } from "kafkajs";
import { brokerVariables, openBroker } from "../lib/kafka/client.ts";
import { ensureTopics } from "../lib/kafka/topics.ts";
import { topicSettings, topicVariables } from "../lib/kafka/topic_plan.ts";
import { explainAtStart } from "../lib/kafka/kafka_errors.ts";
import { runTask } from "../lib/process/task.ts";
import { readConfig } from "../lib/process/config.ts";
import { ConfigError, FatalError } from "../lib/core/errors.ts";
import { createLogger } from "../lib/process/log.ts";

await runTask(async () => {
  const { dryRun, resetGroup } = new Command("topics")
    .description("Create the topics, and set what differs from the configuration.")
    .option("--dry-run", "print what would be done, and do nothing")
    .option(
      "--reset-group",
      "forget how far KAFKA_GROUP has read: the consumer reads all that is in the topics, and stores what is missing",
    )
    .exitOverride()
    .parse(["", "", ...Deno.args])
    .opts();

  const config = readConfig([...brokerVariables, ...topicVariables, "KAFKA_GROUP"]);
  const wanted = topicSettings(config);
  const kafka = openBroker(config, "topics", createLogger({ task: "topics" }, { level: "error" }));
  const admin = kafka.admin({ retry: { retries: 3 } });
  try {
    await admin.connect();
    const changes = await ensureTopics(admin, wanted, dryRun ?? false);
    for (const { topic, change } of changes) console.log(`${topic}: ${change}`);
    if (changes.length === 0) console.log("the topics are as they should be");
    if (resetGroup) await deleteGroup(admin, config.KAFKA_GROUP, dryRun ?? false);
    if (dryRun) console.log("nothing was done");
  } catch (error) {
    const explained = explainAtStart(error);
    if (explained instanceof FatalError || explained instanceof ConfigError) throw explained;
    throw new FatalError(
      `Kafka at ${config.KAFKA_BROKERS.join(",")} (KAFKA_BROKERS): ${(error as Error).message}`,
    );
  } finally {
    await admin.disconnect();
  }
});

/** @throws {FatalError} while the group has members: they would go on where they are */
async function deleteGroup(admin: Admin, group: string, dryRun: boolean): Promise<void> {
  const { groups } = await admin.describeGroups([group]);
  const [found] = groups;
  if (found !== undefined && found.members.length > 0) {
    throw new FatalError(
      `Group ${group} has ${found.members.length} members: stop the consumers first (one that was killed is a member ` +
        "until its session ends, after KAFKA_SESSION_MS).",
    );
  }
  if (found === undefined || found.state === "Dead") {
    console.log(`group ${group} has no place in the topics`);
    return;
  }
  if (!dryRun) await admin.deleteGroups([group]);
  console.log(`group ${group} ${dryRun ? "would begin" : "begins"} anew`);
}
