import assert from "node:assert/strict";
import { createLanes, judge, readArguments, readErrors, readSummary } from "./test_run.ts";

Deno.test("test run: paths are told from flags and a filter's text", () => {
  assert.deepEqual(
    readArguments(["tests/a_test.ts", "--filter", "b c", "lib", "--fail-fast", "--filter=d"]),
    {
      paths: ["tests/a_test.ts", "lib"],
      flags: ["--filter", "b c", "--fail-fast", "--filter=d"],
    },
  );
  assert.deepEqual(readArguments([]), { paths: [], flags: [] });
});

Deno.test("test run: the last summary counts, in whatever colours", () => {
  const counts = (passed: number, failed: number, skipped: number) => ({ passed, failed, skipped });
  assert.deepEqual(readSummary("ok | 5 passed | 0 failed (1s)"), counts(5, 0, 0));
  assert.deepEqual(
    readSummary("\n\x1b[32mok\x1b[0m | 1 passed (25 steps) | 0 failed | 2 ignored (1m)"),
    counts(1, 0, 2),
  );
  assert.deepEqual(
    readSummary("FAILED | 3 passed (1 step) | 2 failed (4 steps) | 1 ignored (3s)"),
    counts(3, 2, 1),
  );
  assert.deepEqual(readSummary("ok | 0 passed | 0 failed | 25 filtered out (5ms)"), counts(0, 0, 0));
  // A test that runs `deno test` itself prints one in the middle.
  assert.deepEqual(
    readSummary("ok | 1 passed | 0 failed (1s)\nFAILED | 7 passed | 1 failed (2s)\n"),
    counts(7, 1, 0),
  );
  for (const text of ["", "error: No test modules found", "it said: ok | 1 passed | 0 failed"]) {
    assert.equal(readSummary(text), undefined, text);
  }
});

Deno.test("test run: crashes, hangs and runs without tests fail", () => {
  const counts = (passed: number, failed = 0, skipped = 0) => ({ passed, failed, skipped });
  const ok = { name: "a", code: 0, counts: counts(2, 0, 1) };
  assert.deepEqual(judge([ok, { name: "b", code: 1, counts: counts(1, 1) }]), {
    passed: 3,
    failed: 1,
    skipped: 1,
    failures: ["b: 1 of its tests"],
  });
  const cases: [number | undefined, ReturnType<typeof counts> | undefined, string][] = [
    [undefined, undefined, "b: hung and was killed"],
    [undefined, counts(5), "b: hung and was killed"],
    [0, undefined, "b: ended without a summary (exit code 0)"],
    [1, undefined, "b: ended without a summary (exit code 1)"],
    [1, counts(3), "b: exit code 1 without a failed test"],
  ];
  for (const [code, found, failure] of cases) {
    const { failed, failures } = judge([ok, { name: "b", code, counts: found }]);
    assert.equal(failed, 1);
    assert.deepEqual(failures, [failure]);
  }
  for (const none of [[], [{ name: "a", code: 0, counts: counts(0) }]]) {
    const { failed, failures } = judge(none);
    assert.equal(failed, 1);
    assert.match(failures.join(), /^no test ran/);
  }
  // A filter that matches one file of two.
  assert.equal(judge([ok, { name: "b", code: 0, counts: counts(0) }]).failed, 0);
});

Deno.test("test run: a lane that is done helps the other, and each job is taken once", () => {
  const [one, two] = createLanes([1, 2, 3, 4], [10]);
  assert.deepEqual([one!(), two!(), two!(), two!(), one!(), one!(), two!()], [
    1,
    10,
    2,
    3,
    4,
    undefined,
    undefined,
  ]);
  const [left, right, last] = createLanes([1, 2, 3], [10, 20], 2);
  assert.deepEqual([left!(), right!(), last!(), right!(), left!(), right!(), last!()], [
    1,
    2,
    10,
    3,
    20,
    undefined,
    undefined,
  ]);
});

Deno.test("readErrors(): gives what failed tests say, a crash's last words, and nothing of a run that passed", () => {
  const failed = [
    "running 2 tests",
    "\x1b[1m ERRORS \x1b[0m",
    "",
    "a test => x_test.ts:1:6",
    "error: AssertionError: 1 !== 2",
    "",
    " FAILURES ",
    "",
    "a test => x_test.ts:1:6",
    "",
    "FAILED | 1 passed | 1 failed (3ms)",
  ].join("\n");
  assert.equal(readErrors(failed), "a test => x_test.ts:1:6\nerror: AssertionError: 1 !== 2");
  assert.equal(readErrors("running 1 test\nout of memory\n"), "running 1 test\nout of memory");
  assert.equal(readErrors("running 1 test\nok | 1 passed | 0 failed (1ms)\n"), "");
});
