/**
 * A place in a frame's bytes, and the steps that JSON's grammar takes from there. Each step says whether what stands there
 * is as it takes it; what has an escape or isn't ASCII it doesn't take.
 *
 * @module
 */

/** ASCII of JSON's punctuation. */
export const quote = 0x22;
export const comma = 0x2c;
export const colon = 0x3a;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
export const openBracket = 0x5b;
export const closeBracket = 0x5d;
export const minus = 0x2d;
export const dot = 0x2e;
export const zero = 0x30;
export const nine = 0x39;
const backslash = 0x5c;

const literals = ["true", "false", "null"].map((literal) => new TextEncoder().encode(literal));

/** See the module. */
export class JsonCursor {
  bytes: Uint8Array = new Uint8Array();
  at = 0;

  skipSpace(): void {
    for (;; this.at++) {
      const code = this.bytes[this.at];
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }

  /** From behind the opening quote to behind the closing one. */
  skipString(): boolean {
    const bytes = this.bytes;
    for (let at = this.at;; at++) {
      const code = bytes[at];
      if (code === quote) {
        this.at = at + 1;
        return true;
      }
      if (code === undefined || code === backslash || code < 0x20 || code >= 0x80) return false;
    }
  }

  /** To behind the bracket that closes; what is inside is looked at when its rows are written. */
  skipArray(): boolean {
    const bytes = this.bytes;
    let depth = 0;
    for (;;) {
      const code = bytes[this.at++];
      if (code === quote) {
        if (!this.skipString()) return false;
      } else if (code === openBracket) {
        depth++;
      } else if (code === closeBracket) {
        if (--depth === 0) return true;
      } else if (code === undefined) {
        return false;
      }
    }
  }

  /** An integer of at most 15 digits as JSON writes it. */
  skipDigits(): boolean {
    const bytes = this.bytes;
    const from = this.at;
    let at = from;
    while (isDigit(bytes[at])) at++;
    this.at = at;
    const digits = at - from;
    return digits > 0 && digits <= 15 && (digits === 1 || bytes[from] !== zero) && !isNumberPart(bytes[at]);
  }

  /** A string, a plain number, true, false or null of a field that isn't read. */
  skipUnknown(): boolean {
    const bytes = this.bytes;
    const first = bytes[this.at];
    if (first === quote) {
      this.at++;
      return this.skipString();
    }
    for (const literal of literals) {
      if (first !== literal[0]) continue;
      for (const code of literal) if (bytes[this.at++] !== code) return false;
      return true;
    }
    if (first === minus) this.at++;
    const from = this.at;
    while (isDigit(bytes[this.at])) this.at++;
    const digits = this.at - from;
    if (digits === 0 || (digits > 1 && bytes[from] === zero)) return false;
    if (bytes[this.at] === dot) {
      this.at++;
      if (!isDigit(bytes[this.at])) return false;
      while (isDigit(bytes[this.at])) this.at++;
    }
    return !isNumberPart(bytes[this.at]);
  }

  take(code: number): boolean {
    return this.bytes[this.at++] === code;
  }

  takeBetween(code: number): boolean {
    this.skipSpace();
    const isThere = this.take(code);
    this.skipSpace();
    return isThere;
  }
}

export function isDigit(code: number | undefined): boolean {
  return code !== undefined && code >= zero && code <= nine;
}

/** What would make more of a number: a point, an exponent, a sign, a digit. */
function isNumberPart(code: number | undefined): boolean {
  return code === dot || code === 0x65 || code === 0x45 || code === minus || code === 0x2b || isDigit(code);
}
