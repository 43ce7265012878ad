/**
 * The views that prove the tape, on rows whose answers are known: trade_gaps, trade_fills, completeness.
 *
 * @module
 */

import assert from "node:assert/strict";
import { useDatabases } from "../support/sql_database.ts";

const withDatabase = useDatabases();

/** Product, trade id, time of the day of 2026-07-07, source. */
type Trade = [product: string, id: number, time: string, source?: string];

Deno.test("completeness: gaps, hours and fills are right inside, across hours, at the tail, in a quiet hour and an unconfirmed one", async () => {
  await withDatabase(async ({ clickhouse, lists }) => {
    const at = (time: string) => `2026-07-07 ${time}.000000`;
    const insert = (batch: string, trades: Trade[]) =>
      clickhouse.insert({
        table: "trades",
        values: trades.map(([product_id, trade_id, time, source = "feed"]) => ({
          product_id,
          trade_id,
          time: at(time),
          price: "1",
          size: "1",
          taker_side: "buy",
          // A filled trade is received an hour after it was made.
          received_at: source === "feed" ? at(time) : at(`${Number(time.slice(0, 2)) + 1}${time.slice(2)}`),
          source,
          batch,
        })),
        format: "JSONEachRow",
      });
    const gaps = () =>
      lists(`SELECT product_id, first_missing, last_missing, missing, formatDateTime(after_time, '%H:%i:%S'),
      formatDateTime(before_time, '%H:%i:%S'), formatDateTime(seen_at, '%H:%i:%S') FROM trade_gaps ORDER BY ALL`);
    const hours = () =>
      lists(
        `SELECT product_id, toHour(hour), trades, expected, round(ratio, 3), open_gaps, filled_gaps, filled_trades,
      status FROM completeness ORDER BY ALL`,
      );

    await insert("b1", [["A", 1, "10:00:01"], ["A", 2, "10:00:02"], ["A", 3, "10:30:00"], [
      "B",
      7,
      "10:30:00",
    ]]);
    await insert("d1", [["D", 120, "10:05:00"]]);
    await insert("b2", [["A", 6, "12:10:00"], ["A", 7, "12:20:00"], ["A", 9, "12:30:00"]]);
    await clickhouse.insert({
      table: "heartbeats",
      values: [
        ["A", 1, "10:00:01"],
        ["A", 11, "14:00:05"],
        ["B", 7, "12:00:05"],
        ["C", 5, "12:00:05"],
        ["D", 100, "10:00:00"],
        ["E", 5, "12:00:05"],
        ["E", 7, "13:00:05"],
      ].map((
        [product_id, id, time],
      ) => ({
        product_id,
        sequence: 1,
        last_trade_id: id,
        time: at(String(time)),
        received_at: at(String(time)),
      })),
      format: "JSONEachRow",
    });

    assert.deepEqual(await gaps(), [
      ["A", 4, 5, 2, "10:30:00", "12:10:00", "12:10:00"],
      ["A", 8, 8, 1, "12:20:00", "12:30:00", "12:30:00"],
      // The heartbeat speaks of trade 11, the newest stored is 9: seen since that came.
      ["A", 10, 11, 2, "12:30:00", "14:00:05", "12:30:00"],
      // Before the first stored trade, and of a product of which none is stored: only heartbeats know.
      ["D", 101, 119, 19, "10:00:00", "10:05:00", "10:05:00"],
      ["E", 6, 7, 2, "12:00:05", "13:00:05", "12:00:05"],
    ]);
    assert.deepEqual(await hours(), [
      ["A", 10, 3, 5, 0.6, 1, 0, 0, "incomplete"],
      ["A", 11, 0, 0, 1, 1, 0, 0, "incomplete"],
      ["A", 12, 3, 6, 0.5, 3, 0, 0, "incomplete"],
      ["A", 13, 0, 0, 1, 1, 0, 0, "incomplete"],
      ["A", 14, 0, 0, 1, 1, 0, 0, "incomplete"],
      ["B", 10, 1, 1, 1, 0, 0, 0, "complete"],
      ["B", 11, 0, 0, 1, 0, 0, 0, "complete"],
      ["B", 12, 0, 0, 1, 0, 0, 0, "unconfirmed"],
      ["C", 12, 0, 0, 1, 0, 0, 0, "unconfirmed"],
      ["D", 10, 1, 20, 0.05, 1, 0, 0, "incomplete"],
      ["E", 12, 0, 2, 0, 1, 0, 0, "incomplete"],
      ["E", 13, 0, 0, 1, 1, 0, 0, "incomplete"],
    ]);

    await insert("b3", [
      ["A", 8, "12:25:00", "backfill"],
      ["A", 4, "11:10:00", "backfill"],
      ["A", 5, "11:10:01", "backfill"],
    ]);
    await insert("b4", [["A", 10, "12:45:00"], ["A", 11, "13:59:59"]]);
    await insert("d2", [["D", 110, "10:02:00", "backfill"]]);
    assert.deepEqual(await gaps(), [
      ["D", 101, 109, 9, "10:00:00", "10:02:00", "11:02:00"],
      ["D", 111, 119, 9, "10:02:00", "10:05:00", "10:05:00"],
      ["E", 6, 7, 2, "12:00:05", "13:00:05", "12:00:05"],
    ]);
    assert.deepEqual(await hours(), [
      ["A", 10, 3, 3, 1, 0, 0, 0, "complete"],
      ["A", 11, 2, 2, 1, 0, 1, 2, "complete"],
      ["A", 12, 5, 5, 1, 0, 1, 1, "complete"],
      ["A", 13, 1, 1, 1, 0, 0, 0, "complete"],
      ["A", 14, 0, 0, 1, 0, 0, 0, "unconfirmed"],
      ["B", 10, 1, 1, 1, 0, 0, 0, "complete"],
      ["B", 11, 0, 0, 1, 0, 0, 0, "complete"],
      ["B", 12, 0, 0, 1, 0, 0, 0, "unconfirmed"],
      ["C", 12, 0, 0, 1, 0, 0, 0, "unconfirmed"],
      ["D", 10, 2, 20, 0.1, 2, 1, 1, "incomplete"],
      ["E", 12, 0, 2, 0, 1, 0, 0, "incomplete"],
      ["E", 13, 0, 0, 1, 1, 0, 0, "incomplete"],
    ]);
    // What REST proved not to have is still missing, and is said to be given up; what was found since isn't.
    await clickhouse.insert({
      table: "trade_gaps_given_up",
      values: [["D", 100, 104], ["D", 109, 111], ["E", 1, 5], ["A", 4, 5]].map((
        [product_id, first, last],
      ) => ({
        product_id,
        first_missing: first,
        last_missing: last,
        reason: "left out",
      })),
      format: "JSONEachRow",
    });
    assert.deepEqual(
      await lists("SELECT product_id, first_missing, last_missing, given_up FROM trade_gaps ORDER BY ALL"),
      [["D", 101, 109, 5], ["D", 111, 119, 1], ["E", 6, 7, 0]],
    );
    assert.deepEqual(
      await lists(
        "SELECT product_id, toHour(hour), given_up FROM completeness WHERE given_up > 0 ORDER BY ALL",
      ),
      [["D", 10, 6]],
    );

    // One odd heartbeat counts until the next: none, or more than there can be, or fewer than before.
    const beat = (product_id: string, last_trade_id: number, time: string) =>
      clickhouse.insert({
        table: "heartbeats",
        values: [{ product_id, sequence: 1, last_trade_id, time: at(time), received_at: at(time) }],
        format: "JSONEachRow",
      });
    const gapsOf = async (product: string) =>
      (await gaps()).filter(([id]) => id === product).map((row) => row.slice(1, 3));
    await insert("g1", [["G", 1000, "10:00:01"], ["G", 1001, "10:00:02"]]);
    await beat("G", 1000, "10:00:01");
    await beat("G", 0, "10:00:00");
    assert.deepEqual(await gapsOf("G"), [], "0 is no beginning");
    await beat("G", 0, "10:00:03");
    assert.deepEqual(await gapsOf("G"), []);
    await beat("G", Number.MAX_SAFE_INTEGER, "10:00:04");
    assert.deepEqual(await gapsOf("G"), [[1002, Number.MAX_SAFE_INTEGER]]);
    await beat("G", 1003, "10:00:05");
    assert.deepEqual(await gapsOf("G"), [[1002, 1003]]);
    await beat("G", 7, "10:00:06");
    assert.deepEqual(await gapsOf("G"), [], "the ids begin again: neither the beginning nor the tail moves");

    // The heartbeat knows of a trade that isn't here, and is older than the newest that is: clocks differ.
    await insert("f1", [["F", 1, "10:00:00"], ["F", 2, "15:00:00"]]);
    await clickhouse.insert({
      table: "heartbeats",
      values: [{
        product_id: "F",
        sequence: 1,
        last_trade_id: 4,
        time: at("12:00:00"),
        received_at: at("12:00:00"),
      }],
      format: "JSONEachRow",
    });
    assert.deepEqual((await gaps()).filter(([product]) => product === "F"), [
      ["F", 3, 4, 2, "15:00:00", "12:00:00", "12:00:00"],
    ]);
    assert.deepEqual((await hours()).filter(([product]) => product === "F").at(-1), [
      ...["F", 15, 1, 3, 0.333, 1, 0, 0, "incomplete"],
    ]);
    assert.deepEqual(
      await lists(
        "SELECT first_trade_id, last_trade_id, trades, source, seconds_to_fill FROM trade_fills ORDER BY ALL",
      ),
      [[4, 5, 2, "backfill", 3601], [8, 8, 1, "backfill", 3600], [110, 110, 1, "backfill", 3600]],
    );
  });
});
