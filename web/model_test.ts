/**
 * What model/ may know. It runs in the tests without a browser, so it holds nothing of the DOM; of the browser it may
 * use what servers have too: fetch and WebSocket (handed in, or in api_client.ts and stream_connection.ts alone), URLs,
 * timers, AbortController, `performance` and Intl. And all that the page takes from lib/ must run in a browser.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const model = fileURLToPath(new URL("./model/", import.meta.url));
/** Names of the DOM and of the page: elements, the address, storage, frames. */
const browserOnly =
  /\bdocument\b|\bwindow\b|\b(?:HTML|SVG|Canvas)\w*Element\b|\b(?:Keyboard|Pointer)?Event\b|\blib="dom|\b(?:local|session)Storage\b|\blocation\.|\bhistory\.|\bmatchMedia\b|\bgetComputedStyle\b|\bnavigator\b|[^.]\brequestAnimationFrame\(/;
/** Who may speak with the server. */
const speakers: Record<string, RegExp> = {
  "api_client.ts": /\bfetch\b/,
  "stream_connection.ts": /\bnew WebSocket\b/,
};

function sources(folder: string): [name: string, text: string][] {
  return [...Deno.readDirSync(folder)].filter(({ name }) =>
    name.endsWith(".ts") && !name.endsWith("_test.ts")
  )
    .map(({ name }) => [name, withoutComments(Deno.readTextFileSync(`${folder}/${name}`))]);
}

/** A `///` stays: it's a reference to a library. */
function withoutComments(text: string): string {
  return text.replace(/\/\*\*?[\s\S]*?\*\//g, "").replace(/(?<!\/)\/\/ .*$/gm, "");
}

function importsOf(text: string): string[] {
  return [...text.matchAll(/\bfrom "([^"]+)"/g)].map(([, from = ""]) => from);
}

Deno.test("web: model/ knows nothing of the DOM", () => {
  for (const [name, text] of sources(model)) assert.doesNotMatch(text, browserOnly, name);
});

Deno.test("web: model/ speaks with the server in two files only", () => {
  for (const [name, text] of sources(model)) {
    for (const [speaker, speech] of Object.entries(speakers)) {
      if (name !== speaker) assert.doesNotMatch(text, speech, name);
    }
  }
});

Deno.test("web: model/ imports model/ and lib/core/ only", () => {
  for (const [name, text] of sources(model)) {
    const others = importsOf(text).filter((from) => !/^(\.\/\w+|\.\.\/\.\.\/lib\/core\/\w+)\.ts$/.test(from));
    assert.deepEqual(others, [], name);
  }
});

Deno.test("web: what the page takes from lib/ is of lib/core/, stands alone and runs in a browser", () => {
  const folders = [".", "./model", "./panels"].map((folder) =>
    fileURLToPath(new URL(folder, import.meta.url))
  );
  const taken = folders.flatMap(sources).flatMap(([, text]) => importsOf(text))
    .filter((from) => from.includes("/lib/")).map((from) => from.replace(/^(?:\.\.\/)+/, ""));
  assert(taken.length > 0);
  for (const path of new Set(taken)) {
    assert.match(path, /^lib\/core\/\w+\.ts$/);
    const text = withoutComments(Deno.readTextFileSync(new URL(`../${path}`, import.meta.url)));
    assert.doesNotMatch(text, /\bDeno\.|\bprocess\.|"node:|"npm:/, path);
    assert.deepEqual(importsOf(text), [], path);
  }
});
