import { deepEqual, rejects } from "node:assert/strict";
import { zstdCompressSync } from "node:zlib";
import { readRecording } from "./recording.ts";

const lines = [`{"type":"a","n":1.50}`, `{"type":"b","text":"ü\\u0000"}`];

async function read(name: string, content: string | Uint8Array) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(
      `${folder}/${name}`,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    return await Array.fromAsync(readRecording(`${folder}/${name}`));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function gzip(text: string): Promise<Uint8Array> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const expected = [
  { line: 1, raw: lines[0], message: { type: "a", n: 1.5 } },
  { line: 3, raw: lines[1], message: { type: "b", text: "ü\0" } },
];

Deno.test("recording: each line comes with its number, as it is and parsed; empty lines are passed over", async () => {
  deepEqual(await read("feed.ndjson", `${lines[0]}\n\n${lines[1]}\n`), expected);
});

Deno.test("recording: the last line needs no newline", async () => {
  deepEqual(await read("feed.ndjson", `${lines[0]}\n\n${lines[1]}`), expected);
});

Deno.test("recording: a gzipped recording is read too", async () => {
  deepEqual(await read("feed.ndjson.gz", await gzip(`${lines[0]}\n\n${lines[1]}\n`)), expected);
});

Deno.test("recording: one in zstd is read too, also when it has several frames", async () => {
  const whole = `${lines[0]}\n\n${lines[1]}\n`;
  deepEqual(await read("feed.ndjson.zst", zstdCompressSync(whole)), expected);
  const parts = [whole.slice(0, 5), whole.slice(5)].map((part) => new Uint8Array(zstdCompressSync(part)));
  const bytes = await new Blob(parts).bytes();
  deepEqual(await read("feed.ndjson.zst", bytes), expected);
  // The last frame of a killed writer has no end: what is whole before it is read.
  const torn = await new Blob([bytes, parts[0]!.subarray(0, 8)]).bytes();
  deepEqual(await read("feed.ndjson.zst", torn), expected);
});

Deno.test("recording: a stamped line is the frame or the event within it", async () => {
  const stamped = [
    `{"received_at":7,"connection":"c-1","source":"feed","frame":"{\\"type\\":\\"a\\",\\"n\\":1.50}"}`,
    `{"received_at":8,"connection":"c-1","source":"feed","event":{"type":"feed_event","event":"gap"}}`,
  ];
  const frames = await read("feed.ndjson", `${stamped.join("\n")}\n`);
  deepEqual(frames.map(({ raw }) => raw), [`{"type":"a","n":1.50}`, `{"type":"feed_event","event":"gap"}`]);
});

Deno.test("recording: a line longer than the pieces in which the file is read stays whole", async () => {
  const raw = `{"type":"snapshot","text":"${"ü".repeat(300_000)}"}`;
  const frames = await read("feed.ndjson", `${raw}\n${raw}\n`);
  deepEqual(frames.map((frame) => [frame.line, frame.raw === raw]), [[1, true], [2, true]]);
});

Deno.test("recording: a file that isn't one is refused, with file and line", async () => {
  const cases: [string, string | Uint8Array, RegExp][] = [
    ["empty", "", /empty is empty: expected a frame of the feed on each line$/],
    ["blank", "\n\n", /blank is empty/],
    ["broken", `${lines[0]}\n{"type":`, /broken:2: not JSON: \{"type":$/],
    ["array", `[1]\n`, /array:1: expected an object with a "type": \[1\]$/],
    ["number", `{"type":7}\n`, /number:1: expected "type" to be a string: /],
    ["latin1", new Uint8Array([123, 0xff, 125, 10]), /latin1:1: not UTF-8: /],
    ["unstamped", `{"received_at":"now","frame":"x"}\n`, /unstamped:1: expected "received_at" in µs beside/],
    [
      "hollow",
      `{"received_at":7}\n`,
      /hollow:1: expected "received_at" in µs beside a "frame" or an "event"/,
    ],
    ["plain.zst", `${lines[0]}\n`, /plain\.zst:1: not UTF-8 in zstd: no zstd frame where one should begin/],
    ["plain.gz", `${lines[0]}\n`, /plain\.gz:1: not gzipped UTF-8: /],
  ];
  for (const [name, content, message] of cases) {
    await rejects(read(name, content), { name: "RecordingError", message });
  }
  await rejects(Array.fromAsync(readRecording("/no/such/file")), { message: "/no/such/file: no such file" });
});
