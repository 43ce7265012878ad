/**
 * What SQL has to write more than once is the same each time; why it has to is said in docs/decisions.md, "Formulas that
 * are written more than once".
 *
 * @module
 */

import assert from "node:assert/strict";
import { readMigrations, splitStatements, sqlFolder } from "./sql_files.ts";

/** A statement without comments, in one line. */
function plain(statement: string): string {
  return statement.replace(/--.*$/gm, "").replace(/\s+/g, " ").trim();
}

/** Name of a table or view → the statement that makes it. */
const made = new Map<string, string>();
for (const statement of (await readMigrations()).flatMap(({ statements }) => statements)) {
  const text = plain(statement);
  const [, name] = /^CREATE (?:OR REPLACE VIEW|(?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS) (\w+)/.exec(text) ??
    [];
  if (name !== undefined) made.set(name, text);
}

function statementOf(name: string): string {
  const text = made.get(name);
  assert(text !== undefined, `sql/ makes no ${name}`);
  return text;
}

/** What stands in a text from the first `from` up to, but without, the next `to`; to its end without `to`. */
function between(text: string, from: string, to?: string): string {
  const start = text.indexOf(from);
  assert.notEqual(start, -1, `no "${from}" in ${text}`);
  if (to === undefined) return text.slice(start);
  const end = text.indexOf(to, start + from.length);
  assert.notEqual(end, -1, `no "${to}" behind "${from}" in ${text}`);
  return text.slice(start, end);
}

/** The columns of a table, a definition each. */
function columnsOf(table: string): string[] {
  return between(statementOf(table), "(", ") ENGINE").slice(1).split(/, (?=\w+ [A-Z])/).map((column) =>
    column.trim()
  );
}

/** Columns without how they are stored. */
const types = (columns: readonly string[]) => columns.map((column) => column.replace(/ CODEC\(.*\)$/, ""));

Deno.test("SQL repeats: candles: the four views are one text but for the interval", () => {
  const text = (interval: string) =>
    statementOf(`candles_${interval}`).replace(`candles_${interval}`, "candles_x").replace(
      `'${interval}'`,
      "'x'",
    );
  const one = text("1s");
  assert.match(
    one,
    / AS vwap FROM candle_states AS state WHERE state.interval = 'x' GROUP BY product_id, time$/,
  );
  for (const interval of ["1m", "1h", "1d"]) assert.equal(text(interval), one);
});

Deno.test("SQL repeats: candles: vwap is divided in the four views and, in its own way, in candles", () => {
  const dividing = [...made].filter(([, statement]) => statement.includes("reinterpret(quote_volume"));
  assert.deepEqual(
    dividing.map(([name]) => name).sort(),
    ["candles", "candles_1d", "candles_1h", "candles_1m", "candles_1s"],
  );
});

Deno.test("SQL repeats: candles: candles and candles_filled read an interval by the same grammar, that of parseInterval", async () => {
  const grammar = (view: string) =>
    between(statementOf(view), "toInt64OrZero(extract({interval", " AS until,");
  assert.equal(grammar("candles_filled"), grammar("candles"));
  const [, pattern] = /extract\(\{interval:String\}, '(.+?)'\)/.exec(grammar("candles")) ?? [];
  const parser = await Deno.readTextFile(new URL("../core/interval.ts", import.meta.url));
  const [, parsed] = /const match = \/(.+?)\/\.exec/.exec(parser) ?? [];
  const plainGroups = (text = "") => text.replaceAll("\\d", "[0-9]").replace("([smhdw])", "[smhdw]");
  assert.equal(plainGroups(parsed), pattern);
});

Deno.test("SQL repeats: a moment and the seconds of a span are read from the same states", () => {
  const states = (view: string, moment: string) =>
    between(statementOf(view), "FROM book_levels WHERE", "FROM book_changes")
      .replaceAll(/AND (epoch\.3|connection) .*? AND change >= \w+\.2/g, "AND …")
      .replaceAll(/SELECT .*? (?=FROM|UNION|$)/g, "SELECT … ")
      .replaceAll(`{${moment}:`, "{moment:");
  const moment = states("book_levels_at", "at");
  assert.match(
    moment,
    /^FROM book_levels WHERE interval = '1d' .* FROM book_levels WHERE interval = '10m' .*\{moment:.* INTERVAL 10 MINUTE\)/,
  );
  assert.equal(states("book_depth_1s_between", "from"), moment);
});

Deno.test("SQL repeats: the depth of a moment and that of seconds are one formula", () => {
  const lambdas = (view: string) => between(statementOf(view), "(of_side, bps) ->", " AS imbalance_of");
  assert.equal(lambdas("book_depth_1s_between"), lambdas("book_depth_at"));
  const columns = (view: string) => between(statementOf(view), "any(bid) AS best_bid", " FROM (");
  assert.equal(columns("book_depth_1s_between"), columns("book_depth_at"));
  assert.match(columns("book_depth_at"), / AS imbalance_100bps$/);
  const levels = (view: string, window: string) =>
    between(statementOf(view), "maxOrNullIf(price, side = 'bid') OVER " + window, " AS quote FROM")
      .replaceAll(` OVER ${window}`, " OVER …");
  assert.equal(
    levels("book_depth_1s_between", "(PARTITION BY second)"),
    levels("book_depth_at", "()"),
  );
});

Deno.test("SQL repeats: changes are numbered the same way everywhere", () => {
  const factors = [...made.values()].flatMap((text) => [...text.matchAll(/kafka_offset \* (\d+)/g)]);
  assert.equal(factors.length, 5);
  assert.deepEqual([...new Set(factors.map(([, factor]) => factor))], ["1048576"]);
});

Deno.test("SQL repeats: the order-flow imbalance is the same formula in each view", () => {
  const formulas = [...made].flatMap(([, text]) =>
    [...text.matchAll(/toFloat64\([^/]*\) \/ toFloat64\([^/]*\) AS order_flow_imbalance/g)].map(([found]) =>
      found.slice(found.lastIndexOf("toFloat64(", found.indexOf(" / "))).replaceAll("candle.", "")
    )
  );
  const one =
    "toFloat64(buy_volume - sell_volume) / toFloat64(buy_volume + sell_volume) AS order_flow_imbalance";
  assert.deepEqual(formulas, [one, one, one]);
});

Deno.test("SQL repeats: tables: each of messages ends with the same columns of where a row comes from", () => {
  const names = ["received_at", "ingested_at", "source", "connection", "kafka_partition", "kafka_offset"];
  const origin = (table: string) =>
    types(columnsOf(table)).filter((column) => names.includes(column.split(" ")[0] ?? ""));
  assert.deepEqual(origin("trades").map((column) => column.split(" ")[0]), names);
  for (
    const table of ["tickers", "book_changes", "heartbeats", "products_state", "feed_events", "rejected"]
  ) {
    assert.deepEqual(types(columnsOf(table)).slice(-names.length), origin("trades"), table);
  }
});

Deno.test("SQL repeats: tables: all that know a block again are set alike", () => {
  const settings = [...made.values()].flatMap((text) =>
    text.includes("deduplication_window") ? [between(text, " SETTINGS ")] : []
  );
  assert(settings.length > 10);
  assert.deepEqual([...new Set(settings)].length, 1);
});

Deno.test("SQL repeats: kafka_engine/repair.sql makes candles and runs by the text of the materialized views", async () => {
  const repair = splitStatements(await Deno.readTextFile(`${sqlFolder}/kafka_engine/repair.sql`)).map(plain);
  const selectOf = (table: string) =>
    between(repair.find((text) => text.startsWith(`INSERT INTO ${table} `)) ?? "", "SELECT", " SETTINGS");
  assert.equal(selectOf("candle_states"), between(statementOf("candle_states_mv"), "SELECT"));
  assert.equal(
    selectOf("trade_runs"),
    between(statementOf("trade_runs_mv"), "SELECT")
      .replace("any(ranked.batch) AS batch", "'repaired' AS batch")
      .replace("source, batch, trade_id -", "source, trade_id -"),
  );
});

Deno.test("SQL repeats: docs/anomalies.md tells the usual thresholds", async () => {
  const usual = [...statementOf("thresholds").matchAll(/toFloat64\(([\d.]+)\) AS (\w+)/g)];
  assert.equal(usual.length, 7);
  const rules = await Deno.readTextFile(`${sqlFolder}/../docs/anomalies.md`);
  for (const [, value = "", name = ""] of usual) {
    const told = [...rules.matchAll(new RegExp(`\\| +\`${name}\` ([\\d.]+)`, "g"))];
    assert(told.length > 0, name);
    for (const [, figure] of told) assert.equal(figure, value, name);
  }
});
