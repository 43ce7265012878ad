/**
 * The chart's time axis: what stands at it, and where it begins while there are few candles.
 *
 * @module
 */

import { type ITimeScaleApi, TickMarkType, type Time, type UTCTimestamp } from "lightweight-charts";
import type { Interval } from "../../lib/core/interval.ts";
import { secondsOf } from "../model/intervals.ts";
import { dateTime, day, minute, month } from "../model/time_text.ts";

/** How wide a place is, and how many stay free at the right, when nobody has zoomed. */
export const usualSpacing = { barSpacing: 7, rightOffset: 6 };
/** Few candles are drawn wider, up to this. */
const widest = 14;

/** What stands at a mark of the axis. */
export function tickText(time: Time, type: TickMarkType, interval: Interval, zone: string): string {
  const millis = Number(time) * 1000;
  if (type === TickMarkType.Year || type === TickMarkType.Month) return month(millis, zone);
  const clock = minute(millis, zone);
  if (type === TickMarkType.DayOfMonth) {
    // The axis is divided at UTC's midnights; in another zone the hour belongs to the mark.
    return clock === "00:00" || secondsOf(interval) >= 86_400
      ? day(millis, zone)
      : `${day(millis, zone)} ${clock}`;
  }
  return type === TickMarkType.TimeWithSeconds ? dateTime(millis, zone).slice(11) : clock;
}

/**
 * What the axis shows. Few candles stand at the left and grow to the right until the room is filled; with more the axis ends with them.
 *
 * @param length how many places there are from the first candle to the last place
 */
export function createAxisView(scale: ITimeScaleApi<Time>, length: () => number) {
  let isRoomy = false;

  /** How many places there is room for. */
  function room(barSpacing: number): number {
    return scale.width() / barSpacing - usualSpacing.rightOffset;
  }

  /** The axis ends with the newest candle, as wide as usual. */
  function showNewest(): void {
    isRoomy = false;
    scale.resetTimeScale();
    scale.applyOptions({ ...usualSpacing, shiftVisibleRangeOnNewBar: true });
  }

  return {
    showNewest,
    /** After many candles; `first` when there were none before. */
    settle(first: boolean): void {
      if (!first && !isRoomy) return;
      const places = length();
      if (places > room(usualSpacing.barSpacing) * 0.7) {
        if (isRoomy) showNewest();
        return;
      }
      if (!first) return;
      isRoomy = true;
      const barSpacing = Math.max(usualSpacing.barSpacing, Math.min(widest, 0.6 * scale.width() / places));
      scale.applyOptions({ barSpacing, shiftVisibleRangeOnNewBar: false });
      scale.setVisibleLogicalRange({ from: -1.5, to: scale.width() / barSpacing - 1.5 });
    },
    /** Scrolls so that the place that begins at `start` is in the middle. */
    centre(start: number): void {
      const index = scale.timeToIndex(start as UTCTimestamp, true);
      const range = scale.getVisibleLogicalRange();
      if (index === null || range === null) return;
      const half = (range.to - range.from) / 2;
      scale.setVisibleLogicalRange({ from: index - half, to: index + half });
    },
    /** After another candle: the axis moves along once there is no room left. */
    follow(): void {
      if (!isRoomy || length() < room(scale.options().barSpacing) - 1) return;
      isRoomy = false;
      scale.applyOptions({ shiftVisibleRangeOnNewBar: true });
    },
  };
}
