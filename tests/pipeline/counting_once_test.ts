/**
 * Counting once without a clock: what ClickHouse remembers of a block may be gone, its tables may disagree, and a batch
 * may come again under any name. Storage against a real ClickHouse, without Kafka.
 *
 * @module
 */

import { type ClickHouseClient, createClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { readDigests } from "../../lib/clickhouse/digest.ts";
import { reconcile, type Repair } from "../../lib/ingest/reconcile.ts";
import { emptyRows, type Row, type Rows, tradeKey } from "../../lib/ingest/rows.ts";
import { BatchWriter, type BatchWriterEvents, lateInsertMs } from "../../lib/ingest/batch_writer.ts";
import { hoursOf } from "../../lib/ingest/table_agreement.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { takeDatabase } from "../support/databases.ts";
import { startClickHouseProxy } from "../support/clickhouse_proxy.ts";
import { simulatedTape } from "../support/simulated_tape.ts";
import { tuples } from "../../lib/clickhouse/rows.ts";

const signal = new AbortController().signal;
const stamp = (offset: number, second = 0): Row => [
  `2026-07-07 12:00:${String(second).padStart(2, "0")}.000000`,
  "feed",
  "p-1",
  0,
  offset,
];
const trade = (id: number, offset: number, second = 0, product = "BTC-USD"): Row => [
  product,
  id,
  `2026-07-07 11:59:${String(second).padStart(2, "0")}.500000`,
  "100.5",
  "0.25",
  "buy",
  0,
  null,
  null,
  ...stamp(offset, second),
];
const heartbeat = (id: number, offset: number, second = 0): Row => [
  "BTC-USD",
  `2026-07-07 11:59:${String(second).padStart(2, "0")}.900000`,
  7,
  id,
  ...stamp(offset, second),
];
const change = (offset: number, position: number, second = 0): Row => [
  "BTC-USD",
  `2026-07-07 11:59:${String(second).padStart(2, "0")}.700000`,
  "bid",
  `${100 + position}`,
  "1",
  position === 0,
  position,
  ...stamp(offset, second),
];
const product = (offset: number): Row => [
  ...[
    "BTC-USD",
    "BTC",
    "USD",
    "0.00000001",
    "0.01",
    "1",
    "online",
    "",
    "BTC/USD",
    false,
    false,
    false,
    false,
  ],
  ...stamp(offset, 5),
];
const rowsOf = (rows: Partial<Rows>): Rows => ({ ...emptyRows(), ...rows });

let clickhouse: Awaited<ReturnType<typeof startClickHouse>>;
let home: string;
Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  clickhouse = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
});
Deno.test.afterAll(async () => {
  await clickhouse.stop();
  await Deno.remove(home, { recursive: true });
});

interface Database {
  client: ClickHouseClient;
  /** The first value of a query. */
  value(query: string): Promise<string>;
  /** A writer over another address. */
  open(events?: Partial<BatchWriterEvents>, url?: string, compactAfter?: number): BatchWriter;
  errors: string[];
}

async function withDatabase(body: (database: Database) => Promise<void>): Promise<void> {
  const given = await takeDatabase(clickhouse.env);
  const env: Record<string, string> = { ...clickhouse.env, CLICKHOUSE_DATABASE: given.name };
  const config = configOf(env);
  const client = openClickHouse(config);
  const others: ClickHouseClient[] = [];
  const errors: string[] = [];
  try {
    await body({
      client,
      errors,
      async value(query) {
        return String((await tuples(client, query))[0]?.[0]);
      },
      open(events = {}, url = clickhouse.url, compactAfter) {
        const other = openClickHouse({ ...config, CLICKHOUSE_URL: url });
        others.push(other);
        return new BatchWriter(other, {
          onError: (what, error) =>
            void errors.push(`${what}: ${error instanceof Error ? error.message : error}`),
          ...events,
        }, compactAfter);
      },
    });
  } finally {
    for (const one of [client, ...others]) await one.close();
    await given.giveBack();
  }
}

const counts = (value: Database["value"]) =>
  Promise.all([
    value("SELECT count() FROM trades"),
    value("SELECT sum(trades) FROM candles_1m"),
    value("SELECT sum(last_trade_id - first_trade_id + 1) FROM trade_runs"),
    value("SELECT count() FROM heartbeats"),
    value("SELECT count() FROM book_changes"),
  ]);

