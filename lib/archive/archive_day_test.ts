import assert from "node:assert/strict";
import { type Action, decide } from "./archive_day.ts";

Deno.test("decide(): a table never takes rows from the archive that it has lost", () => {
  const ten = { rows: 10, digest: "a" };
  const other = { rows: 10, digest: "b" };
  const more = { rows: 11, digest: "c" };
  const less = { rows: 9, digest: "d" };
  type Row = typeof ten | undefined;
  const cases: [string, Row, Row, Action, Action, Action][] = [
    // what, archived, stored → as it is, with --rewrite, after a drop
    ["neither", undefined, undefined, "keep", "keep", "keep"],
    ["new", undefined, ten, "write", "write", "refuse"],
    ["gone", ten, undefined, "keep", "keep", "keep"],
    ["equal", ten, ten, "keep", "write", "keep"],
    ["changed", ten, other, "write", "write", "refuse"],
    ["a gap was filled", ten, more, "write", "write", "refuse"],
    ["rows were lost", ten, less, "refuse", "write", "refuse"],
  ];
  for (const [what, archived, stored, plain, rewritten, dropped] of cases) {
    const decision = (options: { dropped?: boolean; rewrite?: boolean }) =>
      decide(archived, stored, { dropped: false, rewrite: false, sameColumns: true, ...options });
    assert.equal(decision({}), plain, what);
    assert.equal(decision({ rewrite: true }), rewritten, `${what}, --rewrite`);
    assert.equal(decision({ dropped: true }), dropped, `${what}, dropped`);
  }
  // Digests of other columns say nothing.
  assert.equal(decide(ten, ten, { dropped: false, rewrite: false, sameColumns: false }), "write");
});
