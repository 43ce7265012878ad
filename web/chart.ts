/**
 * The candles on the screen: volume and VWAP with them, holes as hatched bands, anomalies as marks. It draws; what it
 * draws comes from outside.
 *
 * @module
 */

/// <reference lib="dom" />

import {
  type CandlestickData,
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  CrosshairMode,
  type HistogramData,
  HistogramSeries,
  type LineData,
  LineSeries,
  LineStyle,
  type SeriesMarker,
  TickMarkType,
  type Time,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { Anomaly, Candle } from "./api_types.ts";
import {
  between,
  type Cut,
  emptyPlace,
  type Hole,
  holePlaces,
  isOlder,
  merge,
  type Place,
  placesOf,
  type TimedCandle,
} from "./candles.ts";
import { format } from "./decimal.ts";
import { colour, faded } from "./dom.ts";
import { type Band, createHoleBands } from "./hole_bands.ts";
import { bucket, dateTime, day, type Interval, minute, month, seconds, span } from "./time.ts";

/** What the chart tells. */
export interface ChartEvents {
  /** The left edge comes near: older candles are wanted. */
  history(): void;
  /** The candle under the pointer, or the newest one; and what is explained there. */
  hover(candle: TimedCandle | null, note: { text: string; x: number; y: number } | null): void;
  /** Whether the newest candle is in sight. */
  live(inSight: boolean): void;
}

/** How wide a place is, and how many stay free at the right, when nobody has zoomed. */
const usual = { barSpacing: 7, rightOffset: 6 };
/** Few candles are drawn wider, up to this. */
const widest = 14;

/** Draws into `host`. */
export function createCandleChart(host: HTMLElement, events: ChartEvents) {
  let interval: Interval = { text: "1m", seconds: 60 };
  let list: TimedCandle[] = [];
  let byStart = new Map<number, TimedCandle>();
  let newest: number | null = null;
  /** The candles are few: they stand at the left and grow to the right, until the room is filled. */
  let roomy = false;
  let cuts: Cut[] = [];
  let holes: Hole[] = [];
  let anomalies: Anomaly[] = [];
  let notes = new Map<string, string>();
  let fill = false;
  let digits = 2;
  let zone = "UTC";
  let colours = readColours();

  const chart = createChart(host, {
    autoSize: true,
    layout: { attributionLogo: false, fontFamily: getComputedStyle(host).fontFamily, fontSize: 11 },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { scaleMargins: { top: 0.1, bottom: 0.24 } },
    timeScale: {
      timeVisible: true,
      ...usual,
      minBarSpacing: 0.6,
      tickMarkMaxCharacterLength: 12,
    },
    localization: { locale: "en-GB", timeFormatter: (time: Time) => dateTime(Number(time) * 1000, zone) },
  });
  const candles = chart.addSeries(CandlestickSeries, { borderVisible: false });
  const volume = chart.addSeries(HistogramSeries, {
    priceScaleId: "volume",
    priceFormat: { type: "volume" },
    lastValueVisible: false,
    priceLineVisible: false,
  });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  const vwap = chart.addSeries(LineSeries, {
    lineWidth: 1,
    lineStyle: LineStyle.Solid,
    lastValueVisible: false,
    priceLineVisible: false,
    crosshairMarkerVisible: false,
  });
  const marks = createSeriesMarkers<Time>(candles, []);
  const bands = createHoleBands();
  candles.attachPrimitive(bands);
  applyColours();

  const scale = chart.timeScale();
  scale.subscribeVisibleLogicalRangeChange((range) => {
    if (range === null || list.length === 0) return;
    if (range.from < 60) events.history();
    const distance = scale.scrollPosition();
    events.live(distance > -3);
  });
  chart.subscribeCrosshairMove(({ time, point, hoveredObjectId }) => {
    const candle = byStart.get(Number(time)) ?? (time === undefined ? list.at(-1) : undefined) ?? null;
    const text = typeof hoveredObjectId === "string" ? notes.get(hoveredObjectId) : undefined;
    events.hover(candle, text === undefined || point === undefined ? null : { text, x: point.x, y: point.y });
  });

  function draw(): void {
    const drawn = placesOf(list, interval, { fill, holes });
    cuts = drawn.cuts;
    candles.setData(drawn.places.map(bar));
    volume.setData(drawn.places.map(volumeBar));
    vwap.setData(drawn.places.map((place, at) => vwapPoint(place, drawn.places[at + 1])));
    newest = drawn.places.at(-1)?.start ?? null;
    byStart = new Map(list.map((candle) => [candle.start, candle]));
    drawBands();
    drawMarks();
  }

  function bar(place: Place): CandlestickData | WhitespaceData {
    const time = place.start as UTCTimestamp;
    if ("candle" in place) {
      const { open, high, low, close } = place.candle;
      return { time, open: Number(open), high: Number(high), low: Number(low), close: Number(close) };
    }
    if (!("filled" in place)) return { time };
    const value = Number(place.filled);
    const look = { color: colours.dim, wickColor: colours.dim, borderColor: colours.dim };
    return { time, open: value, high: value, low: value, close: value, ...look };
  }

  function volumeBar(place: Place): HistogramData | WhitespaceData {
    const time = place.start as UTCTimestamp;
    if (!("candle" in place)) return { time };
    const { open, close, volume } = place.candle;
    const rising = Number(close) >= Number(open);
    return { time, value: Number(volume), color: rising ? colours.upFaded : colours.downFaded };
  }

  /** The line isn't drawn across places without a candle: nobody knows a vwap there. A point's colour is its line's to the next. */
  function vwapPoint(place: Place, next: Place | undefined): LineData | WhitespaceData {
    const time = place.start as UTCTimestamp;
    if (!("candle" in place) || place.candle.vwap === null) return { time };
    const value = Number(place.candle.vwap);
    return next === undefined || "candle" in next ? { time, value } : { time, value, color: "transparent" };
  }

  function put(place: Place, historical: boolean): void {
    candles.update(bar(place), historical);
    volume.update(volumeBar(place), historical);
    vwap.update(vwapPoint(place, placeAfter(place.start)), historical);
    const before = byStart.get(place.start - interval.seconds);
    if (before !== undefined) vwap.update(vwapPoint({ start: before.start, candle: before }, place), true);
  }

  function placeAfter(start: number): Place | undefined {
    const next = start + interval.seconds;
    if (newest === null || next > newest) return undefined;
    const candle = byStart.get(next);
    return candle === undefined ? { start: next } : { start: next, candle };
  }

  /** Appends empty places up to, not including, `start`. False when the axis has to be cut: then all is drawn anew. */
  function reach(start: number): boolean {
    if (newest === null) return false;
    const { starts, cut } = between(newest, start, interval);
    if (cut !== null) return false;
    const close = list.at(-1)?.close ?? "0";
    for (const each of starts) put(emptyPlace(each, close, interval, { fill, holes }), false);
    newest = starts.at(-1) ?? newest;
    return true;
  }

  /** Places from the first candle to the newest one, and how many there is room for. */
  function roomOf(barSpacing: number): { places: number; room: number } {
    const places = newest === null
      ? 0
      : Math.round((newest - (list[0]?.start ?? newest)) / interval.seconds) + 1;
    return { places, room: scale.width() / barSpacing - usual.rightOffset };
  }

  function add(more: readonly Candle[]): void {
    const first = list.length === 0;
    list = merge(list, more);
    draw();
    if (first || roomy) settle(first);
  }

  /** Where candles are few the axis begins with them; with more it ends with them. */
  function settle(first: boolean): void {
    const { places, room } = roomOf(usual.barSpacing);
    if (places > room * 0.7) {
      if (roomy) showNewest();
      return;
    }
    if (!first) return;
    roomy = true;
    const barSpacing = Math.max(usual.barSpacing, Math.min(widest, 0.6 * scale.width() / places));
    scale.applyOptions({ barSpacing, shiftVisibleRangeOnNewBar: false });
    scale.setVisibleLogicalRange({ from: -1.5, to: scale.width() / barSpacing - 1.5 });
  }

  function showNewest(): void {
    roomy = false;
    scale.resetTimeScale();
    scale.applyOptions({ ...usual, shiftVisibleRangeOnNewBar: true });
  }

  /** After another candle: the axis moves along once there is no room left. */
  function follow(): void {
    if (!roomy) return;
    const { places, room } = roomOf(scale.options().barSpacing);
    if (places < room - 1) return;
    roomy = false;
    scale.applyOptions({ shiftVisibleRangeOnNewBar: true });
  }

  function drawBands(): void {
    notes = new Map();
    const drawn: Band[] = [];
    const first = list[0]?.start;
    holes.forEach((hole, place) => {
      const places = holePlaces(hole, interval);
      if (first === undefined || places.last < first || (newest !== null && places.first > newest)) return;
      const id = `hole ${place}`;
      notes.set(id, hole.text);
      const label = hole.kind === "trades" ? `${hole.missing.toLocaleString("en-US")} missing` : "no feed";
      drawn.push({ id, ...places, label, colour: hole.kind === "trades" ? colours.warn : colours.dim });
    });
    cuts.forEach((each, place) => {
      const id = `cut ${place}`;
      const text = `${span((each.to - each.from) * 1000)} without a trade are left out here`;
      notes.set(id, text);
      drawn.push({ id, first: each.from, last: each.from, label: "", colour: colours.dim });
    });
    bands.set(drawn);
    host.dataset.holes = String(drawn.filter(({ id }) => id.startsWith("hole")).length);
  }

  function drawMarks(): void {
    const first = list[0]?.start ?? Infinity;
    const marked: SeriesMarker<Time>[] = [];
    anomalies.forEach((anomaly, place) => {
      const start = bucket(seconds(anomaly.time), interval);
      if (Number.isNaN(start) || start < first || newest === null || start > newest) return;
      const id = `anomaly ${place}`;
      const what = anomaly.kind.replaceAll("_", " ");
      notes.set(id, anomaly.explanation ? `${what}: ${anomaly.explanation}` : what);
      const grave = anomaly.severity === "critical";
      const color = grave ? colours.down : colours.warn;
      marked.push({
        id,
        time: start as UTCTimestamp,
        position: "aboveBar",
        shape: "arrowDown",
        color,
        size: 1,
      });
    });
    marked.sort((left, right) => Number(left.time) - Number(right.time));
    marks.setMarkers(marked);
  }

  function readColours() {
    const [up, down] = [colour("up"), colour("down")];
    return {
      up,
      down,
      upFaded: faded(up, 0.32),
      downFaded: faded(down, 0.32),
      dim: colour("dim"),
      warn: colour("warn"),
      vwap: colour("accent"),
      text: colour("dim"),
      line: colour("grid"),
      panel: colour("panel"),
      raised: colour("raised"),
    };
  }

  function applyColours(): void {
    chart.applyOptions({
      layout: { background: { color: colours.panel }, textColor: colours.text },
      grid: { vertLines: { color: colours.line }, horzLines: { color: colours.line } },
      rightPriceScale: { borderColor: colours.line },
      timeScale: { borderColor: colours.line },
      crosshair: {
        vertLine: { color: colours.dim, labelBackgroundColor: colours.raised },
        horzLine: { color: colours.dim, labelBackgroundColor: colours.raised },
      },
    });
    candles.applyOptions({
      upColor: colours.up,
      downColor: colours.down,
      wickUpColor: colours.up,
      wickDownColor: colours.down,
    });
    vwap.applyOptions({ color: colours.vwap });
  }

  function tickMark(time: Time, type: TickMarkType): string {
    const millis = Number(time) * 1000;
    if (type === TickMarkType.Year || type === TickMarkType.Month) return month(millis, zone);
    const clock = minute(millis, zone);
    if (type === TickMarkType.DayOfMonth) {
      // The axis is divided at UTC's midnights; in another zone the hour belongs to the mark.
      return clock === "00:00" || interval.seconds >= 86_400
        ? day(millis, zone)
        : `${day(millis, zone)} ${clock}`;
    }
    return type === TickMarkType.TimeWithSeconds ? dateTime(millis, zone).slice(11) : clock;
  }

  return {
    /** Empties the chart for another product or interval. */
    reset(next: Interval, priceDigits: number): void {
      interval = next;
      digits = priceDigits;
      list = [];
      byStart = new Map();
      newest = null;
      const minMove = 10 ** -digits;
      const formatter = (price: number) => format(price.toFixed(digits), digits);
      candles.applyOptions({ priceFormat: { type: "custom", formatter, minMove } });
      vwap.applyOptions({ priceFormat: { type: "custom", formatter, minMove } });
      chart.applyOptions({
        timeScale: { secondsVisible: interval.seconds < 60, tickMarkFormatter: tickMark },
      });
      candles.priceScale().applyOptions({ autoScale: true });
      draw();
      showNewest();
    },
    /** Adds candles of a page or a snapshot, in any order. */
    add,
    /** Adds a candle as it changes. */
    update(candle: Candle): void {
      const start = seconds(candle.time);
      if (Number.isNaN(start) || isOlder(candle, byStart.get(start))) return;
      const timed = { ...candle, start };
      const last = list.at(-1);
      if (last === undefined || (start > (newest ?? 0) && !reach(start))) return add([candle]);
      if (start > last.start) {
        list.push(timed);
        // Empty places may already stand behind it: the clock went on before the trade was here.
        put({ start, candle: timed }, start < (newest ?? 0));
        newest = Math.max(newest ?? 0, start);
      } else if (byStart.has(start)) {
        const place = list.findLastIndex((each) => each.start === start);
        list[place] = timed;
        put({ start, candle: timed }, start < (newest ?? 0));
      } else {
        return add([candle]);
      }
      byStart.set(start, timed);
      follow();
    },
    /** The clock goes on, whether something is traded or not; `now` in seconds. */
    tick(now: number): void {
      const current = bucket(now, interval);
      if (newest === null || current <= newest || (current - newest) / interval.seconds > 120) return;
      reach(current);
      follow();
    },
    setHoles(next: Hole[]): void {
      const redraw = fill;
      holes = next;
      if (redraw) return draw();
      drawBands();
      drawMarks();
    },
    setAnomalies(next: Anomaly[]): void {
      anomalies = next;
      drawBands();
      drawMarks();
    },
    setFill(next: boolean): void {
      fill = next;
      draw();
    },
    setZone(next: string): void {
      zone = next;
      chart.applyOptions({ timeScale: { tickMarkFormatter: tickMark } });
    },
    /** The theme changed. */
    repaint(): void {
      colours = readColours();
      applyColours();
      draw();
    },
    goLive: () => scale.scrollToRealTime(),
    /** Scrolls so that a moment is in the middle; `second` since the epoch. */
    show(second: number): void {
      const index = scale.timeToIndex(bucket(second, interval) as UTCTimestamp, true);
      const range = scale.getVisibleLogicalRange();
      if (index === null || range === null) return;
      const half = (range.to - range.from) / 2;
      scale.setVisibleLogicalRange({ from: index - half, to: index + half });
    },
    newestCandle: () => list.at(-1) ?? null,
    size: () => list.length,
  };
}
