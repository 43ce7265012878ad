/**
 * `deno task bench steps`: what each step on the way of a message costs by itself, beside what stood there before or could.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import type { ClickHouseClient } from "@clickhouse/client";
import Encoder from "kafkajs/src/protocol/encoder.js";
import kafkajsRecord from "kafkajs/src/protocol/recordBatch/record/v0/index.js";
import { RecordBatch } from "kafkajs/src/protocol/recordBatch/v0/index.js";
import { createSimulation } from "../exchange/simulation.ts";
import { rows as ask } from "../lib/clickhouse/rows.ts";
import { encodeRows } from "../lib/ingest/frames/row_values.ts";
import { RowBytes } from "../lib/ingest/frames/row_bytes.ts";
import { FrameScanner } from "../lib/ingest/frames/scan_frame.ts";
import { addRows, columns, emptyRows, type Row as TableRow, type Table, tables } from "../lib/ingest/rows.ts";
import { decodeByKafkajs, decodeFetch } from "../lib/kafka/fetch_decoder.ts";
import { topicMessage } from "../lib/kafka/message.ts";
import { migrate } from "../lib/clickhouse/migrations.ts";
import { startServers, type Tape, withTape } from "../tests/support/tape.ts";
import { until } from "../tests/support/until.ts";
import { simulatedTape } from "../tests/support/simulated_tape.ts";
import { cpuSeconds } from "./process_usage.ts";
import { engineVersion, type Measured, median, ratio, type Row, spread } from "./results.ts";

/** How often each of two ways has its turn. */
const rounds = 5;
const encoder = new TextEncoder();
const stamp = { receivedAt: 1783465097123456, source: "feed", connection: "c-1", partition: 0, offset: 7 };

/** Measures the steps of this process and those of ClickHouse. */
export async function benchSteps(products: readonly string[]): Promise<Measured> {
  const frames = framesByType(products);
  const encode = [...frames].map(([type, own]) => compareEncoding(type, own));
  const decode = [await compareDecoding([...frames.values()].flat().slice(0, 5000))];
  const servers = await startServers();
  try {
    let inserts: Row[] = [];
    let merges: Row[] = [];
    let version = "";
    await withTape(servers, {}, async (tape) => {
      version = await engineVersion(tape.clickhouse);
      await migrate(tape.config, () => {});
      const market = simulatedTape({
        products: [...products],
        rate: 200,
        from: 1783465200000000,
        hours: 0.05,
        bookMinutes: 3,
      });
      inserts = await measureInserts(tape, servers.clickhouse.pid, market);
      merges = await measureMerges(tape, servers.clickhouse.pid, market.trades);
    });
    return { versions: { ClickHouse: version }, tables: { encode, decode, inserts, merges } };
  } finally {
    await servers.stop();
  }
}

/** Seconds of a market. */
function framesByType(products: readonly string[]): Map<string, Uint8Array[]> {
  let now = stamp.receivedAt;
  const exchange = createSimulation({ seed: "steps", products: [...products], rate: 2000, clock: () => now });
  for (const product of products) exchange.opening("level2_batch", product);
  const frames = new Map<string, Uint8Array[]>();
  for (let second = 0; second < 10; second++) {
    now += 1e6;
    for (const { text } of exchange.pull(() => true)) {
      const { type } = JSON.parse(text);
      if (!["match", "ticker", "l2update", "heartbeat"].includes(type)) continue;
      frames.set(type, [...frames.get(type) ?? [], encoder.encode(text)]);
    }
  }
  return frames;
}

