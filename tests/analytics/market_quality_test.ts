/**
 * Spreads and the order book: every number of the views against one that is worked out here from the frames alone, with
 * Maps and bigints.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createSimulation } from "../../exchange/simulation.ts";
import { unitsOf } from "../../exchange/text.ts";
import { readAsTopic } from "../../lib/recording/as_messages.ts";
import { addRows, emptyRows, tables } from "../../lib/ingest/rows.ts";
import type { TopicMessage } from "../../lib/kafka/message.ts";
import { formatMicros, isoMicros, parseMicros } from "../../lib/core/time.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";
import { recording } from "../support/recording.ts";
import { type SqlDatabase, useDatabases } from "../support/sql_database.ts";

const withDatabase = useDatabases();

interface Market extends SqlDatabase {
  /** Stores messages as the consumer does, one block a table. */
  store(messages: readonly TopicMessage[]): Promise<void>;
}

async function withMarket(body: (market: Market) => Promise<void>): Promise<void> {
  await withDatabase(async (database) => {
    const { clickhouse, env } = database;
    let blocks = 0;
    await body({
      ...database,
      async store(messages) {
        const rows = emptyRows();
        for (const message of messages) addRows(rows, message);
        for (const table of tables) {
          if (rows[table].length > 0) {
            await insertBlock(
              clickhouse,
              table,
              rows[table],
              `${env.CLICKHOUSE_DATABASE}-${table}-${blocks}`,
            );
          }
        }
        blocks++;
      },
    });
  });
}

// The independent side. Prices and sizes are bigints in units of 1e-18, products of both in units of 1e-36.

/** Price → size. */
interface Book {
  bid: Map<bigint, bigint>;
  ask: Map<bigint, bigint>;
}

const units = (decimal: string) => unitsOf(decimal, 18);

/** As ClickHouse writes a decimal: without zeros at the end. */
function decimal(value: bigint, digits: number): string {
  const sign = value < 0n ? "-" : "";
  const text = String(value < 0n ? -value : value).padStart(digits + 1, "0");
  const fraction = text.slice(-digits).replace(/0+$/, "");
  return `${sign}${text.slice(0, -digits)}${fraction === "" ? "" : `.${fraction}`}`;
}

function bookOf(bids: readonly (readonly string[])[], asks: readonly (readonly string[])[]): Book {
  const side = (levels: readonly (readonly string[])[]) =>
    new Map(levels.map(([price = "", size = ""]) => [units(price), units(size)]));
  return { bid: side(bids), ask: side(asks) };
}

interface BookFrame {
  type: string;
  product_id: string;
  time?: string;
  bids?: [string, string][];
  asks?: [string, string][];
  changes?: ["buy" | "sell", string, string][];
}

/** The book after all frames of a connection whose time isn't after `at`, in the order in which they came. */
function rebuild(frames: readonly BookFrame[], at: number): Book | undefined {
  let book: Book | undefined;
  for (const { type, time = "", bids = [], asks = [], changes = [] } of frames) {
    if (parseMicros(time) > at) continue;
    if (type === "snapshot") book = bookOf(bids, asks);
    for (const [side, price, size] of changes) {
      const levels = book?.[side === "buy" ? "bid" : "ask"];
      if (units(size) === 0n) levels?.delete(units(price));
      else levels?.set(units(price), units(size));
    }
  }
  return book;
}

const byPrice = ([a]: [bigint, bigint], [b]: [bigint, bigint]) => a < b ? -1 : 1;

/** [price, size], best first. */
function sorted(book: Book, side: "bid" | "ask"): [bigint, bigint][] {
  const levels = [...book[side]].sort(byPrice);
  return side === "bid" ? levels.reverse() : levels;
}

/** The rows of `book_at` with all levels. */
function expectedLevels(book: Book | undefined): string[] {
  if (book === undefined) return [];
  return (["bid", "ask"] as const).flatMap((side) =>
    sorted(book, side).map(([price, size], i) =>
      `${side} ${i + 1} ${decimal(price, 18)} ${decimal(size, 18)}`
    )
  );
}

const ratio = (part: bigint, whole: bigint) => Number(part) / Number(whole);

