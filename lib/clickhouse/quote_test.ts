import assert from "node:assert/strict";
import { quote, quoteText } from "./quote.ts";

Deno.test("quote(): a name is an identifier, whatever it holds", () => {
  assert.equal(quote("market"), "`market`");
  assert.equal(quote("a`b\\c"), "`a\\`b\\\\c`");
});

Deno.test("quoteText(): a text is a literal, whatever it holds", () => {
  assert.equal(quoteText("market"), "'market'");
  assert.equal(quoteText("it's a\\b"), "'it\\'s a\\\\b'");
});