/** Frame → what is sent to ClickHouse: by the scanner, and by zod, values and JSON. */
function compareEncoding(type: string, frames: readonly Uint8Array[]): Row {
  const scanner = new FrameScanner();
  const bytes = Object.fromEntries(tables.map((table) => [table, new RowBytes()])) as Record<Table, RowBytes>;
  const scan = () => {
    for (const table of tables) bytes[table].clear();
    for (const frame of frames) scanner.scan(frame, stamp, bytes);
  };
  const validate = () => {
    const values = emptyRows();
    for (const value of frames) addRows(values, { topic: "t", value, ...stamp });
    return tables.map((table) => values[table].map((row) => JSON.stringify(row)).join("\n"));
  };
  const [own, other] = alternate(scan, validate, frames.length);
  return { type, ...compared("scanner, µs", own, "zod and JSON, µs", other) };
}

/** An answer to a fetch → messages with their stamps. */
async function compareDecoding(frames: readonly Uint8Array[]): Promise<Row> {
  const headers = { stamp: "1783465097123456 feed c-1" };
  const records = frames.map((frame, offsetDelta) =>
    kafkajsRecord({
      key: "BTC-USD",
      value: Buffer.from(frame),
      headers,
      offsetDelta,
      timestampDelta: offsetDelta,
    })
  );
  const batch = await RecordBatch({
    firstOffset: 2 ** 33,
    firstTimestamp: 1783465097123,
    maxTimestamp: 1783465097123,
    lastOffsetDelta: records.length - 1,
    records,
  });
  const partition = new Encoder().writeInt32(0).writeInt16(0).writeInt64(1).writeInt64(1).writeInt64(0)
    .writeInt32(-1).writeInt32(-1).writeInt32(batch.buffer.length);
  partition.writeBufferInternal(batch.buffer);
  const raw: Buffer = new Encoder().writeInt32(0).writeInt16(0).writeInt32(0).writeInt32(1).writeString("t")
    .writeInt32(1).writeEncoder(partition).buffer;
  const [own, other]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    for (const [times, decode] of [[own, decodeFetch], [other, decodeByKafkajs]] as const) {
      const begun = performance.now();
      for (let again = 0; again < 5; again++) {
        const { responses } = await decode(raw);
        for (const message of responses[0]!.partitions[0]!.messages) topicMessage("t", 0, message);
      }
      times.push((performance.now() - begun) * 1000 / 5 / frames.length);
    }
  }
  return { step: "decode", ...compared("own, µs", own.slice(1), "kafkajs, µs", other.slice(1)) };
}

/** µs a message of two ways, in turn; the first turn is for the compiler. */
function alternate(one: () => unknown, other: () => unknown, messages: number): [number[], number[]] {
  const times: [number[], number[]] = [[], []];
  const repeat = Math.max(1, Math.ceil(20_000 / messages));
  for (let round = 0; round <= rounds; round++) {
    for (const [at, way] of [one, other].entries()) {
      const begun = performance.now();
      for (let again = 0; again < repeat; again++) way();
      if (round > 0) times[at]!.push((performance.now() - begun) * 1000 / repeat / messages);
    }
  }
  return times;
}

function compared(name: string, own: readonly number[], otherName: string, other: readonly number[]): Row {
  const rounded = (values: readonly number[]) => values.map((value) => Number(value.toFixed(2)));
  return {
    [name]: median(rounded(own)),
    "from–to": spread(rounded(own)),
    [otherName]: median(rounded(other)),
    "its from–to": spread(rounded(other)),
    "times as fast": ratio(median(other) / median(own)),
  };
}

/** Tables that each cycle of a running tape writes. */
const written = ["trades", "book_changes", "tickers", "heartbeats"] as const;

