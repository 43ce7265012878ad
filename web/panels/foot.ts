/** What stands at the bottom: the time in the view's zone, and how much comes in. @module */

/// <reference lib="dom" />

import type { Measured } from "../model/measurement.ts";
import { dateTime, day } from "../model/time_text.ts";
import { byId, write } from "./dom.ts";

/** Shows the time of now and the rates of the last second. */
export function paintFoot(zone: string, { messages, frames }: Measured): void {
  const now = Date.now();
  const clock = `${day(now, zone)} ${dateTime(now, zone).slice(11)} ${zone === "local" ? "" : zone}`;
  write(byId("clock"), clock);
  write(byId("rate"), `${messages.toLocaleString("en-US")} messages/s · ${frames} frames/s`);
}
