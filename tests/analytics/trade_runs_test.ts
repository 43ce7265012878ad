/**
 * Rule 3 against real ClickHouse: what `trade_runs` says is stored, and how its rows are joined.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Row } from "../../lib/ingest/rows.ts";
import { compactTradeRuns, loadStoredTrades } from "../../lib/ingest/trade_runs.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { useDatabases } from "../support/sql_database.ts";

const withDatabase = useDatabases();

const time = "2026-07-07 22:58:17.123456";
const trade = (product: string, id: number, batch: string, source = "feed"): Row => [
  product,
  id,
  time,
  "1",
  "1",
  "buy",
  0,
  null,
  null,
  time,
  source,
  "c",
  0,
  id,
  batch,
];

Deno.test("trade_runs: they are loaded as written, joined across batches, without the batch in question, and stay the same when joined for good", async () => {
  await withDatabase(async ({ clickhouse, lists }) => {
    const insert = (batch: string, rows: Row[]) => insertBlock(clickhouse, "trades", rows, `trades/${batch}`);
    const load = async (except = "") => {
      const { stored } = await loadStoredTrades(clickhouse, ["A", "B", "C"], except);
      return Object.fromEntries(
        [...stored].map(([id, { runs }]) => [id, runs.map(({ first, last }) => [first, last])]),
      );
    };

    await insert("b1", [trade("A", 1, "b1"), trade("A", 2, "b1"), trade("B", 9, "b1"), trade("A", 4, "b1")]);
    await insert("b2", [trade("A", 5, "b2"), trade("A", 6, "b2")]);
    await insert("b3", [trade("A", 3, "b3", "backfill"), trade("A", 10, "b3")]);
    // The same block again, as after a crash, changes nothing here either.
    await insert("b2", [trade("A", 5, "b2"), trade("A", 6, "b2")]);
    assert.deepEqual(await load(), { A: [[1, 6], [10, 10]], B: [[9, 9]], C: [] });
    assert.deepEqual(await load("b2"), { A: [[1, 4], [10, 10]], B: [[9, 9]], C: [] });
    assert.deepEqual(await load("b3"), { A: [[1, 2], [4, 6]], B: [[9, 9]], C: [] });

    const gaps = "SELECT * FROM trade_gaps ORDER BY ALL";
    const before = [await load(), await load("b2"), await lists(gaps)];
    assert.deepEqual((before[2] as unknown[][]).map((gap) => gap.slice(0, 3)), [["A", 7, 9]]);
    for (let again = 0; again < 2; again++) {
      await compactTradeRuns(clickhouse, "A", "b2");
      assert.deepEqual([await load(), await load("b2"), await lists(gaps)], before);
    }
    const left = await lists(
      "SELECT first_trade_id, last_trade_id, source, if(startsWith(batch, 'joined/'), 'joined', batch) AS name " +
        "FROM trade_runs WHERE product_id = 'A' ORDER BY ALL",
    );
    assert.deepEqual(left, [
      [1, 4, "joined", "joined"],
      [3, 3, "backfill", "b3"],
      [5, 6, "feed", "b2"],
      [10, 10, "feed", "b3"],
    ]);
    assert.deepEqual(await lists("SELECT count() FROM trade_fills"), [[1]]);

    // More runs than one DELETE names.
    const many = Array.from({ length: 4500 }, (_, index) => 1 + 3 * index);
    await insert("m1", many.map((id) => trade("C", id, "m1")));
    await insert("m2", many.map((id) => trade("C", id + 1, "m2")));
    const counted = "SELECT count(), countIf(source = 'joined') FROM trade_runs WHERE product_id = 'C'";
    assert.deepEqual(await lists(counted), [[9000, 0]]);
    const { C: runs } = await load();
    assert.deepEqual(runs, many.map((id) => [id, id + 1]));
    await compactTradeRuns(clickhouse, "C", "");
    assert.deepEqual(await lists(counted), [[4500, 4500]]);
    assert.deepEqual((await load()).C, runs);
  });
});
