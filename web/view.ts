/**
 * What is on the screen: makes the panels, and says which of them is painted when a part of the state changes.
 *
 * @module
 */

/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

import { nowMicros } from "../lib/core/time.ts";
import type { Measurement } from "./model/measurement.ts";
import type { createFrames } from "./model/frames.ts";
import { clearStreamProblem, type Part, shownDigits, type State, unknownSpans } from "./model/state.ts";
import { dateTime } from "./model/time_text.ts";
import type { View } from "./model/url_state.ts";
import { createChartPanel } from "./panels/chart_panel.ts";
import { createControls, paintControls, showTab } from "./panels/controls.ts";
import { createDepth } from "./panels/depth.ts";
import { byId, write } from "./panels/dom.ts";
import { createEventsPanel } from "./panels/events.ts";
import { createLadder } from "./panels/ladder.ts";
import { createMarkets, createSwitcher } from "./panels/markets.ts";
import { paintNotice } from "./panels/notice.ts";
import { createStatusView } from "./panels/status.ts";
import { createTape } from "./panels/tape.ts";
import { applyTheme } from "./panels/theme.ts";
import { paintCompleteness, paintConnection, paintHops, paintQuote } from "./panels/top_bar.ts";

/** What paints once a frame. */
export type Frames = ReturnType<typeof createFrames<Part>>;

/** What a panel asks for. */
interface Wishes {
  /** Another product or view. */
  show(changed: Partial<View>): void;
  /** The chart's left edge comes near. */
  olderCandles(): void;
}

/** Makes the panels, and paints them from then on. */
export function createView(state: State, frames: Frames, measurement: Measurement, wishes: Wishes) {
  const panels = createPanels(state, wishes, openTab);
  const { chart, tape, switcher } = panels;
  createControls(state.view.zone);
  // In this order in a frame.
  paintMarket(state, frames, panels);
  paintBars(state, frames, measurement);
  paintStatus(state, frames, measurement, panels);
  frames.on(["tape", "price", "tickers"], measurement.framePainted);

  /** Shows one panel where there is room for one only. */
  function openTab(tab: string): void {
    showTab(tab);
    frames.touch("book", "sparklines", "tape");
  }

  return {
    chart,
    tape,
    switcher,
    openTab,
    /** The theme of the view, or the system's, changed. */
    applyTheme(): void {
      applyTheme(state.view.theme);
      chart.repaint();
      frames.touch("book", "sparklines");
    },
  };
}

/** The view that createView makes. */
export type PageView = ReturnType<typeof createView>;

type Panels = ReturnType<typeof createPanels>;

function createPanels(state: State, { show, olderCandles }: Wishes, openTab: (tab: string) => void) {
  const chart = createChartPanel(state, olderCandles);
  return {
    chart,
    tape: createTape(byId("tape"), byId("tape-top", HTMLButtonElement)),
    ladder: createLadder(byId("ladder"), byId("imbalance")),
    depth: createDepth(byId("depth", HTMLCanvasElement), byId("depth-cover"), byId("depth-sub")),
    markets: createMarkets(byId("markets"), (product) => show({ product })),
    events: createEventsPanel(byId("events"), byId("events-sub"), (second) => {
      openTab("chart");
      chart.show(second);
    }),
    status: createStatusView(byId("status"), (product) => show({ product, view: "market" })),
    switcher: createSwitcher(
      byId("switcher", HTMLDialogElement),
      byId("search", HTMLInputElement),
      byId("found"),
      state,
      (product) => show({ product }),
    ),
  };
}

/** The market: one product in full, the prices of all. */
function paintMarket(state: State, frames: Frames, panels: Panels): void {
  const { chart, tape, ladder, depth, markets, events } = panels;
  frames.on(["view"], () => paintControls(state));
  frames.on(["products", "problems"], () => markets.paintOrder(state));
  frames.on(["price", "products", "book"], () => paintQuote(state));
  frames.on(["tickers", "products", "price"], () => markets.paint(state));
  frames.on(["sparklines", "products"], () => markets.paintSparklines(state));
  frames.on(["candles"], chart.paintChanged);
  frames.on(["problems"], () => {
    const problem = state.problems.get("candles");
    if (problem !== undefined && chart.size() === 0) chart.cover(problem);
  });
  frames.on(["gaps"], () => chart.setGaps(unknownSpans(state, nowMicros() / 1_000_000)));
  frames.on(["anomalies"], () => {
    chart.setAnomalies(state.anomalies.filter(({ product_id }) => product_id === state.view.product));
  });
  frames.on(["anomalies", "gaps", "feed"], () => events.paint(state));
  frames.on(["tape", "products"], () => tape.paint(state.tape, shownDigits(state), state.view.zone));
  frames.on(["book", "products"], () => {
    const digits = shownDigits(state);
    ladder.paint(state.book, digits);
    depth.paint(state.book, digits.price);
    const time = state.book?.time ?? null;
    write(byId("book-sub"), time === null ? "" : dateTime(Date.parse(time), state.view.zone).slice(11));
  });
}

/** What is always in sight. */
function paintBars(state: State, frames: Frames, { measured }: Measurement): void {
  frames.on(["status", "latency"], () => paintHops(state, measured.screen, measured.samples));
  frames.on(["status", "gaps"], () => paintCompleteness(state));
  frames.on(["status"], () => {
    if (clearStreamProblem(state, performance.now())) frames.touch("problems");
    byId("simulated").hidden = !state.simulated;
    write(byId("version"), state.status?.version ? `tapehouse ${state.status.version}` : "");
  });
  frames.on(["connection"], () => paintConnection(state));
  frames.on(["problems", "connection", "status"], () => paintNotice(state));
}

/** The pipeline, while it is in sight. */
function paintStatus(state: State, frames: Frames, { measured }: Measurement, { status }: Panels): void {
  const on = (parts: Parameters<Frames["on"]>[0], paint: () => void) =>
    frames.on(parts, () => state.view.view === "status" && paint());
  on(["status", "latency", "connection", "view"], () => {
    status.paintPipeline(state, measured);
    status.paintAbout(state, measured);
  });
  on(["status", "view", "gaps"], () => status.paintProducts(state));
  on(["hours", "view"], () => status.paintHours(state));
  on(["gaps", "view"], () => status.paintGaps(state));
  on(["feed", "view"], () => status.paintEvents(state));
}