function expectedDepth(book: Book): Record<string, string | number | null> {
  const [bids, asks] = [sorted(book, "bid"), sorted(book, "ask")];
  const [[bid, bidSize] = [], [ask, askSize] = []] = [bids[0], asks[0]];
  const text = (value: bigint | undefined) => value === undefined ? null : decimal(value, 18);
  const row: Record<string, string | number | null> = {
    best_bid: text(bid),
    best_bid_size: text(bidSize),
    best_ask: text(ask),
    best_ask_size: text(askSize),
  };
  if (bid === undefined || bidSize === undefined || ask === undefined || askSize === undefined) return row;
  const twiceMid = bid + ask;
  Object.assign(row, {
    mid: decimal(twiceMid * 5n, 19),
    spread: decimal(ask - bid, 18),
    spread_bps: ratio(20000n * (ask - bid), twiceMid),
    microprice: decimal((bid * askSize + ask * bidSize) / (bidSize + askSize), 18),
    imbalance: ratio(bidSize - askSize, bidSize + askSize),
  });
  for (const bps of [10n, 50n, 100n]) {
    const nearBids = bids.filter(([price]) => price * 20000n >= twiceMid * (10000n - bps));
    const nearAsks = asks.filter(([price]) => price * 20000n <= twiceMid * (10000n + bps));
    const base = (levels: [bigint, bigint][]) => levels.reduce((sum, [, size]) => sum + size, 0n);
    const quote = (levels: [bigint, bigint][]) =>
      levels.reduce((sum, [price, size]) => sum + price * size, 0n);
    const both = base(nearBids) + base(nearAsks);
    row[`bid_base_${bps}bps`] = decimal(base(nearBids), 18);
    row[`bid_quote_${bps}bps`] = decimal(quote(nearBids), 36);
    row[`ask_base_${bps}bps`] = decimal(base(nearAsks), 18);
    row[`ask_quote_${bps}bps`] = decimal(quote(nearAsks), 36);
    row[`imbalance_${bps}bps`] = both === 0n ? null : ratio(base(nearBids) - base(nearAsks), both);
  }
  return row;
}

function expectedCost(
  book: Book,
  side: "buy" | "sell",
  size: bigint,
): Record<string, string | number | null> {
  const levels = sorted(book, side === "buy" ? "ask" : "bid");
  const available = levels.reduce((sum, [, has]) => sum + has, 0n);
  const nothing = { cost: null, average_price: null, worst_price: null, levels: null, slippage_bps: null };
  if (size <= 0n || available < size) return { available: decimal(available, 18), ...nothing };
  let [left, cost, worst, touched] = [size, 0n, 0n, 0];
  for (const [price, has] of levels) {
    if (left === 0n) break;
    const taken = has < left ? has : left;
    left -= taken;
    cost += taken * price;
    worst = price;
    touched++;
  }
  const [[bid] = [], [ask] = []] = [sorted(book, "bid")[0], sorted(book, "ask")[0]];
  const midCost = bid === undefined || ask === undefined ? undefined : (bid + ask) * size;
  const worse = side === "buy" ? 1n : -1n;
  return {
    available: decimal(available, 18),
    cost: decimal(cost, 36),
    average_price: decimal(cost / size, 18),
    worst_price: decimal(worst, 18),
    levels: touched,
    slippage_bps: midCost === undefined ? null : ratio(worse * 10000n * (2n * cost - midCost), midCost),
  };
}

/** Decimals exactly, numbers within 1e-9: a count can't differ by less than 1. */
function assertRow(
  row: Record<string, unknown> | undefined,
  expected: Record<string, unknown>,
  what: string,
): void {
  assert.ok(row, `${what}: no row`);
  for (const [column, wanted] of Object.entries(expected)) {
    const found: unknown = row[column];
    if (typeof wanted === "number" && typeof found === "number") {
      const allowed = 1e-9 * Math.max(1, Math.abs(wanted));
      assert.ok(Math.abs(found - wanted) <= allowed, `${what}, ${column}: ${found} is not ${wanted}`);
    } else assert.equal(found, wanted, `${what}, ${column}`);
  }
}

const moment = (micros: number) => `'${formatMicros(micros)}'`;

