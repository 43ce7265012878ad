import assert from "node:assert/strict";
import { ConfigError } from "../core/errors.ts";
import { asScript, bind, findQuery, nearest, parseQuery, readQueries, resolve } from "./examples.ts";

const file = `-- The trades of a moment,
-- newest first.
-- param product String = BTC-USD  (which product)
-- param at DateTime64(6, 'UTC') = newest - 1h  (which moment)
-- param side Enum8('buy' = 1, 'sell' = 2) = buy  (buy or sell)
-- param ids Array(String) = a,b  (several)
-- param least Decimal(38, 18) = 0.5  (least size)
-- param trade_id UInt64  (from this one on)

SELECT {product:String}, {at:DateTime64(6, 'UTC')}, {side:Enum8('buy' = 1, 'sell' = 2)},
    {ids:Array(String)}, {least:Decimal(38, 18)}, {trade_id:UInt64};
`;
const query = parseQuery("moment", file);

Deno.test("examples: a file's comment is a sentence and the parameters", () => {
  assert.equal(query.about, "The trades of a moment, newest first.");
  assert.deepEqual(query.parameters.map(({ name, type, default: value }) => [name, type, value]), [
    ["product", "String", "BTC-USD"],
    ["at", "DateTime64(6, 'UTC')", "newest - 1h"],
    ["side", "Enum8('buy' = 1, 'sell' = 2)", "buy"],
    ["ids", "Array(String)", "a,b"],
    ["least", "Decimal(38, 18)", "0.5"],
    ["trade_id", "UInt64", undefined],
  ]);
  assert(query.statement.startsWith("SELECT {product") && query.statement.endsWith("{trade_id:UInt64}"));
});

