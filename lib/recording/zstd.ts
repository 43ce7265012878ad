/**
 * Reading zstd as it comes, frame after frame. node:zlib's stream decompressor can't be trusted with a file of several
 * frames (it may lose the second one without a word), so the frames are told apart here: RFC 8878, section 3.
 *
 * @module
 */

import { createZstdDecompress } from "node:zlib";

const magic = 0xfd2fb528;
/** Of frames that carry no data: 0x184D2A50 to 0x184D2A5F. */
const skippable = 0x184d2a50;

/**
 * Decompresses one or several zstd frames.
 *
 * @param options.onTorn told when the input ends in the middle of a frame: the writer was killed. What is whole before
 *   that comes out.
 * @throws {Error} when the input isn't zstd
 */
export async function* decompressZstd(
  input: AsyncIterable<Uint8Array>,
  options: { onTorn?: () => void } = {},
): AsyncGenerator<Uint8Array> {
  const pieces = input[Symbol.asyncIterator]();
  const readBytes = byteReader(pieces);
  try {
    while (true) {
      const start = await readBytes(4);
      if (start.length === 0) return;
      if (start.length < 4) return options.onTorn?.();
      const kind = view(start).getUint32(0, true);
      if ((kind & 0xfffffff0) >>> 0 === skippable) {
        const length = await readBytes(4);
        if (length.length < 4) return options.onTorn?.();
        await readBytes(view(length).getUint32(0, true));
        continue;
      }
      if (kind !== magic) throw new Error("no zstd frame where one should begin");
      const whole = yield* decompressFrame(start, readBytes);
      if (!whole) return options.onTorn?.();
    }
  } finally {
    await pieces.return?.();
  }
}

/** Yields a frame's content block by block; returns false when the frame's end is missing. */
async function* decompressFrame(start: Uint8Array, take: ReadBytes): AsyncGenerator<Uint8Array, boolean> {
  const decompressor = createZstdDecompress();
  let ready: Uint8Array[] = [];
  // After an error the callback of a write may never come.
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  decompressor.on("data", (piece: Uint8Array) => ready.push(piece));
  decompressor.on("error", failed.reject);
  const write = (bytes: Uint8Array) =>
    Promise.race([failed.promise, new Promise((done) => decompressor.write(bytes, done))]);
  try {
    const descriptor = await take(1);
    const header = await take(headerLength(descriptor[0] ?? 0));
    await write(join([start, descriptor, header]));
    for (let last = false; !last;) {
      const head = await take(3);
      if (head.length < 3) return false;
      const bits = head[0]! | head[1]! << 8 | head[2]! << 16;
      last = (bits & 1) === 1;
      // A block of type 1 is one byte, repeated.
      const size = (bits >> 1 & 3) === 1 ? 1 : bits >> 3;
      const body = await take(size);
      if (body.length < size) return false;
      await write(join([head, body]));
      yield* ready;
      ready = [];
    }
    const checksumLength = (descriptor[0]! & 4) === 0 ? 0 : 4;
    const checksum = await take(checksumLength);
    const ended = new Promise((done) => decompressor.on("end", done));
    decompressor.end(checksum);
    await Promise.race([failed.promise, ended]);
    yield* ready;
    return checksum.length === checksumLength;
  } finally {
    decompressor.destroy();
  }
}

/** The bytes of a frame header after its descriptor. */
function headerLength(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3]!;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  return (singleSegment ? 0 : 1) + dictionary + contentSize;
}

/** So many bytes; fewer only when the input has ended. */
type ReadBytes = (count: number) => Promise<Uint8Array>;

function byteReader(pieces: AsyncIterator<Uint8Array>): ReadBytes {
  let rest: Uint8Array = new Uint8Array();
  return async (count) => {
    const parts: Uint8Array[] = [];
    for (let missing = count; missing > 0;) {
      if (rest.length === 0) {
        const next = await pieces.next();
        if (next.done) break;
        rest = next.value;
      }
      const part = rest.subarray(0, missing);
      rest = rest.subarray(part.length);
      parts.push(part);
      missing -= part.length;
    }
    return join(parts);
  };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
