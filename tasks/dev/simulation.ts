/**
 * What was simulated before, and whether it is kept.
 *
 * @module
 */

import type { ProcessGroup } from "../../embedded/process/group.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { quote } from "../../lib/clickhouse/quote.ts";
import { endPredecessor } from "../../lib/consume/group_member.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { isSimulated, type Market } from "./exchange_choice.ts";
import { type AllConfig, type Environment, settingsOf } from "./configuration.ts";
import { silent, untilItAnswers } from "./waiting.ts";

/**
 * Simulated data is disposable, and two markets in one database would be nonsense: a replay begins with its first trade
 * each time, and another seed or rate is another market. Only the simulated market that goes on is kept.
 */
export async function emptySimulation(
  market: Market,
  env: Environment,
  config: AllConfig,
  group: ProcessGroup,
): Promise<void> {
  if (!isSimulated(market)) return;
  const identityFile = `${config.TAPEHOUSE_HOME}/simulated-market`;
  const identity = [market.kind, ...market.arguments].join(" ");
  const before = await Deno.readTextFile(identityFile).catch(() => undefined);
  if (market.kind === "simulator" && before === identity) return;
  await Deno.mkdir(config.TAPEHOUSE_HOME, { recursive: true });
  await Deno.remove(identityFile).catch(() => {});

  const settings = settingsOf(env);
  await untilItAnswers("ClickHouse", group.stop.signal, async () => {
    const clickhouse = openClickHouse({ ...settings, CLICKHOUSE_DATABASE: "default" });
    try {
      const database = quote(settings.CLICKHOUSE_DATABASE);
      await clickhouse.command({ query: `DROP DATABASE IF EXISTS ${database} SYNC` });
    } finally {
      await clickhouse.close();
    }
  });
  await untilItAnswers("Kafka", group.stop.signal, () => emptyTopics(settings));
  await Deno.writeTextFile(identityFile, identity);
  if (before !== undefined) console.log("market_sim was emptied: it held another run of a simulated market");
}

async function emptyTopics(settings: AllConfig): Promise<void> {
  const kafka = openBroker(settings, "dev", silent);
  const admin = kafka.admin();
  await admin.connect();
  try {
    const topics = [settings.KAFKA_TOPIC, settings.KAFKA_LEVEL2_TOPIC];
    const existing = (await admin.listTopics()).filter((topic) => topics.includes(topic));
    if (existing.length > 0) await admin.deleteTopics({ topics: existing });
    const { groups } = await admin.listGroups();
    if (!groups.some(({ groupId }) => groupId === settings.KAFKA_GROUP)) return;
    // The consumer of a run that was killed is still a member, and a group with members can't be deleted.
    await endPredecessor(kafka, settings);
    await admin.deleteGroups([settings.KAFKA_GROUP]);
  } finally {
    await admin.disconnect();
  }
}
