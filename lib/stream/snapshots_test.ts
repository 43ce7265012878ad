import { type ClickHouseClient, createClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { loadAnomalies } from "./snapshots.ts";

Deno.test("stream: a start whose answer stalls in the middle isn't waited for once its time is over", async () => {
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"a":1}\n')),
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response(body));
  const clickhouse = createClient({
    url: `http://127.0.0.1:${server.addr.port}`,
    keep_alive: { enabled: false },
  });
  const begun = Promise.withResolvers<void>();
  const observed = {
    async query(options: Parameters<ClickHouseClient["query"]>[0]) {
      const answer = await clickhouse.query(options);
      begun.resolve();
      return answer;
    },
  } as ClickHouseClient;
  const over = new AbortController();
  const found = loadAnomalies(observed, "2026-07-07 00:00:00", over.signal);
  await begun.promise;
  over.abort(new Error("its time is over"));
  const hung = Promise.withResolvers<never>();
  const timer = setTimeout(() => hung.reject(new Error("it is still waited for")), 10_000);
  await assert.rejects(Promise.race([found, hung.promise]), /its time is over/);
  clearTimeout(timer);
  await clickhouse.close();
  await server.shutdown();
});
