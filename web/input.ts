/**
 * What a person does: buttons, fields, dialogs, keys, and what the window tells.
 *
 * @module
 */

/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

import { offeredIntervals, readInterval } from "./model/intervals.ts";
import { inOrder } from "./model/product_list.ts";
import { intervalOf } from "./model/state.ts";
import type { Navigation } from "./navigation.ts";
import type { Page } from "./page_parts.ts";
import { byId } from "./panels/dom.ts";
import { paintGapsDialog } from "./panels/gap_lines.ts";
import { listen } from "./panels/shortcuts.ts";
import { onSystemTheme, otherTheme } from "./panels/theme.ts";

/** @param retry loads anew what every view needs */
export function listenToInput(page: Page, navigation: Navigation, retry: () => void): void {
  const actions = createActions(page, navigation);
  const { show } = navigation;
  byId("fill").addEventListener("click", actions.toggleFill);
  byId("theme").addEventListener("click", actions.toggleTheme);
  byId("help").addEventListener("click", actions.openHelp);
  byId("complete").addEventListener("click", actions.openGaps);
  byId("product").addEventListener("click", page.view.switcher.open);
  byId("live").addEventListener("click", page.view.chart.goLive);
  byId("notice").querySelector("button")?.addEventListener("click", () => {
    page.stream.reconnect();
    retry();
  });
  const zones = byId("zone", HTMLSelectElement);
  zones.addEventListener("change", () => show({ zone: zones.value }));
  listenToViews(page, navigation);
  listenToIntervals(navigation);
  listenToDialogs();
  listenToKeys(page, navigation, actions);
  listenToWindow(page, navigation);
}

/** What both a button and a key do. */
function createActions({ state }: Page, { show }: Navigation) {
  return {
    toggleFill: () => show({ fill: !state.view.fill }),
    toggleTheme: () => show({ theme: otherTheme() }),
    openHelp: () => byId("shortcuts", HTMLDialogElement).showModal(),
    openGaps: () => {
      paintGapsDialog(byId("gaps-body"), state);
      byId("gaps", HTMLDialogElement).showModal();
    },
  };
}

function listenToViews({ state, view }: Page, { show }: Navigation): void {
  for (const button of document.querySelectorAll<HTMLElement>(".views button")) {
    const name = button.dataset.view === "status" ? "status" : "market";
    button.addEventListener("click", () => show({ view: name }));
  }
  for (const button of byId("tabs").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      if (state.view.view === "status") show({ view: "market" });
      view.openTab(button.dataset.tab ?? "chart");
    });
  }
}

function listenToIntervals({ show }: Navigation): void {
  for (const button of byId("intervals").querySelectorAll("button")) {
    button.addEventListener("click", () => show({ interval: button.textContent ?? "" }));
  }
  const field = byId("interval", HTMLInputElement);
  byId("interval-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const interval = readInterval(field.value);
    field.setCustomValidity(
      interval === null ? "A whole number and s, m, h, d or w, such as 90s or 36h" : "",
    );
    if (interval === null) return void field.reportValidity();
    field.blur();
    show({ interval: interval.name });
  });
  field.addEventListener("input", () => field.setCustomValidity(""));
}

function listenToDialogs(): void {
  for (const button of document.querySelectorAll<HTMLElement>("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog")?.close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click beside the dialog is a click on its backdrop. Without a token there is nothing to show.
    dialog.addEventListener(
      "click",
      ({ target }) => target === dialog && dialog.id !== "token" && dialog.close(),
    );
  }
}

function listenToKeys(
  { state, view }: Page,
  { show }: Navigation,
  actions: ReturnType<typeof createActions>,
): void {
  const step = (by: number) => {
    const products = inOrder(state);
    const at = products.indexOf(state.view.product);
    const product = products[(at + by + products.length) % products.length];
    if (product !== undefined) show({ product });
  };
  const stepInterval = (by: number) => {
    const interval = offeredIntervals[Math.max(0, offeredIntervals.indexOf(intervalOf(state))) + by];
    if (interval !== undefined) show({ interval });
  };
  listen([
    { keys: ["/", "Ctrl+k"], text: "Another product", run: view.switcher.open },
    { keys: ["j"], text: "Next product", run: () => step(1) },
    { keys: ["k"], text: "Product before", run: () => step(-1) },
    { keys: ["]"], text: "Longer interval", run: () => stepInterval(1) },
    { keys: ["["], text: "Shorter interval", run: () => stepInterval(-1) },
    { keys: ["i"], text: "Any interval", run: () => byId("interval").focus() },
    { keys: ["f"], text: "Fill intervals without trades", run: actions.toggleFill },
    { keys: ["End"], text: "To the newest candle", run: view.chart.goLive },
    { keys: ["h"], text: "What is missing", run: actions.openGaps },
    { keys: ["1"], text: "Market", run: () => show({ view: "market" }) },
    { keys: ["2"], text: "Pipeline", run: () => show({ view: "status" }) },
    { keys: ["t"], text: "Dark or light", run: actions.toggleTheme },
    { keys: ["?"], text: "This help", run: actions.openHelp },
  ], byId("shortcuts-body"));
}

function listenToWindow({ frames, stream, measurement, view }: Page, { followAddress }: Navigation): void {
  onSystemTheme(view.applyTheme);
  document.addEventListener("visibilitychange", measurement.watchFromNow);
  addEventListener("popstate", followAddress);
  addEventListener("resize", () => frames.touch("book", "sparklines"));
  addEventListener("online", () => stream.reconnect());
}
