import assert from "node:assert/strict";
import { damage, newestParts, parsePart } from "./power_cut.ts";

Deno.test("power cut: a part's folder is told by its name, with and without a mutation", () => {
  assert.deepEqual(parsePart("202607_12_15_1"), {
    ...{ name: "202607_12_15_1", partition: "202607", first: 12, last: 15, level: 1 },
  });
  assert.equal(parsePart("all_3_3_0_7")?.last, 3);
  for (const other of ["detached", "tmp_insert_202607_1_1_0", "deduplication_logs", "mutation_7.txt"]) {
    assert.equal(parsePart(other), undefined, other);
  }
});

Deno.test("power cut: the newest block goes, merged or not, but none that has no other source", () => {
  const parts = ["all_1_4_1", "all_5_5_0", "all_6_6_0", "all_5_6_1"].map((name) => parsePart(name)!);
  const names = (spared?: number) => newestParts(parts, spared).map(({ name }) => name);
  assert.deepEqual(names(), ["all_6_6_0", "all_5_6_1"]);
  assert.deepEqual(names(4), ["all_6_6_0", "all_5_6_1"]);
  assert.deepEqual(names(5), []);
});

Deno.test("power cut: parts are removed or cut in the middle, in the newest partition alone", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const part of ["202606_9_9_0", "202607_1_1_0", "202607_2_2_0"]) {
      await Deno.mkdir(`${folder}/${part}`);
      await Deno.writeFile(`${folder}/${part}/data.bin`, new Uint8Array(100));
    }
    const cut = (how: "removed" | "truncated") => damage(new Map([["trades", folder]]), new Map(), () => how);
    assert.deepEqual(await cut("truncated"), [{
      table: "trades",
      parts: ["202607_2_2_0"],
      how: "truncated",
    }]);
    assert.equal((await Deno.stat(`${folder}/202607_2_2_0/data.bin`)).size, 50);
    assert.deepEqual(await cut("removed"), [{ table: "trades", parts: ["202607_2_2_0"], how: "removed" }]);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).toSorted(), [
      "202606_9_9_0",
      "202607_1_1_0",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
