/** The chart with what belongs to it: its legend, its tip, and what is said in place of candles. @module */

/// <reference lib="dom" />

import type { Candle } from "../model/api_types.ts";
import type { TimedCandle } from "../model/candles.ts";
import { minuteInterval, readInterval } from "../model/intervals.ts";
import { intervalOf, shownDigits, type State } from "../model/state.ts";
import { type ChartNote, createCandleChart } from "./chart.ts";
import { byId, write } from "./dom.ts";
import { paintLegend, paintTip } from "./legend.ts";

/** @param history called when older candles are wanted */
export function createChartPanel(state: State, history: () => void) {
  /** The legend is of another candle than the newest. */
  let isHovering = false;
  const chart = createCandleChart(byId("chart"), {
    history,
    hover: paintAt,
    live: (inSight) => byId("live").hidden = inSight,
  });

  function paintAt(candle: TimedCandle | null, note: ChartNote | null): void {
    isHovering = candle !== null && candle !== chart.newestCandle();
    paintLegend(state, candle);
    paintTip(note);
  }

  /** Says something in place of the candles; null shows them. */
  function cover(text: string | null): void {
    const box = byId("chart-cover");
    box.hidden = text === null;
    write(box, text ?? "");
  }

  return {
    ...chart,
    cover,
    /** Empties the chart for the product and interval of the view. */
    reset(text: string): void {
      chart.reset(readInterval(intervalOf(state)) ?? minuteInterval, shownDigits(state).price);
      cover(text);
      paintAt(null, null);
    },
    /** Adds candles of a page or a snapshot, in any order. */
    add(candles: readonly Candle[]): void {
      if (candles.length === 0) return;
      chart.add(candles);
      cover(null);
      paintAt(chart.newestCandle(), null);
    },
    /** Draws the candles that changed. */
    paintChanged(): void {
      const isFollowing = !isHovering;
      for (const candle of state.changedCandles.splice(0)) chart.update(candle);
      if (chart.size() > 0) cover(null);
      if (isFollowing && chart.size() > 0) paintAt(chart.newestCandle(), null);
    },
  };
}
