/**
 * The newest trades of a product, by their numbers, with a mark wherever a number is missing.
 *
 * @module
 */

import type { Trade } from "./api_types.ts";

/** A line of the tape: a trade, or the trades that lie between two and aren't here. */
export type TapeRow = { trade: Trade } | { first: number; last: number };

/** So many trades are kept. */
export const tapeLength = 200;

/**
 * Adds trades, newest number first; one that is there already is left alone.
 *
 * @returns whether something was added
 */
export function addTrades(tape: Trade[], more: readonly Trade[]): boolean {
  let added = false;
  for (const trade of more) {
    let place = 0;
    while (place < tape.length && (tape[place]?.trade_id ?? 0) > trade.trade_id) place++;
    if (place >= tapeLength || tape[place]?.trade_id === trade.trade_id) continue;
    tape.splice(place, 0, trade);
    added = true;
  }
  tape.length = Math.min(tape.length, tapeLength);
  return added;
}

/** The lines that are shown, newest first. */
export function tapeRows(tape: readonly Trade[], count: number): TapeRow[] {
  const rows: TapeRow[] = [];
  let newer: number | undefined;
  for (const trade of tape) {
    if (rows.length >= count) break;
    if (newer !== undefined && trade.trade_id < newer - 1) {
      rows.push({ first: trade.trade_id + 1, last: newer - 1 });
    }
    rows.push({ trade });
    newer = trade.trade_id;
  }
  return rows.slice(0, count);
}
