/** Reads the pixels of a screenshot. @module */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { inflateSync } from "node:zlib";

/**
 * Decodes a PNG of 8 bits a channel, with or without alpha, not interlaced (https://www.w3.org/TR/png-3/).
 *
 * @returns each pixel as [red, green, blue], row by row
 */
export function pixelsOf(png: Uint8Array): [number, number, number][] {
  const file = Buffer.from(png);
  const parts: Buffer[] = [];
  for (let at = 8; at < file.length;) {
    const length = file.readUInt32BE(at);
    if (file.toString("latin1", at + 4, at + 8) === "IDAT") {
      parts.push(file.subarray(at + 8, at + 8 + length));
    }
    at += length + 12;
  }
  const [width, height] = [file.readUInt32BE(16), file.readUInt32BE(20)];
  const [depth, kind, interlaced] = [file[24], file[25], file[28]];
  assert.ok(depth === 8 && (kind === 2 || kind === 6) && interlaced === 0, `a PNG of another kind: ${kind}`);
  const size = kind === 6 ? 4 : 3;
  const rowLength = width * size;
  const lines = inflateSync(Buffer.concat(parts));
  const pixels: [number, number, number][] = [];
  let above = new Uint8Array(rowLength);
  for (let y = 0; y < height; y++) {
    const begin = y * (rowLength + 1) + 1;
    const row = new Uint8Array(lines.subarray(begin, begin + rowLength));
    const filter = lines[begin - 1] ?? 0;
    for (let x = 0; x < rowLength; x++) {
      const [left, up, corner] = [row[x - size] ?? 0, above[x] ?? 0, above[x - size] ?? 0];
      row[x] = (row[x] ?? 0) + predicted(filter, left, up, corner);
    }
    for (let x = 0; x < rowLength; x += size) pixels.push([row[x] ?? 0, row[x + 1] ?? 0, row[x + 2] ?? 0]);
    above = row;
  }
  return pixels;
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  switch (filter) {
    case 0:
      return 0;
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    default: {
      const guess = left + up - corner;
      const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
      return a <= b && a <= c ? left : b <= c ? up : corner;
    }
  }
}
