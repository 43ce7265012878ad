/**
 * Writes recordings (recording.ts has the format) as zstd, a frame of a few seconds at a time: a recorder that is killed
 * leaves a file that reads up to its last flush.
 *
 * @module
 */

import { zstdCompressSync } from "node:zlib";
import { toKafkaRecord } from "../feed/kafka_record.ts";
import { FatalError } from "../core/errors.ts";
import type { FeedItem } from "../feed/feed_items.ts";

const flushMs = 2000;
const flushBytes = 4 * 1024 * 1024;

/** A recording in the making. */
export interface Recorder {
  /** @throws {FatalError} when the file can't be written, now or at the last flush */
  write(item: FeedItem): void;
  /** Finishes the file. */
  close(): void;
  /** Frames so far, over all files. */
  readonly frames: number;
  /** Compressed bytes so far, over all files. */
  readonly bytes: number;
}

/** Where and how to record. */
export interface RecorderOptions {
  /** Ends with `.zst`. */
  path: string;
  /** What the lines say of where they come from: feed or simulator. */
  source: string;
  /** Begins a new file so often, its name with the time; one file when absent. */
  rotateMs?: number;
  /** Told the name of each file. */
  onFile?: (path: string) => void;
}

/**
 * Opens a recorder. No file is ever overwritten.
 *
 * @throws {FatalError} when the file exists or can't be made
 */
export function openRecorder(options: RecorderOptions): Recorder {
  const { path, source, rotateMs = Infinity } = options;
  let pending: string[] = [];
  let pendingLength = 0;
  let frames = 0;
  let bytes = 0;
  let failure: unknown;
  let openedAt = Date.now();
  let file = begin();
  const timer = setInterval(flushOrNote, flushMs);

  function begin(): Deno.FsFile {
    const name = rotateMs === Infinity ? path : rotatedName(path, new Date(openedAt));
    const opened = openNew(name);
    options.onFile?.(name);
    return opened;
  }

  function flush(): void {
    if (pending.length > 0) {
      const packed = zstdCompressSync(pending.join(""));
      for (let written = 0; written < packed.length;) written += file.writeSync(packed.subarray(written));
      bytes += packed.length;
      pending = [];
      pendingLength = 0;
    }
    if (Date.now() - openedAt < rotateMs) return;
    file.close();
    openedAt = Date.now();
    file = begin();
  }

  /** Nobody could catch what a timer throws: the next `write` does. */
  function flushOrNote(): void {
    try {
      flush();
    } catch (error) {
      failure = error;
    }
  }

  return {
    get frames() {
      return frames;
    },
    get bytes() {
      return bytes;
    },
    write(item) {
      const line = recordedLine(item, source);
      pending.push(line);
      pendingLength += line.length;
      if (item.kind === "frame") frames++;
      if (pendingLength > flushBytes) flushOrNote();
      if (failure !== undefined) throw explain(failure, path);
    },
    close() {
      clearInterval(timer);
      openedAt = Infinity;
      flushOrNote();
      file.close();
      if (failure !== undefined) throw explain(failure, path);
    },
  };
}

/** The line of an item, with its newline. */
export function recordedLine(item: FeedItem, source: string): string {
  const { receivedAt: received_at, connection } = item;
  if (item.kind === "frame") {
    const data = typeof item.data === "string"
      ? { frame: item.data }
      : { frame_base64: item.data.toBase64() };
    return `${JSON.stringify({ received_at, connection, source, ...data })}\n`;
  }
  // As the producer would publish it.
  const text = String(toKafkaRecord(item, { topic: "", level2Topic: "", source }).message.value);
  return `${JSON.stringify({ received_at, connection, source, event: JSON.parse(text) })}\n`;
}

/** `feed.ndjson.zst` → `feed-20260707T225817Z.ndjson.zst`. */
export function rotatedName(path: string, time: Date): string {
  const stamp = time.toISOString().replace(/[-:]|\.\d+/g, "");
  return path.replace(/((?:\.ndjson)?\.zst)$/, `-${stamp}$1`);
}

function openNew(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { write: true, createNew: true });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) {
      throw new FatalError(
        `${path} exists already, and recordings are never overwritten: choose another --to.`,
      );
    }
    throw explain(error, path);
  }
}

function explain(error: unknown, path: string): FatalError {
  if (error instanceof FatalError) return error;
  return new FatalError(`${path} can't be written: ${error instanceof Error ? error.message : error}`);
}
