/** The figures of a candle above the chart, and what is explained beside the pointer. @module */

/// <reference lib="dom" />

import type { TimedCandle } from "../model/candles.ts";
import { change, cut, direction, format, short } from "../model/decimal_text.ts";
import { intervalOf, shownDigits, type State } from "../model/state.ts";
import type { ChartNote } from "./chart.ts";
import { byId, make, paintClass, tone, write } from "./dom.ts";

/** What a cell shows: its label, its text, its class. */
type Cell = [label: string, text: string, className: string];

const cellCount = 8;

/** The candle's open, high, low, close, change, volume, VWAP and number of trades; nothing without a candle. */
export function paintLegend(state: State, candle: TimedCandle | null): void {
  const box = byId("legend");
  // The exact values of what is cut for the eye.
  box.dataset.time = candle?.time ?? "";
  box.dataset.volume = candle?.volume ?? "";
  if (box.children.length === 0) {
    const cells = Array.from({ length: cellCount }, () => make("span", "", make("i"), make("span")));
    box.append(make("b"), ...cells);
  }
  const [title, ...cells] = box.children;
  if (title !== undefined) write(title, `${state.view.product} · ${intervalOf(state)}`);
  const values = candle === null ? [] : cellsOf(candle, shownDigits(state).price);
  cells.forEach((cell, place) => {
    const [label = "", text = "", className = ""] = values[place] ?? [];
    const [head, body] = cell.children;
    if (head !== undefined) write(head, label);
    if (body !== undefined) write(body, text);
    paintClass(cell, className);
  });
}

function cellsOf(candle: TimedCandle, digits: number): Cell[] {
  const rising = tone(direction(candle.close, candle.open));
  return [
    ["O", format(candle.open, digits), rising],
    ["H", format(candle.high, digits), rising],
    ["L", format(candle.low, digits), rising],
    ["C", format(candle.close, digits), rising],
    ["", change(candle.close, candle.open), rising],
    ["V", short(candle.volume), ""],
    ["VWAP", cut(candle.vwap, digits), "vwap"],
    ["n", candle.trades.toLocaleString("en-US"), ""],
  ];
}

/** What is explained beside the pointer, within the chart; null hides it. */
export function paintTip(note: ChartNote | null): void {
  const tip = byId("tip");
  tip.hidden = note === null;
  if (note === null) return;
  write(tip, note.text);
  const left = Math.min(note.x + 14, byId("chart").clientWidth - tip.offsetWidth - 80);
  tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(28, note.y + 12)}px)`;
}
