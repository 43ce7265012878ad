/** The newest trades, by taker side. @module */

/// <reference lib="dom" />

import type { Trade } from "../model/api_types.ts";
import { format } from "../model/decimal_text.ts";
import { make, paintClass, write } from "./dom.ts";
import { type TapeRow, tapeRows } from "../model/tape_rows.ts";
import { preciseClock } from "../model/time_text.ts";

/** Draws into `host`; the lines are made once and only their texts change. */
export function createTape(host: HTMLElement, toTop: HTMLButtonElement) {
  const lines: { line: HTMLElement; cells: HTMLElement[] }[] = [];
  const shown = 100;
  for (let place = 0; place < shown; place++) {
    const cells = [make("span"), make("span"), make("span")];
    const line = make("div", "row", ...cells);
    line.hidden = true;
    lines.push({ line, cells });
    host.append(line);
  }
  // Who scrolled down reads: the lines stand still until the top is reached again.
  const reading = () => host.scrollTop > 4;
  host.addEventListener("scroll", () => toTop.hidden = !reading());
  toTop.addEventListener("click", () => host.scrollTop = 0);

  return {
    paint(tape: readonly Trade[], digits: { price: number; size: number }, zone: string): void {
      if (reading() && lines[0]?.line.hidden === false && tape.length > 0) return;
      const rows = tapeRows(tape, shown);
      lines.forEach(({ line, cells }, place) => {
        const row = rows[place];
        if (line.hidden !== (row === undefined)) line.hidden = row === undefined;
        if (row === undefined) return;
        const texts = textsOf(row, digits, zone);
        cells.forEach((cell, column) => write(cell, texts[column] ?? ""));
        paintClass(
          line,
          "trade" in row ? `row ${row.trade.taker_side === "buy" ? "up" : "down"}` : "row missing",
        );
      });
    },
    /** Another product: from the top. */
    reset: () => host.scrollTop = 0,
  };
}

function textsOf(row: TapeRow, digits: { price: number; size: number }, zone: string): string[] {
  if ("trade" in row) {
    const { price, size, time } = row.trade;
    return [format(price, digits.price), format(size, digits.size), preciseClock(time, zone)];
  }
  const count = row.last - row.first + 1;
  const ids = count === 1 ? `${row.first}` : `${row.first}–${row.last}`;
  return [`${count.toLocaleString("en-US")} not here: ${ids}`, "", ""];
}
