/**
 * Cursors: where the next page of a list begins, as an opaque text. It belongs to one list with one set of filters; with
 * another it is refused instead of giving rows that nobody asked for.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** The place of a row in its list's order: ids, names and µs. */
export type CursorPosition = (string | number)[];

/**
 * Makes a cursor.
 *
 * @param list what it belongs to: the list's path and filters, see {@linkcode listName}
 */
export function encodeCursor(list: string, position: CursorPosition): string {
  const bytes = new TextEncoder().encode(JSON.stringify([fingerprint(list), ...position]));
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/**
 * Reads a cursor.
 *
 * @param shape the types of the place's parts
 * @returns undefined when it isn't one, or belongs to another list
 */
export function decodeCursor(
  list: string,
  cursor: string,
  shape: readonly ("string" | "number")[],
): CursorPosition | undefined {
  try {
    const bytes = Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
    const [mark, ...place]: unknown[] = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    const fits = mark === fingerprint(list) && place.length === shape.length &&
      place.every((part, index) =>
        shape[index] === "number" ? Number.isSafeInteger(part) && Number(part) >= 0 : typeof part === "string"
      );
    return fits ? place as CursorPosition : undefined;
  } catch {
    return undefined;
  }
}

/** A list with its filters; parameters that only change how rows are shown don't count. */
export function listName(path: string, given: URLSearchParams): string {
  const shape = new Set(["cursor", "limit", "format", "time_format"]);
  return [path, ...[...given].filter(([name]) => !shape.has(name)).map((pair) => pair.join("=")).sort()].join(
    "&",
  );
}

function fingerprint(list: string): string {
  return createHash("sha256").update(list).digest("base64url").slice(0, 8);
}
