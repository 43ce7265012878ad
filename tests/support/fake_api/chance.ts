/**
 * Chance that repeats itself, and decimals as the exchange writes them.
 *
 * @module
 */

/** From 0 up to 1, by chance and yet always the same for the same text. */
export function chance(text: string): number {
  let hash = 2166136261;
  for (let place = 0; place < text.length; place++) hash = Math.imul(hash ^ text.charCodeAt(place), 16777619);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0x5bd1e995);
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
}

/** `value` with at most `digits` behind the point, without zeros at the end. */
export function decimal(value: number, digits: number): string {
  const fixed = value.toFixed(digits);
  return digits === 0 ? fixed : fixed.replace(/\.?0+$/, "");
}