async function levelsAt(market: Market, product: string, at: number): Promise<string[]> {
  const rows = await market.rows(
    `SELECT * FROM book_at(product = '${product}', at = ${moment(at)}, depth = 1000000)`,
  );
  return rows.map(({ side, level, price, size }) => `${side} ${level} ${price} ${size}`);
}

/** All views of a moment against a book; `undefined` is a book that isn't known. */
async function assertMoment(
  market: Market,
  product: string,
  at: number,
  book: Book | undefined,
  sizes: bigint[],
  whole: boolean,
): Promise<void> {
  const what = `${product} at ${formatMicros(at)}`;
  const call = `product = '${product}', at = ${moment(at)}`;
  if (whole) assert.deepEqual(await levelsAt(market, product, at), expectedLevels(book), what);
  const depth = await market.rows(`SELECT * FROM book_depth_at(${call})`);
  if (book === undefined) return assert.deepEqual(depth, [], what);
  assertRow(depth[0], expectedDepth(book), what);
  for (const side of ["buy", "sell"] as const) {
    for (const size of sizes) {
      const [row] = await market.rows(
        `SELECT * FROM market_order_cost(${call}, side = '${side}', size = '${decimal(size, 18)}')`,
      );
      assertRow(row, expectedCost(book, side, size), `${what}, ${side} ${decimal(size, 18)}`);
    }
  }
}

/** The seconds from ≤ s < to of `book_depth_1s_between` against the books; `undefined` where none is known. */
async function assertSeconds(
  market: Market,
  product: string,
  from: number,
  to: number,
  bookAt: (second: number) => Book | undefined,
  everySecond = 1,
): Promise<void> {
  const rows = await market.rows(
    `SELECT * FROM book_depth_1s_between(product = '${product}', from = ${moment(from)}, to = ${moment(to)})`,
  );
  const bySecond = new Map(rows.map((row) => [row.time, row]));
  assert.equal(bySecond.size, rows.length);
  for (let at = Math.ceil(from / second) * second; at < to; at += everySecond * second) {
    const [book, row, what] = [
      bookAt(at),
      bySecond.get(formatMicros(at)),
      `${product}, second ${formatMicros(at)}`,
    ];
    if (book === undefined) assert.equal(row, undefined, what);
    else assertRow(row, expectedDepth(book), what);
  }
}

const start = parseMicros("2026-07-07T23:58:30Z");
const second = 1e6;

/** A message of the level2 topic. */
function message(connection: string, offset: number, receivedAt: number, frame: string): TopicMessage {
  return {
    topic: "level2",
    partition: 0,
    offset,
    value: new TextEncoder().encode(frame),
    receivedAt,
    source: "feed",
    connection,
  };
}

function feedEvent(event: string, time: number, product?: string, details?: unknown): string {
  return JSON.stringify({
    type: "feed_event",
    event,
    time: isoMicros(time),
    product_id: product,
    reason: `why ${event}`,
    details,
  });
}

