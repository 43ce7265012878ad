/**
 * The list of `deno task mutate`: each change finds its place in the code, and the test that guards it.
 *
 * @module
 */

import "../support/clean_environment.ts";
import assert from "node:assert/strict";
import { mutations } from "../support/mutations.ts";
import { root } from "../support/tape.ts";

/** The title of a test, whichever function makes it. */
const titlePattern = /\b(?:Deno\.test|test\w*)\(\s*"((?:[^"\\]|\\.)*)"/g;

Deno.test("mutations: each changes one place that is there, and names a test that is there", async () => {
  assert.equal(new Set(mutations.map(({ name }) => name)).size, mutations.length);
  for (const { name, file, find, replace, test: [testFile, testName] } of mutations) {
    const text = await Deno.readTextFile(root + file);
    assert.equal(text.split(find).length - 1, 1, `${name}: how often its text is in ${file}`);
    assert.notEqual(find, replace);
    const titles = [...(await Deno.readTextFile(root + testFile)).matchAll(titlePattern)]
      .map(([, title = ""]) => title).filter((title) => title.includes(testName));
    // Without a name it is all tests of the file.
    if (testName === "") continue;
    assert.equal(titles.length, 1, `${name}: which test of ${testFile}? ${titles.join(", ") || "none"}`);
  }
});
