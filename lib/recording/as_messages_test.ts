import { deepEqual, equal, notEqual } from "node:assert/strict";
import { readAsTopic, recordingName } from "./as_messages.ts";

async function withFile(lines: string[], body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".ndjson" });
  try {
    await Deno.writeTextFile(path, lines.map((line) => `${line}\n`).join(""));
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

const ignore = { onSource: () => {}, onRead: () => {}, onTorn: () => {} };
const second = 1783465097000000;

Deno.test("recorded messages: bare frames are dated by the newest time that the exchange has sent", () =>
  withFile([
    `{"type":"subscriptions","channels":[]}`,
    `{"type":"last_match","time":"2020-01-01T00:00:00Z"}`,
    `{"type":"match","time":"2026-07-07T22:58:17Z"}`,
    `{"type":"heartbeat","time":"2026-07-07T22:58:16Z"}`,
    `{"type":"status"}`,
    `{"type":"ticker","time":"2026-07-07T22:58:18Z"}`,
    `{"type":"ticker","time":"never"}`,
  ], async (path) => {
    const messages = await Array.fromAsync(readAsTopic(path, ignore));
    deepEqual(messages.map(({ offset, receivedAt }) => [offset, receivedAt - second]), [
      [1, 0],
      [2, 0],
      [3, 0],
      [4, 0],
      [5, 0],
      [6, 1e6],
      [7, 1e6],
    ]);
    equal(messages[0]?.source, "replay");
  }));

Deno.test("recorded messages: stamped frames keep their stamps, and say where they come from", () =>
  withFile([
    `{"received_at":5,"connection":"c-1","source":"simulator","frame":"{\\"type\\":\\"match\\"}"}`,
    `{"received_at":4,"connection":"c-2","source":"feed","event":{"type":"feed_event"}}`,
  ], async (path) => {
    const sources: string[] = [];
    const messages = await Array.fromAsync(
      readAsTopic(path, { ...ignore, onSource: (source) => sources.push(source) }),
    );
    deepEqual(sources, ["simulator", "feed"]);
    deepEqual(
      messages.map((
        { receivedAt, connection, value },
      ) => [receivedAt, connection, new TextDecoder().decode(value)]),
      [[5, "c-1", `{"type":"match"}`], [4, "c-2", `{"type":"feed_event"}`]],
    );
  }));

Deno.test("recorded messages: the recording's name follows its content", () =>
  withFile(["a"], (one) =>
    withFile(["a"], (same) =>
      withFile(["b"], async (other) => {
        equal(await recordingName(one), await recordingName(same));
        notEqual(await recordingName(one), await recordingName(other));
      }))));
