/**
 * Hatched bands on the chart where something isn't known, and a solid strip on the time axis below them.
 *
 * @module
 */

/// <reference lib="dom" />

import type {
  IChartApiBase,
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  PrimitiveHoveredItem,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";

/** A band from the place that begins at `first` to the one that begins at `last`, in seconds. */
export interface Band {
  id: string;
  first: number;
  last: number;
  /** Beside the top of the band, where there is room. */
  label: string;
  /** `rgb(…)` */
  colour: string;
}

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

/** The primitive to attach to a series; `set` draws other bands. */
export function createGapBands(): ISeriesPrimitive<Time> & { set(bands: readonly Band[]): void } {
  let chart: IChartApiBase<Time> | null = null;
  let requestUpdate = () => {};
  let bands: readonly Band[] = [];

  /** Left and right of a band in CSS pixels; null when it isn't on the axis. */
  function extent(band: Band): { left: number; right: number } | null {
    const scale = chart?.timeScale();
    const first = scale?.timeToIndex(band.first as Time & number, true) ?? null;
    const last = scale?.timeToIndex(band.last as Time & number, true) ?? null;
    if (scale === undefined || first === null || last === null) return null;
    const from = scale.logicalToCoordinate(
      first as number as Parameters<typeof scale.logicalToCoordinate>[0],
    );
    const next = scale.logicalToCoordinate(first + 1 as Parameters<typeof scale.logicalToCoordinate>[0]);
    const to = scale.logicalToCoordinate(last as number as Parameters<typeof scale.logicalToCoordinate>[0]);
    if (from === null || next === null || to === null) return null;
    const half = Math.max(1, (next - from) / 2);
    return { left: from - half, right: to + half };
  }

  function drawBands(target: Target): void {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio, verticalPixelRatio }) => {
      for (const band of bands) {
        const place = extent(band);
        if (place === null || place.right < 0 || place.left * horizontalPixelRatio > bitmapSize.width) {
          continue;
        }
        const left = Math.round(place.left * horizontalPixelRatio);
        const width = Math.max(2, Math.round(place.right * horizontalPixelRatio) - left);
        const density = { x: horizontalPixelRatio, y: verticalPixelRatio };
        drawHatching(context, band.colour, { left, width, height: bitmapSize.height }, density);
        drawLabel(context, band, left, width, verticalPixelRatio);
      }
    });
  }

  function drawAxis(target: Target): void {
    target.useBitmapCoordinateSpace(({ context, horizontalPixelRatio, verticalPixelRatio }) => {
      for (const band of bands) {
        const place = extent(band);
        if (place === null) continue;
        const left = Math.round(place.left * horizontalPixelRatio);
        const width = Math.max(2, Math.round(place.right * horizontalPixelRatio) - left);
        context.fillStyle = band.colour;
        context.fillRect(left, 0, width, Math.round(4 * verticalPixelRatio));
      }
    });
  }

  const paneViews = [view(drawBands, "top")];
  const axisViews = [view(drawAxis, "top")];
  return {
    attached(parameter: SeriesAttachedParameter<Time>) {
      chart = parameter.chart;
      requestUpdate = parameter.requestUpdate;
    },
    detached() {
      chart = null;
    },
    paneViews: () => paneViews,
    timeAxisPaneViews: () => axisViews,
    hitTest(x: number): PrimitiveHoveredItem | null {
      for (const band of bands) {
        const place = extent(band);
        if (place !== null && x >= place.left - 2 && x <= place.right + 2) {
          return { externalId: band.id, zOrder: "top", cursorStyle: "help" };
        }
      }
      return null;
    },
    set(next: readonly Band[]) {
      bands = next;
      requestUpdate();
    },
  };
}

function view(draw: (target: Target) => void, order: "top" | "bottom"): IPrimitivePaneView {
  return { zOrder: () => order, renderer: () => ({ draw }) };
}

/** All in pixels of the screen; `density` is how many of them a CSS pixel has. */
function drawHatching(
  context: CanvasRenderingContext2D,
  rgb: string,
  { left, width, height }: { left: number; width: number; height: number },
  density: { x: number; y: number },
): void {
  context.save();
  context.beginPath();
  context.rect(left, 0, width, height);
  context.clip();
  context.globalAlpha = 0.1;
  context.fillStyle = rgb;
  context.fillRect(left, 0, width, height);
  context.globalAlpha = 0.45;
  context.strokeStyle = rgb;
  context.lineWidth = density.x;
  const step = 8 * density.x;
  context.beginPath();
  // Counted from the left of the band, so that the hatching moves with it.
  for (let x = left - height; x < left + width; x += step) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.globalAlpha = 1;
  context.fillStyle = rgb;
  context.fillRect(left, height - 3 * density.y, width, 3 * density.y);
  context.restore();
}

function drawLabel(
  context: CanvasRenderingContext2D,
  band: Band,
  left: number,
  width: number,
  density: number,
): void {
  context.font = `600 ${11 * density}px system-ui, sans-serif`;
  const needed = context.measureText(band.label).width + 12 * density;
  if (needed > width || band.label === "") return;
  context.fillStyle = band.colour;
  context.textAlign = "center";
  context.fillText(band.label, left + width / 2, 44 * density);
}
