/**
 * Decimals and times as Coinbase writes them. Prices and sizes are whole numbers of the product's increments
 * until they become text, so no digit ever passes through floating point.
 *
 * @module
 */

import { isoMicros } from "../lib/core/time.ts";

/** `(6351460, 2)` → `63514.60`, as prices and sizes stand in the order book. */
export function padded(units: number, digits: number): string {
  if (digits === 0) return String(units);
  const text = String(units).padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** `(6351460, 2)` → `63514.6`, as prices and sizes stand in trades. */
export function trimmed(units: number, digits: number): string {
  while (digits > 0 && units % 10 === 0) {
    units /= 10;
    digits--;
  }
  return padded(units, digits);
}

/** `0.05` → 5 with 2 digits. @throws {RangeError} when the text isn't a decimal of at most `digits` fraction digits */
export function unitsOf(decimal: string, digits: number): bigint {
  const match = /^(\d+)(?:\.(\d+))?$/.exec(decimal);
  const rest = match?.[2] ?? "";
  if (!match || rest.length > digits) {
    throw new RangeError(`Not a decimal of at most ${digits} fraction digits: ${JSON.stringify(decimal)}`);
  }
  return BigInt(match[1] + rest.padEnd(digits, "0"));
}

/**
 * A `snapshot` frame.
 *
 * @param bids a list of `[price, size]` in JSON, as asks
 * @param time µs
 */
export function snapshotText(product: string, bids: string, asks: string, time: number): string {
  return `{"type":"snapshot","product_id":"${product}","asks":${asks},"bids":${bids},"time":"${iso(time)}"}`;
}

let second = -1;
let prefix = "";

/** `1783465097123456` → `2026-07-07T22:58:17.123456Z`; cheap when times come in order. */
export function iso(micros: number): string {
  const whole = Math.floor(micros / 1e6);
  if (whole !== second) {
    second = whole;
    prefix = isoMicros(whole * 1e6).slice(0, 20);
  }
  return `${prefix}${String(micros - whole * 1e6).padStart(6, "0")}Z`;
}
