import assert from "node:assert/strict";
import {
  clientAddress,
  createRateLimit,
  givenToken,
  isOriginAllowed,
  isServedHost,
  isToken,
} from "./access.ts";

Deno.test("on loopback only loopback names and configured ones are served", () => {
  for (const host of ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "desk.example:8080"]) {
    assert(isServedHost("127.0.0.1", ["desk.example"], host), host);
  }
  for (
    const host of [
      null,
      "",
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example:8080",
      "0.0.0.0",
    ]
  ) {
    assert(!isServedHost("127.0.0.1", ["desk.example"], host), String(host));
  }
  assert(isServedHost("0.0.0.0", [], "anything.example"));
});

Deno.test("a token is one of the list, whole", () => {
  const tokens = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"];
  assert(tokens.every((token) => isToken(tokens, token)));
  for (const wrong of ["", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA"]) {
    assert(!isToken(tokens, wrong));
  }
  assert(!isToken([], ""));
});

Deno.test("a token comes in a header, in the address only of a WebSocket", () => {
  const given = (path: string, headers: Record<string, string>) =>
    givenToken(new Request(`http://x${path}`, { headers }));
  assert.equal(given("/", { authorization: "Bearer abc" }), "abc");
  assert.equal(given("/", { authorization: "bearer  abc " }), "abc");
  assert.equal(given("/", { authorization: "Basic abc" }), undefined);
  assert.equal(given("/?token=abc", {}), undefined);
  assert.equal(given("/?token=abc", { upgrade: "WebSocket" }), "abc");
});

Deno.test("a proxy's word counts only when it is trusted, and only its own", () => {
  assert.equal(clientAddress("10.0.0.1", "1.1.1.1, 2.2.2.2", true), "2.2.2.2");
  assert.equal(clientAddress("10.0.0.1", "1.1.1.1, 2.2.2.2", false), "10.0.0.1");
  assert.equal(clientAddress("10.0.0.1", null, true), "10.0.0.1");
});

Deno.test("a WebSocket is opened for the API's own page, for programs and for allowed origins", () => {
  const request = (origin?: string) =>
    new Request("http://x", { headers: { host: "127.0.0.1:8080", ...(origin && { origin }) } });
  assert(isOriginAllowed(request(), []));
  assert(isOriginAllowed(request("http://127.0.0.1:8080"), []));
  assert(isOriginAllowed(request("https://desk.example"), ["https://desk.example"]));
  assert(isOriginAllowed(request("https://any.example"), ["*"]));
  for (const origin of ["http://127.0.0.1:9090", "https://evil.example", "null"]) {
    assert(!isOriginAllowed(request(origin), ["https://desk.example"]), origin);
  }
});

Deno.test("a client may burst to twice its rate, then one by one", () => {
  let at = 0;
  const take = createRateLimit(10, () => at);
  assert.equal(Array.from({ length: 25 }, () => take("a").allowed).filter(Boolean).length, 20);
  assert(take("b").allowed);
  at += 100;
  assert(take("a").allowed);
  assert.equal(take("a").retrySeconds, 1);
  at += 10_000;
  assert.deepEqual(take("a"), { allowed: true, limit: 20, remaining: 19, resetSeconds: 1, retrySeconds: 0 });
});

Deno.test("a rate limit remembers a bounded number of clients, the newest", () => {
  const take = createRateLimit(1, () => 0, 2);
  for (const client of ["a", "a", "a"]) take(client);
  take("b");
  assert.equal(take("a").allowed, false);
  take("c");
  take("d");
  assert.equal(take("a").allowed, true);
});
