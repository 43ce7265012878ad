import assert from "node:assert/strict";
import { Hub, type Subscriber } from "./hub.ts";

const roomy = { messages: 100, length: 10_000, ms: 1000, computed: { messages: 100, length: 10_000 } };
const a = new Set("a");

function listener(): Subscriber & { texts: string[] } {
  const texts: string[] = [];
  return { texts, deliver: (text) => texts.push(text) };
}

Deno.test("hub: a message goes once to each who follows one of its keys, numbered", () => {
  const hub = new Hub(roomy);
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

Deno.test("hub: nobody goes on across a break", () => {
  const hub = new Hub(roomy);
  const one = listener();
  hub.join("a", one);
  hub.publish(["a"], "x", {});
  hub.leave("a", one);
  const { seq } = hub;
  assert.equal(hub.covers(hub.stream, seq, a), true);
  hub.breakOff();
  assert.equal(hub.covers(hub.stream, seq, a), false);
  assert.equal(hub.covers(hub.stream, hub.seq, a), true);
});

const limits: [what: string, limits: typeof roomy, remembered: number][] = [
  ["the number of messages", { ...roomy, messages: 3 }, 3],
  ["their length", { ...roomy, length: 3 * '{"type":"x","seq":1}'.length }, 3],
  ["their age", { ...roomy, ms: 2 }, 3],
];
for (const [what, ring, remembered] of limits) {
  Deno.test(`hub: what is remembered is bounded by ${what}`, () => {
    let now = 0;
    const hub = new Hub(ring, () => now);
    hub.join("b", listener());
    for (; now < 8; now++) hub.publish(["a"], "x", {});
    assert.equal(hub.covers(hub.stream, 8 - remembered, a), true);
    assert.equal(hub.covers(hub.stream, 7 - remembered, a), false);
    assert.equal(hub.after(8 - remembered, new Set("a"), 1e9).texts.length, remembered);
  });
}

Deno.test("hub: a replay holds what was missed of the keys, in pieces, and nothing of another stream or of the future", () => {
  const hub = new Hub(roomy);
  hub.join("d", listener());
  for (const key of ["a", "b", "a", "c", "a"]) hub.publish([key], "x", { key });
  assert.equal(hub.covers(hub.stream, 5, a), true);
  assert.equal(hub.covers(hub.stream, 6, a), false);
  assert.equal(hub.covers("another", 5, a), false);
  const { texts, seq } = hub.after(1, new Set(["a", "c"]), 1e9);
  assert.deepEqual(texts.map((text) => JSON.parse(text).seq), [3, 4, 5]);
  assert.equal(seq, 5);
  const piece = hub.after(1, new Set(["a", "c"]), 1);
  assert.deepEqual(piece.texts.map((text) => JSON.parse(text).seq), [3]);
  assert.deepEqual(hub.after(piece.seq, new Set(["a", "c"]), 1e9).texts, texts.slice(1));
});

Deno.test("hub: many series push nobody out, for what is common stays, and each series has its share", () => {
  let now = 0;
  const hub = new Hub({ ...roomy, computed: { messages: 20, length: 10_000 } }, () => now);
  const quiet = new Set(["quiet"]);
  hub.join("b", listener());
  hub.publish(["a"], "x", {});
  for (let n = 0; n < 4; n++) hub.publishSeries("quiet", "x", { n });
  const before = hub.seq;
  // Ten loud ones: each may keep a tenth of twenty, and so may the quiet one from its next message on.
  for (let n = 0; n < 50; n++) {
    for (let loud = 0; loud < 9; loud++) hub.publishSeries(`loud ${loud}`, "x", { n });
  }
  assert.equal(hub.covers(hub.stream, 0, a), true, "the common ring");
  assert.equal(hub.covers(hub.stream, 0, quiet), true, "a series that says nothing loses nothing");
  assert.equal(hub.after(0, quiet, 1e9).texts.length, 4);
  assert.equal(hub.covers(hub.stream, before, new Set(["loud 0"])), false);
  hub.publishSeries("quiet", "x", { n: 4 });
  assert.equal(hub.after(0, quiet, 1e9).texts.length, 2);
  assert.equal(hub.covers(hub.stream, before, quiet), true);
  assert.equal(hub.covers(hub.stream, 0, quiet), false);
  const followed = new Set(["quiet", "a", "loud 3"]);
  assert.equal(hub.after(0, followed, 1e9).texts.length, 5, "together, in order");
  now = 2000;
  hub.publish(["a"], "x", {});
  assert.equal(hub.after(0, followed, 1e9).texts.length, 1, "by age, the quiet too");
  assert.equal(hub.covers(hub.stream, before, quiet), false);
});

Deno.test("hub: a series that is dropped is evicted, and one of the same name begins anew", () => {
  const hub = new Hub(roomy);
  const listener = { texts: [] as string[], deliver: (text: string) => void listener.texts.push(text) };
  hub.join("s", listener);
  hub.publishSeries("s", "x", {});
  hub.dropSeries("s");
  assert.deepEqual(hub.after(0, new Set("s"), 1e9).texts, []);
  hub.publishSeries("s", "y", {});
  assert.deepEqual(hub.after(0, new Set("s"), 1e9).texts, ['{"type":"y","seq":2}']);
  assert.deepEqual(listener.texts, ['{"type":"x","seq":1}', '{"type":"y","seq":2}']);
});

Deno.test("hub: while nobody listens messages are numbered only, once nobody who left can come back", () => {
  let now = 0;
  const hub = new Hub(roomy, () => now);
  let read = 0;
  // Making the text reads the field.
  const fields = {
    get price() {
      return String(++read);
    },
  };
  hub.publish(["a"], "x", fields);
  assert.deepEqual([hub.seq, read], [1, 0]);
  assert.equal(hub.covers(hub.stream, 0, a), false);
  const client = listener();
  hub.join("a", client);
  hub.publish(["a"], "x", fields);
  hub.leave("a", client);
  now = roomy.ms;
  hub.publish(["a"], "x", fields);
  assert.equal(hub.covers(hub.stream, 2, a), true, "it may come back");
  assert.equal(hub.after(2, a, 1e9).texts.length, 1);
  now++;
  hub.publish(["a"], "x", fields);
  hub.publishSeries("s", "x", fields);
  assert.deepEqual([hub.seq, read], [5, 2]);
  assert.equal(hub.covers(hub.stream, 4, a), false);
  assert.equal(hub.covers(hub.stream, 5, a), true, "one who comes now misses nothing from now on");
  hub.join("a", client);
  hub.publish(["a"], "x", fields);
  assert.deepEqual(client.texts.map((text) => JSON.parse(text).seq), [2, 6]);
});
