import assert from "node:assert/strict";
import { fraction, keyOf } from "../../../exchange/hash.ts";
import { createSimulation } from "../../../exchange/simulation.ts";
import { recordedFrames } from "../../../tests/support/recording.ts";
import type { TopicMessage } from "../../kafka/message.ts";
import { addRows, columns, emptyRows, tables } from "../rows.ts";
import { decodeRows, encodeRow } from "./row_values.ts";
import { RowBytes } from "./row_bytes.ts";
import { FrameScanner, type ScannedTable } from "./scan_frame.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const scanned = ["trades", "tickers", "book_changes", "heartbeats"] as const;
const scanner = new FrameScanner();
const stamp = {
  receivedAt: 1783465097123456,
  source: "feed",
  connection: "c-1",
  partition: 3,
  offset: 2 ** 40,
};

const newRows = () =>
  Object.fromEntries(scanned.map((table) => [table, new RowBytes()])) as Record<ScannedTable, RowBytes>;

/** What the scanner makes of a frame: its type and its rows in hex; undefined when it leaves the frame to zod. */
function scan(frame: Uint8Array) {
  const rows = newRows();
  const type = scanner.scan(frame, stamp, rows);
  const written = scanned.filter((table) => rows[table].length > 0 || rows[table].rows > 0);
  if (type === undefined) {
    assert.deepEqual(written, [], `left alone, and yet written: ${decoder.decode(frame)}`);
    return undefined;
  }
  return { type, ...hexOf(rows) };
}

/** What zod and row_values.ts make of it. */
function validate(frame: Uint8Array) {
  const arrays = emptyRows();
  const message: TopicMessage = { topic: "t", value: frame, ...stamp };
  const { type } = addRows(arrays, message);
  const rows = newRows();
  for (const table of scanned) for (const row of arrays[table]) encodeRow(rows[table], table, row);
  const others = tables.filter((table) => !(table in rows) && arrays[table].length > 0);
  return { type, ...hexOf(rows), ...(others.length > 0 && { others }) };
}

/** Their bytes; the values that are read back from them make the same bytes again. */
const hexOf = (rows: Record<ScannedTable, RowBytes>) =>
  Object.fromEntries(
    scanned.filter((table) => rows[table].rows > 0).map((table) => {
      const { bytes } = rows[table];
      const again = new RowBytes();
      const width = columns[table].length - (table === "trades" ? 1 : 0);
      for (const row of decodeRows(table, bytes, width)) encodeRow(again, table, row);
      assert.equal(again.bytes.toHex(), bytes.toHex());
      return [table, bytes.toHex()];
    }),
  );

/** True when the scanner takes the frame; then it is as zod takes it. */
function isTaken(frame: Uint8Array): boolean {
  const own = scan(frame);
  if (own === undefined) return false;
  assert.deepEqual(own, validate(frame), decoder.decode(frame));
  return true;
}

const simulated = () => {
  let now = 1783465097123456;
  const exchange = createSimulation({
    seed: "scan",
    products: ["BTC-USD", "SHIB-USD"],
    rate: 400,
    clock: () => now,
  });
  const frames = ["BTC-USD", "SHIB-USD"].flatMap((product) => exchange.opening("level2_batch", product));
  for (let second = 0; second < 10; second++) {
    now += 1e6;
    frames.push(...exchange.pull(() => true));
  }
  return frames.map(({ text }) => text);
};

Deno.test("FrameScanner: of the recording and of the simulator it takes all frames that have rows, as zod does", async () => {
  const frames = [...await recordedFrames(), ...simulated()];
  const left = frames.filter((text) => !isTaken(encoder.encode(text)));
  const types = new Set(left.map((text) => JSON.parse(text).type));
  assert.deepEqual([...types].sort(), ["status", "subscriptions"].filter((type) => types.has(type)));
  assert.ok(frames.length > 5000, `${frames.length} frames`);
  assert.ok(left.length < 20, `${left.length} frames were left to zod`);
});

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
const ticker = { type: "ticker", product_id: "BTC-USD", sequence: 3, price: "1", time: match.time };
const beat = { type: "heartbeat", product_id: "BTC-USD", sequence: 3, last_trade_id: 8, time: match.time };
const update = { type: "l2update", product_id: "BTC-USD", time: match.time, changes: [["buy", "1.5", "0"]] };
const snapshot = {
  type: "snapshot",
  product_id: "BTC-USD",
  bids: [["1", "2"]],
  asks: [["3", "4"], ["5", "6"]],
};