Deno.test("examples: a file whose comment and statement disagree says where", () => {
  const cases: [text: string, message: RegExp][] = [
    ["SELECT 1;", /bad\.sql: expected a sentence/],
    ["-- param a String = b  (c)\nSELECT {a:String};", /expected a sentence/],
    ["-- A.\n-- param a String = b\nSELECT {a:String};", /expected "-- param name Type = default/],
    ["-- A.\n-- param a Int8 = 1  (b)\nSELECT {a:Int8};", /type Int8: expected String/],
    ["-- A.\n-- param a UInt32 = x  (b)\nSELECT {a:UInt32};", /default of a: expected a whole number/],
    ["-- A.\nSELECT {a:String};", /\{a:String\} isn't declared/],
    ["-- A.\n-- param a UInt32 = 1  (b)\nSELECT {a:UInt64};", /\{a:UInt64\} isn't declared/],
    ["-- A.\n-- param a String = b  (c)\nSELECT 1;", /a:String is declared and not used/],
  ];
  for (const [text, message] of cases) assert.throws(() => parseQuery("bad", text), message, text);
});

Deno.test("examples: what is given wins over the default, and is of the parameter's type", () => {
  const values = bind(query, ["trade_id=7", "product=ETH-USD", "ids=x, y", "at=2026-07-07T22:58:17.5Z"]);
  assert.deepEqual(values, {
    product: "ETH-USD",
    at: { micros: 1783465097500000 },
    side: "buy",
    ids: ["x", "y"],
    least: "0.5",
    trade_id: "7",
  });
  const text = (at: string) =>
    resolve(bind(query, ["trade_id=7", `at=${at}`]), { data: 1783465097500000, book: 1783465000000000 }).at;
  const cases: [at: string, expected: string][] = [
    ["2026-07-07", "2026-07-07 00:00:00.000000"],
    ["2026-07-07 22:58", "2026-07-07 22:58:00.000000"],
    ["2026-07-07 22:58:17.123456", "2026-07-07 22:58:17.123456"],
    ["newest", "2026-07-07 22:58:17.500000"],
    ["newest - 30m", "2026-07-07 22:28:17.500000"],
    ["newest-2d", "2026-07-05 22:58:17.500000"],
    ["newest book", "2026-07-07 22:56:40.000000"],
    ["newest book - 40s", "2026-07-07 22:56:00.000000"],
  ];
  for (const [at, expected] of cases) assert.equal(text(at), expected);
});

Deno.test("examples: a parameter that is unknown, missing or of another type is named with its type and default", () => {
  const cases: [given: string[], message: RegExp][] = [
    [
      ["trade_id=1", "prodct=x"],
      /^--param prodct=x: moment has no parameter prodct; it has: product String = BTC/,
    ],
    [["trade_id"], /^--param trade_id: expected name=value$/],
    [[], /^moment needs --param trade_id=…: trade_id UInt64, no default \(from this one on\)$/],
    [["trade_id=-1"], /^--param trade_id=-1: expected a whole number .*; it is trade_id UInt64, no default/],
    [["trade_id=18446744073709551616"], /expected a whole number from 0 to 18446744073709551615/],
    [
      ["trade_id=1", "least=1e5"],
      /expected a decimal .*; it is least Decimal\(38, 18\) = 0\.5 \(least size\)$/,
    ],
    [["trade_id=1", "side=up"], /expected buy or sell/],
    [["trade_id=1", "ids=a,,b"], /expected texts separated by commas/],
    ...["yesterday", "2026-02-30", "2026-7-7", "2026-07-07 25:00", "newest + 1h", "newest - 1w", "-1h"].map(
      (at): [string[], RegExp] => [["trade_id=1", `at=${at}`], /expected a time in UTC .*= newest - 1h/],
    ),
  ];
  for (const [given, message] of cases) {
    assert.throws(() => bind(query, given), (error) => {
      assert(error instanceof ConfigError);
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      return true;
    });
  }
});

Deno.test("examples: an unknown name is answered with the nearest ones", () => {
  const names = ["candles", "roll_spread", "spread_by_hour", "volume_by_day", "beta"];
  assert.deepEqual(nearest("spred", names).slice(0, 2), ["roll_spread", "spread_by_hour"]);
  assert.equal(nearest("spread_hour", names)[0], "spread_by_hour");
  assert.equal(nearest("candle", names)[0], "candles");
  const queries = names.map((name) => ({ ...query, name }));
  assert.equal(findQuery(queries, "beta").name, "beta");
  assert.throws(
    () => findQuery(queries, "bta"),
    /^ConfigError: No query bta: did you mean beta, .*lists all\.$/,
  );
});

Deno.test("examples: a script sets the parameters as clickhouse-client reads them", () => {
  const script = asScript(query, { product: "it's a \\", ids: ["a'b", "c"] });
  assert.match(script, /^-- The trades of a moment, newest first\.\n/);
  assert(script.includes("SET param_product = 'it\\'s a \\\\';\n"));
  assert(script.includes(String.raw`SET param_ids = '[\'a\\\'b\', \'c\']';` + "\n"));
  assert(script.endsWith(`${query.statement};\n`));
});

Deno.test("examples: every file of sql/examples can be read, and says what it answers in one sentence", async () => {
  const queries = await readQueries();
  assert(queries.length >= 24);
  for (const { name, about } of queries) {
    assert.match(name, /^[a-z0-9_]+$/);
    assert.match(about, /^[A-Z].*[.…]$/, name);
    assert(about.length <= 120, `${name}: ${about.length} letters`);
  }
});

Deno.test("examples: docs/queries.md lists every query with its sentence", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/queries.md", import.meta.url));
  const [lists = ""] = page.split("## What isn't in the views");
  const listed = [...lists.matchAll(/^\| `(\w+)` +\| (.+?) +\|$/gm)].map(([, name, about]) =>
    `${name}: ${about}`
  );
  assert.deepEqual(listed.sort(), (await readQueries()).map(({ name, about }) => `${name}: ${about}`).sort());
});
