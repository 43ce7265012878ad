import assert from "node:assert/strict";
import { partitionsOf } from "./backup.ts";

Deno.test("partitionsOf(): the partitions of an increment are those that have objects of its own", () => {
  const folder = "p/backups/market/two/data/market/";
  const keys = [
    "p/backups/market/two/.backup",
    "p/backups/market/two/metadata/market/trades.sql",
    `${folder}trades/202607_2_2_0/data.bin`,
    `${folder}trades/202607_3_9_1_12/data.bin`,
    `${folder}trades/202608_1_1_0/data.bin`,
    `${folder}trade_runs/all_4_4_0/data.bin`,
    `${folder}book_changes/20260707_1_1_0/checksums.txt`,
  ];
  assert.deepEqual([...partitionsOf(keys, folder)], [
    ["trades", ["202607", "202608"]],
    ["trade_runs", ["all"]],
    ["book_changes", ["20260707"]],
  ]);
});
