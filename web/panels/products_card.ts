/** Each product of the tape: how fresh and how complete it is. @module */

/// <reference lib="dom" />

import { microsOf, nowMicros } from "../../lib/core/time.ts";
import type { ProductStatus } from "../model/api_types.ts";
import { completeness } from "../model/decimal_text.ts";
import type { State } from "../model/state.ts";
import { missingOfDay } from "../model/tape_state.ts";
import { span } from "../model/time_text.ts";
import { make } from "./dom.ts";

/** Draws into `host`; `choose` is called with the product that was clicked. */
export function paintProducts(host: HTMLElement, state: State, choose: (product: string) => void): void {
  const known = state.status?.products ?? [];
  if (known.length === 0) {
    host.replaceChildren(make("p", "empty", state.problems.get("status") ?? "Loading…"));
    return;
  }
  const now = nowMicros();
  const head = row("head", "Product", "Last trade", "Received", "24 h", "Missing", "Gaps");
  host.replaceChildren(
    head,
    ...known.map((product) => {
      const line = lineOf(product, state, now);
      line.addEventListener("click", () => choose(product.product_id));
      line.addEventListener("keydown", (event) => event.key === "Enter" && choose(product.product_id));
      return line;
    }),
  );
}

/** @param now µs */
function lineOf(product: ProductStatus, state: State, now: number): HTMLElement {
  const { trades } = missingOfDay(state.gaps, product.product_id, now);
  const ago = (iso: string | null) => iso === null ? "–" : `${span((now - microsOf(iso)) / 1000)} ago`;
  const line = row(
    "line",
    product.product_id,
    ago(product.last_trade_at),
    ago(product.last_received_at),
    completeness(product.completeness_24h, trades),
    product.missing_trades.toLocaleString("en-US"),
    String(product.open_gaps),
  );
  const tone = product.open_gaps > 0 ? "warn" : product.completeness_24h === null ? "flat" : "up";
  line.children[3]?.classList.add(tone);
  line.setAttribute("role", "link");
  line.tabIndex = 0;
  return line;
}

function row(className: string, ...texts: string[]): HTMLElement {
  return make("div", `product-row ${className}`, ...texts.map((text) => make("span", "", text)));
}
