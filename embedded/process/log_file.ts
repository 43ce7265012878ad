/**
 * Logs of child processes: appended, kept from growing without end, and their last lines for an error.
 *
 * @module
 */

import { dirname } from "node:path";

/** Makes the log's folder, moves a large log to `.1`, and returns the byte at which this run's lines will start. */
export async function openLog(path: string): Promise<number> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const size = await Deno.stat(path).then((info) => info.size, () => 0);
  if (size <= largestLog) return size;
  await Deno.rename(path, `${path}.1`);
  return 0;
}

/** The log from a byte on, at most its last part; what can't be read is empty, for it is wanted for a message only. */
export function readLog(path: string, from: number): string {
  try {
    using file = Deno.openSync(path);
    const end = file.statSync().size;
    const start = Math.max(from, end - shownBytes);
    file.seekSync(start, Deno.SeekMode.Start);
    const bytes = new Uint8Array(Math.max(0, end - start));
    return new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
  } catch {
    return "";
  }
}

export function lastLines(path: string, text: string): string {
  const lines = text.trimEnd();
  if (lines === "") return `Its log ${path} is empty.`;
  return `The last lines of ${path}:\n${lines.split("\n").slice(-shownLines).join("\n")}`;
}

const largestLog = 50 * 1024 * 1024;

const shownLines = 12;

/** No message needs more of a log. */
const shownBytes = 64 * 1024;