Deno.test("book: that of any moment is the simulated market's, over connections, snapshots, gaps and midnight", async () => {
  await withMarket(async (market) => {
    const product = "SOL-USD";
    let now = start;
    const exchange = createSimulation({ products: [product], clock: () => now });
    // Seconds in which each connection lives. The last one's producer is killed: no event tells of its end.
    const lives = {
      "p-1": { from: 0, to: 60, killed: false },
      "q-1": { from: 20, to: 70, killed: false },
      "p-2": { from: 85, to: 150, killed: false },
      "q-2": { from: 100, to: 120, killed: true },
    };
    const heard = new Map<string, { first: number; last: number }>();
    const truth: { at: number; book: Book }[] = [];
    let messages: TopicMessage[] = [];
    let offset = 1000;
    const send = (connection: string, frame: string) => {
      messages.push(message(connection, offset++, now + 30_000, frame));
      const time = parseMicros((JSON.parse(frame) as { time: string }).time);
      heard.set(connection, { first: heard.get(connection)?.first ?? time, last: time });
    };
    for (let step = 0; step <= 600; step++) {
      now = start + step * second / 4;
      const frames = exchange.pull((channel) => channel === "level2_batch");
      const elapsed = step / 4;
      for (const [connection, { from, to, killed }] of Object.entries(lives)) {
        if (elapsed > from && elapsed <= to) { for (const { text } of frames) send(connection, text); }
        // The second producer of the first minute asks for its snapshot twice.
        if (elapsed === from || (connection === "q-1" && elapsed === 45)) {
          for (const { text } of exchange.opening("level2_batch", product)) send(connection, text);
        }
        if (elapsed === to && to < 150 && !killed) {
          messages.push(
            message(connection, offset++, now + 40_000, feedEvent("disconnected", now + 40_000, product)),
          );
        }
      }
      const { bids, asks } = exchange.book(product);
      truth.push({ at: now, book: bookOf(bids, asks) });
      if (step % 29 === 0) {
        await market.store(messages);
        messages = [];
      }
    }
    await market.store(messages);

    const known = (at: number) => [...heard.values()].some(({ first, last }) => first <= at && at <= last);
    assert.ok(
      truth.filter(({ at }) => !known(at)).length > 50,
      "the gap between 70 s and 85 s is looked at",
    );
    for (const [i, { at, book }] of truth.entries()) {
      if (i % 12 !== 0) continue;
      await assertMoment(
        market,
        product,
        at,
        known(at) ? book : undefined,
        i % 60 === 0 ? [units("3"), units("9000")] : [],
        i % 60 === 0,
      );
    }

    const bookAt = (at: number) => known(at) ? truth.find((moment) => moment.at === at)?.book : undefined;
    const end = start + 151 * second;
    await assertSeconds(market, product, start - second, end, bookAt);
    await assertSeconds(market, product, start + 59.5 * second, start + 118.7 * second, bookAt);
    const call = `product = '${product}', from = ${moment(start)}, to = ${moment(end)}`;
    for (let times = 0; times < 2; times++) {
      await market.clickhouse.command({
        query:
          `INSERT INTO book_depth_1s_state (* EXCEPT computed_at) SELECT * FROM book_depth_1s_between(${call})`,
      });
    }
    assert.deepEqual(
      await market.rows("SELECT * FROM book_depth_1s ORDER BY time"),
      await market.rows(`SELECT * FROM book_depth_1s_between(${call})`),
    );

    const epochs = await market.rows(
      `SELECT connection, ended_by, reason, toString(valid_to) AS valid_to FROM book_epochs ORDER BY valid_from`,
    );
    const last = (connection: string) => formatMicros(heard.get(connection)?.last ?? 0);
    assert.deepEqual(epochs.map(({ connection, ended_by, reason }) => [connection, ended_by, reason]), [
      ["p-1", "disconnected", "why disconnected"],
      ["q-1", "snapshot", ""],
      ["q-1", "disconnected", "why disconnected"],
      ["p-2", "open", ""],
      ["q-2", "open", ""],
    ]);
    assert.deepEqual([0, 2, 3, 4].map((i) => epochs[i]?.valid_to), ["p-1", "q-1", "p-2", "q-2"].map(last));

    const nowRows = await market.rows(`SELECT * FROM book_now(product = '${product}', depth = 20)`);
    const best = expectedLevels(truth.at(-1)?.book).filter((line) => Number(line.split(" ")[1]) <= 20);
    assert.deepEqual(
      nowRows.map(({ side, level, price, size }) => `${side} ${level} ${price} ${size}`),
      best,
    );
    assert.equal(nowRows[0]?.time, last("p-2"));
    await market.store([message("p-2", offset, now, feedEvent("disconnected", now, product))]);
    assert.deepEqual(await market.rows(`SELECT * FROM book_now(product = '${product}', depth = 20)`), []);
  });
});

