import { deepEqual, equal, throws } from "node:assert/strict";
import type { FeedItem } from "../feed/feed_items.ts";
import { openRecorder, recordedLine, rotatedName } from "./recorder.ts";
import { readRecordedMessages, readRecording } from "./recording.ts";

const stamp = { receivedAt: 1783465097123456, connection: "c-1" };
const items: FeedItem[] = [
  { kind: "event", event: "connected", ...stamp },
  { kind: "frame", type: "match", data: `{"type":"match","price":"1.50"}`, ...stamp },
  { kind: "frame", type: "", data: "not\nJSON", ...stamp },
  { kind: "frame", type: "", data: Uint8Array.of(0xff, 0x00), ...stamp },
];

async function inFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("recorder: what is recorded is read byte for byte, with its stamps", () =>
  inFolder(async (folder) => {
    const path = `${folder}/feed.ndjson.zst`;
    const recorder = openRecorder({ path, source: "simulator" });
    for (const item of items) recorder.write(item);
    recorder.close();
    equal(recorder.frames, 3);
    equal(recorder.bytes, (await Deno.stat(path)).size);

    const read = await Array.fromAsync(readRecordedMessages(path));
    deepEqual(read.map(({ line, data }) => [line, data]), [
      [1, `{"type":"feed_event","event":"connected","time":"2026-07-07T22:58:17.123456Z"}`],
      [2, `{"type":"match","price":"1.50"}`],
      [3, "not\nJSON"],
      [4, Uint8Array.of(0xff, 0x00)],
    ]);
    deepEqual(read[1]?.stamp, { ...stamp, source: "simulator" });
    // Only what is JSON can be played.
    deepEqual((await Array.fromAsync(readRecording(path))).map(({ line }) => line), [1, 2]);
  }));

Deno.test("recorder: a line is what the format says", () => {
  equal(
    recordedLine(items[1]!, "feed"),
    `{"received_at":1783465097123456,"connection":"c-1","source":"feed","frame":"{\\"type\\":\\"match\\",\\"price\\":\\"1.50\\"}"}\n`,
  );
});

Deno.test("recorder: rotated files carry the time before their endings", () => {
  const time = new Date("2026-07-07T22:58:17.123Z");
  equal(rotatedName("a/feed.ndjson.zst", time), "a/feed-20260707T225817Z.ndjson.zst");
  equal(rotatedName("feed.zst", time), "feed-20260707T225817Z.zst");
});

Deno.test("recorder: a recording is never overwritten", () =>
  inFolder((folder) => {
    const path = `${folder}/feed.zst`;
    Deno.writeTextFileSync(path, "precious");
    throws(() => openRecorder({ path, source: "feed" }), {
      message: /exists already, and .* never overwritten/,
    });
    equal(Deno.readTextFileSync(path), "precious");
  }));
