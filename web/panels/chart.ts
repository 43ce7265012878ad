/**
 * The candles on the screen: volume and VWAP with them, gaps as hatched bands, anomalies as marks. It draws; what it
 * draws comes from outside.
 *
 * @module
 */

/// <reference lib="dom" />

import type { IChartApi, TickMarkType, Time } from "lightweight-charts";
import type { Interval } from "../../lib/core/interval.ts";
import type { Anomaly, Candle } from "../model/api_types.ts";
import type { TimedCandle, UnknownSpan } from "../model/candles.ts";
import {
  addCandles,
  type ChartPlaces,
  emptyPlaces,
  layOut,
  lengthOf,
  type PlaceChange,
  resetPlaces,
  tickPlaces,
  updateCandle,
} from "../model/chart_places.ts";
import { placeOf, secondsOf } from "../model/intervals.ts";
import { dateTime } from "../model/time_text.ts";
import { createAxisView, tickText } from "./chart_axis.ts";
import { createOverlay, type Overlay } from "./chart_overlay.ts";
import { createChartSeries } from "./chart_series.ts";

/** What is explained at a place of the chart, in CSS pixels from its top left. */
export interface ChartNote {
  text: string;
  x: number;
  y: number;
}

/** What the chart tells. */
interface ChartEvents {
  /** The left edge comes near: older candles are wanted. */
  history(): void;
  /** The candle under the pointer, or the newest one; and what is explained there. */
  hover(candle: TimedCandle | null, note: ChartNote | null): void;
  /** Whether the newest candle is in sight. */
  live(inSight: boolean): void;
}

/** So many places before the left edge older candles are asked for. */
const edge = 60;

/** Draws into `host`. */
export function createCandleChart(host: HTMLElement, events: ChartEvents) {
  const places = emptyPlaces();
  const { chart, series, overlay, draw, drawOverlay, setScales, setZone } = createDrawing(host, places);
  const axis = createAxisView(chart.timeScale(), () => lengthOf(places));
  report(chart, places, overlay, events);

  /** Adds candles of a page or a snapshot, in any order. */
  function add(candles: readonly Candle[]): void {
    const isFirst = places.list.length === 0;
    addCandles(places, candles);
    draw();
    axis.settle(isFirst);
  }

  /** Adds a candle as it changes. */
  function update(candle: Candle): void {
    const changes = updateCandle(places, candle);
    if (changes === null) add([candle]);
    else drawChanges(changes);
  }

  function drawChanges(changes: readonly PlaceChange[]): void {
    changes.forEach(series.drawChange);
    axis.follow();
  }

  return {
    /** Empties the chart for another product or interval. */
    reset(next: Interval, digits: number): void {
      resetPlaces(places, next);
      setScales(digits);
      draw();
      axis.showNewest();
    },
    add,
    update,
    /** The clock goes on, whether something is traded or not; `now` in seconds. */
    tick: (now: number) => drawChanges(tickPlaces(places, now)),
    setGaps(gaps: readonly UnknownSpan[]): void {
      places.gaps = gaps;
      // What isn't known is never filled.
      if (places.fill) draw();
      else drawOverlay();
    },
    setAnomalies(anomalies: readonly Anomaly[]): void {
      overlay.setAnomalies(anomalies);
      drawOverlay();
    },
    setFill(fill: boolean): void {
      places.fill = fill;
      draw();
    },
    setZone,
    /** The theme changed. */
    repaint(): void {
      series.applyColours();
      draw();
    },
    goLive: () => chart.timeScale().scrollToRealTime(),
    /** Scrolls so that a moment is in the middle; `second` since the epoch. */
    show: (second: number) => axis.centre(placeOf(second, places.interval)),
    newestCandle: () => places.list.at(-1) ?? null,
    size: () => places.list.length,
  };
}

/** What is drawn of the places, and in which words their times and prices are written. */
function createDrawing(host: HTMLElement, places: ChartPlaces) {
  let zone = "UTC";
  const series = createChartSeries(host, (time) => dateTime(Number(time) * 1000, zone));
  const overlay = createOverlay(series.candles);
  const { chart } = series;
  const tickMarkFormatter = (time: Time, type: TickMarkType) => tickText(time, type, places.interval, zone);
  series.applyColours();

  /** Bands and marks alone. */
  function drawOverlay(): void {
    host.dataset.gaps = String(overlay.draw(places, series.colours));
  }

  return {
    chart,
    series,
    overlay,
    drawOverlay,
    draw(): void {
      const { places: laidOut, cuts } = layOut(places);
      series.draw(laidOut);
      overlay.setCuts(cuts);
      drawOverlay();
    },
    /** Another product or interval. */
    setScales(digits: number): void {
      series.setDigits(digits);
      const secondsVisible = secondsOf(places.interval) < 60;
      chart.applyOptions({ timeScale: { secondsVisible, tickMarkFormatter } });
    },
    /** The time zone that the axis is written in. */
    setZone(next: string): void {
      zone = next;
      chart.applyOptions({ timeScale: { tickMarkFormatter } });
    },
  };
}

/** Tells where the axis and the pointer are. */
function report(chart: IChartApi, places: ChartPlaces, overlay: Overlay, events: ChartEvents): void {
  const scale = chart.timeScale();
  scale.subscribeVisibleLogicalRangeChange((range) => {
    if (range === null || places.list.length === 0) return;
    if (range.from < edge) events.history();
    events.live(scale.scrollPosition() > -3);
  });
  chart.subscribeCrosshairMove(({ time, point, hoveredObjectId }) => {
    const candle = time === undefined ? places.list.at(-1) : places.byStart.get(Number(time));
    const text = overlay.note(hoveredObjectId);
    const note = text === undefined || point === undefined ? null : { text, x: point.x, y: point.y };
    events.hover(candle ?? null, note);
  });
}
