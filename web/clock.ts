/**
 * What happens by itself as time goes on. A page that isn't in sight asks for nothing.
 *
 * @module
 */

/// <reference lib="dom" />

import type { GapList } from "./model/gap_list.ts";
import { inOrder } from "./model/product_list.ts";
import type { Page } from "./page_parts.ts";
import { paintFoot } from "./panels/foot.ts";

/** @param retry without products nothing else was loaded: asks for them again */
export function startClock(page: Page, gaps: GapList, retry: () => void): void {
  const { state, load } = page;
  setInterval(() => everySecond(page), 1_000);
  whileInSight(5_000, () => {
    load.status();
    if (state.view.view === "status") load.hours();
    if (state.problems.has("products")) retry();
  });
  whileInSight(15_000, gaps.refresh);
  whileInSight(60_000, () => load.sparklines(inOrder(state)));
}

function whileInSight(ms: number, run: () => void): void {
  setInterval(() => document.hidden || run(), ms);
}

function everySecond({ state, frames, stream, measurement, view }: Page): void {
  measurement.tick();
  paintFoot(state.view.zone, measurement.measured);
  frames.touch("latency");
  if (state.connection.state === "waiting") frames.touch("problems");
  if (state.connection.state !== "open") return;
  const offset = stream.offset();
  if (offset !== null) view.chart.tick((performance.now() + offset) / 1000);
  if (state.outages.some(({ to }) => to === Infinity)) frames.touch("gaps");
}
