import assert from "node:assert/strict";
import type { ClickHouseClient } from "@clickhouse/client";
import { createReadiness } from "./readiness.ts";
import { openAppOptions } from "../../tests/support/app_options.ts";
import { type AppOptions, createApp } from "./app.ts";
import type { ReadClient } from "./read_client.ts";
import { Problem } from "./problem.ts";

/** An API over a database that counts what it is asked, and a stream that says whose socket it took. */
function setUp(more: Partial<AppOptions> = {}) {
  const asked: string[] = [];
  let broken = false;
  const text = (statement: string) => {
    asked.push(statement);
    return broken
      ? Promise.reject(new Problem("unavailable", { detail: "ClickHouse doesn't answer." }))
      : Promise.resolve("");
  };
  const clickhouse = { text, rows: (statement: string) => text(statement).then(() => []) };
  const json = () => Promise.resolve([]);
  const engine = { query: ({ query }: { query: string }) => text(query).then(() => ({ json, close() {} })) };
  let elapsed = 0;
  const refused: string[] = [];
  const app = createApp({
    ...openAppOptions,
    clickhouse: clickhouse as unknown as ReadClient,
    health: {
      live: () => null,
      ready: createReadiness(engine as unknown as ClickHouseClient, () => elapsed),
    },
    stream: {
      upgrade: (_request, client) => new Response(client),
      status: () => ({ clients: 0 }),
    },
    onRefused: (reason) => refused.push(reason),
    ...more,
  });
  return {
    asked,
    refused,
    breakDown: () => broken = true,
    pass: (ms: number) => elapsed += ms,
    ask: (
      path: string,
      headers: Record<string, string> = {},
      address = "127.0.0.1",
      method = "GET",
      signal: AbortSignal | null = null,
    ) =>
      app(
        new Request(`http://127.0.0.1:8080${path}`, {
          method,
          signal,
          headers: { host: "127.0.0.1:8080", ...headers },
        }),
        address,
      ),
  };
}

Deno.test("api: a flood of health checks is one question in two seconds, whether ClickHouse answers or not", async () => {
  const { ask, asked, breakDown, pass } = setUp();
  const statusesOf = async () => {
    const answers = await Promise.all(Array.from({ length: 500 }, () => ask("/healthz")));
    return [...new Set(answers.map(({ status }) => status))];
  };
  assert.deepEqual(await statusesOf(), [200]);
  breakDown();
  pass(1999);
  assert.deepEqual(await statusesOf(), [200]);
  assert.equal(asked.length, 1);
  pass(2);
  assert.deepEqual(await statusesOf(), [503]);
  assert.equal(asked.length, 2);
  pass(2001);
  for (let i = 0; i < 500; i++) await ask("/healthz");
  assert.equal(asked.length, 3);
});

Deno.test("api: what pages of other sites send is refused before it costs a query; a link may lead to the page", async () => {
  const { ask, asked, refused } = setUp();
  const image = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" };
  const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
  const socket = { upgrade: "websocket" };
  const paths = [
    "/api/gaps",
    "/api/trades?product_id=BTC-USD",
    "/api/status",
    "/openapi.json",
    "/api/nothing",
  ];
  for (const path of paths) {
    for (const headers of [image, link, { ...image, "sec-fetch-site": "same-site" }, { origin: "null" }]) {
      const answer = await ask(path, headers);
      assert.equal(answer.status, 403, path);
      assert.equal((await answer.json()).type, "/docs#forbidden-origin");
    }
  }
  for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }]) {
    assert.equal((await ask("/api/stream", { ...socket, ...headers })).status, 403);
  }
  assert.equal((await ask("/icon.svg", image)).status, 403);
  assert.equal((await ask("/", { ...link, "sec-fetch-dest": "iframe" })).status, 403);
  assert.equal(refused.length, paths.length * 4 + 4);
  assert.deepEqual(asked, []);
  for (const path of ["/", "/docs"]) assert.equal((await ask(path, link)).status, 200, path);
  for (const headers of [{ "sec-fetch-site": "same-origin" }, { "sec-fetch-site": "none" }, {}]) {
    assert.equal((await ask("/api/gaps", headers)).status, 200);
    assert.equal((await ask("/api/stream", { ...socket, ...headers })).status, 200);
  }
  const open = setUp({ corsOrigins: ["https://desk.example"] });
  const desk = { origin: "https://desk.example", "sec-fetch-site": "cross-site" };
  assert.equal((await open.ask("/api/gaps", desk)).status, 200);
  assert.equal((await open.ask("/api/stream", { ...socket, ...desk })).status, 200);
});

