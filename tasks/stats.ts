/**
 * `deno task stats`: computes the table volatility_metrics for a day, from the view volatility_metrics_live.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Command } from "@commander-js/extra-typings";
import { parseDay, runTask } from "../lib/cli.ts";
import { ConfigError, readConfig } from "../lib/config.ts";
import { readApplied, refuseUnmigrated } from "../lib/migrations.ts";
import { FatalError } from "../lib/service.ts";
import { openWarehouse, warehouseVariables } from "../lib/warehouse.ts";

const program = new Command("deno task stats")
  .description("Compute volatility_metrics for a day (UTC); a day that is there already is replaced.")
  .requiredOption("--date <day>", "the day, such as 2026-07-07")
  .allowExcessArguments(false)
  .exitOverride();

/** Staging tables carry a random name, so that two runs at once don't write into one. */
const stagingPrefix = "volatility_metrics_staging_";

/** Those of the table and of the view. */
const columns = [
  "date",
  "product_id",
  "minutes",
  "returns",
  "trades",
  "volume",
  "realized_volatility",
  "parkinson",
  "garman_klass",
  "max_drawdown",
  "beta_to_btc",
  "order_flow_imbalance",
  "mean_trade_size",
  "median_trade_size",
].join(", ");

await runTask(async () => {
  const { date } = program.parse(Deno.args, { from: "user" }).opts();
  checkDay(date);
  const config = readConfig(warehouseVariables);
  const database = config.CLICKHOUSE_DATABASE;
  const server = openWarehouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await readApplied(server, database).catch((error) => {
    throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
  });
  await server.close();
  await refuseUnmigrated(applied, database);
  const warehouse = openWarehouse(config);
  await dropLeftovers(warehouse);
  const products = await computeDay(warehouse, date);
  await warehouse.close();
  console.log(`volatility_metrics of ${date}: ${products} products`);
});

/** @throws {ConfigError} when it isn't a day of the calendar, or one that hasn't begun */
function checkDay(date: string): void {
  const midnight = parseDay(date);
  if (midnight === undefined) throw new ConfigError(`--date ${date}: expected a day such as 2026-07-07`);
  if (midnight > Date.now()) throw new ConfigError(`--date ${date}: expected a day that has begun (UTC)`);
}

/**
 * Replaces the day in one step: readers see the old rows or the new ones, never a part.
 *
 * @returns how many products had a trade on that day
 */
async function computeDay(warehouse: ClickHouseClient, date: string): Promise<number> {
  const staging = `${stagingPrefix}${crypto.randomUUID().replaceAll("-", "")}`;
  await warehouse.command({ query: `CREATE TABLE ${staging} AS volatility_metrics` });
  try {
    const answer = await warehouse.query({
      query: `SELECT DISTINCT product_id FROM candles_1d_state
              WHERE time = toDateTime64({date:Date}, 6, 'UTC') ORDER BY product_id`,
      query_params: { date },
      format: "JSONEachRow",
    });
    const products = await answer.json<{ product_id: string }>();
    for (const { product_id: product } of products) {
      await warehouse.command({
        query: `INSERT INTO ${staging} (${columns}) SELECT ${columns}
                FROM volatility_metrics_live(product = {product:String}, date = {date:Date})`,
        query_params: { product, date },
      });
    }
    // ClickHouse refuses to replace a partition by nothing.
    const change = products.length > 0
      ? `REPLACE PARTITION {date:String} FROM ${staging}`
      : "DROP PARTITION {date:String}";
    await warehouse.command({ query: `ALTER TABLE volatility_metrics ${change}`, query_params: { date } });
    return products.length;
  } finally {
    await warehouse.command({ query: `DROP TABLE IF EXISTS ${staging}` });
  }
}

/** What a run that was killed left behind. */
async function dropLeftovers(warehouse: ClickHouseClient): Promise<void> {
  const answer = await warehouse.query({
    query: `SELECT name FROM system.tables WHERE database = currentDatabase()
            AND startsWith(name, {prefix:String}) AND metadata_modification_time < now() - INTERVAL 1 DAY`,
    query_params: { prefix: stagingPrefix },
    format: "JSONEachRow",
  });
  for (const { name } of await answer.json<{ name: string }>()) {
    await warehouse.command({ query: `DROP TABLE IF EXISTS ${name}` });
  }
}
