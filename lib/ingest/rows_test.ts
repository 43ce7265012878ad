import assert from "node:assert/strict";
import { addRows, columns, emptyRows, type Row, type Table, tables } from "./rows.ts";
import type { TopicMessage } from "../kafka/message.ts";

const message = (frame: unknown, more: Partial<TopicMessage> = {}): TopicMessage => ({
  topic: "t",
  partition: 3,
  offset: 42,
  value: frame instanceof Uint8Array ? frame : new TextEncoder().encode(JSON.stringify(frame)),
  receivedAt: 1783465097123456,
  source: "feed",
  connection: "c-1",
  ...more,
});

/** The rows of a message as objects, by table; the stamps are checked once, here. */
function rowsOf(frame: unknown): Partial<Record<Table, Record<string, unknown>[]>> {
  const rows = emptyRows();
  const { rows: count } = addRows(rows, message(frame));
  assert.equal(count, tables.reduce((sum, table) => sum + rows[table].length, 0));
  const filled = tables.filter((table) => rows[table].length > 0);
  return Object.fromEntries(filled.map((table) => [table, rows[table].map((row) => asObject(table, row))]));
}

function asObject(table: Table, row: Row): Record<string, unknown> {
  // A trade's last column, the batch, is filled when the batch is fixed.
  assert.equal(row.length, columns[table].length - (table === "trades" ? 1 : 0), table);
  const { received_at, source, connection, kafka_partition, kafka_offset, ...rest } = Object.fromEntries(
    row.map((value, index) => [columns[table][index], value]),
  );
  assert.deepEqual([received_at, source, connection, kafka_partition, kafka_offset], [
    "2026-07-07 22:58:17.123456",
    "feed",
    "c-1",
    3,
    42,
  ]);
  return rest;
}

Deno.test("rows: a match becomes a trade whose taker is on the other side of the maker", () => {
  const match = {
    type: "match",
    trade_id: 7,
    side: "sell",
    size: "0.20",
    price: "63514.6",
    product_id: "BTC-USD",
    sequence: 9,
    time: "2026-07-07T22:58:17.164892Z",
    maker_order_id: "15bc13f2-e38c-4693-8c0b-e8c6152b9c1d",
    taker_order_id: "13d7d08f-7396-421b-9dba-94eac92f3d78",
  };
  const trade = {
    product_id: "BTC-USD",
    trade_id: 7,
    time: "2026-07-07 22:58:17.164892",
    price: "63514.6",
    size: "0.20",
    taker_side: "buy",
    sequence: 9,
    maker_order_id: "15bc13f2-e38c-4693-8c0b-e8c6152b9c1d",
    taker_order_id: "13d7d08f-7396-421b-9dba-94eac92f3d78",
  };
  assert.deepEqual(rowsOf(match), { trades: [trade] });
  assert.deepEqual(rowsOf({ ...match, type: "last_match", side: "buy" }), {
    trades: [{ ...trade, taker_side: "sell" }],
  });
  assert.deepEqual(rowsOf({ ...match, maker_order_id: "m", taker_order_id: undefined }), {
    trades: [{ ...trade, maker_order_id: null, taker_order_id: null }],
  });
});

Deno.test("rows: times without a fraction, with three digits and with nine become what ClickHouse reads", () => {
  const heartbeat = { type: "heartbeat", product_id: "A-B", sequence: 1, last_trade_id: 2 };
  const cases = [
    ["2026-07-07T22:58:17Z", "2026-07-07 22:58:17"],
    ["2026-07-07T22:58:17.164Z", "2026-07-07 22:58:17.164"],
    ["2026-07-07T22:58:17.164892123Z", "2026-07-07 22:58:17.164892"],
  ];
  for (const [time, expected] of cases) {
    assert.equal(rowsOf({ ...heartbeat, time }).heartbeats?.[0]?.time, expected);
  }
});

Deno.test("rows: a ticker without a time takes the time when it was received, and nulls for what it lacks", () => {
  const [ticker] = rowsOf({ type: "ticker", product_id: "A-B", sequence: 1, price: "0.1" }).tickers ?? [];
  assert.equal(ticker?.time, "2026-07-07 22:58:17.123456");
  for (const column of ["best_bid", "best_ask_size", "taker_side", "trade_id", "volume_30d"]) {
    assert.equal(ticker?.[column], null, column);
  }
});

Deno.test("rows: a snapshot and an update become one row per level, in their order", () => {
  const snapshot = {
    type: "snapshot",
    product_id: "A-B",
    bids: [["1", "2"]],
    asks: [["3", "4"], ["5", "6"]],
  };
  const time = "2026-07-07 22:58:17.123456";
  assert.deepEqual(rowsOf(snapshot).book_changes, [
    { product_id: "A-B", time, side: "bid", price: "1", size: "2", is_snapshot: true, position: 0 },
    { product_id: "A-B", time, side: "ask", price: "3", size: "4", is_snapshot: true, position: 1 },
    { product_id: "A-B", time, side: "ask", price: "5", size: "6", is_snapshot: true, position: 2 },
  ]);
  const update = {
    type: "l2update",
    product_id: "A-B",
    changes: [["buy", "1", "0.00000000"], ["sell", "3", "1"]],
  };
  assert.deepEqual(rowsOf(update).book_changes?.map(({ side, size, position }) => [side, size, position]), [
    ["bid", "0.00000000", 0],
    ["ask", "1", 1],
  ]);
});

Deno.test("rows: status, feed events and acknowledgements go where they belong", () => {
  const product = {
    id: "A-B",
    base_currency: "A",
    quote_currency: "B",
    base_increment: "0.1",
    quote_increment: "0.01",
    status: "online",
    status_message: null,
  };
  assert.equal(
    rowsOf({ type: "status", products: [product, product], currencies: [] }).products_state?.length,
    2,
  );
  const event = { type: "feed_event", event: "gap", time: "2026-07-07T00:00:00Z", product_id: "A-B" };
  assert.deepEqual(rowsOf({ ...event, details: { first_missing: 1 } }).feed_events, [{
    time: "2026-07-07 00:00:00",
    event: "gap",
    product_id: "A-B",
    channel: "",
    reason: "",
    details: '{"first_missing":1}',
  }]);
  assert.deepEqual(rowsOf({ type: "subscriptions", channels: [] }), {});
});

Deno.test("rows: what fails validation is kept byte for byte with its reason and topic", () => {
  const bytes = new Uint8Array([0, 255, 10, 34]);
  assert.deepEqual(rowsOf(bytes), {
    rejected: [{ reason: "not UTF-8", raw_base64: "AP8KIg==", kafka_topic: "t" }],
  });
  assert.deepEqual(rowsOf(new Uint8Array()).rejected?.map(({ raw_base64 }) => raw_base64), [""]);
});

Deno.test("rows: the native path fills every table that the consumer fills", async () => {
  const sql = await Deno.readTextFile(new URL("../../sql/kafka_engine/2_rows.sql", import.meta.url));
  const filled = [...sql.matchAll(/^CREATE MATERIALIZED VIEW .* TO (\w+) AS$/gm)].map(([, table]) => table);
  assert.deepEqual(filled.toSorted(), tables.toSorted());
});
