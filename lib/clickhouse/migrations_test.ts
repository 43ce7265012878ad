import assert from "node:assert/strict";
import { plan } from "./migrations.ts";
import { inReadingOrder, isView, type Migration, readMigrations, splitStatements } from "./sql_files.ts";

const file = (name: string, checksum = name): Migration => ({ name, checksum, statements: [] });
const record = (name: string, checksum = name) => ({ name, checksum, applied_at: "2026-01-01 00:00:00.000" });

Deno.test("migrations: what has no record is pending, in order", () => {
  const { pending, problems } = plan([file("tables/001_a"), file("tables/002_b"), file("tables/003_c")], [
    record("tables/001_a"),
  ]);
  assert.deepEqual(pending.map(({ name }) => name), ["tables/002_b", "tables/003_c"]);
  assert.deepEqual(problems, []);
});

Deno.test("migrations: a changed, a late and a missing file are refused, each with what to do", () => {
  const files = [file("tables/001_a", "other"), file("tables/002_b"), file("tables/003_c")];
  const { problems } = plan(files, [record("tables/001_a"), record("tables/003_c"), record("tables/004_d")]);
  assert.match(
    problems[0] ?? "",
    /^sql\/tables\/001_a.sql was changed after it was applied on 2026-01-01 .*next number/,
  );
  assert.match(problems[1] ?? "", /^sql\/tables\/002_b.sql comes before tables\/004_d, .* next number/);
  assert.match(
    problems[2] ?? "",
    /^tables\/004_d was applied, and sql\/tables\/004_d.sql is missing: .*Update it/,
  );
  assert.equal(problems.length, 3);
});

Deno.test("migrations: statements end with a semicolon at the end of a line; comments alone are none", () => {
  const text = "-- first; not an end\nSELECT ';' AS x,\n 2;\n\n-- second\nSELECT 3;  \n-- only a comment\n";
  assert.deepEqual(splitStatements(text), [
    "-- first; not an end\nSELECT ';' AS x,\n 2",
    "-- second\nSELECT 3",
  ]);
});

Deno.test("migrations: a view that changed is made again, one that is recorded as it is isn't", () => {
  const files = [file("views/a"), file("views/b", "other"), file("views/c")];
  const { pending, problems } = plan(files, [record("views/a"), record("views/b"), record("views/gone")]);
  assert.deepEqual(pending.map(({ name }) => name), ["views/b", "views/c"]);
  assert.deepEqual(problems, []);
});

Deno.test("migrations: a database of a tapehouse without tables/ and views/ is told what to do, in one line", () => {
  const { problems } = plan(
    [file("tables/001_a")],
    ["001_a", "002_b", "003_c", "004_d"].map((name) => record(name)),
  );
  assert.deepEqual(problems, [
    "This database was made by an earlier tapehouse (001_a, 002_b, 003_c and 1 more), and its tables can't be changed into " +
    "today's: set CLICKHOUSE_DATABASE to a new name, run `deno task migrate`, and fill it with `deno task replay --topic`.",
  ]);
});

Deno.test("migrations: a view comes after those that it reads, and a circle is named", () => {
  const view = (name: string, ...reads: string[]): Migration => ({
    ...file(`views/${name}`),
    statements: [
      `-- FROM nothing\nCREATE OR REPLACE VIEW ${name} AS SELECT * FROM ${reads.join(" INNER JOIN ") || "x"}`,
    ],
  });
  const names = (views: Migration[]) => inReadingOrder(views).map(({ name }) => name.slice("views/".length));
  assert.deepEqual(names([view("a", "c"), view("b"), view("c", "b", "d"), view("d")]), ["b", "d", "c", "a"]);
  assert.throws(() => inReadingOrder([view("a", "b"), view("b", "a")]), /sql\/views: a reads b reads a/);
});

Deno.test("migrations: the files of sql/ are numbered or named as their view, and every statement can run twice", async () => {
  const migrations = await readMigrations();
  const tables = migrations.filter((file) => !isView(file));
  assert.deepEqual(tables.map(({ name }) => Number(name.slice(7, 10))), tables.map((_, index) => index + 1));
  const made = (statement: string) => statement.replace(/^(--.*\n|\n)+/, "").split("\n")[0] ?? "";
  for (const { name, statements } of tables) {
    for (const statement of statements) {
      assert.match(
        made(statement),
        /^(CREATE (TABLE|MATERIALIZED VIEW) IF NOT EXISTS \w+|ALTER TABLE \w+ MODIFY SETTING )/,
        name,
      );
    }
  }
  for (const { name, statements } of migrations.filter(isView)) {
    assert.deepEqual(
      statements.map(made),
      [`CREATE OR REPLACE VIEW ${name.slice("views/".length)} AS`],
      name,
    );
    assert.match(statements[0] ?? "", /^-- /, `${name}: what it is for and who reads it`);
  }
});
