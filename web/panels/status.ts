/** The pipeline from the exchange to the screen: rates, lag, freshness, completeness by hour, gaps, events. @module */

/// <reference lib="dom" />

import { microsOf } from "../../lib/core/time.ts";
import type { Status } from "../model/api_types.ts";
import type { Measured } from "../model/measurement.ts";
import type { State } from "../model/state.ts";
import { dateTime } from "../model/time_text.ts";
import { make, write } from "./dom.ts";
import { gapLines } from "./gap_lines.ts";
import { paintHours } from "./hours_card.ts";
import { paintPipeline } from "./pipeline_card.ts";
import { paintProducts } from "./products_card.ts";

/** So many gaps and events are listed. */
const listed = 50;

/** Draws into `host`; `choose` is called with the product that was clicked. */
export function createStatusView(host: HTMLElement, choose: (product: string) => void) {
  const pipeline = make("div", "pipeline");
  const hours = make("div", "body heat");
  const products = make("div", "body");
  const gaps = make("div", "body");
  const events = make("div", "body");
  const about = make("dl", "body about");
  host.append(
    card("Pipeline", pipeline, "wide"),
    card("Completeness by hour, last 24 h", hours, "wide"),
    card("Products", products, ""),
    card("Open gaps", gaps, ""),
    card("Feed events since this page was opened", events, ""),
    card("Versions and services", about, ""),
  );

  return {
    paintPipeline: (state: State, measured: Measured) => paintPipeline(pipeline, state, measured),
    paintProducts: (state: State) => paintProducts(products, state, choose),
    paintHours: (state: State) => paintHours(hours, state),
    paintGaps(state: State): void {
      const none = state.problems.get("gaps") ?? "No gap is open.";
      const lines = gapLines(state, listed);
      gaps.replaceChildren(...(lines.length === 0 ? [make("p", "empty", none)] : lines));
    },
    paintEvents(state: State): void {
      const lines = eventLines(state);
      events.replaceChildren(
        ...(lines.length === 0 ? [make("p", "empty", "Nothing happened: the feed runs.")] : lines),
      );
    },
    paintAbout: (state: State, measured: Measured) => paintAbout(about, state.status, measured),
  };
}

function eventLines({ events, view }: State): HTMLElement[] {
  return events.slice(0, listed).map((event) =>
    make(
      "div",
      "gap",
      make("b", "", event.event.replaceAll("_", " ")),
      make("span", "", event.product_id ?? ""),
      make("time", "", dateTime(microsOf(event.time) / 1000, view.zone)),
      make("span", "dim", [event.reason, detailsOf(event.details)].filter(Boolean).join(" · ")),
    )
  );
}

function paintAbout(host: HTMLElement, status: Status | null, measured: Measured): void {
  const { clickhouse, kafka } = status ?? {};
  const facts: [string, string][] = [
    ["tapehouse", status?.version ?? "–"],
    ["Database", status?.database ?? "–"],
    [
      "ClickHouse",
      clickhouse?.ok === false
        ? `away${clickhouse.reason ? `: ${clickhouse.reason}` : ""}`
        : clickhouse?.version ?? "–",
    ],
    ["Kafka", kafka ? kafka.ok ? "reached" : "away" : "–"],
    ["Stream clients", String(status?.stream?.clients ?? "–")],
    ["Server's clock", clockText(measured.offset)],
  ];
  facts.forEach(([label, value], place) => {
    if (host.children[place] === undefined) {
      host.append(make("div", "", make("dt", "", label), make("dd")));
    }
    const detail = host.children[place]?.children[1];
    if (detail !== undefined) write(detail, value);
  });
}

/** How the server's clock stands to the page's; `offset` as the stream says it. */
function clockText(offset: number | null): string {
  if (offset === null) return "not compared yet";
  const aheadMs = offset - performance.timeOrigin;
  return `${Math.abs(aheadMs).toFixed(1)} ms ${aheadMs < 0 ? "behind" : "ahead of"} this page's`;
}

function card(title: string, body: HTMLElement, className: string): HTMLElement {
  const made = make("section", `panel card ${className}`, make("header", "", make("h2", "", title)), body);
  made.setAttribute("aria-label", title);
  return made;
}

function detailsOf(details: unknown): string {
  if (details === undefined || details === null || details === "") return "";
  const text = typeof details === "string" ? details : JSON.stringify(details);
  return text === "{}" ? "" : text.slice(0, 160);
}
