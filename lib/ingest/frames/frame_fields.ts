/**
 * Where the values of a frame stand: one pass over its bytes.
 *
 * @module
 */

import { closeBrace, colon, comma, JsonCursor, openBrace, openBracket, quote, zero } from "./json_cursor.ts";

/** The fields that are read; their places are their numbers. */
const names = [
  "type",
  "product_id",
  "time",
  "sequence",
  "trade_id",
  "price",
  "size",
  "side",
  "maker_order_id",
  "taker_order_id",
  "last_trade_id",
  "best_bid",
  "best_bid_size",
  "best_ask",
  "best_ask_size",
  "last_size",
  "open_24h",
  "high_24h",
  "low_24h",
  "volume_24h",
  "volume_30d",
  "changes",
  "bids",
  "asks",
] as const;
type Field = typeof names[number];

export const field = Object.fromEntries(names.map((name, at) => [name, at])) as Record<Field, number>;
const encodedNames = names.map((name) => new TextEncoder().encode(name));

/** By a name's length and three of its letters; no two of these names have the same number. */
function slotOf(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from;
  const first = bytes[from]!;
  const middle = bytes[from + (length >> 1)]!;
  const late = bytes[Math.max(from, to - 2)]!;
  return (length * 67 + first * 5 + middle * 131 + late * 11) & 0xfff;
}

const slots = new Int8Array(0x1000).fill(-1);
for (const [at, name] of encodedNames.entries()) {
  const slot = slotOf(name, 0, name.length);
  if (slots[slot] !== -1) throw new Error(`${names[at]} and ${names[slots[slot]!]} fall into one slot`);
  slots[slot] = at;
}

/** What a value is. */
export const absent = 0;
export const string = 1;
export const number = 2;
export const array = 3;

/** The values of one frame. */
export class FrameFields extends JsonCursor {
  /** By a field's number: what its value is, and where it begins and ends; a string's quotes are left out. */
  readonly kind = new Uint8Array(names.length);
  readonly from = new Uint32Array(names.length);
  readonly to = new Uint32Array(names.length);

  /** @returns false when the frame isn't such an object, or has something that isn't taken here */
  read(frame: Uint8Array): boolean {
    this.bytes = frame;
    this.at = 0;
    const bytes = this.bytes;
    const { length } = bytes;
    this.kind.fill(absent);
    this.skipSpace();
    if (bytes[this.at++] !== openBrace) return false;
    for (;;) {
      this.skipSpace();
      if (bytes[this.at++] !== quote) return false;
      const from = this.at;
      if (!this.skipString()) return false;
      const found = this.#fieldAt(from, this.at - 1);
      this.skipSpace();
      if (bytes[this.at++] !== colon) return false;
      this.skipSpace();
      if (found < 0) {
        if (!this.skipUnknown()) return false;
      } else {
        // JSON takes the last of two; zod may too.
        if (this.kind[found] !== absent || !this.#readValue(found)) return false;
      }
      this.skipSpace();
      const next = bytes[this.at++];
      if (next === comma) continue;
      if (next !== closeBrace) return false;
      this.skipSpace();
      return this.at === length;
    }
  }

  /** The number of the field of that name; -1 for one that isn't read. */
  #fieldAt(from: number, to: number): number {
    const bytes = this.bytes;
    const length = to - from;
    if (length === 0) return -1;
    const found = slots[slotOf(bytes, from, to)]!;
    if (found < 0) return -1;
    const name = encodedNames[found]!;
    if (name.length !== length) return -1;
    for (let at = 0; at < length; at++) if (bytes[from + at] !== name[at]) return -1;
    return found;
  }

  #readValue(found: number): boolean {
    const first = this.bytes[this.at]!;
    if (first === quote) {
      this.at++;
      this.from[found] = this.at;
      if (!this.skipString()) return false;
      this.kind[found] = string;
      this.to[found] = this.at - 1;
      return true;
    }
    this.from[found] = this.at;
    const isArray = first === openBracket;
    // Only these are looked into later.
    if (isArray && found < field.changes) return false;
    if (!(isArray ? this.skipArray() : this.skipDigits())) return false;
    this.kind[found] = isArray ? array : number;
    this.to[found] = this.at;
    return true;
  }

  is(of: number, wanted: Uint8Array): boolean {
    const from = this.from[of]!;
    if (this.to[of]! - from !== wanted.length) return false;
    for (let at = 0; at < wanted.length; at++) if (this.bytes[from + at] !== wanted[at]) return false;
    return true;
  }

  /** -1 where there is none. */
  integer(of: number): number {
    if (this.kind[of] !== number) return -1;
    let value = 0;
    for (let at = this.from[of]!; at < this.to[of]!; at++) value = value * 10 + (this.bytes[at]! - zero);
    return value;
  }
}
