/**
 * Databases for tests of SQL: empty ones with all tables on the file's ClickHouse, and how they are asked.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import type { RunningClickHouse } from "../../embedded/clickhouse/start.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { rows, tuples } from "../../lib/clickhouse/rows.ts";
import { type TestClickHouse, useClickHouse } from "./clickhouse.ts";
import { takeDatabase } from "./databases.ts";

/** A database of a test. */
export interface SqlDatabase {
  /** How a process reaches it. */
  env: RunningClickHouse["env"] & { CLICKHOUSE_DATABASE: string };
  clickhouse: ClickHouseClient;
  /** A query's rows by column. Decimals are strings, whole numbers are numbers. */
  rows<T = Record<string, unknown>>(query: string): Promise<T[]>;
  /** The same without the columns' names. */
  lists(query: string): Promise<unknown[][]>;
  insert(table: string, values: readonly Record<string, unknown>[]): Promise<void>;
}

/** Runs `body` with a database of its own. */
export type WithDatabase = (body: (database: SqlDatabase) => Promise<void>) => Promise<void>;

/** Has a ClickHouse while the file's tests run; each may take databases of it. */
export function useDatabases(): WithDatabase {
  let server: TestClickHouse;
  Deno.test.beforeAll(async () => {
    server = await useClickHouse();
  });
  Deno.test.afterAll(async () => {
    await server.stop();
  });
  return async (body) => {
    const { name, giveBack } = await takeDatabase(server.env);
    const env = { ...server.env, CLICKHOUSE_DATABASE: name };
    const clickhouse = openClickHouse(env);
    try {
      await body(openDatabase(env, clickhouse));
    } finally {
      await clickhouse.close();
      await giveBack();
    }
  };
}

function openDatabase(env: SqlDatabase["env"], clickhouse: ClickHouseClient): SqlDatabase {
  const settings = { output_format_json_quote_decimals: 1 } as const;
  return {
    env,
    clickhouse,
    rows: (query) => rows(clickhouse, query, {}, { settings }),
    lists: (query) => tuples(clickhouse, query, {}, { settings }),
    async insert(table, values) {
      if (values.length > 0) await clickhouse.insert({ table, values, format: "JSONEachRow" });
    },
  };
}
