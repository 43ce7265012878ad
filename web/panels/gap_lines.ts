/** Open gaps as lines: in the dialog on completeness and on the pipeline's page. @module */

/// <reference lib="dom" />

import { microsOf } from "../../lib/core/time.ts";
import type { Gap } from "../model/api_types.ts";
import type { State } from "../model/state.ts";
import { dateTime, span } from "../model/time_text.ts";
import { make } from "./dom.ts";

/** `ids 5–9 · within 12 s · open`. */
export function gapText(gap: Gap): string {
  const ids = gap.missing === 1 ? `id ${gap.first_missing}` : `ids ${gap.first_missing}–${gap.last_missing}`;
  const length = span((microsOf(gap.before_time) - microsOf(gap.after_time)) / 1000);
  return `${ids} · within ${length}${gap.status ? ` · ${gap.status}` : ""}`;
}

/** The newest `count` gaps, newest first. */
export function gapLines({ gaps, view }: State, count: number): HTMLElement[] {
  const sorted = gaps.toSorted((left, right) => microsOf(right.after_time) - microsOf(left.after_time));
  return sorted.slice(0, count).map((gap) =>
    make(
      "div",
      "gap",
      make("b", "", gap.product_id),
      make("span", "warn", gap.missing.toLocaleString("en-US")),
      make("time", "", dateTime(microsOf(gap.after_time) / 1000, view.zone)),
      make("span", "dim", gapText(gap)),
    )
  );
}

/** What the dialog on completeness says. */
export function paintGapsDialog(host: HTMLElement, state: State): void {
  const lines = gapLines(state, 200);
  const count = state.gaps.length;
  const intro = make(
    "p",
    "dim",
    "The exchange numbers each product's trades. A number that isn't stored is missing; backfill asks for it again.",
  );
  const found = lines.length === 0
    ? [make("p", "empty", state.problems.get("gaps") ?? "No gap is open: every numbered trade is stored.")]
    : [make("h3", "", `${count} open ${count === 1 ? "gap" : "gaps"}`), ...lines];
  host.replaceChildren(intro, ...found);
}