Deno.test("api: a token opens the stream among its subprotocols and never in the address", async () => {
  const token = "a-token-of-some-length";
  const { ask } = setUp({ tokens: ["another-token-of-length", token], host: "0.0.0.0" });
  const socket = { upgrade: "websocket" };
  const offer = (text: string) => ({
    "sec-websocket-protocol": `tapehouse.v1, tapehouse.bearer.${btoa(text).replace(/=+$/, "")}`,
  });
  assert.equal((await ask(`/api/stream?token=${token}`, socket)).status, 401);
  assert.equal((await ask("/api/stream", { ...socket, ...offer(`${token}x`) })).status, 401);
  assert.equal((await ask("/api/gaps", offer(token))).status, 401);
  const opened = await ask("/api/stream", { ...socket, ...offer(token) });
  assert.deepEqual([opened.status, await opened.text()], [200, "127.0.0.1 1"]);
  const program = await ask("/api/stream", { ...socket, authorization: `Bearer ${token}` });
  assert.equal(await program.text(), "127.0.0.1 1");
});

Deno.test("api: a client is an address, and of IPv6 a network; a proxy that isn't trusted can't name another", async () => {
  const { ask, refused } = setUp({ ratePerSecond: 2 });
  const status = async (path: string, address: string, headers = {}) =>
    (await ask(path, headers, address)).status;
  for (let i = 0; i < 4; i++) assert.equal(await status("/api/gaps", `2001:db8:1:1::${i}`), 200);
  assert.equal(await status("/api/gaps", "2001:db8:1:1::ffff"), 429);
  assert.equal(await status("/api/gaps", "2001:db8:1:2::1"), 200);
  for (let i = 0; i < 4; i++) assert.equal(await status("/api/gaps", "192.0.2.1"), 200);
  assert.equal(await status("/api/gaps", "192.0.2.1", { "x-forwarded-for": "192.0.2.9" }), 429);
  // The page and the health check have a rate of their own.
  assert.equal(await status("/", "192.0.2.1"), 200);
  const refusal = await ask("/api/gaps", {}, "192.0.2.1");
  assert.equal(refusal.headers.get("retry-after"), "1");
  assert.equal(refusal.headers.get("ratelimit-remaining"), "0");
  for (let i = 0; i < 3; i++) assert.equal(await status("/healthz", "192.0.2.1"), 200);
  assert.equal(await status("/healthz", "192.0.2.1"), 429);
  assert.deepEqual([...new Set(refused)], ["rate"]);
});

Deno.test("api: every answer says how much of the rate is left, errors and the page too", async () => {
  const { ask } = setUp({ ratePerSecond: 50 });
  for (
    const path of ["/api/gaps", "/api/nothing", "/api/gaps?x=1", "/", "/docs", "/healthz", "/nothing.js"]
  ) {
    const { headers } = await ask(path);
    for (const name of ["limit", "remaining", "reset"]) {
      assert.match(headers.get(`ratelimit-${name}`) ?? "", /^\d+$/, `${path} ${name}`);
    }
  }
});

Deno.test("api: the page may load its own styles and scripts and nothing that is written into it", async () => {
  const { ask } = setUp();
  for (const path of ["/", "/docs"]) {
    const policy = (await ask(path)).headers.get("content-security-policy") ?? "";
    assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval|\*/);
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.match(policy, /base-uri 'none'/);
  }
});

