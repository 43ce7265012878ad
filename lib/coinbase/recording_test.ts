import { deepEqual, rejects } from "node:assert/strict";
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

Deno.test("each line comes with its number, as it is and parsed; empty lines are passed over", async () => {
  deepEqual(await read("feed.ndjson", `${lines[0]}\n\n${lines[1]}\n`), expected);
});

Deno.test("the last line needs no newline", async () => {
  deepEqual(await read("feed.ndjson", `${lines[0]}\n\n${lines[1]}`), expected);
});

Deno.test("a gzipped recording is read too", async () => {
  deepEqual(await read("feed.ndjson.gz", await gzip(`${lines[0]}\n\n${lines[1]}\n`)), expected);
});

Deno.test("a line longer than the pieces in which the file is read stays whole", async () => {
  const raw = `{"type":"snapshot","text":"${"ü".repeat(300_000)}"}`;
  const frames = await read("feed.ndjson", `${raw}\n${raw}\n`);
  deepEqual(frames.map((frame) => [frame.line, frame.raw === raw]), [[1, true], [2, true]]);
});

Deno.test("a file that isn't a recording is refused, with file and line", async () => {
  const cases: [string, string | Uint8Array, RegExp][] = [
    ["empty", "", /empty is empty: expected a frame of the feed on each line$/],
    ["blank", "\n\n", /blank is empty/],
    ["broken", `${lines[0]}\n{"type":`, /broken:2: not JSON: \{"type":$/],
    ["array", `[1]\n`, /array:1: expected an object with a "type": \[1\]$/],
    ["number", `{"type":7}\n`, /number:1: expected "type" to be a string: /],
    ["latin1", new Uint8Array([123, 0xff, 125, 10]), /latin1:1: not UTF-8: /],
    ["plain.gz", `${lines[0]}\n`, /plain\.gz:1: not gzipped UTF-8: /],
  ];
  for (const [name, content, message] of cases) {
    await rejects(read(name, content), { name: "RecordingError", message });
  }
  await rejects(Array.fromAsync(readRecording("/no/such/file")), { message: "/no/such/file: no such file" });
});
