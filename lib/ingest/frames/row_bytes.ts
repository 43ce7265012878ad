/**
 * Rows as bytes in ClickHouse's RowBinary: the format that its documentation describes for inserts, values one after the
 * other without names. One buffer that grows and is used again.
 *
 * Source: https://clickhouse.com/docs/interfaces/formats/RowBinary
 *
 * @module
 */

const encoder = new TextEncoder();
const two32 = 2 ** 32;
/** Powers of ten that a limb of 32 bits may be multiplied by without leaving the 53 bits of a safe integer. */
const tens = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000] as const;
/** Decimal(38, 18). */
export const fractionDigits = 18;
const integerDigits = 20;

const zero = 0x30;
const nine = 0x39;
const dot = 0x2e;
const dash = 0x2d;
const uuidLength = 36;
const uuidDashes = [8, 13, 18, 23];
/** Where the two digits of each byte stand. */
const uuidDigits = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/** The value of a hexadecimal digit by its ASCII, 255 for what is none. */
const hexDigits = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  for (const either of [digit, digit.toUpperCase()]) hexDigits[either.charCodeAt(0)] = value;
}

/** Rows of one table. */
export class RowBytes {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  /** Bytes that are written. */
  length = 0;
  /** Rows that are written; counted by whoever writes them. */
  rows = 0;
  /** The 128 bits of a decimal in the making, the lowest 32 first. Doubles: a limb times 10^6 must stay exact. */
  readonly #limbs = new Float64Array(4);

  /** @param capacity bytes to begin with */
  constructor(capacity = 1024) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What is written; holds until the next write. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }

  /** Forgets everything; the memory stays. */
  clear(): void {
    this.length = 0;
    this.rows = 0;
  }

  /** Takes back what was written since. */
  rewind(length: number, rows: number): void {
    this.length = length;
    this.rows = rows;
  }

  /** Makes room, so that so many bytes can be written. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** UInt8, Int8, Enum8, Bool, the flag of a Nullable. */
  byte(value: number): void {
    this.reserve(1);
    this.#bytes[this.length++] = value;
  }

  uint32(value: number): void {
    this.reserve(4);
    this.#view.setUint32(this.length, value, true);
    this.length += 4;
  }

  /** UInt64, or a DateTime64 as its ticks. @param value a safe integer, not negative */
  uint64(value: number): void {
    this.reserve(8);
    const high = Math.floor(value / two32);
    this.#view.setUint32(this.length, value - high * two32, true);
    this.#view.setUint32(this.length + 4, high, true);
    this.length += 8;
  }

  /** String: its length, then its UTF-8. @param from inclusive @param to exclusive */
  text(source: Uint8Array, from: number, to: number): void {
    let length = to - from;
    this.reserve(length + 5);
    while (length >= 0x80) {
      this.#bytes[this.length++] = length & 0x7f | 0x80;
      length >>>= 7;
    }
    this.#bytes[this.length++] = length;
    // Copying a few bytes by hand takes less than a call does.
    if (to - from > 64) {
      this.#bytes.set(source.subarray(from, to), this.length);
      this.length += to - from;
      return;
    }
    for (let at = from; at < to; at++) this.#bytes[this.length++] = source[at]!;
  }

  string(value: string): void {
    const bytes = encoder.encode(value);
    this.text(bytes, 0, bytes.length);
  }

  /**
   * UUID from the ASCII of one such as `15bc13f2-e38c-4693-8c0b-e8c6152b9c1d`: two halves of 64 bits, each with its lowest
   * byte first.
   *
   * @returns whether it is one; else nothing is written
   */
  uuid(source: Uint8Array, from: number, to: number): boolean {
    if (to - from !== uuidLength) return false;
    for (const at of uuidDashes) if (source[from + at] !== dash) return false;
    this.reserve(16);
    for (let byte = 0; byte < 16; byte++) {
      const at = from + uuidDigits[byte]!;
      const high = hexDigits[source[at]!]!;
      const low = hexDigits[source[at + 1]!]!;
      if ((high | low) > 15) return false;
      // 0 … 7 become 7 … 0, 8 … 15 become 15 … 8.
      this.#bytes[this.length + (byte ^ 7)] = high << 4 | low;
    }
    this.length += 16;
    return true;
  }

  /** Bytes that are a row, or a part of one, already. */
  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Once more what was written from `from` to `to`. */
  repeat(from: number, to: number): void {
    this.reserve(to - from);
    this.#bytes.copyWithin(this.length, from, to);
    this.length += to - from;
  }

  /**
   * Decimal(38, 18) from the ASCII of a decimal without sign and exponent such as `0.01`: the digits make one integer of
   * 128 bits, exactly; no float and no BigInt in between.
   *
   * @returns `invalid` and nothing written when it isn't one, else `zero` or `positive`
   */
  decimal(source: Uint8Array, from: number, to: number): "invalid" | "zero" | "positive" {
    let mantissa = 0;
    let digits = 0;
    let point = -1;
    let at = from;
    // 15 digits fit a safe integer.
    for (; at < to && digits < 15; at++) {
      const code = source[at]!;
      if (code >= zero && code <= nine) {
        mantissa = mantissa * 10 + (code - zero);
        digits++;
      } else if (code === dot && point < 0) {
        point = at;
      } else {
        return "invalid";
      }
    }
    const limbs = this.#limbs;
    limbs[1] = Math.floor(mantissa / two32);
    limbs[0] = mantissa - limbs[1] * two32;
    limbs[2] = limbs[3] = 0;
    let isPositive = mantissa > 0;
    for (; at < to; at++) {
      const code = source[at]!;
      if (code >= zero && code <= nine) {
        this.#multiplyAdd(10, code - zero);
        isPositive ||= code !== zero;
        // Beyond 38 digits it isn't one anyway; the limbs hold no more.
        if (++digits > integerDigits + fractionDigits) return "invalid";
      } else if (code === dot && point < 0) {
        point = at;
      } else {
        return "invalid";
      }
    }
    const fraction = point < 0 ? 0 : to - point - 1;
    const integer = digits - fraction;
    if (integer < 1 || integer > integerDigits || fraction > fractionDigits || (point >= 0 && fraction < 1)) {
      return "invalid";
    }
    for (let left = fractionDigits - fraction; left > 0; left -= 6) {
      this.#multiplyAdd(tens[Math.min(6, left)]!, 0);
    }
    this.reserve(16);
    for (let limb = 0; limb < 4; limb++) {
      this.#view.setUint32(this.length, limbs[limb]!, true);
      this.length += 4;
    }
    return isPositive ? "positive" : "zero";
  }

  #multiplyAdd(factor: number, addend: number): void {
    const limbs = this.#limbs;
    let carry = addend;
    for (let limb = 0; limb < 4; limb++) {
      const product = limbs[limb]! * factor + carry;
      carry = Math.floor(product / two32);
      limbs[limb] = product - carry * two32;
    }
  }
}
