/** Reads the pixels of a screenshot. @module */

import { Buffer } from "node:buffer";
import { PNG } from "pngjs";

/** @returns each pixel as [red, green, blue], row by row */
export function pixelsOf(png: Uint8Array): [number, number, number][] {
  const data: Uint8Array = PNG.sync.read(Buffer.from(png)).data;
  return Array.from(
    { length: data.length / 4 },
    (_, at) => [data[4 * at]!, data[4 * at + 1]!, data[4 * at + 2]!],
  );
}
