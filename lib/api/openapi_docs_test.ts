import assert from "node:assert/strict";
import { docsPage } from "./openapi_docs.ts";

Deno.test("docs: nothing in the document can end the block that holds it, or becomes a part of the page", () => {
  const document = JSON.stringify({ title: "</script><script>alert(1)</script><!-- $& $1 `" });
  const html = docsPage("<!--openapi--><p>$&</p><!--problems-->", document);
  const [, data = ""] = /id="openapi">(.*?)<\/script>/s.exec(html) ?? [];
  assert.equal(html.match(/<script/g)?.length, 1);
  assert.deepEqual(JSON.parse(data), JSON.parse(document));
  assert.match(html, /<tr id="over-limit">.*422/);
});
