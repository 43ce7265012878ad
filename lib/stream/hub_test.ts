import assert from "node:assert/strict";
import { createHub, type Subscriber } from "./hub.ts";

const roomy = { messages: 100, length: 10_000, ms: 1000 };

function listener(): Subscriber & { texts: string[] } {
  const texts: string[] = [];
  return { texts, deliver: (text) => texts.push(text) };
}

Deno.test("a message goes once to each who follows one of its keys, numbered", () => {
  const hub = createHub(roomy);
  const [both, one, none] = [listener(), listener(), listener()];
  hub.join("a", both);
  hub.join("b", both);
  hub.join("b", one);
  hub.join("c", none);
  hub.publish(["a", "b"], "match", { price: "1" });
  hub.publish(["b"], "ticker", {});
  assert.deepEqual(both.texts, ['{"type":"match","seq":1,"price":"1"}', '{"type":"ticker","seq":2}']);
  assert.deepEqual(one.texts, both.texts);
  assert.deepEqual(none.texts, []);
  assert.equal(both.texts[0], one.texts[0]);
  hub.leave("b", one);
  hub.publish(["b"], "ticker", {});
  assert.equal(one.texts.length, 2);
});

const limits: [what: string, limits: typeof roomy, remembered: number][] = [
  ["the number of messages", { ...roomy, messages: 3 }, 3],
  ["their length", { ...roomy, length: 3 * '{"type":"x","seq":1}'.length }, 3],
  ["their age", { ...roomy, ms: 2 }, 3],
];
for (const [what, ring, remembered] of limits) {
  Deno.test(`what is remembered is bounded by ${what}`, () => {
    let now = 0;
    const hub = createHub(ring, () => now);
    for (; now < 8; now++) hub.publish(["a"], "x", {});
    assert.equal(hub.covers(hub.stream, 8 - remembered), true);
    assert.equal(hub.covers(hub.stream, 7 - remembered), false);
    assert.equal(hub.after(8 - remembered, new Set("a"), 1e9).texts.length, remembered);
  });
}

Deno.test("a replay holds what was missed of the keys, in pieces, and nothing of another stream or of the future", () => {
  const hub = createHub(roomy);
  for (const key of ["a", "b", "a", "c", "a"]) hub.publish([key], "x", { key });
  assert.equal(hub.covers(hub.stream, 5), true);
  assert.equal(hub.covers(hub.stream, 6), false);
  assert.equal(hub.covers("another", 5), false);
  const { texts, seq } = hub.after(1, new Set(["a", "c"]), 1e9);
  assert.deepEqual(texts.map((text) => JSON.parse(text).seq), [3, 4, 5]);
  assert.equal(seq, 5);
  const piece = hub.after(1, new Set(["a", "c"]), 1);
  assert.deepEqual(piece.texts.map((text) => JSON.parse(text).seq), [3]);
  assert.deepEqual(hub.after(piece.seq, new Set(["a", "c"]), 1e9).texts, texts.slice(1));
});