Deno.test("writer: a batch whose answer was lost is written once, though ClickHouse has forgotten its token since", () =>
  withDatabase(async ({ client, value, open }) => {
    for (const table of ["trades", "heartbeats", "book_changes", "trade_runs", "candle_states"]) {
      await client.command({
        query: `ALTER TABLE ${table} MODIFY SETTING non_replicated_deduplication_window = 3`,
      });
    }
    const proxy = startClickHouseProxy(() => clickhouse.url);
    try {
      let inserts = 0;
      let isForgotten = false;
      const answersLost = Promise.withResolvers<void>();
      proxy.onInsert = () => {
        if (++inserts === 3) answersLost.resolve();
        return inserts <= 3
          ? "lose answer"
          : isForgotten
          ? "pass"
          : { status: 500, body: "Code: 1000. DB::Exception: broken. (POCO_EXCEPTION)\n" };
      };
      const writer = open({}, proxy.url);
      const rows = rowsOf({
        trades: [trade(1, 0), trade(2, 1), trade(3, 2)],
        heartbeats: [heartbeat(3, 3)],
        book_changes: [change(4, 0), change(4, 1)],
      });
      const written = writer.write(rows, { name: "g/t/0/a/0-4", mayBeStored: false, signal });
      await answersLost.promise;
      // Another consumer goes on meanwhile: many blocks more than the window.
      for (let block = 0; block < 8; block++) {
        await insertBlock(
          client,
          "trades",
          [[...trade(1000 + block, 900 + block, 0, "X"), "x"]],
          `x${block}`,
        );
        await insertBlock(client, "heartbeats", [["X", ...heartbeat(1, 900 + block).slice(1)]], `x${block}`);
        await insertBlock(client, "book_changes", [["X", ...change(900 + block, 0).slice(1)]], `x${block}`);
      }
      isForgotten = true;
      await written;
      const own = "product_id = 'BTC-USD'";
      assert.equal(await value(`SELECT count() FROM trades WHERE ${own}`), "3");
      assert.equal(await value(`SELECT sum(trades) FROM candles_1d WHERE ${own}`), "3");
      assert.equal(await value(`SELECT count() FROM heartbeats WHERE ${own}`), "1");
      assert.equal(await value(`SELECT count() FROM book_changes WHERE ${own}`), "2");
    } finally {
      await proxy.stop();
    }
  }));

Deno.test("writer: a batch of another log under the same offsets is another batch", () =>
  withDatabase(async ({ value, open }) => {
    const writer = open();
    const write = (id: number, log: string, second: number) =>
      writer.write(
        rowsOf({ trades: [trade(id, 0, second)], heartbeats: [heartbeat(id, 0, second)] }),
        { name: `g/t/0/${log}/0-0`, mayBeStored: log !== "a", signal },
      );
    await write(100, "a", 1);
    assert.deepEqual((await write(200, "b", 2)).missing, 2);
    assert.deepEqual(await counts(value), ["2", "2", "2", "2", "0"]);
    // And once more, as after a crash.
    const again = await write(200, "b", 2);
    assert.deepEqual([again.missing, again.repeatedTrades, again.rows], [0, 1, {}]);
    assert.deepEqual(await counts(value), ["2", "2", "2", "2", "0"]);
  }));

