import assert from "node:assert/strict";
import { offeredToken, spokenProtocol } from "./subprotocol.ts";

Deno.test("subprotocol: a token may be offered as a subprotocol, and is never what the stream answers with", () => {
  const token = "a/ü+?=";
  const encoded = new TextEncoder().encode(token).toBase64({ alphabet: "base64url", omitPadding: true });
  assert.equal(offeredToken(`tapehouse.v1, tapehouse.bearer.${encoded}`), token);
  for (const wrong of [null, "", "tapehouse.v1", "tapehouse.bearer.***", "tapehouse.bearer._w"]) {
    assert.equal(offeredToken(wrong), undefined, String(wrong));
  }
  assert.equal(spokenProtocol(`tapehouse.bearer.${encoded},tapehouse.v1`), "tapehouse.v1");
  for (const other of [null, "", "graphql-ws", `tapehouse.bearer.${encoded}`]) {
    assert.equal(spokenProtocol(other), undefined);
  }
});
