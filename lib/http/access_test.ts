import assert from "node:assert/strict";
import { givenToken, isFromOtherSite, isServedHost, tokenIndex } from "./access.ts";

Deno.test("access: on loopback only loopback names and configured ones are served", () => {
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

Deno.test("access: a token is one of the list, whole", () => {
  const tokens = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"];
  assert.deepEqual(tokens.map((token) => tokenIndex(tokens, token)), [0, 1]);
  for (const wrong of ["", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA"]) {
    assert.equal(tokenIndex(tokens, wrong), -1);
  }
  assert.equal(tokenIndex([], ""), -1);
});

Deno.test("access: a token comes in a header, of a WebSocket also among its subprotocols, never in the address", () => {
  const given = (path: string, headers: Record<string, string>) =>
    givenToken(new Request(`http://x${path}`, { headers }));
  assert.equal(given("/", { authorization: "Bearer abc" }), "abc");
  assert.equal(given("/", { authorization: "bearer  abc " }), "abc");
  assert.equal(given("/", { authorization: "Basic abc" }), undefined);
  const socket = { upgrade: "WebSocket" };
  for (const headers of [{}, socket] as Record<string, string>[]) {
    assert.equal(given("/?token=abc", headers), undefined);
  }
  const encoded = new TextEncoder().encode("a/ü+?=").toBase64({ alphabet: "base64url", omitPadding: true });
  const offer = { "sec-websocket-protocol": `tapehouse.v1, tapehouse.bearer.${encoded}` };
  assert.equal(given("/", { ...socket, ...offer }), "a/ü+?=");
  assert.equal(given("/", offer), undefined);
  for (const wrong of ["tapehouse.bearer.***", "tapehouse.bearer._w", "abc"]) {
    assert.equal(given("/", { ...socket, "sec-websocket-protocol": wrong }), undefined, wrong);
  }
});

Deno.test("access: what a page of another site makes a browser send is told from all else", () => {
  const host = "127.0.0.1:8080";
  const of = (headers: Record<string, string>, origins: string[] = [], navigable = false) =>
    isFromOtherSite(new Request("http://x", { headers: { host, ...headers } }), origins, navigable);
  const image = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" };
  const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
  const frame = { ...link, "sec-fetch-dest": "iframe" };
  const others: Record<string, string>[] = [
    image,
    link,
    frame,
    { ...image, "sec-fetch-site": "same-site" },
    { origin: "http://127.0.0.1:9090" },
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "https://evil.example", "sec-fetch-site": "same-origin" },
  ];
  for (const headers of others) {
    assert(of(headers), JSON.stringify(headers));
    assert(of(headers, ["https://desk.example"]), JSON.stringify(headers));
    assert(!of(headers, ["*"]), JSON.stringify(headers));
  }
  const own: Record<string, string>[] = [
    {},
    { origin: `http://${host}` },
    { "sec-fetch-site": "same-origin" },
    { "sec-fetch-site": "none" },
  ];
  for (const headers of own) assert(!of(headers), JSON.stringify(headers));
  assert(!of({ origin: "https://desk.example", "sec-fetch-site": "cross-site" }, ["https://desk.example"]));
  // A link leads to the page, a frame or an image doesn't.
  assert(!of(link, [], true));
  assert(of(frame, [], true));
  assert(of(image, [], true));
});