Deno.test("writer: a batch that comes again under any name and cut differently adds only what is missing", () =>
  withDatabase(async ({ client, value, open }) => {
    const all = rowsOf({
      trades: [1, 2, 3, 4, 5].map((id) => trade(id, id, id)),
      heartbeats: [1, 2, 3].map((id) => heartbeat(id, 10 + id, id)),
      book_changes: [change(20, 0), change(20, 1), change(21, 1, 3)],
      rejected: [["no JSON", btoa("{"), "t", ...stamp(30, 4)]],
      feed_events: [["2026-07-07 12:00:01.000000", "connected", "", "", "", "", ...stamp(31, 1)]],
      products_state: [product(32)],
    });
    const writer = open();
    await writer.write(all, { name: "g/t/0/a/0-31", mayBeStored: false, signal });
    await client.command({ query: "DELETE FROM heartbeats WHERE kafka_offset = 12" });
    await client.command({ query: "DELETE FROM book_changes WHERE kafka_offset = 21" });
    await client.command({ query: "DELETE FROM rejected WHERE kafka_offset = 30" });
    const written = await open().write(all, { name: "g2/t/0/b/0-40", mayBeStored: true, signal });
    assert.equal(written.missing, 3);
    assert.deepEqual(await counts(value), ["5", "5", "5", "3", "3"]);
    for (const table of ["rejected", "feed_events"]) {
      assert.equal(await value(`SELECT count() FROM ${table}`), "1");
    }
    assert.equal((await open().write(all, { name: "again", mayBeStored: true, signal })).missing, 0);
    assert.equal(await value("SELECT count() FROM products"), "1");
  }));

Deno.test("writer: rows that ClickHouse confirmed under a token that it remembers, and lost, are written all the same", () =>
  withDatabase(async ({ client, value, open, errors }) => {
    const rows = rowsOf({ heartbeats: [heartbeat(1, 0)] });
    await open().write(rows, { name: "g/t/0/a/0-0", mayBeStored: false, signal });
    // As after a power cut: the part is gone, the token is on disk.
    await client.command({ query: "DELETE FROM heartbeats WHERE true" });
    await insertBlock(client, "heartbeats", rows.heartbeats, "heartbeats/g/t/0/a/0-0");
    const dropped = await value("SELECT count() FROM heartbeats");
    const { missing } = await open().write(rows, { name: "g/t/0/a/0-0", mayBeStored: true, signal });
    assert.deepEqual([dropped, missing, await value("SELECT count() FROM heartbeats")], ["0", 1, "1"]);
    assert.match(errors[0] ?? "", /confirmed 1 rows of heartbeats and lacks 1 of them/);
  }));

