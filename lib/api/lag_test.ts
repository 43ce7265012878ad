import assert from "node:assert/strict";
import { partitionLag } from "./lag.ts";

Deno.test("the lag is what lies between the committed offset and the end", () => {
  const ends = [{ partition: 0, high: "100", low: "0" }, { partition: 1, high: "50", low: "20" }];
  assert.equal(partitionLag(ends, [{ partition: 0, offset: "90" }, { partition: 1, offset: "50" }]), 10);
  // Nothing committed: from the oldest that is there.
  assert.equal(partitionLag(ends, [{ partition: 0, offset: "100" }, { partition: 1, offset: "-1" }]), 30);
  assert.equal(partitionLag(ends, []), 130);
  // The retention has overtaken the group.
  assert.equal(partitionLag(ends, [{ partition: 0, offset: "100" }, { partition: 1, offset: "5" }]), 30);
});
