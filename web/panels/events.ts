/** Anomalies and gaps of the shown product, newest first, and what happened to the feed. @module */

/// <reference lib="dom" />

import { microsOf } from "../../lib/core/time.ts";
import type { Anomaly, FeedEvent, Gap } from "../model/api_types.ts";
import { make, write } from "./dom.ts";
import type { State } from "../model/state.ts";
import { dateTime } from "../model/time_text.ts";
import { gapText } from "./gap_lines.ts";

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
        host.replaceChildren(make("p", "empty", problem ?? "No anomaly and no gap in this product."));
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
    at: microsOf(anomaly.time),
    tone: anomaly.severity === "critical" ? "down" : anomaly.severity === "info" ? "flat" : "warn",
    what: anomaly.kind.replaceAll("_", " "),
    text: anomaly.explanation ?? "",
  }));
  const missing = gaps.filter(({ product_id }) => product_id === product).map((gap): Item => ({
    at: microsOf(gap.after_time),
    tone: "warn",
    what: gap.missing === 1 ? "1 trade missing" : `${gap.missing.toLocaleString("en-US")} trades missing`,
    text: gapText(gap),
  }));
  const feed = events.filter(({ product_id, event }) =>
    (!product_id || product_id === product) && event !== "gap"
  )
    .map((event): Item => ({
      at: microsOf(event.time),
      tone: event.event === "connected" || event.event === "subscribed" ? "up" : "warn",
      what: `feed ${event.event.replaceAll("_", " ")}`,
      text: event.reason ?? "",
    }));
  return [...odd, ...missing, ...feed].filter(({ at }) => !Number.isNaN(at)).sort((left, right) =>
    right.at - left.at
  );
}
