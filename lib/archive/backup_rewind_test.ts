import assert from "node:assert/strict";
import { planRewind } from "./backup_rewind.ts";

Deno.test("planRewind(): goes to the cut, says what is gone, and refuses another topic", () => {
  const topic = { low: 100, high: 200 };
  assert.deepEqual(planRewind(150, topic, true), { offset: 150, lost: 0 });
  assert.deepEqual(planRewind(200, topic, true), { offset: 200, lost: 0 });
  assert.deepEqual(planRewind(100, topic, undefined), { offset: 100, lost: 0 });
  assert.deepEqual(planRewind(40, topic, undefined), { offset: 40, lost: 60 });
  assert.deepEqual(planRewind(201, topic, undefined), { refused: "it ends at 200, before the backup's 201" });
  assert.deepEqual(planRewind(150, topic, false), {
    refused: "its message before 150 isn't the one of the backup",
  });
});
