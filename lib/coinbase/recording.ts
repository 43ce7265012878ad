/**
 * Recordings of the feed: NDJSON files, one raw frame a line in order of arrival, plain or gzipped (`.gz`).
 *
 * @module
 */

/** One line of a recording. */
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
 * @throws {RecordingError} when the file is missing, empty, isn't UTF-8 (or gzip), or a line isn't a JSON object
 * with a `type`
 */
export async function* readRecording(path: string): AsyncGenerator<RecordedFrame> {
  let line = 0;
  let frames = 0;
  for await (const raw of lines(path)) {
    line++;
    if (raw.trim() === "") continue;
    frames++;
    yield { line, raw, message: parse(raw, `${path}:${line}`) };
  }
  if (frames === 0) throw new RecordingError(`${path} is empty: expected a frame of the feed on each line`);
}

function parse(raw: string, where: string): RecordedFrame["message"] {
  let message: unknown;
  try {
    message = JSON.parse(raw);
  } catch {
    throw new RecordingError(`${where}: not JSON: ${excerpt(raw)}`);
  }
  if (typeof message !== "object" || message === null || !("type" in message)) {
    throw new RecordingError(`${where}: expected an object with a "type": ${excerpt(raw)}`);
  }
  const { type } = message;
  if (typeof type !== "string") {
    throw new RecordingError(`${where}: expected "type" to be a string: ${excerpt(raw)}`);
  }
  return { ...message, type };
}

async function* lines(path: string): AsyncGenerator<string> {
  let bytes: ReadableStream<Uint8Array<ArrayBuffer>>;
  try {
    bytes = (await Deno.open(path)).readable;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new RecordingError(`${path}: no such file`);
    throw new RecordingError(`${path} can't be read: ${error instanceof Error ? error.message : error}`);
  }
  if (path.endsWith(".gz")) bytes = bytes.pipeThrough(new DecompressionStream("gzip"));
  let line = 0;
  let rest = "";
  try {
    for await (const text of bytes.pipeThrough(new TextDecoderStream("utf-8", { fatal: true }))) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        line++;
        yield part;
      }
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RecordingError(
      `${path}:${line + 1}: not ${path.endsWith(".gz") ? "gzipped " : ""}UTF-8: ${reason}`,
    );
  }
  if (rest !== "") yield rest;
}

function excerpt(raw: string): string {
  return raw.length > 80 ? `${raw.slice(0, 77)}…` : raw;
}
