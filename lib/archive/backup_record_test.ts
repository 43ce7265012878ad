import assert from "node:assert/strict";
import { nameOf, newestFull } from "./backup_record.ts";

Deno.test("newestFull(): an increment builds on the newest full backup", () => {
  const backup = (name: string, created_at: string, base?: string) => ({
    version: 2 as const,
    name,
    database: "market",
    tables: [],
    candles_only: [],
    created_at,
    bytes: 1,
    objects: 1,
    ...(base !== undefined && { base }),
  });
  assert.equal(newestFull([]), undefined);
  const all = [backup("b", "2026-07-08"), backup("a", "2026-07-07"), backup("c", "2026-07-09", "b")];
  assert.equal(newestFull(all)?.name, "b");
  assert.equal(nameOf(new Date("2026-07-07T22:58:17.123Z")), "20260707T225817Z");
});