Deno.test("book: equal times, times that go back, levels never published, 18 digits and empty sides are read right", async () => {
  await withMarket(async (market) => {
    const product = "EDGE-USD";
    const tiny = "0.000000000000000001";
    const at = (micros: number) => isoMicros(start + micros);
    const update = (micros: number, ...changes: ["buy" | "sell", string, string][]) => ({
      type: "l2update",
      product_id: product,
      time: at(micros),
      changes,
    });
    const frames: BookFrame[] = [
      // An update that came before any snapshot belongs to no book.
      update(0, ["buy", "98", "7"]),
      {
        type: "snapshot",
        product_id: product,
        time: at(10),
        bids: [["99.5", "1"], ["99", "2"], [tiny, "99999999999999999999.999999999999999999"]],
        asks: [["100.500000000000000001", tiny], ["100.500000000000000002", "3"], ["101", "4"]],
      },
      update(20, ["sell", "100.7", "0.00000000"], ["buy", "50", "0"]),
      // The last word on a price counts: in one message, and in three of one time.
      update(30, ["buy", "99.7", "1"], ["buy", "99.7", "2"]),
      update(30, ["buy", "99.7", "0"]),
      update(30, ["buy", "99.7", "3"], ["sell", "100.5", "1"]),
      // Came later, though its time is earlier.
      update(25, ["sell", "101", "5"]),
      update(40, ["sell", "101", "6"]),
      // Crossed for a moment.
      update(50, ["buy", "100.6", "1.5"]),
      update(60, ["buy", "100.6", "0"]),
      // No asks, then nothing at all, then levels again.
      update(70, ["sell", "100.5", "0"], ["sell", "100.500000000000000001", "0"], ["sell", "101", "0"]),
      update(80, ["sell", "100.500000000000000002", "0"]),
      update(90, ["buy", "99.7", "0"], ["buy", "99.5", "0"], ["buy", "99", "0"], ["buy", tiny, "0"]),
      update(100, ["buy", "90", "1"], ["sell", "91", "1"]),
      // Over the end of ten minutes and of the day, a level changes back and forth.
      update(90 * second - 1, ["buy", "90", "2"]),
      update(90 * second, ["buy", "90", "0"]),
      update(90 * second + 1, ["buy", "89", "8"], ["sell", "91", "8"]),
      // Whole seconds that go back: what came last stays.
      update(93 * second, ["sell", "91", "4"], ["sell", "92", "4"]),
      update(92 * second, ["sell", "91", "3"]),
      {
        type: "snapshot",
        product_id: product,
        time: at(95 * second),
        bids: [["1", "1"]],
        asks: [["2", "2"]],
      },
      update(96 * second, ["sell", "91", "0"], ["buy", "1", "5"]),
    ];
    // The two halves come in two blocks.
    const messages = frames.map((frame, i) => message("x-1", i + 1, start, JSON.stringify(frame)));
    await market.store(messages.slice(0, 6));
    await market.store(messages.slice(6));

    const times = new Set(
      frames.flatMap(({ time = "" }) => [-1, 0, 1].map((step) => parseMicros(time) + step)),
    );
    const end = start + 96 * second;
    const sizes = [0n, -1n, units(tiny), units("2.5")];
    for (const time of times) {
      const book = time > end ? undefined : rebuild(frames, time);
      const empty = book !== undefined && book.bid.size + book.ask.size === 0;
      const costs = frames.some((frame) => frame.time === isoMicros(time)) ? sizes : [];
      await assertMoment(market, product, time, empty ? undefined : book, costs, true);
    }
    await assertSeconds(
      market,
      product,
      start,
      start + 100 * second,
      (at) => at > end ? undefined : rebuild(frames, at),
    );
  });
});

Deno.test("book: of two connections the one with the newest snapshot is read, and nothing of the other enters", async () => {
  await withMarket(async (market) => {
    const product = "TWO-USD";
    const frame = (seconds: number, more: Partial<BookFrame>) => ({
      type: more.changes ? "l2update" : "snapshot",
      product_id: product,
      time: isoMicros(start + seconds * second),
      ...more,
    });
    // The two disagree on purpose: each size says which connection it came by.
    const one = [
      frame(0, { bids: [["10", "1"], ["9", "1"]], asks: [["11", "1"]] }),
      frame(10, { changes: [["buy", "10", "0"], ["sell", "12", "1.1"]] }),
      frame(30, { changes: [["buy", "9", "1.2"], ["sell", "13", "1.2"]] }),
      frame(100, { changes: [["buy", "8", "1.3"]] }),
      frame(120, { changes: [["buy", "7", "1.4"]] }),
    ];
    const other = [
      frame(20, { bids: [["10", "2"]], asks: [["11", "2"], ["12", "2"]] }),
      frame(30, { changes: [["buy", "9", "2.1"]] }),
      frame(95, { changes: [["sell", "12", "0"]] }),
      frame(110, { changes: [["buy", "6", "2.2"]] }),
    ];
    const sent = [
      ...one.map((frame) => ({ connection: "w-1", frame })),
      ...other.map((frame) => ({ connection: "w-0", frame })),
    ];
    sent.sort((left, right) => left.frame.time < right.frame.time ? -1 : 1);
    await market.store(
      sent.map(({ connection, frame }, i) => message(connection, i + 1, start, JSON.stringify(frame))),
    );
    const bookAt = (at: number) =>
      rebuild(at >= start + 20 * second && at <= start + 110 * second ? other : one, at);
    for (const seconds of [0, 10, 19, 20, 25, 30, 60, 89, 90, 91, 95, 100, 110, 115, 120]) {
      const at = start + seconds * second;
      assert.deepEqual(await levelsAt(market, product, at), expectedLevels(bookAt(at)), `${seconds} s`);
    }
    await assertSeconds(market, product, start, start + 121 * second, bookAt);
    await assertSeconds(market, product, start + 105 * second, start + 121 * second, bookAt);
  });
});

