/**
 * Rule 3 against real ClickHouse: what `trade_runs` says is stored, and how its rows are joined.
 *
 * @module
 */

import assert from "node:assert/strict";
import { freePort } from "../embedded/ports.ts";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { readConfig, type Variable, variables } from "../lib/config.ts";
import { migrate } from "../lib/migrations.ts";
import type { Row } from "../lib/rows.ts";
import { joinStoredTrades, loadStoredTrades } from "../lib/trade_runs.ts";
import { insertBlock, openWarehouse } from "../lib/warehouse.ts";

const time = "2026-07-07 22:58:17.123456";
const trade = (product: string, id: number, batch: string, source = "feed"): Row => [
  product,
  id,
  time,
  "1",
  "1",
  "buy",
  0,
  "",
  "",
  time,
  source,
  "c",
  0,
  id,
  batch,
];

Deno.test("runs are loaded as written, joined across batches, without the batch in question, and stay the same when joined for good", async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const server = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const config = {
    ...readConfig(Object.keys(variables) as Variable[], () => undefined),
    CLICKHOUSE_URL: server.url,
    CLICKHOUSE_DATABASE: "runs",
  };
  const warehouse = openWarehouse(config);
  const insert = (batch: string, rows: Row[]) => insertBlock(warehouse, "trades", rows, `trades/${batch}`);
  const load = async (except = "") => {
    const { stored } = await loadStoredTrades(warehouse, ["A", "B", "C"], except);
    return Object.fromEntries(
      [...stored].map(([id, { runs }]) => [id, runs.map(({ first, last }) => [first, last])]),
    );
  };
  const rows = async (query: string) =>
    await (await warehouse.query({ query, format: "JSONCompactEachRow" })).json<unknown[]>();
  try {
    await migrate(config, () => {});
    await insert("b1", [trade("A", 1, "b1"), trade("A", 2, "b1"), trade("B", 9, "b1"), trade("A", 4, "b1")]);
    await insert("b2", [trade("A", 5, "b2"), trade("A", 6, "b2")]);
    await insert("b3", [trade("A", 3, "b3", "backfill"), trade("A", 10, "b3")]);
    // The same block again, as after a crash, changes nothing here either.
    await insert("b2", [trade("A", 5, "b2"), trade("A", 6, "b2")]);
    assert.deepEqual(await load(), { A: [[1, 6], [10, 10]], B: [[9, 9]], C: [] });
    assert.deepEqual(await load("b2"), { A: [[1, 4], [10, 10]], B: [[9, 9]], C: [] });
    assert.deepEqual(await load("b3"), { A: [[1, 2], [4, 6]], B: [[9, 9]], C: [] });

    const gaps = "SELECT * FROM trade_gaps ORDER BY ALL";
    const before = [await load(), await load("b2"), await rows(gaps)];
    assert.deepEqual((before[2] as unknown[][]).map((gap) => gap.slice(0, 3)), [["A", 7, 9]]);
    for (let again = 0; again < 2; again++) {
      await joinStoredTrades(warehouse, "A", "b2");
      assert.deepEqual([await load(), await load("b2"), await rows(gaps)], before);
    }
    const left = await rows(
      "SELECT first_trade_id, last_trade_id, source, if(startsWith(batch, 'joined/'), 'joined', batch) AS name " +
        "FROM trade_runs WHERE product_id = 'A' ORDER BY ALL",
    );
    assert.deepEqual(left, [
      [1, 4, "joined", "joined"],
      [3, 3, "backfill", "b3"],
      [5, 6, "feed", "b2"],
      [10, 10, "joined", "joined"],
    ]);
    assert.deepEqual(await rows("SELECT count() FROM trade_fills"), [[1]]);
  } finally {
    await warehouse.close();
    await server.stop();
    await Deno.remove(home, { recursive: true });
  }
});
