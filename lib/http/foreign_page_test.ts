import assert from "node:assert/strict";
import { isFromForeignPage, isFromThisMachine } from "./foreign_page.ts";

Deno.test("foreign page: known by Fetch Metadata, Origin and Referer; programs and typed addresses aren't one", () => {
  const cases: [Record<string, string>, boolean][] = [
    [{}, false],
    [{ "sec-fetch-site": "none", "sec-fetch-mode": "navigate" }, false],
    [{ "sec-fetch-site": "same-origin", origin: "http://127.0.0.1:8123" }, false],
    [{ origin: "http://localhost:3000" }, false],
    [{ referer: "http://[::1]:8080/page" }, false],
    // An image, a script, a clicked link: no Origin.
    [{ "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" }, true],
    [{ "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }, true],
    [{ "sec-fetch-site": "same-site" }, true],
    [{ "sec-fetch-site": "none, cross-site" }, true],
    [{ origin: "https://example.com" }, true],
    [{ origin: "https://127.0.0.1.example.com" }, true],
    [{ origin: "https://1.2.3.4" }, true],
    [{ origin: "null" }, true],
    [{ origin: "" }, true],
    [{ origin: "http://127.0.0.1, https://example.com" }, true],
    [{ referer: "https://example.com/page" }, true],
    [{ referer: "http://127.0.0.1@example.com/" }, true],
  ];
  for (const [headers, foreign] of cases) {
    assert.equal(isFromForeignPage(new Headers(headers)), foreign, JSON.stringify(headers));
  }
});

Deno.test("foreign page: a name that was bent to this machine isn't one of its names", () => {
  const comes = (headers: Record<string, string>) => isFromThisMachine(new Headers(headers));
  for (const host of ["127.0.0.1:9101", "localhost", "[::1]:80", "127.1.2.3", "LOCALHOST:1"]) {
    assert.ok(comes({ host }), host);
    assert.ok(!comes({ host, "sec-fetch-site": "cross-site" }), host);
  }
  for (const host of ["example.com:9101", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1", "", "localhost."]) {
    assert.ok(!comes({ host }), host);
  }
  assert.ok(!comes({}));
});
