/**
 * Hours of the simulated exchange, as the frames that a producer would have received and as the rows that the consumer
 * would have stored: in a second, without servers and always the same.
 *
 * @module
 */

import "./clean_environment.ts";
import type { ClickHouseClient } from "@clickhouse/client";
import { createSimulation } from "../../exchange/simulation.ts";
import { addRows, columns, emptyRows, type Rows, type Table, tables } from "../../lib/ingest/rows.ts";
import { insertBlock } from "../../lib/ingest/insert_block.ts";

/** What to simulate. */
export interface SimulatedTapeOptions {
  products: string[];
  /** Matches and tickers a second over all products. */
  rate: number;
  /** µs since the epoch. */
  from: number;
  hours: number;
  /** For so many minutes at the end the order book is sent too. */
  bookMinutes: number;
}

/** The connection of all messages, and how long each took to be received, in µs. */
const connection = "p-1";
export const delayMicros = 30_000;

/** The rows of a simulated tape, `ingested_at` left to the table. */
export function simulatedTape(options: SimulatedTapeOptions): Rows {
  const { products, rate, from, hours, bookMinutes } = options;
  let now = from;
  const exchange = createSimulation({ seed: "tape", products, rate, clock: () => now });
  const to = from + hours * 3600e6;
  const bookFrom = to - bookMinutes * 60e6;
  const rows = emptyRows();
  let offset = 0;
  const receive = (text: string) => {
    addRows(rows, {
      topic: "tape",
      partition: 0,
      offset: offset++,
      value: new TextEncoder().encode(text),
      receivedAt: now + delayMicros,
      source: "simulator",
      connection,
    });
  };
  while (now < to) {
    if (now === bookFrom) {
      for (const product of products) {
        for (const { text } of exchange.opening("level2_batch", product)) receive(text);
      }
    }
    now += 1e6;
    for (const { text } of exchange.pull((channel) => channel !== "level2_batch" || now > bookFrom)) {
      receive(text);
    }
  }
  // What a trade is stored with beyond its message.
  rows.trades = rows.trades.map((row) => [...row, "tape"]);
  return rows;
}

/** A row by its columns' names. */
export type Named = Record<string, string | number | boolean | null>;

/** Rows of a table by their columns' names. */
export function named(rows: Rows, table: Table): Named[] {
  return rows[table].map((row) =>
    Object.fromEntries(columns[table].map((column, index) => [column, row[index] ?? null]))
  );
}

/** Stores all of it, one block a table. */
export async function store(clickhouse: ClickHouseClient, rows: Rows): Promise<void> {
  for (const table of tables) {
    if (rows[table].length > 0) await insertBlock(clickhouse, table, rows[table], `tape-${table}`);
  }
}
