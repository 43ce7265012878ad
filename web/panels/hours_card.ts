/** How complete the last hours were: a strip for each product. @module */

/// <reference lib="dom" />

import { microsOf } from "../../lib/core/time.ts";
import type { CompletenessHour } from "../model/api_types.ts";
import type { State } from "../model/state.ts";
import { dateTime, minute } from "../model/time_text.ts";
import { make } from "./dom.ts";

const hourMillis = 3_600_000;
/** How many hours back each strip's cells are, oldest first. */
const hoursBack = Array.from({ length: 24 }, (_, place) => 23 - place);
const legend = [
  ["full", "complete"],
  ["filled", "gaps filled"],
  ["open", "unconfirmed"],
  ["warn", "< 100 %"],
  ["down", "< 99 %"],
  ["none", "unknown"],
] as const;

/** Draws into `host`. */
export function paintHours(host: HTMLElement, state: State): void {
  const { zone } = state.view;
  const strips = stripsOf(state.hours);
  if (strips.size === 0) {
    host.replaceChildren(make("p", "empty", state.problems.get("hours") ?? "No hour is known yet."));
    return;
  }
  const newest = Math.max(...state.hours.map(({ hour }) => microsOf(hour))) / 1000;
  const lines = [...strips].map(([product, hours]) => {
    const cells = hoursBack.map((back) => {
      const start = newest - back * hourMillis;
      const hour = hours.get(start);
      const cell = make("i", hour === undefined ? "none" : heatTone(hour));
      cell.title = hour === undefined
        ? `${product} ${dateTime(start, zone)}: nothing is known`
        : heatText(hour, zone);
      return cell;
    });
    return make("div", "strip", make("b", "", product), ...cells);
  });
  const times = hoursBack.map((back) =>
    make("span", "", back % 4 === 3 || back === 0 ? minute(newest - back * hourMillis, zone) : "")
  );
  const axis = make("div", "strip axis", make("b"), ...times);
  const words = legend.map(([tone, text]) => make("span", "", make("i", tone), text));
  host.replaceChildren(...lines, axis, make("div", "heat-legend", ...words));
}

/** Product → hour (ms) → what is known of it. */
function stripsOf(hours: readonly CompletenessHour[]): Map<string, Map<number, CompletenessHour>> {
  const strips = new Map<string, Map<number, CompletenessHour>>();
  for (const hour of hours) {
    const strip = strips.get(hour.product_id) ?? new Map<number, CompletenessHour>();
    strips.set(hour.product_id, strip);
    strip.set(microsOf(hour.hour) / 1000, hour);
  }
  return strips;
}

function heatTone(hour: CompletenessHour): string {
  if (hour.ratio < 0.99) return "down";
  if (hour.open_gaps > 0 || hour.ratio < 1) return "warn";
  if (hour.status === "unconfirmed") return "open";
  return (hour.filled_gaps ?? 0) > 0 ? "filled" : "full";
}

function heatText(hour: CompletenessHour, zone: string): string {
  const when = dateTime(microsOf(hour.hour) / 1000, zone);
  const counts = `${hour.trades.toLocaleString("en-US")} of ${hour.expected.toLocaleString("en-US")} trades`;
  const filled = hour.filled_trades ? `, ${hour.filled_trades.toLocaleString("en-US")} filled in later` : "";
  return `${hour.product_id} ${when}: ${counts}${filled}, ${hour.status}`;
}
