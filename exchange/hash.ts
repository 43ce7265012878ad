/**
 * Numbers that look random and are functions of their arguments: the stuff the simulated market is made of.
 *
 * @module
 */

/** A stream's key: the same words give the same key, everywhere. */
export function keyOf(...words: (string | number)[]): number {
  let key = 0x811c9dc5;
  for (const letter of words.join("\0")) {
    key = Math.imul(key ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  }
  return key | 0;
}

/** Number `n` (a safe integer) of the stream `key`: 32 evenly spread bits. */
export function hash(key: number, n: number): number {
  // Two rounds of murmur3's finalizer, the upper half of n mixed in between.
  let h = key ^ (n | 0);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13) ^ Math.floor(n / 4294967296), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16) ^ key, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** As `hash`, in [0, 1). */
export function fraction(key: number, n: number): number {
  return hash(key, n) / 4294967296;
}

/**
 * Value noise: a smooth curve through a random height in [-1, 1] at every whole number. Its slope is at most 3.
 *
 * @param x at least 0
 */
export function noise(key: number, x: number): number {
  const left = Math.floor(x);
  const part = x - left;
  const a = fraction(key, left);
  const b = fraction(key, left + 1);
  return 2 * (a + (b - a) * part * part * (3 - 2 * part)) - 1;
}

const hex = Array.from({ length: 65536 }, (_, n) => n.toString(16).padStart(4, "0"));

/** The `n`th UUID of the stream `key`, in the form of version 4. */
export function uuid(key: number, n: number): string {
  const a = hash(key, n);
  const b = hash(key ^ 0x2545f491, n);
  const c = hash(key ^ 0x5851f42d, n);
  const d = hash(key ^ 0x14057b7e, n);
  return `${hex[a >>> 16]}${hex[a & 0xffff]}-${hex[b >>> 16]}-${hex[(b & 0x0fff) | 0x4000]}-${
    hex[((c >>> 16) & 0x3fff) | 0x8000]
  }-${hex[c & 0xffff]}${hex[d >>> 16]}${hex[d & 0xffff]}`;
}
