/** What can be chosen, and what of it is: views, panels, intervals, time zone. @module */

/// <reference lib="dom" />

import { offeredIntervals } from "../model/intervals.ts";
import { intervalOf, type State } from "../model/state.ts";
import { byId, make, paintClass } from "./dom.ts";

/** The buttons of the offered intervals, and the time zones; `chosen` is among these even when nobody knows it. */
export function createControls(chosen: string): void {
  for (const interval of offeredIntervals) {
    const button = make("button", "", interval);
    button.setAttribute("type", "button");
    byId("intervals").append(button);
  }
  const zones = byId("zone", HTMLSelectElement);
  for (const zone of new Set(["UTC", "local", chosen, ...Intl.supportedValuesOf("timeZone")])) {
    zones.append(new Option(zone === "local" ? "Local time" : zone.replaceAll("_", " "), zone));
  }
}

/** Shows the view's part of the page, and what is chosen in it. */
export function paintControls(state: State): void {
  const { view, fill, zone } = state.view;
  byId("market").hidden = view !== "market";
  byId("status").hidden = view !== "status";
  document.body.dataset.view = view;
  markCurrent(
    document.querySelectorAll<HTMLElement>(".views button"),
    ({ dataset }) => dataset.view === view,
  );
  const interval = intervalOf(state);
  for (const button of byId("intervals").children) {
    button.setAttribute("aria-pressed", String(button.textContent === interval));
  }
  const isOffered = offeredIntervals.includes(interval);
  const free = byId("interval", HTMLInputElement);
  if (document.activeElement !== free) free.value = isOffered ? "" : interval;
  paintClass(free, isOffered ? "" : "chosen");
  byId("fill").setAttribute("aria-pressed", String(fill));
  byId("zone", HTMLSelectElement).value = zone;
}

/** Shows one panel where there is room for one only. */
export function showTab(tab: string): void {
  document.body.dataset.tab = tab;
  markCurrent(byId("tabs").querySelectorAll("button"), ({ dataset }) => dataset.tab === tab);
}

function markCurrent(buttons: Iterable<HTMLElement>, isCurrent: (button: HTMLElement) => boolean): void {
  for (const button of buttons) {
    if (isCurrent(button)) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}
