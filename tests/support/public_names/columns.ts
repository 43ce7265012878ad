/**
 * The columns of tables and views, as ClickHouse describes them.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { openClickHouse } from "../../../lib/clickhouse/client.ts";
import { rows } from "../../../lib/clickhouse/rows.ts";
import { isView, readMigrations } from "../../../lib/clickhouse/sql_files.ts";
import { configOf } from "../config.ts";
import { takeDatabase } from "../databases.ts";

/**
 * `table.column type`, a view with parameters as `view(parameter, …).column type`.
 *
 * @param server how ClickHouse is reached
 */
export async function columnNames(server: Record<string, string>): Promise<string[]> {
  const database = await takeDatabase(server);
  const env: Record<string, string> = { ...server, CLICKHOUSE_DATABASE: database.name };
  const clickhouse = openClickHouse(configOf(env));
  try {
    const names: string[] = [];
    for (const [name, source] of await readables(clickhouse)) {
      const columns = await rows<{ name: string; type: string }>(
        clickhouse,
        `DESCRIBE (SELECT * FROM ${source})`,
      );
      names.push(...columns.map((column) => `${name}.${column.name} ${column.type}`));
    }
    return names;
  } finally {
    await clickhouse.close();
    await database.giveBack();
  }
}

/** Name → how it is read: a view with parameters needs some. */
async function readables(clickhouse: ClickHouseClient): Promise<[string, string][]> {
  const tables = await rows<{ name: string }>(
    clickhouse,
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE '%\\_mv' ORDER BY name",
  );
  const views = new Map(
    (await readMigrations()).filter(isView).map((
      { name, statements },
    ) => [name.slice(6), statements.join("\n")]),
  );
  return tables.map(({ name }) => {
    const parameters = new Map(
      [...(views.get(name) ?? "").matchAll(/\{(\w+):\s*([^}]+)\}/g)].map((
        [, key = "", type = ""],
      ) => [key, type]),
    );
    const given = [...parameters].map(([key, type]) => `${key} = ${exampleOf(key, type)}`).join(", ");
    return [
      given === "" ? name : `${name}(${[...parameters.keys()].join(", ")})`,
      given === "" ? name : `${name}(${given})`,
    ];
  });
}

function exampleOf(key: string, type: string): string {
  if (type.startsWith("Array")) return "['BTC-USD', 'ETH-USD']";
  if (type.startsWith("Date")) {
    return type === "Date" ? "'2026-07-07'" : `'2026-07-07 0${key === "to" ? 1 : 0}:00:00'`;
  }
  if (type.startsWith("Enum")) return /'(\w+)'/.exec(type)?.[0] ?? "";
  if (type === "String") return key === "interval" ? "'1m'" : key === "side" ? "'buy'" : "'BTC-USD'";
  return "1";
}
