/**
 * All SQL of the project names its time zones, and the check that says so can fail.
 *
 * @module
 */

import assert from "node:assert/strict";
import { textsOf, zonelessTimes } from "../support/sql_zones.ts";
import { root } from "../support/tape.ts";

const found = (sql: string) => zonelessTimes(sql).map((place) => place.found);

Deno.test("SQL time zones: a type without a zone is found, one with a zone isn't", () => {
  for (
    const [sql, expected] of [
      ["SELECT {at:DateTime64(6)}", ["DateTime64(6)"]],
      ["WHERE time >= {from: DateTime64(6)} AND {to:DateTime}", ["DateTime64(6)", "DateTime"]],
      ["CREATE TABLE t (time DateTime, day Date, other DateTime64(3) CODEC(Delta))", [
        "DateTime",
        "DateTime64(3)",
      ]],
      ["CAST(x AS Nullable(DateTime64(6)))", ["DateTime64(6)"]],
      ["x::DateTime64", ["DateTime64"]],
      ["SELECT x\nWHERE CAST(y AS DateTime) < x", ["DateTime"]],
      ["-- param at DateTime64(6) = newest  (which moment)", ["DateTime64(6)"]],
      ["SELECT {at:DateTime64(6, 'UTC')}, CAST(x, 'DateTime64(6, \\'UTC\\')') -- was DateTime64(6)", []],
      ["time DateTime('UTC'), toDate(time), toStartOfHour(time), {day:Date}", []],
    ] satisfies [string, string[]][]
  ) assert.deepEqual(found(sql), expected, sql);
});

Deno.test("SQL time zones: a function that could name a zone and doesn't is found, and told how", () => {
  for (
    const [sql, expected] of [
      ["time > now() - INTERVAL 1 DAY", "now('UTC')"],
      ["NOW ()", "NOW('UTC')"],
      ["now64(6)", "now64(6, 'UTC')"],
      ["now64()", "now64(…, 'UTC')"],
      ["today()", "toDate(now('UTC'))"],
      ["yesterday()", "toDate(now('UTC')) - 1"],
      ["toDateTime('2026-07-07 00:00:00')", "toDateTime('2026-07-07 00:00:00', 'UTC')"],
      ["toDateTime(concat(a, ',', f(b, c)))", "toDateTime(concat(a, ',', f(b, c)), 'UTC')"],
      ["toDateTime64(a, 6)", "toDateTime64(a, 6, 'UTC')"],
      ["toDateTime64OrZero(a, 6)", "toDateTime64OrZero(a, 6, 'UTC')"],
      ["parseDateTimeBestEffort(a)", "parseDateTimeBestEffort(a, 'UTC')"],
      ["parseDateTime64BestEffortOrNull(a, 6)", "parseDateTime64BestEffortOrNull(a, 6, 'UTC')"],
      ["parseDateTime(a, '%Y')", "parseDateTime(a, '%Y', 'UTC')"],
      ["fromUnixTimestamp64Micro(a * 1000)", "fromUnixTimestamp64Micro(a * 1000, 'UTC')"],
      ["makeDateTime(1, 2, 3, 4, 5, 6)", "makeDateTime(1, 2, 3, 4, 5, 6, 'UTC')"],
    ] satisfies [string, string][]
  ) {
    assert.deepEqual(zonelessTimes(sql).map((place) => place.expected), [expected], sql);
    assert.deepEqual(zonelessTimes(expected), [], expected);
  }
  assert.deepEqual(zonelessTimes("a\n\nb now64(6)")[0]?.line, 3);
});

Deno.test("SQL time zones: the texts of a TypeScript file are found, its code and comments aren't", () => {
  const source = `
const now = () => performance.now(); // now64(6)
/* toDateTime(1) */ const a = "SELECT now()", b = 'today()', c = x / 2 / y;
const d = /"[/]now()/.test("z"); const e = \`WHERE \${f({ g: \`n\${now()}o\` })} = now64(3)\`;`;
  assert.deepEqual(found(textsOf(source)), ["now()", "today()", "now64(3)"]);
  assert.deepEqual(zonelessTimes(textsOf(source)).map(({ line }) => line), [3, 3, 4]);
});

async function* files(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) {
      if (!/^\.|^(node_modules|dist|tests)$/.test(name)) yield* files(path);
    } else if (/\.(sql|ts)$/.test(name) && !name.endsWith("_test.ts")) yield path;
  }
}

Deno.test("SQL time zones: every statement of the product names them", async () => {
  const begin = root.replace(/\/$/, "");
  const wrong: string[] = [];
  const seen = { sql: 0, ts: 0 };
  for await (const path of files(begin)) {
    const text = await Deno.readTextFile(path);
    const kind = path.endsWith(".sql") ? "sql" : "ts";
    seen[kind]++;
    for (const { line, found, expected } of zonelessTimes(kind === "ts" ? textsOf(text) : text)) {
      wrong.push(`${path.slice(begin.length + 1)}:${line}: ${found}: expected ${expected}`);
    }
  }
  assert(seen.sql > 40 && seen.ts > 100, JSON.stringify(seen));
  assert.deepEqual(wrong, []);
});
