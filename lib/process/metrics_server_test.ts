import assert from "node:assert/strict";
import { answersMetrics, createRegistry, serveMetrics } from "./metrics_server.ts";

/** What a port answers to a request with these headers; `fetch` would set Host itself. */
async function ask(port: number, path: string, headers: Record<string, string>): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const lines = Object.entries({ host: `127.0.0.1:${port}`, connection: "close", ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await connection.write(new TextEncoder().encode(`GET ${path} HTTP/1.1\r\n${lines}\r\n`));
  return await new Response(connection.readable).text();
}

Deno.test("metrics: on loopback no page of another site and no rebound name is answered", async () => {
  const server = serveMetrics({
    registry: createRegistry(),
    health: { live: () => null, ready: () => null },
    hostname: "127.0.0.1",
    port: 0,
  });
  const { port } = server.addr;
  try {
    for (const path of ["/metrics", "/livez", "/readyz", "/healthz"]) {
      assert.match(await ask(port, path, {}), /^HTTP\/1\.1 200 /);
      assert.match(await ask(port, path, { host: `localhost:${port}` }), /^HTTP\/1\.1 200 /);
      assert.match(await ask(port, path, { "sec-fetch-site": "none" }), /^HTTP\/1\.1 200 /);
      for (
        const headers of [
          { host: `evil.example:${port}` },
          { "sec-fetch-site": "cross-site" },
          { origin: "null" },
          { referer: "https://example.com/" },
        ]
      ) assert.match(await ask(port, path, headers), /^HTTP\/1\.1 403 [^]*\r\n\r\nRefused: /);
    }
  } finally {
    await server.shutdown();
  }
});

Deno.test("metrics: on another address a scraper may call the service by its name", async () => {
  const server = serveMetrics({
    registry: createRegistry(),
    health: { live: () => null, ready: () => null },
    hostname: "0.0.0.0",
    port: 0,
  });
  try {
    assert.match(await ask(server.addr.port, "/metrics", { host: "producer:9101" }), /^HTTP\/1\.1 200 /);
  } finally {
    await server.shutdown();
  }
});

Deno.test("metrics: a process isn't taken for another one that answers at its port", async () => {
  const server = serveMetrics({
    registry: createRegistry(),
    health: { live: () => null, ready: () => null },
    hostname: "127.0.0.1",
    port: 0,
  });
  try {
    const address = `http://127.0.0.1:${server.addr.port}`;
    assert.equal(await answersMetrics(address, Deno.pid), true);
    assert.equal(await answersMetrics(address, Deno.pid + 1), false);
  } finally {
    await server.shutdown();
  }
});
