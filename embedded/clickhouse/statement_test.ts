import assert from "node:assert/strict";
import { readStatement, secondAfterValues } from "./statement.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** The parts of an insert: what stands before the format, the format, the rows. */
function parts(text: string) {
  const data = readStatement(bytes(text)).data;
  if (!data) return undefined;
  return [
    text.slice(0, data.formatAt),
    data.format,
    text.slice(data.dataAt),
  ];
}

Deno.test("statement: an insert's rows start behind its FORMAT and one line end", () => {
  const cases: [string, string[]][] = [
    ["INSERT INTO t FORMAT CSV\n1,2\n", ["INSERT INTO t ", "CSV", "1,2\n"]],
    ["insert into t format JSONEachRow {}", ["insert into t ", "JSONEachRow", "{}"]],
    ["INSERT INTO a.b (x, y) FORMAT RowBinary\r\n\n;", ["INSERT INTO a.b (x, y) ", "RowBinary", "\n;"]],
    ["INSERT INTO t SETTINGS a = 1 FORMAT TSV\nx", ["INSERT INTO t SETTINGS a = 1 ", "TSV", "x"]],
    ["INSERT INTO t VALUES (1, 'a;b')", ["INSERT INTO t ", "Values", "(1, 'a;b')"]],
    ["INSERT INTO t FORMAT `CSV`\n1", ["INSERT INTO t ", "CSV", "1"]],
    ["INSERT INTO t", []],
    ["/* SELECT */ INSERT -- x\nINTO t FORMAT CSV", ["/* SELECT */ INSERT -- x\nINTO t ", "CSV", ""]],
    ["INSERT INTO {t:Identifier} FORMAT CSV\n1", ["INSERT INTO {t:Identifier} ", "CSV", "1"]],
    ["INSERT INTO FUNCTION file('a', 'CSV') VALUES (1)", [
      "INSERT INTO FUNCTION file('a', 'CSV') ",
      "Values",
      "(1)",
    ]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parts(text) ?? [], expected, text);
});

Deno.test("statement: a table called like a clause is a table", () => {
  for (
    const table of ["format", "values", "settings", "`select`", "db.format", "db.`values`", '"x".settings']
  ) {
    assert.deepEqual(
      parts(`INSERT INTO ${table} FORMAT CSV\n1`),
      [`INSERT INTO ${table} `, "CSV", "1"],
      table,
    );
  }
});

Deno.test("statement: an insert that selects has no rows of its own", () => {
  for (
    const text of [
      "INSERT INTO t SELECT 1 FORMAT CSV",
      "INSERT INTO t (a) WITH 1 AS x SELECT x",
      "INSERT INTO t SETTINGS a = 1 SELECT 'FORMAT CSV'",
      "WITH 1 AS x INSERT INTO t SELECT x",
      "EXPLAIN INSERT INTO t FORMAT CSV",
    ]
  ) assert.equal(readStatement(bytes(text)).data, undefined, text);
});

Deno.test("statement: the FORMAT that closes a query is found, and nothing that only looks like it", () => {
  const cases: [string, string | undefined][] = [
    ["SELECT 1 FORMAT JSON", "JSON"],
    ["SELECT 1 format Native;", "Native"],
    ["SELECT 1 FORMAT JSONEachRow SETTINGS max_threads = 1", "JSONEachRow"],
    ["SELECT format FROM t", undefined],
    ["SELECT a AS format, b FROM t", undefined],
    ["SELECT * FROM (SELECT 1 FORMAT JSON)", undefined],
    ["SELECT 'FORMAT JSON'", undefined],
    ["SELECT 1 -- FORMAT JSON", undefined],
    ["SHOW TABLES FORMAT TSV", "TSV"],
  ];
  for (const [text, format] of cases) assert.equal(readStatement(bytes(text)).format, format, text);
});

Deno.test("statement: a second statement is seen, a semicolon inside something isn't", () => {
  const second = (text: string) => readStatement(bytes(text)).secondAt;
  assert.equal(second("SELECT 1; SELECT 2"), 10);
  assert.equal(second("SELECT 1;;"), 9);
  assert.equal(second("INSERT INTO t SELECT 1; DROP TABLE t"), 24);
  for (
    const text of [
      "SELECT 1;",
      "SELECT 1; -- the end",
      "SELECT 1 ; /* x; y */ \n",
      "SELECT ';', '\\';', ''';'",
      'SELECT ";" AS `;`',
      "SELECT $$;$$, $a$ ; $$ ; $a$",
      "SELECT 1 # ; x\n",
      "SELECT 1 -- ; x",
    ]
  ) assert.equal(second(text), undefined, text);
});

Deno.test("statement: a statement behind VALUES is seen, a semicolon in the values isn't", () => {
  assert.equal(secondAfterValues(bytes("(1, 'a'); DROP TABLE t")), 10);
  for (const rows of ["(1, ';')", "(1), (2);", "(1);\n-- the end\n", "", "('\\';x')"]) {
    assert.equal(secondAfterValues(bytes(rows)), undefined, rows);
  }
});

Deno.test("statement: statements that want the client's files or input() are recognized", () => {
  assert.equal(readStatement(bytes("SELECT 1 INTO OUTFILE 'x'")).file, "OUTFILE");
  assert.equal(readStatement(bytes("INSERT INTO t FROM INFILE 'x' FORMAT CSV")).file, "INFILE");
  assert.equal(readStatement(bytes("INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1")).input, true);
  assert.equal(readStatement(bytes("SELECT outfile, infile FROM t")).file, undefined);
  assert.equal(readStatement(bytes("INSERT INTO t SELECT input FROM u")).input, undefined);
});

Deno.test("statement: what isn't a statement has no verb, and broken ones are left to the engine", () => {
  for (const text of ["", " \n", "-- nothing", "/* open", ";"]) {
    assert.equal(readStatement(bytes(text)).verb, "", text);
  }
  for (const text of ["SELECT 'open", "SELECT (((", "SELECT )))", "SELECT $x", "SELECT `", "(SELECT 1)"]) {
    assert.equal(readStatement(bytes(text)).verb, "SELECT", text);
  }
});
