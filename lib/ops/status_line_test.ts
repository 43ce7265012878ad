import assert from "node:assert/strict";
import { read, type Reading, statusText } from "./status_line.ts";

const reading = (more: Partial<Reading>): Reading => ({
  atMs: 0,
  frames: 0,
  rows: 0,
  lag: 0,
  rejected: 0,
  freshness: new Map([[0.1, 0], [0.5, 0], [Infinity, 0]]),
  ...more,
});

Deno.test("status line: it says what happened between two readings", () => {
  const now = reading({
    atMs: 2000,
    frames: 5000,
    rows: 81,
    lag: 3,
    rejected: 1,
    freshness: new Map([[0.1, 98], [0.5, 99], [Infinity, 100]]),
  });
  assert.equal(
    statusText(reading({}), now),
    "frames/s 2,500 · rows/s 41 · lag 3 · freshness p50 100 ms, p99 500 ms · rejected 1",
  );
  const old = reading({ atMs: 1000, freshness: new Map([[0.1, 0], [0.5, 0], [Infinity, 2]]) });
  assert.match(statusText(reading({}), old), /freshness p50 over 2 min/);
  assert.match(statusText(now, { ...now, atMs: 3000 }), /frames\/s 0 .* freshness p50 –, p99 –/);
});

Deno.test("status line: what waits in the producer's memory is lag, as what waits in the topics is", async () => {
  const texts: Record<string, string> = {
    "/producer/metrics": 'tapehouse_frames_total{type="match"} 40\ntapehouse_unproduced_messages 30\n',
    "/consumer/metrics": 'tapehouse_lag_messages{topic="a",partition="0"} 4\n' +
      'tapehouse_lag_messages{topic="a",partition="1"} 5\n',
  };
  const listen = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(listen, ({ url }) => new Response(texts[new URL(url).pathname]));
  try {
    const metrics = `http://127.0.0.1:${server.addr.port}`;
    const now = await read({ producer: `${metrics}/producer`, consumer: `${metrics}/consumer` });
    assert.deepEqual([now?.frames, now?.lag], [40, 39]);
  } finally {
    await server.shutdown();
  }
});
