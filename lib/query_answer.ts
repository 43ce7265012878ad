/**
 * Asks ClickHouse a query of the library and prints the answer as it comes.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { type Relative, renderTable, type Value } from "./query.ts";
import { nowMicros } from "./time.ts";

/** A table is for the eye; whoever needs more rows takes CSV or JSON. */
const tableRows = 1000;
/** For a user whose profile sets no limit. */
const limitSeconds = 60;

/** How an answer is printed; JSON is one array, decimals in it are texts. */
export const formats = {
  table: "JSONCompactStringsEachRowWithNamesAndTypes",
  csv: "CSVWithNames",
  json: "JSONEachRow",
} as const;

/** The moments that `values` are relative to, in µs; now where there are no data. Only what is needed is asked for. */
export async function newestMoments(
  warehouse: ClickHouseClient,
  values: Record<string, Value>,
): Promise<Record<Relative["newest"], number>> {
  const wanted = new Set(
    Object.values(values).map((value) => typeof value === "object" && "newest" in value ? value.newest : ""),
  );
  const { product = "" } = values;
  const ask = async (what: Relative["newest"], query: string) => {
    if (!wanted.has(what)) return 0;
    const answer = await warehouse.query({ query, query_params: { product }, format: "JSONEachRow" });
    const [row] = await answer.json<{ micros: number | string }>();
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
  warehouse: ClickHouseClient,
  query: string,
  values: Record<string, string | string[]>,
  format: keyof typeof formats,
  print: (text: string) => Promise<void>,
): Promise<boolean> {
  const limit = await warehouse.query({
    query: "SELECT toFloat64(getSetting('max_execution_time')) AS seconds",
    format: "JSONEachRow",
  });
  const [own] = await limit.json<{ seconds: number }>();
  const stop = new AbortController();
  const result = await warehouse.query({
    query,
    query_params: values,
    format: formats[format],
    abort_signal: stop.signal,
    clickhouse_settings: {
      readonly: "2",
      cancel_http_readonly_queries_on_client_close: 1,
      output_format_json_quote_decimals: 1,
      output_format_json_quote_64bit_integers: 0,
      // A profile's own limit may be less, and then it can't be raised.
      ...(own?.seconds === 0 && { max_execution_time: limitSeconds }),
    },
  });
  const rows = result.stream();
  if (format === "table") {
    const lines: (string | null)[][] = [];
    for await (const page of rows) {
      for (const row of page) lines.push(row.json<(string | null)[]>());
      if (lines.length > tableRows + 2) break;
    }
    stop.abort();
    const [names = [], types = [], ...cells] = lines;
    const columns = names.map((name, index) => ({ name: name ?? "", type: types[index] ?? "" }));
    await print(renderTable(columns, cells.slice(0, tableRows).map((row) => row.map(nullOf))));
    return cells.length > tableRows;
  }
  let written = 0;
  for await (const page of rows) {
    const texts = page.map(({ text }) => text);
    if (format === "csv") await print(texts.map((text) => `${text}\n`).join(""));
    else await print(texts.map((text, index) => `${written + index === 0 ? "[" : ","}\n${text}`).join(""));
    written += texts.length;
  }
  if (format === "json") await print(written === 0 ? "[]\n" : "\n]\n");
  return false;
}

/** How JSONCompactStrings writes NULL. */
function nullOf(cell: string | null): string | null {
  return cell === "ᴺᵁᴸᴸ" ? null : cell;
}
