/**
 * Decimals as they are shown: digits are kept or cut, never rounded, for they are in the data.
 *
 * @module
 */

import { parseDecimal } from "../../lib/core/decimal.ts";
import { compare } from "./decimal_math.ts";

/** The fraction digits of an increment: `"0.00000100"` → 6, `"1"` → 0; `fallback` where it isn't known. */
export function digitsOf(increment: string | null | undefined, fallback = 2): number {
  if (increment === null || increment === undefined || !/^\d+(\.\d*)?$/.test(increment)) return fallback;
  return (increment.split(".")[1] ?? "").replace(/0+$/, "").length;
}

/**
 * A decimal with thousands separated and at least `digits` fraction digits: `("64000.1", 2)` → `"64,000.10"`. Digits
 * that go beyond are kept, never rounded: they are in the data.
 */
export function format(text: string | null | undefined, digits = 0): string {
  const match = /^([-+]?)(\d+)(?:\.(\d*))?$/.exec(text ?? "");
  if (match === null) return "–";
  const whole = (match[2] ?? "").replace(/\B(?=(\d{3})+$)/g, ",");
  const fraction = (match[3] ?? "").replace(/0+$/, "").padEnd(digits, "0");
  return `${match[1] === "-" ? "−" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

/** A decimal cut (not rounded) to `digits` fraction digits, for computed values such as a mid or a vwap. */
export function cut(text: string | null | undefined, digits: number): string {
  if (text === null || text === undefined) return "–";
  const point = text.indexOf(".");
  return format(point < 0 ? text : text.slice(0, point + 1 + digits), digits);
}

/** A volume in few characters: `"1234567.8"` → `"1.234M"`; cut, so that it never says more than there is. */
export function short(text: string | null | undefined): string {
  if (text === null || text === undefined || !/^\d+(\.\d*)?$/.test(text)) return "–";
  const [whole = "0", fraction = ""] = text.split(".");
  const suffix = ["", "K", "M", "B", "T"];
  const power = Math.min(Math.floor((whole.length - 1) / 3), suffix.length - 1);
  const head = power === 0 ? whole : whole.slice(0, -3 * power);
  const tail = power === 0 ? fraction : whole.slice(-3 * power);
  const digits = power === 0 && whole === "0" ? 4 : Math.max(0, 4 - head.length);
  const kept = tail.slice(0, digits);
  return `${head.replace(/\B(?=(\d{3})+$)/g, ",")}${kept === "" ? "" : `.${kept}`}${suffix[power]}`;
}

/** `price / open - 1` in percent with its sign: `"+1.24 %"`; `–` where it isn't known. */
export function change(price: string | null | undefined, open: string | null | undefined): string {
  if (!price || !open) return "–";
  const from = parseDecimal(open);
  if (from === 0n) return "–";
  const hundredths = Math.round(Number(((parseDecimal(price) - from) * 1_000_000_000n) / from) / 100_000);
  const sign = hundredths > 0 ? "+" : hundredths < 0 ? "−" : "";
  return `${sign}${(Math.abs(hundredths) / 100).toFixed(2)} %`;
}

/** The sign of `price - open`: which colour a change has. */
export function direction(price: string | null | undefined, open: string | null | undefined): -1 | 0 | 1 {
  return price && open ? compare(price, open) : 0;
}

/**
 * How much of the tape is there: `100.000 %` only when nothing is missing, otherwise cut, so that 0.9999999 reads
 * `99.999 %` and never 100.
 */
export function completeness(value: number | null | undefined, missing: number): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (missing === 0 && value >= 1) return "100.000 %";
  return `${(Math.min(99.999, Math.floor(value * 100_000) / 1000)).toFixed(3)} %`;
}
