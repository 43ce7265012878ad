import { doesNotThrow, throws } from "node:assert/strict";
import { assertNotSimulated } from "./replay_messages.ts";

Deno.test("replay: only the database market is closed to what isn't the real market", () => {
  const cases: [source: string, database: string, refused: boolean][] = [
    ["simulator", "market", true],
    ["replay", "market", true],
    ["feed", "market", false],
    ["backfill", "market", false],
    ["simulator", "market_sim", false],
  ];
  for (const [source, database, refused] of cases) {
    if (refused) throws(() => assertNotSimulated(source, database), { message: /Choose another one/ });
    else doesNotThrow(() => assertNotSimulated(source, database));
  }
});
