import assert from "node:assert/strict";
import { decodeCursor, encodeCursor, listName } from "./cursor.ts";

Deno.test("cursor: it comes back as it was, for its own list alone", () => {
  const cursor = encodeCursor("/api/trades&product_id=BTC-USD", [42, "ä"]);
  assert.match(cursor, /^[\w-]+$/);
  assert.deepEqual(decodeCursor("/api/trades&product_id=BTC-USD", cursor, ["number", "string"]), [42, "ä"]);
  assert.equal(decodeCursor("/api/trades&product_id=ETH-USD", cursor, ["number", "string"]), undefined);
  assert.equal(decodeCursor("/api/trades&product_id=BTC-USD", cursor, ["number"]), undefined);
  assert.equal(decodeCursor("/api/trades&product_id=BTC-USD", cursor, ["string", "number"]), undefined);
});

Deno.test("cursor: what isn't a cursor is none", () => {
  const list = "/api/trades";
  const forged = [-1, 0.5, 2 ** 60, null].map((place) => {
    const [mark] = JSON.parse(
      new TextDecoder().decode(Uint8Array.fromBase64(encodeCursor(list, [1]), { alphabet: "base64url" })),
    );
    return new TextEncoder().encode(JSON.stringify([mark, place])).toBase64({ alphabet: "base64url" });
  });
  for (
    const text of ["", "a", "!!!!", "e30", "bnVsbA", "_____w", encodeCursor(list, [1]).slice(1), ...forged]
  ) {
    assert.equal(decodeCursor(list, text, ["number"]), undefined, text);
  }
});

Deno.test("cursor: a list is named by its filters, in any order, not by how its rows are shown", () => {
  const name = (query: string) => listName("/api/x", new URLSearchParams(query));
  assert.equal(name("a=1&b=2&limit=5&cursor=c&format=json&time_format=iso"), name("b=2&a=1"));
  assert.notEqual(name("a=1"), name("a=2"));
});
