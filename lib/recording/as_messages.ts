/**
 * A recording as messages of a topic: what `deno task replay --file` stores.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readRecordedMessages } from "./recording.ts";
import type { TopicMessage } from "../kafka/message.ts";
import { parseMicros } from "../core/time.ts";

/** What makes two recordings the same one, whatever they are called: `recording sha256:<16 hexadecimal digits>`. */
export async function recordingName(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of (await Deno.open(path)).readable) hash.update(piece);
  return `recording sha256:${hash.digest("hex").slice(0, 16)}`;
}

/** How to read. */
export interface RecordedMessagesOptions {
  /** Told the source that a line names (feed, simulator) before its message comes; may throw to refuse it. */
  onSource: (source: string) => void;
  /** Told how many of the file's bytes are read. */
  onRead: (bytes: number) => void;
  /** Told when the file ends in the middle of a zstd frame. */
  onTorn: () => void;
}

/**
 * Reads a recording: partition 0, offset = line, source = replay. A bare frame has no stamp: the newest time that the
 * exchange has sent so far stands for when it was received.
 *
 * @throws {RecordingError}
 */
export async function* readAsTopic(
  path: string,
  options: RecordedMessagesOptions,
): AsyncGenerator<TopicMessage> {
  let newest: number | undefined;
  let early: TopicMessage[] = [];
  for await (const { line, data, stamp } of readRecordedMessages(path, options)) {
    const message: TopicMessage = {
      topic: path,
      partition: 0,
      offset: line,
      value: typeof data === "string" ? Buffer.from(data) : data,
      receivedAt: 0,
      source: "replay",
      connection: stamp?.connection ?? "",
    };
    if (stamp !== undefined) {
      options.onSource(stamp.source);
      yield { ...message, receivedAt: stamp.receivedAt };
      continue;
    }
    newest = later(newest, timeOf(data));
    if (newest === undefined) {
      // Before the first time there are some acknowledgements.
      early.push(message);
      continue;
    }
    for (const before of early) yield { ...before, receivedAt: newest };
    early = [];
    yield { ...message, receivedAt: newest };
  }
  yield* early;
}

function later(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || right === undefined ? left ?? right : Math.max(left, right);
}

/** A frame's time in µs; a last_match tells of a trade from before, perhaps long before. */
function timeOf(data: string | Uint8Array): number | undefined {
  if (typeof data !== "string" || data.includes('"type":"last_match"')) return undefined;
  const text = /"time":"([^"]+)"/.exec(data)?.[1];
  try {
    return text === undefined ? undefined : parseMicros(text);
  } catch {
    return undefined;
  }
}
