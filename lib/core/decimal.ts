/**
 * Exact decimals as bigints: prices and sizes in units of 1e-18, products of two in units of 1e-36, as in ClickHouse.
 *
 * @module
 */

/** `"64000.12"` → 64000120000000000000000n. The text must be a decimal; its digits beyond `digits` are cut off. */
export function parseDecimal(text: string, digits = 18): bigint {
  const point = text.indexOf(".");
  if (point < 0) return BigInt(text + "0".repeat(digits));
  return BigInt(text.slice(0, point) + text.slice(point + 1).padEnd(digits, "0").slice(0, digits));
}

/** The inverse, without zeros at the end, as ClickHouse prints decimals. */
export function formatDecimal(value: bigint, digits = 18): string {
  if (value < 0n) return `-${formatDecimal(-value, digits)}`;
  const text = String(value).padStart(digits + 1, "0");
  const fraction = text.slice(-digits).replace(/0+$/, "");
  return fraction === "" ? text.slice(0, -digits) : `${text.slice(0, -digits)}.${fraction}`;
}
