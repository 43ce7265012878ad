/**
 * `deno task migrate`: makes the tables and views of sql/ that the database lacks, and turns the native path (sql/kafka_engine/)
 * on and off.
 *
 * @module
 */

import { Command, Option } from "@commander-js/extra-typings";
import type { Admin } from "kafkajs";
import { openBroker } from "../lib/kafka/client.ts";
import { explainBrokerError } from "../lib/kafka/kafka_errors.ts";
import { runTask } from "../lib/process/task.ts";
import { clusterForm } from "../lib/clickhouse/cluster.ts";
import { readConfig } from "../lib/process/config.ts";
import { wantedWindow, windowVariables } from "../lib/clickhouse/dedup_window.ts";
import {
  describeEngine,
  type EngineConfig,
  engineVariables,
  turnOff,
  turnOn,
} from "../lib/clickhouse/kafka_engine.ts";
import { createLogger } from "../lib/process/log.ts";
import { migrate, plan, readApplied } from "../lib/clickhouse/migrations.ts";
import { printMigration, readMigrations } from "../lib/clickhouse/sql_files.ts";
import {
  planRetention,
  retentionVariables,
  setRetention,
  wantedRetention,
} from "../lib/clickhouse/retention.ts";
import { FatalError } from "../lib/core/errors.ts";
import { clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";

const program = new Command("deno task migrate")
  .description("Make the tables and views of sql/ that the database lacks.")
  .addOption(
    new Option(
      "--print",
      "print the whole schema, in its cluster form where CLICKHOUSE_CLUSTER is set; asks no server",
    )
      .conflicts(["dryRun", "status", "kafkaEngine"]),
  )
  .option("--dry-run", "print the statements that would run, and run none")
  .option("--status", "list the files of sql/ and when they were applied, and whether the Kafka engine is on")
  .addOption(
    new Option("--kafka-engine", "let ClickHouse read the topics itself, instead of consumer.ts")
      .conflicts(["dryRun", "status"]),
  )
  .addOption(
    new Option("--no-kafka-engine", "undo that: consumer.ts goes on from there").conflicts([
      "dryRun",
      "status",
    ]),
  )
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const { print, dryRun, status, kafkaEngine } = program.parse(Deno.args, { from: "user" }).opts();
  if (print) {
    const { CLICKHOUSE_CLUSTER } = readConfig(["CLICKHOUSE_CLUSTER"]);
    return console.log(
      clusterForm(await readMigrations(), CLICKHOUSE_CLUSTER).map(printMigration).join("\n"),
    );
  }
  const config = readConfig([...clickhouseVariables, ...retentionVariables, ...windowVariables]);
  wantedWindow(config);
  wantedRetention(config); // values that contradict each other are refused before anything is done
  const database = config.CLICKHOUSE_DATABASE;
  const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await readApplied(server, database).catch((error) => {
    throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
  });
  const files = clusterForm(await readMigrations(), config.CLICKHOUSE_CLUSTER);
  const { pending, problems } = plan(files, applied);

  if (status) {
    const dates = new Map(applied.map(({ name, applied_at }) => [name, applied_at]));
    for (const file of files) {
      const at = dates.get(file.name);
      const changed = at === undefined ? "pending" : `pending, as it was changed after ${at}`;
      console.log(`${file.name}  ${pending.includes(file) ? changed : at}`);
    }
    for (const { table, change } of await planRetention(server, database, config)) {
      console.log(`${table}: ${change}, not set yet`);
    }
    console.log(`kafka engine: ${await describeEngine(server, database)}`);
  }
  if (problems.length > 0) throw new FatalError(problems.join("\n"));
  if (status) return;
  if (dryRun) {
    for (const migration of pending) console.log(printMigration(migration));
    for (const { table, change } of await planRetention(server, database, config)) {
      console.log(`-- ${table}: ${change}, not set yet`);
    }
    console.log(`-- ${pending.length} to apply to ${database}; nothing was done`);
    return;
  }
  const now = await migrate(config, (name) => console.log(`applied ${name}`));
  console.log(`database ${database}: ${now} applied, ${applied.length} were there`);
  const clickhouse = openClickHouse(config);
  for (const { table, change } of await setRetention(clickhouse, database, config)) {
    console.log(`${table}: ${change}`);
  }
  await clickhouse.close();
  if (kafkaEngine !== undefined) await switchEngine(kafkaEngine);
});

/** Reads KAFKA_* only where they are needed. */
async function switchEngine(on: boolean): Promise<void> {
  const config = readConfig([...clickhouseVariables, ...engineVariables]);
  const log = createLogger({ task: "migrate" }, { level: "error" });
  const admin = openBroker(config, "migrate", log).admin();
  const clickhouse = openClickHouse(config);
  try {
    await connect(admin, config);
    for (const line of await (on ? turnOn : turnOff)(clickhouse, admin, config)) console.log(line);
  } finally {
    await clickhouse.close();
    await admin.disconnect();
  }
}

async function connect(admin: Admin, config: EngineConfig): Promise<void> {
  await admin.connect().catch((error) => {
    const explained = explainBrokerError(error);
    if (explained instanceof FatalError) throw explained;
    throw new FatalError(`Kafka at ${config.KAFKA_BROKERS.join(",")} (KAFKA_BROKERS): ${error.message}`);
  });
}