/** The same numbers each time: whole, 0 ≤ n < below. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => (state = (state * 48271) % 2147483647) % below;
}

Deno.test("book: in an epoch of days it is right at any moment, at the ends of days, hours and ten minutes too", async () => {
  await withMarket(async (market) => {
    const product = "DAYS-USD";
    const random = createRandom(7);
    const first = parseMicros("2026-07-05T21:47:00Z");
    const length = 52 * 3600 * second;
    const levels = () => Array.from({ length: 12 }, (_, i) => [`${90 + i}`, "1"] as [string, string]);
    const frames: BookFrame[] = [{
      type: "snapshot",
      product_id: product,
      time: isoMicros(first),
      bids: levels().slice(0, 6),
      asks: levels().slice(6),
    }];
    const minutes10 = 600 * second;
    // Half of the changes lie at an end of ten minutes, or a microsecond beside it.
    const times = Array.from({ length: 900 }, (_, i) => {
      const micros = first + 1 + random(length / second) * second + random(second);
      return i % 2 === 0 ? micros : Math.ceil(micros / minutes10) * minutes10 + random(3) - 1;
    }).sort((left, right) => left - right);
    for (const time of times) {
      const level = random(12);
      const change: [side: "buy" | "sell", string, string] = [
        level < 6 ? "buy" : "sell",
        `${90 + level}`,
        `${random(9)}`,
      ];
      frames.push({ type: "l2update", product_id: product, time: isoMicros(time), changes: [change] });
    }
    const messages = frames.map((frame, i) => message("d-1", i + 1, first, JSON.stringify(frame)));
    for (let i = 0; i < messages.length; i += 90) await market.store(messages.slice(i, i + 90));

    const bookAt = (at: number) => rebuild(frames, at);
    for (const time of times.filter((_, i) => i % 9 === 0)) {
      assert.deepEqual(
        await levelsAt(market, product, time),
        expectedLevels(bookAt(time)),
        formatMicros(time),
      );
    }
    for (
      const end of [
        "2026-07-06T00:00:00Z",
        "2026-07-06T13:00:00Z",
        "2026-07-07T06:40:00Z",
        "2026-07-08T00:00:00Z",
      ]
    ) {
      const at = parseMicros(end);
      for (const step of [-1, 0, 1]) {
        assert.deepEqual(
          await levelsAt(market, product, at + step),
          expectedLevels(bookAt(at + step)),
          `${end} ${step}`,
        );
      }
      await assertSeconds(market, product, at - 20 * second, at + 20 * second, bookAt);
      await assertSeconds(market, product, at, at + 5 * second, bookAt);
    }
  });
});

Deno.test("book: a lost frame makes it unknown until the connection's next snapshot", async () => {
  await withMarket(async (market) => {
    const frame = (type: string, product: string, seconds: number, more: unknown) =>
      JSON.stringify({
        type,
        product_id: product,
        time: isoMicros(start + seconds * second),
        ...(more as object),
      });
    const snapshot = (product: string, seconds: number) =>
      frame("snapshot", product, seconds, { bids: [["1", "1"]], asks: [["2", "1"]] });
    const update = (product: string, seconds: number, size = "1") =>
      frame("l2update", product, seconds, { changes: [["buy", "1", size]] });
    const frames: [connection: string, seconds: number, frame: string][] = [
      ["l-1", 0, snapshot("A", 0)],
      ["l-1", 0, snapshot("B", 0)],
      ["l-2", 0, snapshot("C", 0)],
      // Rejected: it isn't known what the level became.
      ["l-1", 5, update("A", 5, "much")],
      ["l-1", 9, update("A", 9)],
      ["l-1", 10, snapshot("A", 10)],
      ["l-1", 20, feedEvent("frame_too_large", start + 20 * second, "B", { type: "l2update" })],
      // A match is no part of the book, and another connection's frame none of this book.
      ["l-1", 21, feedEvent("frame_too_large", start + 21 * second, "A", { type: "match" })],
      ["l-1", 30, update("A", 30)],
      ["l-1", 30, update("B", 30)],
      ["l-2", 30, update("C", 30)],
      // Nobody knows what this was: all books of the connection are in doubt.
      ["l-1", 35, "{"],
      ["l-1", 40, update("A", 40)],
    ];
    await market.store(
      frames.map(([connection, seconds, text], i) => message(connection, i, start + seconds * second, text)),
    );
    const epochs = await market.rows(
      "SELECT product_id, toString(valid_from) AS valid_from, toString(valid_to) AS valid_to, ended_by FROM book_epochs ORDER BY ALL",
    );
    const at = (seconds: number, micros = 0) => formatMicros(start + seconds * second + micros);
    assert.deepEqual(epochs.map((row) => Object.values(row)), [
      ["A", at(0), at(5, -1), "lost frame"],
      // What can't be read has no time: a second before it was received.
      ["A", at(10), at(34, -1), "lost frame"],
      ["B", at(0), at(19, -1), "lost frame"],
      ["C", at(0), at(30), "open"],
    ]);
    const known = async (product: string, seconds: number) =>
      (await levelsAt(market, product, start + seconds * second)).length > 0;
    for (const seconds of [4, 10, 33]) assert.equal(await known("A", seconds), true, `A at ${seconds} s`);
    for (const seconds of [5, 9, 34, 40]) assert.equal(await known("A", seconds), false, `A at ${seconds} s`);
    assert.deepEqual(await market.rows("SELECT * FROM book_now(product = 'A', depth = 1)"), []);
    assert.equal((await market.rows("SELECT * FROM book_now(product = 'C', depth = 1)")).length, 2);
  });
});

Deno.test(
  "book: that of the recording is the one that its frames make, at any moment",
  async () => {
    await withMarket(async (market) => {
      const frames: BookFrame[] = [];
      let messages: TopicMessage[] = [];
      const nothing = () => {};
      for await (
        const message of readAsTopic(recording, { onSource: nothing, onRead: nothing, onTorn: nothing })
      ) {
        const frame = JSON.parse(new TextDecoder().decode(message.value)) as BookFrame;
        if (frame.type !== "snapshot" && frame.type !== "l2update") continue;
        frames.push(frame);
        messages.push(message);
        if (messages.length < 400) continue;
        await market.store(messages);
        messages = [];
      }
      await market.store(messages);
      for (const product of ["BTC-USD", "ETH-USD"]) {
        const own = frames.filter(({ product_id }) => product_id === product);
        const times = own.map(({ time = "" }) => parseMicros(time)).sort((left, right) => left - right);
        const last = times.at(-1) ?? 0;
        const moments = times.filter((_, i) => i % 70 === 0);
        assert.ok(moments.length > 10);
        for (const [i, at] of [...moments, last].entries()) {
          await assertMoment(
            market,
            product,
            at,
            rebuild(own, at),
            [units("0.01"), units("25")],
            i % 6 === 0,
          );
        }
        await assertSeconds(market, product, moments[0] ?? 0, last, (at) => rebuild(own, at), 6);
        await assertMoment(market, product, last + 1, undefined, [], true);
      }
    });
  },
);

interface Quote {
  at: number;
  offset: number;
  connection: string;
  bid: string | null;
  ask: string | null;
}

/** The rows of `spreads_1s`, by its definition: each quote's part of each second that holds a quote. */
function expectedSpreads(quotes: readonly Quote[], from: number, to: number): Record<string, unknown>[] {
  const connections = [...new Set(quotes.map(({ connection }) => connection))].sort();
  const rows: Record<string, unknown>[] = [];
  for (let begin = Math.ceil(from / second) * second; begin < to; begin += second) {
    let best: Record<string, unknown> | undefined;
    for (const connection of connections) {
      const own = quotes.filter((quote) =>
        quote.connection === connection && Number(quote.bid) > 0 && Number(quote.ask) > 0
      )
        .sort((left, right) => left.at - right.at || left.offset - right.offset);
      const inside = own.filter(({ at }) => at >= begin && at < begin + second).length;
      if (inside === 0 || inside <= Number(best?.quotes ?? 0)) continue;
      let [held, bids, asks, bps] = [0n, 0n, 0n, 0];
      for (const [i, { at, bid, ask }] of own.entries()) {
        const until = Math.min(own[i + 1]?.at ?? Infinity, at + 60 * second, begin + second);
        const weight = Math.max(0, until - Math.max(at, begin));
        const [bidUnits, askUnits] = [units(bid ?? ""), units(ask ?? "")];
        held += BigInt(weight);
        bids += bidUnits * BigInt(weight);
        asks += askUnits * BigInt(weight);
        bps += weight * ratio(20000n * (askUnits - bidUnits), askUnits + bidUnits);
      }
      best = {
        time: formatMicros(begin),
        bid: decimal(bids / held, 18),
        ask: decimal(asks / held, 18),
        mid: decimal((bids + asks) / (2n * held), 18),
        spread_bps: bps / Number(held),
        quotes: inside,
        covered: Number(held) / second,
        connection,
      };
    }
    if (best) rows.push(best);
  }
  return rows;
}

