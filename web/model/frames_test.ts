import assert from "node:assert/strict";
import { createFrames } from "./frames.ts";

Deno.test("frames: a thousand changes are one painting, of what changed only", () => {
  const waiting: (() => void)[] = [];
  const painted: string[] = [];
  const frames = createFrames<"tape" | "book">((callback) => waiting.push(callback));
  frames.on(["tape"], () => painted.push("tape"));
  frames.on(["book"], () => painted.push("book"));
  for (let change = 0; change < 1000; change++) frames.touch("tape");
  assert.equal(waiting.length, 1);
  waiting.pop()?.();
  assert.deepEqual(painted, ["tape"]);
  frames.touch("book", "tape");
  waiting.pop()?.();
  assert.deepEqual(painted, ["tape", "tape", "book"]);
});

Deno.test("frames: what changes while painting is painted with the next frame", () => {
  const waiting: (() => void)[] = [];
  let painted = 0;
  const frames = createFrames<"tape">((callback) => waiting.push(callback));
  frames.on(["tape"], () => {
    if (++painted === 1) frames.touch("tape");
  });
  frames.touch("tape");
  waiting.shift()?.();
  assert.equal(painted, 1);
  waiting.shift()?.();
  assert.equal(painted, 2);
  assert.equal(waiting.length, 0);
});
