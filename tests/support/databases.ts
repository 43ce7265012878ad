/**
 * Migrated databases for tests. Making one takes a second of a core, emptying one a tenth of that: what a test gives back as
 * it was made, but for rows, the next one takes.
 *
 * @module
 */

import "./clean_environment.ts";
import { type ClickHouseClient, ClickHouseError } from "@clickhouse/client";
import { windowVariables } from "../../lib/clickhouse/dedup_window.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { simulatedNames } from "../../lib/process/config.ts";
import { quote } from "../../lib/clickhouse/quote.ts";
import { rows } from "../../lib/clickhouse/rows.ts";
import { configOf } from "./config.ts";

/** A database of a test. */
export interface TestDatabase {
  name: string;
  /** Ends the test's use of it; nothing of the test writes to it any more. */
  giveBack(): Promise<void>;
}

interface Made {
  name: string;
  /** What its tables and views looked like when it was made. */
  schema: string | undefined;
}

/** What `deno task dev` stores simulated data in: the services know it by this name, so there is one on a server. */
export const simulatedDatabase: string = simulatedNames(configOf()).CLICKHOUSE_DATABASE!;

/** Empty ones, by their server and by what is set otherwise. */
const spare = new Map<string, Made[]>();
let made = 0;

/**
 * Gives a database with all tables and no rows.
 *
 * @param env how ClickHouse is reached, and what else of it the tables depend on; its CLICKHOUSE_DATABASE matters only where
 *   it is `simulatedDatabase`, which is made anew for each test and dropped behind it
 */
export async function takeDatabase(env: Record<string, string>): Promise<TestDatabase> {
  const isSimulated = env.CLICKHOUSE_DATABASE === simulatedDatabase;
  const kind = JSON.stringify(
    ["CLICKHOUSE_URL", "CLICKHOUSE_CLUSTER", ...windowVariables].map((name) => env[name] ?? ""),
  );
  const others = spare.get(kind) ?? [];
  spare.set(kind, others);
  const database: Made = isSimulated
    ? { name: simulatedDatabase, schema: undefined }
    : others.pop() ?? { name: `t${Deno.pid}_${++made}`, schema: undefined };
  const config = configOf({ ...env, CLICKHOUSE_DATABASE: database.name });
  const open = async <T>(body: (clickhouse: ClickHouseClient) => Promise<T>, name = database.name) => {
    const clickhouse = openClickHouse({ ...config, CLICKHOUSE_DATABASE: name });
    try {
      return await body(clickhouse);
    } finally {
      await clickhouse.close();
    }
  };
  const drop = (clickhouse: ClickHouseClient) =>
    clickhouse.command({ query: `DROP DATABASE IF EXISTS ${quote(database.name)} SYNC` });
  // What a test that was killed has left of it.
  if (isSimulated) await open(drop, "default");
  if (database.schema === undefined) {
    await migrate(config, () => {});
    database.schema = await open(readSchema);
  }
  return {
    name: database.name,
    async giveBack() {
      try {
        await open(async (clickhouse) => {
          // What was changed otherwise, or is still being written, nobody else gets.
          if (isSimulated || await readSchema(clickhouse) !== database.schema) {
            await drop(clickhouse);
          } else {
            await empty(clickhouse);
            others.push(database);
          }
        });
      } catch (error) {
        // A test may end with its server away. What the server itself refuses is told.
        if (error instanceof ClickHouseError) {
          console.log(`${database.name} isn't given back: ${error.message}`);
        }
      }
    },
  };
}

/** All that a test could have changed besides rows; undefined while another statement on the database is executed. */
async function readSchema(clickhouse: ClickHouseClient): Promise<string | undefined> {
  const [row] = await rows<{ tables: unknown; running: number }>(
    clickhouse,
    `SELECT groupArray((name, create_table_query)) AS tables,
            (SELECT count() FROM system.processes WHERE current_database = currentDatabase()) AS running
     FROM (SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name)`,
  );
  return row === undefined || row.running > 1 ? undefined : JSON.stringify(row.tables);
}

async function empty(clickhouse: ClickHouseClient): Promise<void> {
  const filled = await rows<{ name: string }>(
    clickhouse,
    `SELECT name FROM system.tables
     WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'migrations' AND parts > 0`,
  );
  for (const { name } of filled) {
    await clickhouse.command({ query: `TRUNCATE TABLE ${quote(name)} SYNC` });
  }
}
