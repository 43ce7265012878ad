import assert from "node:assert/strict";
import { matches } from "./shortcuts_match.ts";

const search = { keys: ["/", "Ctrl+k"] };
const plain = { ctrlKey: false, metaKey: false, altKey: false };

Deno.test("shortcuts: letters typed into a field are none, keys with control are", () => {
  assert.equal(matches(search, { ...plain, key: "/" }, false), true);
  assert.equal(matches(search, { ...plain, key: "/" }, true), false);
  assert.equal(matches(search, { ...plain, key: "k", ctrlKey: true }, true), true);
  assert.equal(matches(search, { ...plain, key: "K", metaKey: true }, true), true);
  assert.equal(matches(search, { ...plain, key: "k" }, false), false);
  assert.equal(matches({ keys: ["t"] }, { ...plain, key: "t", ctrlKey: true }, false), false);
});
