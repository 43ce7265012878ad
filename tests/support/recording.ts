/**
 * A piece of the real feed, for comparisons with Coinbase's own bytes; see recording/README.md.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { readRecording } from "../../lib/recording/recording.ts";

/** The file, as `deno task replay` and `deno task exchange` take it. */
export const recording = fileURLToPath(
  new URL("./recording/coinbase-2026-07-07.ndjson.zst", import.meta.url),
);

/** What is in it, counted by hand. */
export const recorded = {
  frames: 2000,
  /** 376 matches and 2 last matches. */
  trades: 378,
  heartbeats: 94,
  /** Those of l2updates; the snapshots' levels not among them. */
  bookChanges: 14_702,
  /** Of both snapshots. */
  bookLevels: 65_158,
};

/** Its frames, byte for byte. */
export async function recordedFrames(): Promise<string[]> {
  return (await Array.fromAsync(readRecording(recording))).map(({ raw }) => raw);
}
