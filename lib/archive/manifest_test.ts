import assert from "node:assert/strict";
import { dayFolder, manifestKey, partKey } from "./manifest.ts";

Deno.test("manifest: files lie where readers of Hive's layout look for them", () => {
  const folder = dayFolder("a/b", "market", "trades", "2026-07-07");
  assert.equal(manifestKey(folder), "a/b/market/trades/date=2026-07-07/_manifest.json");
  for (
    const [product, name] of [
      ["BTC-USD", "BTC-USD"],
      ["", "__HIVE_DEFAULT_PARTITION__"],
      ["A/B *", "A%2FB%20%2A"],
      ["ä=1", "%C3%A4%3D1"],
    ] as const
  ) {
    assert.equal(partKey(folder, product), `${folder}/product_id=${name}/part.parquet`);
  }
});
