/**
 * How complete the tape of a product is, in the words that the page shows.
 *
 * @module
 */

import { microsOf } from "../../lib/core/time.ts";
import type { Gap, Status } from "./api_types.ts";
import { completeness } from "./decimal_text.ts";

/** `tone`: `up` nothing is missing, `warn` something is, `down` much is, `flat` nobody knows. */
interface Verdict {
  value: string;
  note: string;
  tone: "up" | "warn" | "down" | "flat";
}

/** Trades that are missing, and their gaps, of those that reach into the last 24 hours. */
export function missingOfDay(
  gaps: readonly Gap[],
  product: string,
  now: number,
): { trades: number; gaps: number } {
  const since = now - 86_400_000_000;
  const recent = gaps.filter((gap) => gap.product_id === product && microsOf(gap.before_time) >= since);
  return { trades: recent.reduce((sum, { missing }) => sum + missing, 0), gaps: recent.length };
}

/**
 * The verdict on a product's last 24 hours.
 *
 * @param now µs
 */
export function verdict(status: Status | null, gaps: readonly Gap[], product: string, now: number): Verdict {
  const known = status?.products.find(({ product_id }) => product_id === product);
  const { trades, gaps: count } = missingOfDay(gaps, product, now);
  const ratio = known?.completeness_24h ?? null;
  if (ratio === null) return { value: "–", note: "unknown", tone: "flat" };
  const value = completeness(ratio, trades);
  if (trades === 0 && ratio >= 1) return { value, note: "nothing missing", tone: "up" };
  const note = trades === 0
    ? "incomplete"
    : `${trades.toLocaleString("en-US")} missing · ${count === 1 ? "1 gap" : `${count} gaps`}`;
  return { value, note, tone: ratio < 0.999 ? "down" : "warn" };
}

/** The worst of all products, for those who look at another one. */
export function incompleteOthers(status: Status | null, product: string): number {
  return status?.products.filter(({ product_id, open_gaps }) => product_id !== product && open_gaps > 0)
    .length ?? 0;
}