Deno.test("api: a request is looked at in one order, by host, preflight, rate, origin, token, method", async () => {
  const { ask, refused } = setUp({
    tokens: ["a-token-of-some-length"],
    allowedHosts: ["desk.example"],
    ratePerSecond: 1,
  });
  const everything = { host: "evil.example", origin: "https://evil.example" };
  const kindOf = async (answer: Promise<Response>) => {
    const { status, headers, body } = await answer;
    await body?.cancel();
    return [status, headers.has("ratelimit-limit")];
  };
  const data = "/api/gaps";
  const here = { host: "desk.example" };
  assert.deepEqual(await kindOf(ask(data, everything, "192.0.2.1", "POST")), [403, false]);
  assert.deepEqual(await kindOf(ask(data, everything, "192.0.2.1", "OPTIONS")), [403, false]);
  assert.deepEqual(
    await kindOf(ask(data, { ...everything, ...here }, "192.0.2.1", "OPTIONS")),
    [204, false],
  );
  assert.deepEqual(await kindOf(ask(data, { ...everything, ...here }, "192.0.2.1", "POST")), [403, true]);
  assert.deepEqual(await kindOf(ask(data, here, "192.0.2.1", "POST")), [401, true]);
  assert.deepEqual(await kindOf(ask(data, { ...everything, ...here }, "192.0.2.1", "POST")), [429, true]);
  const authorization = "Bearer a-token-of-some-length";
  assert.deepEqual(await kindOf(ask(data, { ...here, authorization }, "192.0.2.2", "POST")), [405, true]);
  assert.deepEqual(refused, ["host", "host", "origin", "token", "rate"]);
});

Deno.test("api: an address in percent-encoding passes the same guards as the one that it stands for", async () => {
  const { ask, asked } = setUp({ tokens: ["a-token-of-some-length"] });
  const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
  for (const path of ["/%61pi/gaps", "/api/%67aps", "/openapi%2ejson", "/%6fpenapi.json"]) {
    const { status } = await ask(path);
    assert.ok(status === 401 || status === 404, `${path}: ${status}`);
    assert.ok((await ask(path, link)).status >= 400);
  }
  assert.deepEqual(asked, []);
});

Deno.test("api: only HTML may load anything, and no answer may be used by other origins unless CORS is set", async () => {
  const { ask } = setUp();
  for (const path of ["/api/gaps", "/api/nothing", "/openapi.json", "/nothing.js", "/healthz"]) {
    const { headers } = await ask(path);
    assert.equal(headers.get("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", path);
    assert.equal(headers.get("cross-origin-resource-policy"), "same-origin");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("strict-transport-security"), null);
  }
  const open = setUp({ corsOrigins: ["https://desk.example"] });
  for (const origin of [undefined, "https://desk.example"]) {
    const { headers } = await open.ask("/api/gaps", origin === undefined ? {} : { origin });
    assert.equal(headers.get("cross-origin-resource-policy"), null);
    assert.equal(headers.get("access-control-allow-origin"), origin ?? null);
    assert.match(
      headers.get("vary") ?? "",
      /\bOrigin\b.*\bAccept-Encoding\b|\bAccept-Encoding\b.*\bOrigin\b/,
    );
  }
});

Deno.test("api: every JSON answer that isn't an error has its ETag, and 304 for who has it; errors have none", async () => {
  const { ask } = setUp();
  for (const path of ["/api/gaps", "/api/ticker", "/openapi.json", "/docs"]) {
    const etag = (await ask(path)).headers.get("etag") ?? "";
    assert.match(etag, /^"[\w-]{22}"$/, path);
    assert.equal((await ask(path, { "if-none-match": etag })).status, 304, path);
  }
  for (const path of ["/api/nothing", "/api/gaps?x=1"]) {
    const answer = await ask(path, { "if-none-match": "*" });
    assert.deepEqual([answer.headers.get("etag"), answer.status >= 400], [null, true], path);
  }
});

Deno.test("api: HEAD gives up the body of a download, and a request that was given up is 499", async () => {
  let cancelled = false;
  const answers: string[] = [];
  const stream = () =>
    Promise.resolve(
      new ReadableStream({
        pull: (body) => body.enqueue(new Uint8Array(9)),
        cancel: () => {
          cancelled = true;
        },
      }),
    );
  const gone = new AbortController();
  const text = () => {
    gone.abort();
    return Promise.reject(gone.signal.reason);
  };
  const rows = () => Promise.resolve([{ product_id: "BTC-USD" }]);
  const { ask } = setUp({
    clickhouse: { stream, text, rows } as unknown as ReadClient,
    onAnswer: (route, status) => answers.push(`${route} ${status}`),
  });
  const head = await ask("/api/trades?product_id=BTC-USD&format=csv", {}, "127.0.0.1", "HEAD");
  assert.deepEqual([head.status, head.body, cancelled], [200, null, true]);
  assert.equal((await ask("/api/gaps", {}, "127.0.0.1", "GET", gone.signal)).status, 499);
  await ask("/api/nothing");
  await ask("/nothing");
  assert.deepEqual(answers, ["/api/trades 200", "/api/gaps 499", "other 404", "page 404"]);
});
