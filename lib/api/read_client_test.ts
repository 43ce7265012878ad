import assert from "node:assert/strict";
import { openReadClient } from "./read_client.ts";
import { Problem } from "./problem.ts";
import { configOf } from "../../tests/support/config.ts";

Deno.test("api: a query whose answer stalls in the middle gives its place back when its time is over", async () => {
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"a":1}\n')),
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response(body));
  const config = configOf({ CLICKHOUSE_URL: `http://127.0.0.1:${server.addr.port}` });
  const clickhouse = openReadClient(config, 0);
  const hung = Promise.withResolvers<never>();
  const timer = setTimeout(() => hung.reject(new Error("it is still waited for")), 30_000);
  await assert.rejects(Promise.race([clickhouse.rows("SELECT 1"), hung.promise]), Problem);
  clearTimeout(timer);
  assert.equal(clickhouse.load().shared.running, 0);
  await clickhouse.close();
  await server.shutdown();
});