Deno.test("spreads: they are weighted by time within each second, one connection at a time, and follow late tickers", async () => {
  await withMarket(async (market) => {
    const random = createRandom(42);
    const quotes: Quote[] = [];
    const add = (connection: string, count: number, from: number, seconds: number) => {
      for (let i = 0; i < count; i++) {
        const bid = 6_000_000 + random(5000);
        quotes.push({
          // Whole tenths of a second at times, so that some are equal and some lie on the edge of a second.
          at: start + from * second +
            (random(3) === 0 ? random(seconds * 10) * 100_000 : random(seconds * second)),
          offset: quotes.length,
          connection,
          bid: random(20) === 0 ? null : `${bid / 100}`,
          ask: random(20) === 0
            ? "0"
            : `${(bid + 1 + random(300)) / 100}${random(2) ? "" : "0000000001"}`.replace(/^\d+$/, "$&.0"),
        });
      }
    };
    add("p-1", 150, 0, 30);
    add("q-1", 90, 10, 30);
    // Silent for longer than a quote holds, then for less.
    add("p-1", 5, 95, 5);
    add("p-1", 5, 140, 5);
    const insert = (list: Quote[]) =>
      market.clickhouse.insert({
        table: "tickers",
        values: list.map(({ at, offset, connection, bid, ask }) => ({
          product_id: "A",
          sequence: offset,
          time: formatMicros(at),
          price: "1",
          best_bid: bid,
          best_ask: ask,
          connection,
          kafka_offset: offset,
        })),
        format: "JSONEachRow",
      });
    const check = async (from: number, to: number) => {
      const rows = await market.rows(
        `SELECT * FROM spreads_1s(product = 'A', from = ${moment(from)}, to = ${moment(to)})`,
      );
      const expected = expectedSpreads(quotes, from, to);
      assert.deepEqual(rows.map(({ time }) => time), expected.map(({ time }) => time));
      for (const [i, wanted] of expected.entries()) assertRow(rows[i], wanted, `spread at ${wanted.time}`);
      return expected.length;
    };
    await insert(quotes);
    assert.ok(await check(start - second, start + 200 * second) > 35);
    // A part gives the same rows as the whole.
    assert.ok(await check(start + 12.5 * second, start + 96.5 * second) > 20);
    const stored = quotes.length;
    add("q-1", 40, 0, 150);
    await insert(quotes.slice(stored));
    await check(start - second, start + 200 * second);
    assert.deepEqual(
      await market.rows(
        `SELECT * FROM spreads_1s(product = 'B', from = ${moment(start)}, to = ${moment(start + second)})`,
      ),
      [],
    );
  });
});