/** Each with whether the scanner takes it; what it takes is held against zod. */
const cases: [title: string, frame: unknown, taken: boolean][] = [
  ["a match", match, true],
  ["a last match", { ...match, type: "last_match" }, true],
  ["a match without order ids and sequence", {
    type: "match",
    trade_id: 7,
    side: "buy",
    size: "1",
    price: "1",
    product_id: "A",
    time: match.time,
  }, true],
  ["a ticker with what it must have", ticker, true],
  ["a ticker without a time", { ...ticker, time: undefined }, true],
  ["a ticker's zero price", { ...ticker, price: "0" }, true],
  ["a heartbeat", beat, true],
  ["an update", update, true],
  ["an update of nothing", { ...update, changes: [] }, true],
  ["an update without a time", { ...update, time: undefined }, true],
  ["a snapshot without a time", snapshot, true],
  ["a snapshot of an empty book", { ...snapshot, bids: [], asks: [] }, true],
  ["fields that nobody knows", { ...match, extra: "x", more: -1.5, is: true, isnt: false, none: null }, true],
  ["white space", ` {\n\t"type" :\r"heartbeat" , ${JSON.stringify(beat).slice(20)} `, true],
  [
    "white space in levels",
    JSON.stringify(update).replace('[["buy",', '[ [ "buy" , ').replace('"]]', '" ] ]'),
    true,
  ],
  ["the largest decimal", { ...match, price: `${"9".repeat(20)}.${"9".repeat(18)}` }, true],
  ["the smallest decimal", { ...match, size: `0.${"0".repeat(17)}1` }, true],
  ["a decimal with zeros in front", { ...match, size: "0001.5" }, true],
  ["the largest id of 15 digits", { ...match, trade_id: 999_999_999_999_999 }, true],
  ["nine digits of a second", { ...match, time: "2026-07-07T22:58:17.123456789Z" }, true],
  ["no digit of a second", { ...match, time: "2026-07-07T22:58:17Z" }, true],
  ["one digit of a second", { ...match, time: "2026-07-07T22:58:17.1Z" }, true],
  ["the leap day", { ...match, time: "2028-02-29T23:59:59.999999Z" }, true],
  ["the first time", { ...match, time: "1970-01-01T00:00:00Z" }, true],
  ["the last time", { ...match, time: "2105-12-31T23:59:59.999999Z" }, true],
  ["a product of 64 characters", { ...match, product_id: "x".repeat(64) }, true],
  ["an order id in capitals", { ...match, maker_order_id: match.maker_order_id.toUpperCase() }, true],
  ["an order id that isn't a UUID", { ...match, maker_order_id: "x".repeat(200), taker_order_id: "" }, true],
  ["an order id of a digit less", { ...match, taker_order_id: match.taker_order_id.slice(1) }, true],
  ["an order id with a digit for a dash", {
    ...match,
    taker_order_id: match.taker_order_id.replace("-", "0"),
  }, true],
  ["an order id with a dash for a digit", {
    ...match,
    taker_order_id: match.taker_order_id.replace("1", "-"),
  }, true],
  [
    "an order id with a letter beyond f",
    { ...match, taker_order_id: match.taker_order_id.replace("1", "g") },
    true,
  ],
  // Left to zod, whatever it says.
  ["no frame", "", false],
  ["no object", "[]", false],
  ["text behind the end", `${JSON.stringify(match)}x`, false],
  ["half a frame", JSON.stringify(match).slice(0, -1), false],
  ["a comma behind the last field", JSON.stringify(match).replace(/\}$/, ",}"), false],
  ["a comma behind the last level", JSON.stringify(update).replace("]]", "],]"), false],
  ["a comma in front of the first level", JSON.stringify(update).replace("[[", "[,["), false],
  ["no comma between levels", JSON.stringify(snapshot).replace("],[", "] ["), false],
  ["a level of one", { ...snapshot, bids: [["1"]] }, false],
  ["a level of three", { ...snapshot, bids: [["1", "2", "3"]] }, false],
  ["an update of numbers", { ...update, changes: [["buy", 1, 2]] }, false],
  ["an update's unknown side", { ...update, changes: [["bid", "1", "2"]] }, false],
  ["a field twice", JSON.stringify(match).replace("{", '{"price":"1",'), false],
  ["an escape", JSON.stringify(match).replace("BTC-USD", "BTC\\u002dUSD"), false],
  ["an escape in a field that nobody knows", { ...match, extra: 'a"b' }, false],
  ["a name that is escaped", JSON.stringify(match).replace('"price"', '"\\u0070rice"'), false],
  ["a character beyond ASCII", { ...match, extra: "é" }, false],
  ["a nested field that nobody knows", { ...match, extra: {} }, false],
  ["brackets where nobody looks", JSON.stringify(match).replace("{", '{"bids":[}{],'), false],
  ["brackets for a price", JSON.stringify(ticker).replace('"1"', "[}{]"), false],
  ["a number with a zero in front", JSON.stringify(match).replace(":7,", ":07,"), false],
  ["an unknown number with a zero in front", JSON.stringify(match).replace("{", '{"extra":00.5,'), false],
  ["a number that ends with its point", JSON.stringify(match).replace("{", '{"extra":1.,'), false],
  ["a number that begins with its point", JSON.stringify(match).replace("{", '{"extra":-.5,'), false],
  ["an exponent", JSON.stringify(match).replace(":7,", ":7e0,"), false],
  ["a fraction of an id", { ...match, trade_id: 7.5 }, false],
  ["a negative id", { ...match, trade_id: -7 }, false],
  ["an id of 16 digits", { ...match, trade_id: 1_000_000_000_000_000 }, false],
  ["an id as text", { ...match, trade_id: "7" }, false],
  ["a price as a number", { ...match, price: 1 }, false],
  ["null for what may be absent", { ...ticker, best_bid: null }, false],
  ["a free trade", { ...match, price: "0.00" }, false],
  ["a trade of nothing", { ...match, size: "0" }, false],
  ["a negative price", { ...match, price: "-1" }, false],
  ["a price without digits in front", { ...match, price: ".5" }, false],
  ["a price without digits behind", { ...match, price: "5." }, false],
  ["a price with two points", { ...match, price: "1.2.3" }, false],
  ["a price of 21 digits", { ...match, price: "1".repeat(21) }, false],
  ["a price of 19 digits behind the point", { ...match, price: `1.${"1".repeat(19)}` }, false],
  ["a price of 60 digits", { ...match, price: "0".repeat(60) }, false],
  ["an empty price", { ...match, price: "" }, false],
  ["the exchange's zero time", { ...ticker, time: "0001-01-01T00:00:00Z" }, false],
  ["a time before 1970", { ...match, time: "1969-12-31T23:59:59Z" }, false],
  ["a time after 2105", { ...match, time: "2106-01-01T00:00:00Z" }, false],
  ["a day that isn't", { ...match, time: "2026-02-29T00:00:00Z" }, false],
  ["a second that isn't", { ...match, time: "2026-02-28T00:00:60Z" }, false],
  ["an hour that isn't", { ...match, time: "2026-02-28T24:00:00Z" }, false],
  ["a time of another zone", { ...match, time: "2026-07-07T22:58:17+02:00" }, false],
  ["a time without its T", { ...match, time: "2026-07-07 22:58:17.164892Z" }, false],
  ["a time that ends with its point", { ...match, time: "2026-07-07T22:58:17.Z" }, false],
  ["a side in capitals", { ...match, side: "BUY" }, false],
  ["no side", { ...match, side: undefined }, false],
  ["an empty product", { ...match, product_id: "" }, false],
  ["a product with a blank", { ...match, product_id: "BTC USD" }, false],
  ["a product of 65 characters", { ...match, product_id: "x".repeat(65) }, false],
  ["no type", { ...match, type: undefined }, false],
  ["a type that has no rows here", { type: "status", products: [] }, false],
  ["a feed event", { type: "feed_event", event: "gap", time: match.time }, false],
];

