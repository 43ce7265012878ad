import assert from "node:assert/strict";
import { plan } from "./migrations.ts";
import { checksumOf, readMigrations, sqlFolder } from "./sql_files.ts";

const table = "-- What it holds.\nCREATE TABLE IF NOT EXISTS x\n(\n    a String -- why\n)\nORDER BY a;\n";

Deno.test("checksum: of a file stays when lines that are a comment or blank change", async () => {
  for (
    const text of [
      table.replace("What it holds", "What else it holds, and who reads it"),
      table.replace("-- What it holds.\n", ""),
      `\n${table.replace("(\n", "(\n\n  -- The first.\n")}\n-- The end.\n`,
    ]
  ) assert.equal(await checksumOf(text), await checksumOf(table), text);
});

Deno.test("checksum: of a file changes with any other line", async () => {
  for (
    const text of [
      table.replace("a String", "a  String"),
      table.replace("-- why", ""),
      table.replace("ORDER BY a", "ORDER BY tuple()"),
    ]
  ) assert.notEqual(await checksumOf(text), await checksumOf(table), text);
});

Deno.test("checksum: the comment of an applied file of tables may be edited, its statements not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/tables`);
    await Deno.mkdir(`${folder}/views`);
    const name = "tables/008_replays";
    const text = await Deno.readTextFile(`${sqlFolder}/${name}.sql`);
    const record = { name, checksum: await checksumOf(text), applied_at: "2026-01-01 00:00:00.000" };
    const problems = async (edited: string) => {
      assert.notEqual(edited, text);
      await Deno.writeTextFile(`${folder}/${name}.sql`, edited);
      return plan(await readMigrations(folder), [record]).problems.length;
    };
    assert.equal(await problems(text.replace("Reader: ", "Read by ")), 0);
    assert.equal(await problems(text.replace("first UInt64", "first UInt32")), 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
