/**
 * How long rows are kept and where they lie, on the embedded ClickHouse with a second disk.
 *
 * @module
 */

import assert from "node:assert/strict";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { planRetention, setRetention } from "../../lib/clickhouse/retention.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { startConfiguredClickHouse } from "../support/configured_clickhouse.ts";
import { rows } from "../../lib/clickhouse/rows.ts";
import { until } from "../support/until.ts";

const disks = `<storage_configuration>
  <disks><colddisk><type>local</type><path>HOME/cold/</path></colddisk></disks>
  <policies><tiered><volumes>
    <default><disk>default</disk></default>
    <cold><disk>colddisk</disk></cold>
  </volumes></tiered></policies>
</storage_configuration>`;

Deno.test("retention: old book changes go and all else stays; a changed value is applied; cold parts move", async (t) => {
  const server = await startConfiguredClickHouse(disks);
  const config = configOf({ ...server.env, CLICKHOUSE_DATABASE: "kept" });
  const clickhouse = openClickHouse(config);
  /** How many days ago the rows of a table were, and on which disk they lie. */
  const ages = async (table: string) =>
    (await rows<{ age: number }>(
      clickhouse,
      `SELECT DISTINCT dateDiff('day', toDate(time), today()) AS age FROM ${table} ORDER BY age`,
    )).map(({ age }) => age);
  /** How old the trades are that have their order ids. */
  const withIds = async () =>
    (await rows<{ age: number }>(
      clickhouse,
      `SELECT dateDiff('day', toDate(time), today()) AS age FROM trades
       WHERE maker_order_id IS NOT NULL AND taker_order_id IS NOT NULL ORDER BY age`,
    )).map(({ age }) => age);
  const disksOf = async (table: string) =>
    (await rows<{ disk: string }>(
      clickhouse,
      `SELECT DISTINCT disk_name AS disk FROM system.parts
       WHERE database = 'kept' AND table = '${table}' AND active AND rows > 0 ORDER BY disk`,
    )).map(({ disk }) => disk);
  const same = async (table: string, expected: number[]) => {
    const found = await ages(table);
    return found.length === expected.length && found.every((age, i) => age === expected[i]);
  };

  try {
    await migrate(config, () => {});
    // At noon, so that a test at midnight counts the same days.
    const at = "toDateTime64(today(), 6, 'UTC') + toIntervalHour(12) - toIntervalDay(number)";
    const days = "FROM numbers(70) WHERE number IN (1, 10, 29, 45, 62)";
    const old = [1, 10, 29, 45, 62];
    await clickhouse.command({
      query:
        `INSERT INTO book_changes (product_id, time, side, price, size, is_snapshot, received_at, kafka_offset)
              SELECT 'BTC-USD', ${at}, 'bid', 1, 1, true, ${at}, number ${days}`,
    });
    await clickhouse.command({
      query:
        `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, maker_order_id, taker_order_id)
              SELECT 'BTC-USD', number, ${at}, 1, 1, 'buy', generateUUIDv4(), generateUUIDv4(1) ${days}`,
    });
    assert.deepEqual(await ages("book_changes"), old);

    await t.step("what differs is told, and nothing is set by telling", async () => {
      const plan = await planRetention(clickhouse, "kept", config);
      assert.deepEqual(plan.map(({ table, change }) => [table, change]), [
        ["book_changes", "old rows go by whole parts, rows are deleted after 31 days"],
        ["book_levels", "old rows go by whole parts, rows are deleted after 31 days"],
        ["book_snapshots", "rows are deleted after 30 days"],
        [
          "trades",
          "maker_order_id goes with its month, 30 days later, taker_order_id goes with its month, 30 days later",
        ],
      ]);
      assert.equal((await planRetention(clickhouse, "kept", config)).length, 4);
    });

    await t.step("book changes of more than 30 days go, with their states and snapshots", async () => {
      await setRetention(clickhouse, "kept", config);
      for (const table of ["book_changes", "book_levels", "book_snapshots"]) {
        await until(`${table} keeps old rows`, () => same(table, [1, 10, 29]));
      }
      assert.deepEqual(await ages("trades"), old);
      // A month is over, and then 30 days: at least those of 29 days still have theirs, those of 62 don't.
      await until("old order ids stay", async () => (await withIds()).every((age) => age < 62));
      assert.deepEqual((await withIds()).filter((age) => age < 30), [1, 10, 29]);
      assert.deepEqual(
        await rows(clickhouse, "SELECT * FROM book_epochs WHERE valid_from < now() - INTERVAL 30 DAY"),
        [],
      );
      assert.deepEqual(await setRetention(clickhouse, "kept", config), []);
    });

    await t.step("a changed value is applied to what is stored, and 0 keeps everything", async () => {
      const week = { ...config, CLICKHOUSE_BOOK_DAYS: 7 };
      assert.equal((await setRetention(clickhouse, "kept", week)).length, 3);
      await until("book_changes keeps old rows", () => same("book_changes", [1]));
      const never = { ...config, CLICKHOUSE_BOOK_DAYS: 0, CLICKHOUSE_ORDER_ID_DAYS: 0 };
      const forever = await setRetention(clickhouse, "kept", never);
      assert.deepEqual(
        new Set(forever.map(({ change }) => change)),
        new Set(["rows stay for ever", "maker_order_id stays for ever, taker_order_id stays for ever"]),
      );
      assert.deepEqual(await setRetention(clickhouse, "kept", never), []);
      // What backfill remembers of its questions is no part of the tape.
      assert.deepEqual(
        await rows(clickhouse, "SELECT name FROM system.tables WHERE engine_full LIKE '% TTL %'"),
        [{ name: "trade_gap_asks" }],
      );
    });

    await t.step("parts move to the cold volume after their days, and are read as before", async () => {
      const tiered = {
        ...config,
        CLICKHOUSE_STORAGE_POLICY: "tiered",
        CLICKHOUSE_COLD_AFTER_DAYS: 7,
      };
      assert.deepEqual(await disksOf("trades"), ["default"]);
      await setRetention(clickhouse, "kept", tiered);
      await until("old trades stay hot", async () => (await disksOf("trades")).includes("colddisk"));
      assert.deepEqual(await ages("trades"), old);
      assert.deepEqual(await setRetention(clickhouse, "kept", tiered), []);
      await clickhouse.command({
        query: `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side)
                SELECT 'BTC-USD', 100, ${at}, 1, 1, 'buy' FROM numbers(1)`,
      });
      assert.equal((await ages("trades")).length, 6);
    });

    await t.step("a policy that isn't there, or isn't needed, is refused in one line", async () => {
      await assert.rejects(
        planRetention(clickhouse, "kept", { ...config, CLICKHOUSE_STORAGE_POLICY: "nothing" }),
        {
          name: "FatalError",
          message:
            "CLICKHOUSE_STORAGE_POLICY=nothing: the server knows no such policy. See deploy/cluster/storage.xml.",
        },
      );
      await assert.rejects(
        planRetention(clickhouse, "kept", { ...config, CLICKHOUSE_STORAGE_POLICY: "default" }),
        /its volumes default, and none of them is cold/,
      );
    });
  } finally {
    await clickhouse.close();
    await server.stop();
  }
});
