import assert from "node:assert/strict";
import { putFiles } from "./put_files.ts";

Deno.test("put_files: two that write at once and one that reads never meet half of a page", async () => {
  const home = await Deno.makeTempDir();
  const folder = `${home}/dist`;
  const files = new Map([["main-1.js", "m".repeat(100_000)], ["index.html", "main-1.js"]]);
  await putFiles(folder, files);
  let isOver = false;
  let reads = 0;
  const read = async () => {
    while (!isOver) {
      const name = await Deno.readTextFile(`${folder}/index.html`);
      const script = await Deno.readTextFile(`${folder}/${name}`);
      assert.equal(script, files.get(name));
      reads++;
    }
  };
  const write = async () => {
    for (let round = 0; round < 100; round++) await putFiles(folder, files);
  };
  await Promise.all([read(), Promise.all([write(), write()]).finally(() => isOver = true)]);
  assert.ok(reads > 0);
  assert.deepEqual((await Array.fromAsync(Deno.readDir(home))).map(({ name }) => name), ["dist"]);
  await Deno.remove(home, { recursive: true });
});

Deno.test("put_files: a new page takes the place of the old one", async () => {
  const home = await Deno.makeTempDir();
  await putFiles(home + "/dist", new Map([["main-1.js", "1"], ["index.html", "main-1.js"]]));
  await putFiles(home + "/dist", new Map([["main-2.js", "2"], ["index.html", "main-2.js"]]));
  const found = (await Array.fromAsync(Deno.readDir(home + "/dist"))).map(({ name }) => name).sort();
  assert.deepEqual(found, ["index.html", "main-2.js"]);
  assert.equal(await Deno.readTextFile(home + "/dist/index.html"), "main-2.js");
  await Deno.remove(home, { recursive: true });
});