for (const [title, frame, taken] of cases) {
  Deno.test(`FrameScanner: ${title} is ${taken ? "taken, as zod takes it" : "left to zod"}`, () => {
    assert.equal(isTaken(encoder.encode(typeof frame === "string" ? frame : JSON.stringify(frame))), taken);
  });
}

Deno.test("FrameScanner: bytes that aren't UTF-8 are left to zod", () => {
  const frame = encoder.encode(JSON.stringify(match));
  frame[frame.indexOf(0x6d, 10)] = 0xff;
  assert.equal(isTaken(frame), false);
});

Deno.test("FrameScanner: a trade is told by its product, its number and its time", () => {
  assert.equal(isTaken(encoder.encode(JSON.stringify(match))), true);
  assert.deepEqual({ ...scanner.trade }, { productId: "BTC-USD", tradeId: 7, micros: 1783465097164892 });
});

Deno.test("FrameScanner: whatever is done to a frame, what it takes is what zod takes", async () => {
  const key = keyOf("scanner");
  let drawn = 0;
  const below = (bound: number) => Math.floor(fraction(key, drawn++) * bound);
  const seeds = [...await recordedFrames(), ...cases.map(([, frame]) => JSON.stringify(frame))]
    .filter((text) => text.length < 2000).map((text) => encoder.encode(text));
  const pieces = [
    '"',
    "\\",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    " ",
    "0",
    "9",
    ".",
    "-",
    "e5",
    "null",
    '"x":1,',
    "[[",
    "]]",
    "\u00e9",
  ]
    .map((text) => encoder.encode(text));
  const concat = (...parts: Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]));
  const mutate = (frame: Uint8Array): Uint8Array => {
    const at = below(frame.length + 1);
    const to = Math.min(frame.length, at + 1 + below(6));
    const other = seeds[below(seeds.length)]!;
    const from = below(other.length);
    switch (below(5)) {
      case 0:
        return frame.with(Math.min(at, frame.length - 1), below(256));
      case 1:
        return concat(frame.subarray(0, at), frame.subarray(to));
      case 2:
        return concat(frame.subarray(0, at), pieces[below(pieces.length)]!, frame.subarray(at));
      case 3:
        return concat(frame.subarray(0, to), frame.subarray(at));
      default:
        return concat(frame.subarray(0, at), other.subarray(from, from + below(40)), frame.subarray(to));
    }
  };
  let taken = 0;
  const rounds = 30_000;
  for (let round = 0; round < rounds; round++) {
    let frame: Uint8Array = seeds[below(seeds.length)]!;
    for (let times = 1 + below(3); times > 0 && frame.length > 0; times--) frame = mutate(frame);
    if (isTaken(frame)) taken++;
  }
  // Most of what is broken is broken; what only has another value is taken.
  assert.ok(taken > rounds / 20 && taken < rounds / 2, `${taken} of ${rounds} were taken`);
});
