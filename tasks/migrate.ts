/**
 * `deno task migrate`: brings the database to the newest migration of sql/, and turns the native path (sql/kafka_engine/)
 * on and off.
 *
 * @module
 */

import { Command, Option } from "@commander-js/extra-typings";
import type { Admin } from "kafkajs";
import { explainBrokerError, openBroker } from "../lib/broker.ts";
import { runTask } from "../lib/cli.ts";
import { clusterForm } from "../lib/cluster.ts";
import { readConfig } from "../lib/config.ts";
import { describeEngine, type EngineConfig, engineVariables, turnOff, turnOn } from "../lib/kafka_engine.ts";
import { createLogger } from "../lib/log.ts";
import { migrate, plan, readApplied, readMigrations } from "../lib/migrations.ts";
import { planRetention, retentionVariables, setRetention, wantedRetention } from "../lib/retention.ts";
import { FatalError } from "../lib/service.ts";
import { openWarehouse, warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task migrate")
  .description("Bring the database to the newest migration of sql/.")
  .option("--dry-run", "print the statements that would run, and run none")
  .option("--status", "list the migrations and whether they are applied, and whether the Kafka engine is on")
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
  const { dryRun, status, kafkaEngine } = program.parse(Deno.args, { from: "user" }).opts();
  const config = readConfig([...warehouseVariables, ...retentionVariables]);
  wantedRetention(config); // values that contradict each other are refused before anything is done
  const database = config.CLICKHOUSE_DATABASE;
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await readApplied(server, database).catch((error) => {
    throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
  });
  const files = clusterForm(await readMigrations(), config.CLICKHOUSE_CLUSTER);
  const { pending, problems } = plan(files, applied);

  if (status) {
    const dates = new Map(applied.map(({ name, applied_at }) => [name, applied_at]));
    for (const { name } of files) console.log(`${name}  ${dates.get(name) ?? "pending"}`);
    for (const { table, change } of await planRetention(server, database, config)) {
      console.log(`${table}: ${change}, not set yet`);
    }
    console.log(`kafka engine: ${await describeEngine(server, database)}`);
  }
  if (problems.length > 0) throw new FatalError(problems.join("\n"));
  if (status) return;
  if (dryRun) {
    for (const { name, statements } of pending) {
      console.log(`-- sql/${name}.sql\n\n${statements.map((statement) => `${statement};\n`).join("\n")}`);
    }
    for (const { table, change } of await planRetention(server, database, config)) {
      console.log(`-- ${table}: ${change}, not set yet`);
    }
    console.log(`-- ${pending.length} to apply to ${database}; nothing was done`);
    return;
  }
  const now = await migrate(config, (name) => console.log(`applied ${name}`));
  console.log(`database ${database}: ${now} applied, ${applied.length} were there`);
  const warehouse = openWarehouse(config);
  for (const { table, change } of await setRetention(warehouse, database, config)) {
    console.log(`${table}: ${change}`);
  }
  await warehouse.close();
  if (kafkaEngine !== undefined) await switchEngine(kafkaEngine);
});

/** Reads KAFKA_* only where they are needed. */
async function switchEngine(on: boolean): Promise<void> {
  const config = readConfig([...warehouseVariables, ...engineVariables]);
  const log = createLogger({ task: "migrate" }, { level: "error" });
  const admin = openBroker(config, "migrate", log).admin();
  const warehouse = openWarehouse(config);
  try {
    await connect(admin, config);
    for (const line of await (on ? turnOn : turnOff)(warehouse, admin, config)) console.log(line);
  } finally {
    await warehouse.close();
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
