import assert from "node:assert/strict";
import { offeredToken, spokenProtocol } from "../../lib/http/subprotocol.ts";
import { streamProtocols } from "./stream_protocols.ts";

Deno.test("subprotocol: the token that a page offers is the one that the stream reads", () => {
  for (const token of ["0123456789abcdef", "with spaces, + / = and ü€", "~".repeat(200)]) {
    const offered = streamProtocols(token);
    for (const name of offered) assert.match(name, /^[\w.-]+$/, "a subprotocol's name");
    assert.equal(offeredToken(offered.join(", ")), token);
    assert.equal(spokenProtocol(offered.join(", ")), "tapehouse.v1");
  }
  assert.deepEqual(streamProtocols(null), ["tapehouse.v1"]);
});
