import assert from "node:assert/strict";
import size from "./size.ts";

const lines = (count: number) => "  work();\n".repeat(count);
const reported = (file: string, source: string) =>
  Deno.lint.runPlugin(size, file, source).map(({ id, message }) => `${id}: ${message}`);

Deno.test("lint: a function of 80 lines passes, one of 81 is reported, whatever its form", () => {
  assert.deepEqual(reported("a.ts", `function f() {\n${lines(78)}}\n`), []);
  for (
    const [head, tail] of [["function f() {", "}"], ["const f = () => {", "};"], [
      "const f = function () {",
      "};",
    ]]
  ) {
    assert.deepEqual(
      reported("a.ts", `${head}\n${lines(79)}${tail}\n`),
      ["size/function-lines: a function of 81 lines, more than 80"],
    );
  }
});

Deno.test("lint: a file of 350 lines passes, one of 351 is reported, a test of any length passes", () => {
  assert.deepEqual(reported("a.ts", lines(350)), []);
  assert.deepEqual(reported("a.ts", lines(351)), ["size/file-lines: a file of 351 lines, more than 350"]);
  assert.deepEqual(reported("a_test.ts", lines(351)), []);
});
