/**
 * The chart's series: candles, volume and VWAP, and how a place looks in each of them.
 *
 * @module
 */

/// <reference lib="dom" />

import {
  type CandlestickData,
  CandlestickSeries,
  createChart,
  CrosshairMode,
  type HistogramData,
  HistogramSeries,
  type IChartApi,
  type LineData,
  LineSeries,
  LineStyle,
  type Time,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { ChartPlace } from "../model/candles.ts";
import type { PlaceChange } from "../model/chart_places.ts";
import { format } from "../model/decimal_text.ts";
import { usualSpacing } from "./chart_axis.ts";
import { colour, faded } from "./dom.ts";

/** The colours of the theme at this moment. */
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

/** The colours that readColours reads. */
export type ChartColours = ReturnType<typeof readColours>;

/** Makes the chart in `host`; `timeText` is what the crosshair says of a time. */
export function createChartSeries(host: HTMLElement, timeText: (time: Time) => string) {
  const chart = createChart(host, {
    autoSize: true,
    layout: { attributionLogo: false, fontFamily: getComputedStyle(host).fontFamily, fontSize: 11 },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { scaleMargins: { top: 0.1, bottom: 0.24 } },
    timeScale: {
      timeVisible: true,
      ...usualSpacing,
      minBarSpacing: 0.6,
      tickMarkMaxCharacterLength: 12,
      // The clock makes a place before its candle comes: without this the axis would fall behind by each that comes late.
      allowShiftVisibleRangeOnWhitespaceReplacement: true,
    },
    localization: { locale: "en-GB", timeFormatter: timeText },
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
  let colours = readColours();

  return {
    chart,
    candles,
    get colours(): ChartColours {
      return colours;
    },
    /** Takes over the colours of the theme; what is drawn already keeps its own. */
    applyColours(): void {
      colours = readColours();
      colourChart(chart, colours);
      candles.applyOptions({
        upColor: colours.up,
        downColor: colours.down,
        wickUpColor: colours.up,
        wickDownColor: colours.down,
      });
      vwap.applyOptions({ color: colours.vwap });
    },
    /** Another product: its prices' fraction digits, and a scale that fits them by itself. */
    setDigits(digits: number): void {
      const formatter = (price: number) => format(price.toFixed(digits), digits);
      const priceFormat = { type: "custom", formatter, minMove: 10 ** -digits } as const;
      candles.applyOptions({ priceFormat });
      vwap.applyOptions({ priceFormat });
      candles.priceScale().applyOptions({ autoScale: true });
    },
    /** Draws all anew. */
    draw(places: readonly ChartPlace[]): void {
      candles.setData(places.map((place) => bar(place, colours)));
      volume.setData(places.map((place) => volumeBar(place, colours)));
      vwap.setData(places.map((place, at) => vwapPoint(place, places[at + 1])));
    },
    /** Draws one place anew. */
    drawChange({ place, before, after, isHistorical }: PlaceChange): void {
      candles.update(bar(place, colours), isHistorical);
      volume.update(volumeBar(place, colours), isHistorical);
      vwap.update(vwapPoint(place, after), isHistorical);
      if (before !== undefined) vwap.update(vwapPoint(before, place), true);
    },
  };
}

function colourChart(chart: IChartApi, colours: ChartColours): void {
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
}

function bar(place: ChartPlace, { dim }: ChartColours): CandlestickData | WhitespaceData {
  const time = place.start as UTCTimestamp;
  if ("candle" in place) {
    const { open, high, low, close } = place.candle;
    return { time, open: Number(open), high: Number(high), low: Number(low), close: Number(close) };
  }
  if (!("filled" in place)) return { time };
  const value = Number(place.filled);
  const look = { color: dim, wickColor: dim, borderColor: dim };
  return { time, open: value, high: value, low: value, close: value, ...look };
}

function volumeBar(place: ChartPlace, colours: ChartColours): HistogramData | WhitespaceData {
  const time = place.start as UTCTimestamp;
  if (!("candle" in place)) return { time };
  const { open, close, volume } = place.candle;
  const rising = Number(close) >= Number(open);
  return { time, value: Number(volume), color: rising ? colours.upFaded : colours.downFaded };
}

/** The line isn't drawn across places without a candle: nobody knows a VWAP there. A point's colour is its line's to the next. */
function vwapPoint(place: ChartPlace, next: ChartPlace | undefined): LineData | WhitespaceData {
  const time = place.start as UTCTimestamp;
  if (!("candle" in place) || place.candle.vwap === null) return { time };
  const value = Number(place.candle.vwap);
  return next === undefined || "candle" in next ? { time, value } : { time, value, color: "transparent" };
}
