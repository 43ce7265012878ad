import { equal, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { constants, zstdCompressSync } from "node:zlib";
import { decompressZstd } from "./zstd.ts";

/** Text that zstd can't make small, so that a frame has several blocks. */
function noise(length: number): string {
  return crypto.getRandomValues(new Uint8Array(Math.min(length, 65536))).toHex().repeat(
    Math.ceil(length / 131072),
  ).slice(0, length);
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
}

async function read(bytes: Uint8Array, size: number) {
  let torn = false;
  const pieces = await Array.fromAsync(decompressZstd(inPieces(bytes, size), { onTorn: () => torn = true }));
  return { text: Buffer.concat(pieces).toString(), torn };
}

const texts = ["a\n".repeat(1000), "", noise(300_000), "z".repeat(1_000_000), "end"];
const checked = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
const frames = texts.map((text, index) => zstdCompressSync(text, index % 2 === 0 ? checked : {}));

Deno.test("zstd: frames one after the other are all read, however the bytes are cut into pieces", async () => {
  const file = Buffer.concat(frames);
  for (const size of [1, 7, 1000, 65536, file.length]) {
    const { text, torn } = await read(file, size);
    equal(text === texts.join(""), true, `pieces of ${size}`);
    equal(torn, false);
  }
});

Deno.test("zstd: a frame without data of its own is passed over", async () => {
  const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
  equal(
    (await read(Buffer.concat([skippable, frames[0]!, skippable, frames[4]!]), 5)).text,
    texts[0]! + "end",
  );
});

Deno.test("zstd: a file that ends in the middle of a frame gives what is whole before that, and says so", async () => {
  const [first, , noisy] = frames as [Buffer, Buffer, Buffer];
  for (const cut of [1, 3, 4, 5, 7, 20, noisy.length - 1]) {
    const { text, torn } = await read(Buffer.concat([first, noisy.subarray(0, cut)]), 1000);
    equal(torn, true, `cut after ${cut}`);
    equal(text.startsWith(texts[0]!), true);
    equal((texts[0]! + texts[2]!).startsWith(text), true);
  }
});

Deno.test("zstd: what isn't zstd, or was changed, is refused", async () => {
  await rejects(read(Buffer.from("hello world"), 100), { message: "no zstd frame where one should begin" });
  const changed = Buffer.from(frames[2]!);
  changed[1000]! ^= 0xff;
  await rejects(read(changed, 1000));
});
