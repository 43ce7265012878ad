/**
 * Recordings of the feed: NDJSON files, plain, gzipped (`.gz`) or zstd (`.zst`), in order of arrival. A line is
 *
 * | what | |
 * |---|---|
 * | `{"received_at":1783465097123456,"connection":"1a2b3c4d-1","source":"feed","frame":"{\"type\":\"match\",…}"}` | a frame: its text as received, stamped in µs since the epoch (`frame_base64` for bytes that aren't text) |
 * | `{"received_at":…,"connection":"…","source":"feed","event":{"type":"feed_event","event":"connected",…}}` | what happened to the feed, as it travels in the topic |
 * | `{"type":"match",…}` | a bare frame, as others record them |
 *
 * `deno task record` writes the first two (recorder.ts); the exchange and `deno task replay` read all three.
 *
 * @module
 */

import { decompressZstd } from "./zstd.ts";

/** One line of a recording: what the producer hands to the broker. */
export interface RecordedMessage {
  /** From 1. */
  line: number;
  /** The frame as it was received, or the feed event as JSON. */
  data: string | Uint8Array;
  /** Absent where the line is a bare frame. */
  stamp?: {
    /** µs since the epoch. */
    receivedAt: number;
    connection: string;
    /** feed or simulator. */
    source: string;
  };
}

interface ReadingOptions {
  onTorn?: () => void;
  onRead?: (bytes: number) => void;
}

/** A line that can be played. */
export interface RecordedFrame {
  /** From 1. */
  line: number;
  /** The frame as it was received, without the newline. */
  raw: string;
  /** The frame parsed: an object with a `type`. */
  message: Record<string, unknown> & { type: string };
}

/** A file that can't be read as a recording; the message names the file, and the line where there is one. */
export class RecordingError extends Error {
  override name = "RecordingError";
}

/**
 * Reads a recording. Empty lines are passed over.
 *
 * @param options.onTorn told when the file ends in the middle of a zstd frame: its writer was killed, or still writes
 * @param options.onRead told how many of the file's bytes are read
 * @throws {RecordingError} when the file is missing, empty, isn't UTF-8 (or gzip, zstd), or a line is none of the above
 */
export async function* readRecordedMessages(
  path: string,
  options: ReadingOptions = {},
): AsyncGenerator<RecordedMessage> {
  let line = 0;
  let messages = 0;
  for await (const text of lines(path, options)) {
    line++;
    if (text.trim() === "") continue;
    messages++;
    yield { line, ...messageOf(text, `${path}:${line}`) };
  }
  if (messages === 0) throw new RecordingError(`${path} is empty: expected a frame of the feed on each line`);
}

/**
 * Reads what can be played of a recording: frames and feed events that are JSON objects with a `type`.
 *
 * @throws {RecordingError} as `readRecordedMessages`
 */
export async function* readRecording(path: string): AsyncGenerator<RecordedFrame> {
  for await (const { line, data } of readRecordedMessages(path)) {
    // The exchange had sent what isn't JSON: it was recorded as it came, and nobody can play it.
    const message = typeof data === "string" ? parseTyped(data) : undefined;
    if (message !== undefined) yield { line, raw: data as string, message };
  }
}

function messageOf(text: string, where: string): Omit<RecordedMessage, "line"> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RecordingError(`${where}: not JSON: ${excerpt(text)}`);
  }
  if (typeof value !== "object" || value === null || !("type" in value || "received_at" in value)) {
    throw new RecordingError(`${where}: expected an object with a "type": ${excerpt(text)}`);
  }
  if (!("received_at" in value)) {
    if (typeof (value as { type: unknown }).type === "string") return { data: text };
    throw new RecordingError(`${where}: expected "type" to be a string: ${excerpt(text)}`);
  }
  const { received_at: receivedAt, connection, source, frame, frame_base64, event } = value as
    & Record<string, unknown>
    & { received_at: unknown };
  const data = typeof frame === "string"
    ? frame
    : typeof frame_base64 === "string"
    ? Uint8Array.fromBase64(frame_base64)
    : typeof event === "object" && event !== null
    ? JSON.stringify(event)
    : undefined;
  if (data === undefined || typeof receivedAt !== "number" || !Number.isSafeInteger(receivedAt)) {
    throw new RecordingError(
      `${where}: expected "received_at" in µs beside a "frame" or an "event": ${excerpt(text)}`,
    );
  }
  return { data, stamp: { receivedAt, connection: String(connection ?? ""), source: String(source ?? "") } };
}

function parseTyped(raw: string): RecordedFrame["message"] | undefined {
  try {
    const message: unknown = JSON.parse(raw);
    const typed = typeof message === "object" && message !== null && "type" in message;
    return typed && typeof message.type === "string" ? message as RecordedFrame["message"] : undefined;
  } catch {
    return undefined;
  }
}

async function* lines(path: string, { onTorn, onRead }: ReadingOptions): AsyncGenerator<string> {
  let torn = false;
  const noteTorn = () => {
    torn = true;
    onTorn?.();
  };
  const bytes = counted(await open(path), onRead);
  const [content, format] = path.endsWith(".gz")
    ? [bytes.pipeThrough(new DecompressionStream("gzip")), "gzipped UTF-8"] as const
    : path.endsWith(".zst")
    ? [decompressZstd(bytes, { onTorn: noteTorn }), "UTF-8 in zstd"] as const
    : [bytes, "UTF-8"] as const;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 0;
  let rest = "";
  try {
    for await (const piece of content) {
      const parts = (rest + decoder.decode(piece, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        line++;
        yield part;
      }
    }
    // What a killed writer began isn't a line.
    if (torn) return;
    rest += decoder.decode();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RecordingError(`${path}:${line + 1}: not ${format}: ${reason}`);
  }
  if (rest !== "") yield rest;
}

function counted(
  bytes: ReadableStream<Uint8Array<ArrayBuffer>>,
  onRead: ReadingOptions["onRead"],
): ReadableStream<Uint8Array<ArrayBuffer>> {
  if (onRead === undefined) return bytes;
  let read = 0;
  return bytes.pipeThrough(
    new TransformStream({
      transform(piece, controller) {
        onRead(read += piece.length);
        controller.enqueue(piece);
      },
    }),
  );
}

async function open(path: string): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  try {
    return (await Deno.open(path)).readable;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new RecordingError(`${path}: no such file`);
    throw new RecordingError(`${path} can't be read: ${error instanceof Error ? error.message : error}`);
  }
}

function excerpt(raw: string): string {
  return raw.length > 80 ? `${raw.slice(0, 77)}…` : raw;
}
