import assert from "node:assert/strict";
import { cutOf, type PartitionState } from "./backup_moment.ts";

const state = (offset: number, inflight?: [number, number], high = 1000): PartitionState => ({
  offset,
  ...(inflight && { inflight: { first: inflight[0], last: inflight[1] } }),
  low: 5,
  high,
});

Deno.test("cutOf(): cuts where nothing above can have been written before the first look", () => {
  const cases: [string, PartitionState, PartitionState, boolean, number | undefined][] = [
    ["a batch is confirmed, none is begun", state(10), state(10), true, 10],
    ["none was ever confirmed: the topic's beginning", state(-1), state(-1), true, 5],
    ["the first batch of all may have landed", state(0, [0, 9]), state(0, [0, 9]), true, undefined],
    ["a batch may have landed", state(10, [10, 19]), state(10, [10, 19]), true, undefined],
    ["that batch is confirmed since", state(10, [10, 19]), state(20), true, 20],
    ["and the next one is begun already", state(10, [10, 19]), state(20, [20, 29]), true, 20],
    ["the engine may be writing", state(10), state(10), false, undefined],
    ["the engine has committed since", state(10), state(20), false, 20],
    ["nothing waits for the engine", state(10, undefined, 10), state(10, undefined, 10), false, 10],
    ["nothing was ever there for the engine", state(-1, undefined, 5), state(-1, undefined, 5), false, 5],
  ];
  for (const [name, first, now, named, wanted] of cases) assert.equal(cutOf(first, now, named), wanted, name);
});
