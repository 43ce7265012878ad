import assert from "node:assert/strict";
import { ConfigError } from "./config.ts";
import { openFaultPoint } from "./faultpoint.ts";
import { createLogger } from "./log.ts";

Deno.test("a batch stands still at the chosen place only, and only once", async () => {
  const lines: string[] = [];
  const reached = Promise.withResolvers<void>();
  const log = createLogger({}, {
    write(line) {
      lines.push(line);
      reached.resolve();
    },
  });
  const at = openFaultPoint("after the inserts", log);
  await at("before the in-flight commit", {});
  assert.deepEqual(lines, []);
  // A signal listener alone doesn't keep a process waiting.
  const awake = setInterval(() => {}, 1000);
  let passed = false;
  const standing = at("after the inserts", { partition: 3 }).then(() => passed = true);
  await reached.promise;
  assert.equal(passed, false);
  assert.match(lines[0] ?? "", /"point":"after the inserts","partition":3/);
  Deno.kill(Deno.pid, "SIGCONT");
  await standing;
  clearInterval(awake);
  await at("after the inserts", {});
  assert.equal(lines.length, 1);
});

Deno.test("a fault point that doesn't exist is named, with those that do", () => {
  assert.throws(() => openFaultPoint("somewhere", createLogger()), (error) => {
    assert(error instanceof ConfigError);
    assert.match(
      error.message,
      /^CONSUMER_FAULT_POINT=somewhere: expected one of: before the in-flight commit, /,
    );
    return true;
  });
});
