import { deepEqual } from "node:assert/strict";
import { parseBound } from "./topic_range.ts";

Deno.test("topic range: a bound is an offset or a time", () => {
  const cases: [string, ReturnType<typeof parseBound>][] = [
    ["0", { offset: 0 }],
    ["123456", { offset: 123456 }],
    ["2026-07-07T22:58:17Z", { time: 1783465097000000 }],
    ["2026-07-07", { time: 1783382400000000 }],
    ["-1", undefined],
    ["yesterday", undefined],
    ["", undefined],
  ];
  for (const [text, expected] of cases) deepEqual(parseBound(text), expected, text);
});
