/** Anomalies and holes of the shown product, newest first, and what happened to the feed. @module */

/// <reference lib="dom" />

import type { Anomaly, FeedEvent, Gap } from "./api_types.ts";
import { make, write } from "./dom.ts";
import type { State } from "./state.ts";
import { dateTime, micros, span } from "./time.ts";

interface Item {
  at: number;
  tone: string;
  what: string;
  text: string;
}

/** Draws into `host`; `show` is called with the moment (s) of an item that was chosen. */
export function createEventsPanel(host: HTMLElement, sub: HTMLElement, show: (second: number) => void) {
  return {
    paint(state: State): void {
      const { product, zone } = state.view;
      const items = itemsOf(state.anomalies, state.gaps, state.events, product);
      write(sub, items.length === 0 ? "" : String(items.length));
      const problem = state.problems.get("anomalies");
      if (items.length === 0) {
        host.replaceChildren(make("p", "empty", problem ?? "No anomaly and no hole in this product."));
        return;
      }
      host.replaceChildren(
        ...items.slice(0, 100).map(({ at, tone, what, text }) => {
          const item = make(
            "button",
            "event",
            make("i", tone),
            make("b", "", what),
            make("time", "", dateTime(at / 1000, zone)),
          );
          item.append(make("span", "", text));
          item.setAttribute("type", "button");
          item.title = "Show it on the chart";
          item.addEventListener("click", () => show(at / 1_000_000));
          return item;
        }),
      );
    },
  };
}

function itemsOf(anomalies: Anomaly[], gaps: Gap[], events: FeedEvent[], product: string): Item[] {
  const odd = anomalies.filter(({ product_id }) => product_id === product).map((anomaly): Item => ({
    at: micros(anomaly.time),
    tone: anomaly.severity === "critical" ? "down" : anomaly.severity === "info" ? "flat" : "warn",
    what: anomaly.kind.replaceAll("_", " "),
    text: anomaly.explanation ?? "",
  }));
  const holes = gaps.filter(({ product_id }) => product_id === product).map((gap): Item => ({
    at: micros(gap.after_time),
    tone: "warn",
    what: gap.missing === 1 ? "1 trade missing" : `${gap.missing.toLocaleString("en-US")} trades missing`,
    text: gapText(gap),
  }));
  const feed = events.filter(({ product_id, event }) =>
    (!product_id || product_id === product) && event !== "gap"
  )
    .map((event): Item => ({
      at: micros(event.time),
      tone: event.event === "connected" || event.event === "subscribed" ? "up" : "warn",
      what: `feed ${event.event.replaceAll("_", " ")}`,
      text: event.reason ?? "",
    }));
  return [...odd, ...holes, ...feed].filter(({ at }) => !Number.isNaN(at)).sort((left, right) =>
    right.at - left.at
  );
}

/** `ids 5–9, 12 s, open`. */
export function gapText(gap: Gap): string {
  const ids = gap.missing === 1 ? `id ${gap.first_missing}` : `ids ${gap.first_missing}–${gap.last_missing}`;
  const length = span((micros(gap.before_time) - micros(gap.after_time)) / 1000);
  return `${ids} · within ${length}${gap.status ? ` · ${gap.status}` : ""}`;
}

/** What the dialog on completeness says: the products, then the holes. */
export function paintHolesDialog(host: HTMLElement, state: State): void {
  const { zone } = state.view;
  const list = state.gaps.toSorted((left, right) => micros(right.after_time) - micros(left.after_time));
  const lines = list.slice(0, 200).map((gap) => {
    const who = make("b", "", gap.product_id);
    const count = make("span", "warn", gap.missing.toLocaleString("en-US"));
    const when = make("time", "", dateTime(micros(gap.after_time) / 1000, zone));
    return make("div", "hole", who, count, when, make("span", "dim", gapText(gap)));
  });
  const intro = make(
    "p",
    "dim",
    "The exchange numbers each product's trades. A number that isn't stored is missing; backfill asks for it again.",
  );
  const found = lines.length === 0
    ? [make("p", "empty", state.problems.get("gaps") ?? "No hole is open: every numbered trade is stored.")]
    : [make("h3", "", `${list.length} open ${list.length === 1 ? "hole" : "holes"}`), ...lines];
  host.replaceChildren(intro, ...found);
}
