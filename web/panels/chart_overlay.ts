/**
 * What is laid over the candles: bands where something isn't known, marks at anomalies, and a note to each of them.
 *
 * @module
 */

import {
  createSeriesMarkers,
  type ISeriesApi,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Anomaly } from "../model/api_types.ts";
import { type Cut, spanPlaces } from "../model/candles.ts";
import { type ChartPlaces, rangeOf } from "../model/chart_places.ts";
import { placeOf, secondOf } from "../model/intervals.ts";
import { span } from "../model/time_text.ts";
import type { ChartColours } from "./chart_series.ts";
import { type Band, createGapBands } from "./gap_bands.ts";

/** What is drawn, and what is said when the pointer is on it, by its id. */
interface Noted<Item> {
  items: Item[];
  notes: [id: string, text: string][];
}

/** Draws over a series; `note` is what is said of a band or mark. */
export function createOverlay(candles: ISeriesApi<"Candlestick">) {
  const marks = createSeriesMarkers<Time>(candles, []);
  const bands = createGapBands();
  candles.attachPrimitive(bands);
  let cuts: readonly Cut[] = [];
  let anomalies: readonly Anomaly[] = [];
  let notes = new Map<string, string>();

  return {
    setCuts(next: readonly Cut[]): void {
      cuts = next;
    },
    setAnomalies(next: readonly Anomaly[]): void {
      anomalies = next;
    },
    /** Draws what lies on the places. @returns how many gaps are drawn */
    draw(places: ChartPlaces, colours: ChartColours): number {
      const gaps = gapBands(places, colours);
      const left = cutBands(cuts, colours);
      const odd = anomalyMarks(places, anomalies, colours);
      bands.set([...gaps.items, ...left.items]);
      marks.setMarkers(odd.items);
      notes = new Map([...gaps.notes, ...left.notes, ...odd.notes]);
      return gaps.items.length;
    },
    note: (id: unknown): string | undefined => typeof id === "string" ? notes.get(id) : undefined,
  };
}

/** The overlay that createOverlay makes. */
export type Overlay = ReturnType<typeof createOverlay>;

function gapBands(places: ChartPlaces, colours: ChartColours): Noted<Band> {
  const range = rangeOf(places);
  const noted: Noted<Band> = { items: [], notes: [] };
  places.gaps.forEach((gap, at) => {
    const touched = spanPlaces(gap, places.interval);
    if (range === null || touched.last < range.first || touched.first > range.last) return;
    const id = `gap ${at}`;
    noted.notes.push([id, gap.text]);
    const label = gap.kind === "trades" ? `${gap.missing.toLocaleString("en-US")} missing` : "no feed";
    noted.items.push({ id, ...touched, label, colour: gap.kind === "trades" ? colours.warn : colours.dim });
  });
  return noted;
}

function cutBands(cuts: readonly Cut[], { dim }: ChartColours): Noted<Band> {
  return {
    items: cuts.map(({ from }, at) => ({ id: `cut ${at}`, first: from, last: from, label: "", colour: dim })),
    notes: cuts.map(({ from, to }, at) => [
      `cut ${at}`,
      `${span((to - from) * 1000)} without a trade are left out here`,
    ]),
  };
}

function anomalyMarks(
  places: ChartPlaces,
  anomalies: readonly Anomaly[],
  colours: ChartColours,
): Noted<SeriesMarker<Time>> {
  const range = rangeOf(places);
  const noted: Noted<SeriesMarker<Time>> = { items: [], notes: [] };
  anomalies.forEach((anomaly, at) => {
    const start = placeOf(secondOf(anomaly.time), places.interval);
    if (Number.isNaN(start) || range === null || start < range.first || start > range.last) return;
    const id = `anomaly ${at}`;
    const what = anomaly.kind.replaceAll("_", " ");
    noted.notes.push([id, anomaly.explanation ? `${what}: ${anomaly.explanation}` : what]);
    noted.items.push({
      id,
      time: start as UTCTimestamp,
      position: "aboveBar",
      shape: "arrowDown",
      color: anomaly.severity === "critical" ? colours.down : colours.warn,
      size: 1,
    });
  });
  noted.items.sort((left, right) => Number(left.time) - Number(right.time));
  return noted;
}
