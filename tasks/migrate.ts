/**
 * `deno task migrate`: brings the database to the newest migration of sql/.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { runTask } from "../lib/cli.ts";
import { readConfig } from "../lib/config.ts";
import { migrate, plan, readApplied, readMigrations } from "../lib/migrations.ts";
import { FatalError } from "../lib/service.ts";
import { openWarehouse, warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task migrate")
  .description("Bring the database to the newest migration of sql/.")
  .option("--dry-run", "print the statements that would run, and run none")
  .option("--status", "list the migrations and whether they are applied")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const { dryRun, status } = program.parse(Deno.args, { from: "user" }).opts();
  const config = readConfig(warehouseVariables);
  const database = config.CLICKHOUSE_DATABASE;
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await readApplied(server, database).catch((error) => {
    throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
  });
  await server.close();
  const files = await readMigrations();
  const { pending, problems } = plan(files, applied);

  if (status) {
    const dates = new Map(applied.map(({ name, applied_at }) => [name, applied_at]));
    for (const { name } of files) console.log(`${name}  ${dates.get(name) ?? "pending"}`);
  }
  if (problems.length > 0) throw new FatalError(problems.join("\n"));
  if (status) return;
  if (dryRun) {
    for (const { name, statements } of pending) {
      console.log(`-- sql/${name}.sql\n\n${statements.map((statement) => `${statement};\n`).join("\n")}`);
    }
    console.log(`-- ${pending.length} to apply to ${database}; nothing was done`);
    return;
  }
  const now = await migrate(config, (name) => console.log(`applied ${name}`));
  console.log(`database ${database}: ${now} applied, ${applied.length} were there`);
});
