import assert from "node:assert/strict";
import { etagOf, isUnchanged, taggedAnswer } from "./etag.ts";

const bytes = new TextEncoder().encode("{}");
const request = (known?: string) =>
  new Request("http://x", known === undefined ? {} : { headers: { "if-none-match": known } });

Deno.test("etag: a client has an answer when it names its tag, strong or weak, or any", () => {
  const etag = etagOf(bytes);
  const cases: [known: string | undefined, unchanged: boolean][] = [
    [etag, true],
    [`W/${etag}`, true],
    [`"other", ${etag}`, true],
    ["*", true],
    [undefined, false],
    ["", false],
    [`"other"`, false],
    [etag.replaceAll('"', ""), false],
  ];
  for (const [known, unchanged] of cases) {
    assert.equal(isUnchanged(request(known), etag), unchanged, known);
    const { status } = taggedAnswer(request(known), { bytes, headers: {} });
    assert.equal(status, unchanged ? 304 : 200);
  }
});

Deno.test("etag: the compressed form has a weak tag, and 304 says the same as 200 without the bytes", async () => {
  const packed = new Uint8Array([1, 2]);
  const answer = taggedAnswer(request(), { bytes, packed, headers: { "cache-control": "no-cache" } });
  const etag = answer.headers.get("etag") ?? "";
  assert.equal(etag, `W/${etagOf(bytes)}`);
  assert.equal(answer.headers.get("content-encoding"), "gzip");
  assert.deepEqual(await answer.bytes(), packed);
  const known = taggedAnswer(request(etag), { bytes, packed, headers: { "cache-control": "no-cache" } });
  assert.equal(known.headers.get("etag"), etag);
  assert.equal(known.headers.get("cache-control"), "no-cache");
  assert.equal(known.headers.get("content-encoding"), null);
  assert.equal(known.body, null);
});
