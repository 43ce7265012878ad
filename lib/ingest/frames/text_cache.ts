/**
 * Texts that come again and again, such as product ids: each is made once.
 *
 * @module
 */

/** A feed has some hundreds of products; what isn't one must not stay for ever. */
const most = 10_000;

/** Texts by their bytes, which are ASCII. */
export class TextCache {
  /** By the bytes' hash: of two texts with one hash the newer is here. */
  readonly #known = new Map<number, { bytes: Uint8Array; text: string }>();

  /** @param from inclusive @param to exclusive */
  textAt(bytes: Uint8Array, from: number, to: number): string {
    let hash = to - from;
    for (let at = from; at < to; at++) hash = Math.imul(hash, 31) + bytes[at]! | 0;
    const known = this.#known.get(hash);
    if (known !== undefined && isAt(known.bytes, bytes, from, to)) return known.text;
    if (this.#known.size >= most) this.#known.clear();
    const own = bytes.slice(from, to);
    const text = String.fromCharCode(...own);
    this.#known.set(hash, { bytes: own, text });
    return text;
  }
}

function isAt(wanted: Uint8Array, bytes: Uint8Array, from: number, to: number): boolean {
  if (wanted.length !== to - from) return false;
  for (let at = 0; at < wanted.length; at++) if (bytes[from + at] !== wanted[at]) return false;
  return true;
}
