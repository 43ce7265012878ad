import assert from "node:assert/strict";
import { answerHealth, healthPaths, reasonList } from "./health.ts";

async function ask(path: string, live: string | null, ready: string | null | string[]) {
  const question = healthPaths[path];
  if (question === undefined) return undefined;
  const checks = { live: () => live, ready: () => Promise.resolve(ready) };
  const response = await answerHealth(checks[question]);
  return [response.status, await response.text()];
}

Deno.test("health: readiness says what is missing, and liveness doesn't care", async () => {
  const missing = ["Kafka: no answer", "ClickHouse: connect ECONNREFUSED"];
  assert.deepEqual(await ask("/livez", null, missing), [200, "ok\n"]);
  for (const path of ["/readyz", "/healthz"]) {
    assert.deepEqual(await ask(path, null, missing), [503, `${missing.join("\n")}\n`]);
    assert.deepEqual(await ask(path, "stuck", null), [200, "ok\n"]);
    assert.deepEqual(await ask(path, "stuck", []), [200, "ok\n"]);
  }
  assert.deepEqual(await ask("/livez", "stuck", null), [503, "stuck\n"]);
  assert.equal(await ask("/metrics", null, null), undefined);
});

Deno.test("health: a reason is one line", () => {
  assert.deepEqual(reasonList("Code: 1.\n  DB::Exception\n"), ["Code: 1. DB::Exception"]);
  assert.deepEqual(reasonList(["a", "", "b\nc"]), ["a", "b c"]);
  assert.deepEqual(reasonList(null), []);
});