/** What an insert costs: with all that hangs on the table, and with nothing. */
async function measureInserts(
  { clickhouse }: Tape,
  pid: number,
  market: Readonly<Record<Table, TableRow[]>>,
): Promise<Row[]> {
  for (const table of written) await clickhouse.command({ query: `CREATE TABLE bare_${table} AS ${table}` });
  const views = await ask<{ table: Table; views: number }>(
    clickhouse,
    `SELECT table, length(dependencies_table) AS views FROM (SELECT name AS table, dependencies_table FROM system.tables
     WHERE database = currentDatabase() AND name IN ({tables:Array(String)}))`,
    { tables: written },
  );
  const rows: Row[] = [];
  for (const table of written) {
    for (const count of [10, 1000]) {
      const blocks = blocksOf(market[table], count);
      const turns = [table, `bare_${table}`].map((into) => ({ into, ms: [] as number[], cpu: 0 }));
      for (let round = 0; round < 40; round++) {
        for (const turn of turns) {
          const before = cpuSeconds(pid);
          const begun = performance.now();
          await insertInto(clickhouse, turn.into, table, blocks[round % blocks.length]!);
          turn.ms.push(performance.now() - begun);
          turn.cpu += cpuSeconds(pid) - before;
        }
      }
      const [whole, bare] = turns;
      rows.push({
        table,
        views: views.find((found) => found.table === table)?.views ?? 0,
        rows: count,
        "an insert, ms": Number(median(whole!.ms).toFixed(1)),
        "CPU ms": Math.round(whole!.cpu * 1000 / 40),
        "without views, ms": Number(median(bare!.ms).toFixed(1)),
        "its CPU ms": Math.round(bare!.cpu * 1000 / 40),
      });
    }
  }
  return rows;
}

/** What small inserts cost with the merges that follow, by how many parts a merge takes; without views. */
async function measureMerges({ clickhouse }: Tape, pid: number, trades: readonly TableRow[]): Promise<Row[]> {
  const blocks = blocksOf(trades, 10);
  const turns = [5, 10, 20, 40].map((base) => ({ base, cpu: [] as number[], parts: [] as number[] }));
  for (let round = 0; round < 3; round++) {
    for (const { base, cpu, parts } of turns) {
      const into = `merged_${base}_${round}`;
      await clickhouse.command({ query: `CREATE TABLE ${into} AS trades` });
      await clickhouse.command({ query: `ALTER TABLE ${into} MODIFY SETTING merge_selector_base = ${base}` });
      await insertInto(clickhouse, into, "trades", trades);
      const before = cpuSeconds(pid);
      for (let at = 0; at < smallInserts; at++) {
        await insertInto(clickhouse, into, "trades", blocks[at % blocks.length]!);
      }
      await until("the merges to end", async () => {
        return (await ask(clickhouse, "SELECT 1 FROM system.merges")).length === 0;
      });
      cpu.push(Number(((cpuSeconds(pid) - before) * 1000 / smallInserts).toFixed(1)));
      const [left] = await ask<{ parts: number }>(
        clickhouse,
        `SELECT count() AS parts FROM system.parts
         WHERE database = currentDatabase() AND table = {into:String} AND active`,
        { into },
      );
      parts.push(left?.parts ?? 0);
    }
  }
  return turns.map(({ base, cpu, parts }) => ({
    "merge_selector_base": base,
    "an insert and its merges, CPU ms": median(cpu),
    "from–to": spread(cpu),
    "parts at the end": median(parts),
  }));
}

/** About a minute of a quiet tape. */
const smallInserts = 250;

function blocksOf(all: readonly TableRow[], count: number): TableRow[][] {
  const whole = Math.max(1, Math.floor(all.length / count));
  return Array.from({ length: Math.min(20, whole) }, (_, at) => all.slice(at * count, (at + 1) * count));
}

/** As the consumer inserts, into any table with the columns of `table`. */
async function insertInto(
  clickhouse: ClickHouseClient,
  into: string,
  table: Table,
  rows: readonly TableRow[],
): Promise<void> {
  const { stream } = await clickhouse.exec({
    query: `INSERT INTO ${into} (${columns[table].join()}) FORMAT RowBinary`,
    values: Readable.from([encodeRows(table, rows).bytes], { objectMode: false }),
    clickhouse_settings: { insert_deduplication_token: crypto.randomUUID(), async_insert: 0 },
  });
  await stream.forEach(() => {});
}
