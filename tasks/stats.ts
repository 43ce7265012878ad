/**
 * `deno task stats`: computes the table volatility_metrics for a day, from the view volatility_metrics_live.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Command } from "@commander-js/extra-typings";
import { runTask } from "../lib/process/task.ts";
import { parseDay } from "../lib/core/time.ts";
import { readConfig } from "../lib/process/config.ts";
import { ConfigError, FatalError } from "../lib/core/errors.ts";
import { assertMigrated, readApplied } from "../lib/clickhouse/migrations.ts";
import { clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";
import { quote } from "../lib/clickhouse/quote.ts";
import { tuples } from "../lib/clickhouse/rows.ts";

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
  assertDay(date);
  const config = readConfig(clickhouseVariables);
  const database = config.CLICKHOUSE_DATABASE;
  const server = openClickHouse({ ...config, CLICKHOUSE_DATABASE: "default" });
  const applied = await readApplied(server, database).catch((error) => {
    throw new FatalError(`ClickHouse at ${config.CLICKHOUSE_URL} (CLICKHOUSE_URL): ${error.message}`);
  });
  await server.close();
  await assertMigrated(applied, database);
  const clickhouse = openClickHouse(config);
  await dropLeftovers(clickhouse);
  const products = await computeDay(clickhouse, date);
  await clickhouse.close();
  console.log(`volatility_metrics of ${date}: ${products} products`);
});

/** @throws {ConfigError} when it isn't a day of the calendar, or one that hasn't begun */
function assertDay(date: string): void {
  const midnight = parseDay(date);
  if (midnight === undefined) throw new ConfigError(`--date ${date}: expected a day such as 2026-07-07`);
  if (midnight > Date.now()) throw new ConfigError(`--date ${date}: expected a day that has begun (UTC)`);
}

/**
 * Replaces the day in one step: readers see the old rows or the new ones, never a part.
 *
 * @returns how many products had a trade on that day
 */
async function computeDay(clickhouse: ClickHouseClient, date: string): Promise<number> {
  const staging = `${stagingPrefix}${crypto.randomUUID().replaceAll("-", "")}`;
  await clickhouse.command({ query: `CREATE TABLE ${staging} AS volatility_metrics` });
  try {
    const products = await tuples<[string]>(
      clickhouse,
      `SELECT DISTINCT product_id FROM candle_states
       WHERE interval = '1d' AND time = toDateTime64({date:Date}, 6, 'UTC') ORDER BY product_id`,
      { date },
    );
    for (const [product] of products) {
      await clickhouse.command({
        query: `INSERT INTO ${staging} (${columns}) SELECT ${columns}
                FROM volatility_metrics_live(product = {product:String}, date = {date:Date})`,
        query_params: { product, date },
      });
    }
    // ClickHouse refuses to replace a partition by nothing.
    const change = products.length > 0
      ? `REPLACE PARTITION {date:String} FROM ${staging}`
      : "DROP PARTITION {date:String}";
    await clickhouse.command({ query: `ALTER TABLE volatility_metrics ${change}`, query_params: { date } });
    return products.length;
  } finally {
    await clickhouse.command({ query: `DROP TABLE IF EXISTS ${staging}` });
  }
}

/** What a run that was killed left behind. */
async function dropLeftovers(clickhouse: ClickHouseClient): Promise<void> {
  const leftovers = await tuples<[string]>(
    clickhouse,
    `SELECT name FROM system.tables WHERE database = currentDatabase()
     AND startsWith(name, {prefix:String}) AND metadata_modification_time < now('UTC') - INTERVAL 1 DAY`,
    { prefix: stagingPrefix },
  );
  for (const [name] of leftovers) {
    await clickhouse.command({ query: `DROP TABLE IF EXISTS ${quote(name)}` });
  }
}
