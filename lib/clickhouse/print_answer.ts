/**
 * Asks ClickHouse a query of the library and prints the answer as it comes.
 *
 * @module
 */

import type { ClickHouseClient, ClickHouseSettings } from "@clickhouse/client";
import { text } from "node:stream/consumers";
import type { Relative, Value } from "./examples.ts";
import { rows } from "./rows.ts";
import { nowMicros } from "../core/time.ts";

/** A table is for the eye; more rows are for CSV or JSON. */
const tableRows = 1000;
/** For a user whose profile sets no limit. */
const limitSeconds = 60;

/** How an answer is printed; JSON is one array, decimals in it are texts. */
export type Format = "table" | "csv" | "json";

/** How ClickHouse draws a table: nothing but the cells, decimals whole, floats to six places. */
const tableSettings: Record<string, string> = {
  // More than an answer has: at as many rows it says how many it showed.
  output_format_pretty_max_rows: String(tableRows + 2),
  output_format_float_precision: "6",
  output_format_pretty_color: "0",
  output_format_pretty_row_numbers: "0",
  output_format_pretty_single_large_number_tip_threshold: "0",
  output_format_pretty_fallback_to_vertical: "0",
  output_format_pretty_max_column_name_width_cut_to: "0",
};

/** The moments that `values` are relative to, in µs; now where there are no data. Only what is needed is asked for. */
export async function newestMoments(
  clickhouse: ClickHouseClient,
  values: Record<string, Value>,
): Promise<Record<Relative["newest"], number>> {
  const wanted = new Set(
    Object.values(values).map((value) => typeof value === "object" && "newest" in value ? value.newest : ""),
  );
  const { product = "" } = values;
  const ask = async (what: Relative["newest"], query: string) => {
    if (!wanted.has(what)) return 0;
    const [row] = await rows<{ micros: number | string }>(clickhouse, query, { product });
    return Number(row?.micros) || nowMicros();
  };
  return {
    // time is in the partition key: its newest is known without reading rows.
    data: await ask(
      "data",
      `SELECT toUnixTimestamp64Micro(max(time)) + 1 AS micros FROM (
         SELECT max(time) AS time FROM trades UNION ALL SELECT max(time) FROM tickers
         UNION ALL SELECT max(time) FROM heartbeats UNION ALL SELECT max(time) FROM book_changes
       ) HAVING micros > 1`,
    ),
    book: await ask(
      "book",
      `SELECT toUnixTimestamp64Micro(max(valid_to)) AS micros FROM book_epochs
       WHERE product_id = {product:String}`,
    ),
  };
}

/**
 * Runs a statement that may only read, and prints its rows as they come; a table only when it is whole.
 *
 * @param print receives text
 * @returns true when a table was cut to its first thousand rows
 * @throws {ClickHouseError} also in the middle of an answer
 */
export async function answerQuery(
  clickhouse: ClickHouseClient,
  query: string,
  values: Record<string, string | string[]>,
  format: Format,
  print: (text: string) => Promise<void>,
): Promise<boolean> {
  const server = await readLimits(clickhouse);
  const settings: ClickHouseSettings = {
    readonly: "2",
    cancel_http_readonly_queries_on_client_close: 1,
    // A profile's own limit may be less, and then it can't be raised.
    ...(server.seconds === 0 && { max_execution_time: limitSeconds }),
  };
  if (format === "table") {
    // An older server lacks some.
    const known = Object.entries(tableSettings).filter(([name]) => server.known.includes(name));
    return await printTable(clickhouse, query, values, { ...settings, ...Object.fromEntries(known) }, print);
  }
  await printRows(clickhouse, query, values, format, settings, print);
  return false;
}

/** How long a statement of this user may take, 0 for no limit, and which settings of output the server has. */
async function readLimits(clickhouse: ClickHouseClient): Promise<{ seconds: number; known: string[] }> {
  const [limits] = await rows<{ seconds: number; known: string[] }>(
    clickhouse,
    `SELECT toFloat64(getSetting('max_execution_time')) AS seconds, groupArray(name) AS known
     FROM system.settings WHERE startsWith(name, 'output_format_')`,
  );
  return limits!;
}

async function printTable(
  clickhouse: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown>,
  settings: ClickHouseSettings,
  print: (text: string) => Promise<void>,
): Promise<boolean> {
  const { stream, summary } = await clickhouse.exec({
    query: `${query}\nFORMAT PrettyCompactMonoBlock`,
    query_params,
    // The answer begins when it is whole: an error in its middle is an error, and its rows are counted. The server stops
    // behind the row that says that there are more.
    clickhouse_settings: { ...settings, limit: String(tableRows + 1), wait_end_of_query: 1 },
  });
  const table = await text(stream);
  const isCut = Number(summary?.result_rows) > tableRows;
  await print((isCut ? withoutLastRow(table) : table) || "no rows\n");
  return isCut;
}

const withoutLastRow = (table: string) =>
  table.slice(0, table.lastIndexOf("\n│")) + table.slice(table.lastIndexOf("\n└"));

async function printRows(
  clickhouse: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown>,
  format: Exclude<Format, "table">,
  settings: ClickHouseSettings,
  print: (text: string) => Promise<void>,
): Promise<void> {
  const answer = await clickhouse.query({
    query,
    query_params,
    format: format === "csv" ? "CSVWithNames" : "JSONEachRow",
    clickhouse_settings: {
      ...settings,
      output_format_json_quote_decimals: 1,
      output_format_json_quote_64bit_integers: 0,
    },
  });
  let written = 0;
  for await (const page of answer.stream()) {
    const texts = page.map(({ text }) => text);
    if (format === "csv") await print(texts.map((text) => `${text}\n`).join(""));
    else await print(texts.map((text, index) => `${written + index === 0 ? "[" : ","}\n${text}`).join(""));
    written += texts.length;
  }
  if (format === "json") await print(written === 0 ? "[]\n" : "\n]\n");
}
