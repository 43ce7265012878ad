import assert from "node:assert/strict";
import { formatFiles } from "./format_files.ts";

Deno.test("formatFiles: a document is laid out, and what can't be is an error with its file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/a.md`, "| a | b |\n| - | - |\n| long | x |\n");
    await formatFiles([`${folder}/a.md`]);
    assert.equal(await Deno.readTextFile(`${folder}/a.md`), "| a    | b |\n| ---- | - |\n| long | x |\n");
    await Deno.writeTextFile(`${folder}/b.json`, "{");
    await assert.rejects(formatFiles([`${folder}/b.json`]), /^Error: deno fmt .*b\.json: /);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