Deno.test("writer: nothing is compared while ClickHouse still executes an insert of the partition, be it a dead consumer's", () =>
  withDatabase(async ({ value, open, errors }) => {
    const proxy = startClickHouseProxy(() => clickhouse.url);
    try {
      // The embedded server does one thing at a time, so its list never has one: the proxy says it.
      let isRunning = true;
      const asked: string[] = [];
      const twice = Promise.withResolvers<void>();
      proxy.onQuestion = (statement) => {
        if (statement.includes("system.processes")) {
          asked.push(isRunning ? "running" : "ended");
          if (asked.length === 2) twice.resolve();
          // At first it doesn't say.
          return isRunning ? { status: 200, body: asked.length === 1 ? "" : "[1]\n" } : "pass";
        }
        if (/FROM trades\b/.test(statement)) asked.push("trades");
        return "pass";
      };
      const names: (string | null)[] = [];
      proxy.onInsert = (_, name) => {
        names.push(name);
        return "pass";
      };
      const writer = open({}, proxy.url);
      // What is stored is executed under a name that others know.
      const beat = rowsOf({ heartbeats: [heartbeat(1, 9)] });
      await writer.write(beat, { name: "g/t/0/a/9-9", mayBeStored: false, signal });
      assert.deepEqual(names, ["heartbeats/g/t/0/a/9-9"]);
      const rows = rowsOf({ trades: [trade(1, 0), trade(2, 1)] });
      const written = writer.write(rows, { name: "g/t/0/a/0-1", mayBeStored: true, signal });
      await Promise.race([twice.promise, written]);
      assert.deepEqual(asked, ["running", "running"]);
      await open().write(rows, { name: "g/t/0/a/0-1", mayBeStored: false, signal });
      isRunning = false;
      assert.equal((await written).missing, 0);
      assert.deepEqual((await counts(value)).slice(0, 3), ["2", "2", "2"]);
      assert.match(errors[0] ?? "", /ClickHouse doesn't say which inserts it executes/);
      assert.match(errors[1] ?? "", /ClickHouse still executes an earlier insert into trades/);
    } finally {
      await proxy.stop();
    }
  }));

Deno.test("consumer: a torn insert of another one, trades without their candles, is made whole when the batch comes again", () =>
  withDatabase(async ({ client, value, open }) => {
    const writer = open();
    await writer.write(rowsOf({ trades: [trade(1, 0, 1)] }), {
      name: "g/t/0/a/0-0",
      mayBeStored: false,
      signal,
    });
    // The product was compared. Then its partition was another's for a while, whose insert ended between two tables.
    const rows = rowsOf({ trades: [trade(2, 1, 2), trade(3, 2, 3)] });
    const batch = { name: "g/t/0/a/1-2", signal };
    await open().write(rows, { ...batch, mayBeStored: false });
    await client.command({
      query: "DELETE FROM candle_states WHERE interval = '1s' AND time > '2026-07-07 11:59:01'",
    });
    assert.equal(await value("SELECT sum(trades) FROM candles_1s"), "1");
    assert.equal((await writer.write(rows, { ...batch, mayBeStored: true })).missing, 0);
    for (const view of ["candles_1s", "candles_1m", "candles_1h", "candles_1d"]) {
      assert.equal(await value(`SELECT sum(trades) FROM ${view}`), "3", view);
    }
  }));

Deno.test("writer: an insert that slept on its way until its token was forgotten is found out and taken back", () =>
  withDatabase(async ({ client, value, open }) => {
    const rows = rowsOf({ trades: [trade(1, 0), trade(2, 1)], heartbeats: [heartbeat(2, 2)] });
    const late: [string, number][] = [];
    const realNow = Date.now;
    // The process is stopped between the question whether the batch is ours and the insert; another one writes the batch.
    let sleep: Promise<void> | undefined;
    const assertOwned = () =>
      sleep ??= (async () => {
        await open().write(rows, { name: "other", mayBeStored: true, signal });
        // The clock is wound on once the inserts have begun.
        setTimeout(() => Date.now = () => realNow() + lateInsertMs + 1000, 0);
      })();
    try {
      await open({ onLateInsert: (table, _, removed) => void late.push([table, removed]) })
        .write(rows, { name: "own", mayBeStored: false, signal, assertOwned });
    } finally {
      Date.now = realNow;
    }
    assert.deepEqual(late.toSorted(), [["heartbeats", 1], ["trades", 2]]);
    assert.equal(await value("SELECT count() FROM heartbeats"), "1");
    assert.equal(await value("SELECT count() FROM trades"), "2");
    await reconcile(client, [{ product: "BTC-USD", from: 0 }]);
    assert.deepEqual((await counts(value)).slice(0, 3), ["2", "2", "2"]);
  }));

Deno.test("writer: an exchange that numbers a product anew is told apart from repeats, and nothing is thrown away", () =>
  withDatabase(async ({ value, open }) => {
    const writer = open();
    const write = (trades: Row[], offset: number) =>
      writer.write(rowsOf({ trades }), {
        name: `g/t/0/a/${offset}-${offset}`,
        mayBeStored: false,
        topic: "t",
        signal,
      });
    await write([trade(1, 0, 1), trade(2, 1, 2), trade(900, 2, 3)], 0);
    // The same again, from another connection: a repeat, even of the newest.
    assert.deepEqual(await write([trade(1, 3, 1), trade(900, 4, 3)], 3), {
      rows: {},
      repeatedTrades: 2,
      reusedNumbers: 0,
      missing: 0,
    });
    // A quiet product: two producers tell one trade, both in one batch, long after the last.
    const both = await write([
      trade(901, 5).with(2, "2026-07-08 12:00:00.000000"),
      trade(901, 6).with(2, "2026-07-08 12:00:00.000000"),
    ], 5);
    assert.deepEqual([both.rows, both.repeatedTrades, both.reusedNumbers], [{ trades: 1 }, 1, 0]);
    // Weeks later ids begin again.
    const later = (id: number, offset: number): Row =>
      trade(id, offset).with(2, "2026-08-01 00:00:00.000000");
    const { rows, repeatedTrades, reusedNumbers } = await write([later(1, 7), later(2, 8), later(902, 9)], 7);
    assert.deepEqual([rows, repeatedTrades, reusedNumbers], [{ trades: 1, rejected: 2 }, 0, 2]);
    assert.equal(await value("SELECT count() FROM trades"), "5");
    assert.equal(
      await value("SELECT min(JSONExtractString(raw, 'time')) FROM rejected"),
      "2026-08-01 00:00:00.000000",
    );
    assert.equal(
      await value("SELECT count() FROM rejected WHERE reason LIKE 'trade % of BTC-USD is stored, %'"),
      "2",
    );
  }));

Deno.test("writer: a renumbered trade of a batch that comes again is in rejected, once", () =>
  withDatabase(async ({ value, open }) => {
    const batch = (mayBeStored: boolean) => ({ name: "g/t/0/a/2-3", mayBeStored, topic: "t", signal });
    await open().write(rowsOf({ trades: [trade(1, 0), trade(2, 1)] }), {
      name: "g/t/0/a/0-1",
      mayBeStored: false,
      signal,
    });
    const rows = rowsOf({
      trades: [trade(1, 2).with(2, "2026-08-01 00:00:00.000000"), trade(2, 3)],
    });
    // The process died before any of it landed.
    const first = await open().write(rows, batch(true));
    assert.deepEqual([first.rows, first.reusedNumbers, first.repeatedTrades], [{ rejected: 1 }, 1, 1]);
    const again = await open().write(rows, batch(true));
    assert.deepEqual([again.rows, again.reusedNumbers, again.repeatedTrades], [{}, 1, 1]);
    assert.equal(await value("SELECT count() FROM rejected"), "1");
    assert.equal(await value("SELECT count() FROM trades"), "2");
  }));

/** What a power cut can take: the newest part of each, in all combinations. */
const derived = ["trades", "trade_runs", "candle_states"];
const combinations = derived.reduce<string[][]>((found, table) => [
  ...found,
  ...found.map((lost) => [...lost, table]),
], [[]]).filter((lost) => lost.length > 0);

Deno.test("consumer: after a torn insert or a power cut trades, trade_runs and candles agree again, and the topic makes them whole", () =>
  withDatabase(async ({ client, value, open }) => {
    const tape = simulatedTape({
      products: ["BTC-USD"],
      rate: 1,
      from: Date.UTC(2026, 6, 7, 23) * 1000,
      hours: 2,
      bookMinutes: 0,
    });
    const trades = tape.trades.map((row) => row.slice(0, -1));
    const half = Math.floor(trades.length / 2);
    const batches = [trades.slice(0, half), trades.slice(half)];
    // Two batches, so two parts of each table: nothing is merged.
    for (const table of derived) {
      await client.command({
        query: `ALTER TABLE ${table} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1`,
      });
    }
    const writeAll = async (mayBeStored: boolean, events: Partial<BatchWriterEvents> = {}) => {
      const writer = open(events);
      const found = [];
      for (const [index, rows] of batches.entries()) {
        found.push(await writer.write(rowsOf({ trades: rows }), { name: `b${index}`, mayBeStored, signal }));
      }
      return found;
    };
    await writeAll(false);
    const whole = await readDigests(client);
    const runs = await value("SELECT sum(last_trade_id - first_trade_id + 1) FROM trade_runs");
    assert.equal(Number(runs), trades.length);

    for (const lost of combinations) {
      for (const table of lost) {
        const part = await value(`SELECT name FROM system.parts WHERE database = currentDatabase() AND active
          AND table = '${table}' ORDER BY max_block_number DESC LIMIT 1`);
        await client.command({ query: `ALTER TABLE ${table} DROP PART '${part}'` });
      }
      const repairs: Repair[] = [];
      await writeAll(true, { onRepair: (repair) => void repairs.push(repair) });
      assert.deepEqual(await readDigests(client), whole, `after losing ${lost.join(", ")}`);
      assert.equal(
        await value("SELECT sum(last_trade_id - first_trade_id + 1) FROM trade_runs"),
        runs,
        `runs after losing ${lost.join(", ")}`,
      );
      assert.ok(
        lost.length === derived.length || repairs.length > 0,
        `no repair after losing ${lost.join(", ")}`,
      );
      assert.deepEqual(await reconcile(client, [{ product: "BTC-USD", from: 0 }]), []);
    }
  }));

Deno.test("reconcile: of fifty products those that disagree are found by a few statements, and they alone are mended", () =>
  withDatabase(async ({ client, value, open }) => {
    const products = Array.from({ length: 50 }, (_, at) => `P${at}-USD`);
    const trades = products.flatMap((product, at) => [
      trade(1, 3 * at, 0, product),
      trade(2, 3 * at + 1, 1, product),
      // A gap, and hours later: each product has two spans.
      trade(9, 3 * at + 2, 0, product).with(2, "2026-07-07 20:00:00.000000"),
    ]);
    await open().write(rowsOf({ trades }), { name: "g/t/0/a/0-149", mayBeStored: false, signal });
    const spans = hoursOf(trades.map(tradeKey));
    assert.equal(spans.length, 100);
    let statements = 0;
    const counted: typeof client = Object.create(client, {
      query: {
        value: (...args: Parameters<typeof client.query>) => (statements++, client.query(...args)),
      },
    });
    assert.deepEqual(await reconcile(counted, spans), []);
    assert.ok(statements <= 20, `${statements} statements`);

    await client.command({
      query:
        "DELETE FROM candle_states WHERE interval = '1h' AND product_id = 'P7-USD' AND time < '2026-07-07 15:00:00'",
    });
    await client.command({
      query: "DELETE FROM trade_runs WHERE product_id = 'P30-USD' AND first_trade_id = 9",
    });
    await client.command({
      query:
        "INSERT INTO trade_runs SELECT * FROM trade_runs WHERE product_id = 'P41-USD' AND first_trade_id = 1",
    });
    await client.command({ query: "DELETE FROM trades WHERE product_id = 'P49-USD' AND trade_id = 2" });
    await client.command({
      query:
        "INSERT INTO trades SELECT * REPLACE (kafka_offset + 1 AS kafka_offset) FROM trades WHERE product_id = 'P35-USD' AND trade_id = 9",
      clickhouse_settings: { insert_deduplicate: 0 },
    });
    const repairs = await reconcile(client, spans);
    const mended = (product: string) => repairs.filter((repair) => repair.product === product);
    assert.deepEqual(
      [...new Set(repairs.map(({ product }) => product))],
      ["P7-USD", "P30-USD", "P35-USD", "P41-USD", "P49-USD"],
    );
    assert.deepEqual(mended("P7-USD").map(({ candles }) => candles["1h"]), [1]);
    assert.deepEqual(mended("P30-USD").map(({ unclaimed }) => unclaimed), [1]);
    assert.deepEqual(mended("P35-USD").map(({ doubled }) => doubled), [1]);
    assert.deepEqual(mended("P41-USD").map(({ overlapping }) => overlapping), [2]);
    assert.deepEqual(mended("P49-USD").map(({ claimed }) => claimed), [1]);
    assert.deepEqual(await reconcile(client, spans), []);
    assert.equal(await value("SELECT count() FROM trades"), "149");
    for (const view of ["candles_1s", "candles_1m", "candles_1h", "candles_1d"]) {
      assert.equal(await value(`SELECT sum(trades) FROM ${view}`), "149", view);
    }
  }));

Deno.test("reconcile: a table that a killed repair left behind goes with the next look, another product's stays", () =>
  withDatabase(async ({ client, value, open }) => {
    const trades = [trade(1, 0), trade(2, 1), trade(3, 2, 0, "ETH-USD")];
    await open().write(rowsOf({ trades }), { name: "g/t/0/a/0-2", mayBeStored: false, signal });
    const left = () =>
      value("SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'repair_%'");
    // Killed when the table is there; or when it is filled, and its place in the candles is empty.
    for (const [product, done] of [["BTC-USD", 3], ["ETH-USD", 1]] as const) {
      await client.command({
        query: `DELETE FROM candle_states WHERE interval = '1s' AND product_id = '${product}'`,
      });
      // The statement that drops the table isn't sent either.
      let statements = 0;
      const assertOwned = () => ++statements > done ? Promise.reject(new Error("killed")) : Promise.resolve();
      await assert.rejects(reconcile(client, [{ product, from: 0 }], { assertOwned }), /killed/);
    }
    assert.equal(await left(), "2");
    assert.equal(await value("SELECT count() FROM candles_1s WHERE product_id = 'BTC-USD'"), "0");
    // The next look is at newer hours.
    await reconcile(client, [{ product: "BTC-USD", from: Date.UTC(2026, 6, 9) * 1000 }]);
    assert.equal(await value("SELECT sum(trades) FROM candles_1s WHERE product_id = 'BTC-USD'"), "2");
    assert.equal(await left(), "1");
    await reconcile(client, [{ product: "ETH-USD", from: 0 }]);
    assert.equal(await left(), "0");
    assert.deepEqual((await counts(value)).slice(0, 3), ["3", "3", "3"]);
  }));

Deno.test("writer: a partition that goes to another consumer and comes back counts no trade again that the other has stored", () =>
  withDatabase(async ({ value, open, errors }) => {
    const rowsOf = (first: number, last: number): Rows => {
      const rows = emptyRows();
      for (let id = first; id <= last; id++) rows.trades.push(trade(id, id));
      return rows;
    };
    const batch = (name: string) => ({ name, mayBeStored: false, signal });
    const [mine, others] = [open(), open()];
    await mine.write(rowsOf(1, 10), batch("log/0-9"));
    others.invalidate();
    await others.write(rowsOf(11, 20), batch("log/10-19"));
    // Back again: the feed repeats trades that only the other one has seen.
    mine.invalidate();
    const written = await mine.write(rowsOf(5, 25), batch("log/20-40"));
    assert.equal(written.repeatedTrades, 16);
    assert.equal(await value("SELECT count() FROM trades"), "25");
    assert.equal(await value("SELECT sum(trades) FROM candles_1m"), "25");
    assert.deepEqual(errors, []);
  }));

Deno.test("writer: a batch is one block in each partition, of more than a hundred months too, where a server's profile cuts small ones", () =>
  withDatabase(async ({ value }) => {
    const profile = createClient({
      url: clickhouse.url,
      username: clickhouse.env.CLICKHOUSE_USER,
      password: clickhouse.env.CLICKHOUSE_PASSWORD,
      database: await value("SELECT currentDatabase()"),
      clickhouse_settings: {
        max_insert_block_size: "100",
        min_insert_block_size_rows: "100",
        min_insert_block_size_bytes: "1",
        min_chunk_bytes_for_parallel_parsing: "10000",
        max_partitions_per_insert_block: "100",
      },
    });
    try {
      const rows = Array.from({ length: 2000 }, (_, offset) => heartbeat(1, offset));
      await insertBlock(profile, "heartbeats", rows, "small");
      const parts =
        "FROM system.parts WHERE database = currentDatabase() AND active AND table = 'heartbeats'";
      const blocks = `SELECT max(max_block_number) - min(min_block_number) + 1 ${parts}`;
      assert.equal(await value(blocks), "1");
      assert.equal(await value("SELECT count() FROM heartbeats"), "2000");

      const months = Array.from({ length: 120 }, (_, month) => {
        const day = new Date(Date.UTC(2010, month)).toISOString().slice(0, 10);
        return heartbeat(1, month).with(1, `${day} 00:00:00.000000`);
      });
      await insertBlock(profile, "heartbeats", months, "months");
      assert.equal(await value(`SELECT uniqExact(partition) ${parts}`), "121");
    } finally {
      await profile.close();
    }
  }));

Deno.test("writer: a product's rows of trade_runs are joined after so many batches, and name the same trades", () =>
  withDatabase(async ({ value, open, errors }) => {
    const writer = open({}, clickhouse.url, 5);
    for (let batch = 0; batch < 12; batch++) {
      // The sixth is far from the others.
      const trades = [trade(batch === 5 ? 100 : batch + 1, batch)];
      await writer.write(rowsOf({ trades }), {
        name: `g/t/0/a/${batch}-${batch}`,
        mayBeStored: false,
        signal,
      });
    }
    const own = "FROM trade_runs WHERE product_id = 'BTC-USD'";
    // After five and after ten batches, but for the lonely one; two came after.
    assert.equal(
      await value(`SELECT groupArray((first_trade_id, last_trade_id, source = 'joined'))
        FROM (SELECT * ${own} ORDER BY first_trade_id)`),
      "1,5,1,7,10,1,11,11,0,12,12,0,100,100,0",
    );
    assert.equal(await value("SELECT count() FROM trades"), "12");
    assert.deepEqual(errors, []);
  }));
