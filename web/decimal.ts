/**
 * Decimals stay text from the wire to the screen; what must be computed is computed in whole numbers of 10^-18.
 *
 * @module
 */

const scale = 18;
const one = 10n ** BigInt(scale);

/**
 * `"1.5"` → `1500000000000000000n`: a decimal as a whole number of 10^-18; digits beyond the 18th are cut off.
 *
 * @throws {RangeError} when the text isn't a plain decimal
 */
export function toUnits(text: string): bigint {
  const match = /^([-+]?)(\d+)(?:\.(\d*))?$/.exec(text);
  if (match === null) throw new RangeError(`Not a decimal such as 64000.12: ${JSON.stringify(text)}`);
  const units = BigInt(`${match[2]}${(match[3] ?? "").padEnd(scale, "0").slice(0, scale)}`);
  return match[1] === "-" ? -units : units;
}

/** `1500000000000000000n` → `"1.5"`. */
export function fromUnits(units: bigint): string {
  const sign = units < 0n ? "-" : "";
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const fraction = digits.slice(-scale).replace(/0+$/, "");
  return `${sign}${digits.slice(0, -scale)}${fraction === "" ? "" : `.${fraction}`}`;
}

/** Which of two decimals is larger: -1, 0 or 1. */
export function compare(left: string, right: string): -1 | 0 | 1 {
  const difference = toUnits(left) - toUnits(right);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** `left + right`, exact. */
export function add(left: string, right: string): string {
  return fromUnits(toUnits(left) + toUnits(right));
}

/** `left - right`, exact. */
export function subtract(left: string, right: string): string {
  return fromUnits(toUnits(left) - toUnits(right));
}

/** The price between two others, cut to 18 fraction digits. */
export function middle(left: string, right: string): string {
  return fromUnits((toUnits(left) + toUnits(right)) / 2n);
}

/** `(b A + a B) / (A + B)`: bid b of size B, ask a of size A, cut to 18 digits; null for an empty book. */
export function microprice(bid: string, bidSize: string, ask: string, askSize: string): string | null {
  const [b, B, a, A] = [toUnits(bid), toUnits(bidSize), toUnits(ask), toUnits(askSize)];
  return A + B === 0n ? null : fromUnits((b * A + a * B) / (A + B));
}

/** `left / right` as a number, from the exact quotient; null where `right` is 0. */
export function ratio(left: string, right: string): number | null {
  const divisor = toUnits(right);
  return divisor === 0n ? null : Number(fromUnits((toUnits(left) * one) / divisor));
}

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
  const from = toUnits(open);
  if (from === 0n) return "–";
  const hundredths = Math.round(Number(((toUnits(price) - from) * 1_000_000_000n) / from) / 100_000);
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
