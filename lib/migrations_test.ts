import assert from "node:assert/strict";
import { type Migration, plan, readMigrations, splitStatements } from "./migrations.ts";

const file = (name: string, checksum = name): Migration => ({ name, checksum, statements: [] });
const record = (name: string, checksum = name) => ({ name, checksum, applied_at: "2026-01-01 00:00:00.000" });

Deno.test("what has no record is pending, in order", () => {
  const { pending, problems } = plan([file("001_a"), file("002_b"), file("003_c")], [record("001_a")]);
  assert.deepEqual(pending.map(({ name }) => name), ["002_b", "003_c"]);
  assert.deepEqual(problems, []);
});

Deno.test("a changed, a late and a missing file are refused, each with what to do", () => {
  const files = [file("001_a", "other"), file("002_b"), file("003_c")];
  const { problems } = plan(files, [record("001_a"), record("003_c"), record("004_d")]);
  assert.match(
    problems[0] ?? "",
    /^sql\/001_a.sql was changed after it was applied on 2026-01-01 .*next number/,
  );
  assert.match(problems[1] ?? "", /^sql\/002_b.sql comes before 004_d, .* next number/);
  assert.match(problems[2] ?? "", /^004_d was applied, and sql\/004_d.sql is missing: .*Update it/);
  assert.equal(problems.length, 3);
});

Deno.test("statements end with a semicolon at the end of a line; comments alone are none", () => {
  const text = "-- first; not an end\nSELECT ';' AS x,\n 2;\n\n-- second\nSELECT 3;  \n-- only a comment\n";
  assert.deepEqual(splitStatements(text), [
    "-- first; not an end\nSELECT ';' AS x,\n 2",
    "-- second\nSELECT 3",
  ]);
});

Deno.test("the migrations of sql/ are numbered without a hole, and every statement can run twice", async () => {
  const migrations = await readMigrations();
  assert.deepEqual(
    migrations.map(({ name }) => Number(name.slice(0, 3))),
    migrations.map((_, index) => index + 1),
  );
  for (const { name, statements } of migrations) {
    for (const statement of statements) {
      const code = statement.replace(/--.*\n/g, "").trim();
      assert.match(
        code,
        /^CREATE ((TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS|OR REPLACE VIEW) \w+/,
        `${name}: ${code.slice(0, 60)}`,
      );
    }
  }
});
