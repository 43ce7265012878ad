/**
 * Documents and comments: what they point to is there, and they keep to the glossary.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folders = ["bench", "deploy", "docs", "embedded", "exchange", "lib", "sql", "tasks", "tests", "web"];

/** Every text of the project, by its path. */
const texts = new Map<string, string>();
const read = (folder: string): void => {
  for (const { name, isDirectory } of Deno.readDirSync(`${root}${folder}`)) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (isDirectory) {
      const isOurs = folder !== "" || folders.includes(name);
      if (isOurs && !/^(dist.*|artifacts|node_modules|\..*)$/.test(name)) read(path);
    } else if (/\.(md|ts|sql|ya?ml|xml|py|json|html|css)$/.test(name) && name !== "deno.lock") {
      texts.set(path, Deno.readTextFileSync(`${root}${path}`));
    }
  }
};
read("");

Deno.test("documents: documents and comments name files that are there", () => {
  const pattern = new RegExp(
    String.raw`(?<![\w/.-])((?:${folders.join("|")})/[\w/.-]+\.(?:ts|sql|md|py|ya?ml|xml|json))\b`,
    "g",
  );
  const missing: string[] = [];
  let found = 0;
  for (const [path, text] of texts) {
    // A test may speak of files that it makes up.
    if (path.endsWith("_test.ts")) continue;
    for (const [, file = ""] of text.matchAll(pattern)) {
      found++;
      // tasks/web.ts names what lies in web/ as the bundler does.
      if (file.startsWith("web/dist") || (path === "tasks/web.ts" && file.startsWith("docs/"))) continue;
      if (!texts.has(file)) missing.push(`${path}: ${file}`);
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(found > 100, `found ${found}`);
});

Deno.test("documents: documents link to files that are there", () => {
  const missing: string[] = [];
  for (const [path, text] of texts) {
    if (!path.endsWith(".md")) continue;
    for (const [, link = ""] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)) {
      const target = new URL(link, `file:///${path}`).pathname.slice(1);
      if (!texts.has(target) && !exists(target)) missing.push(`${path}: ${link}`);
    }
  }
  assert.deepEqual(missing, []);
});

Deno.test("documents: every picture of docs/images is shown", () => {
  const documents = [...texts].flatMap(([path, text]) => path.endsWith(".md") ? [text] : []).join("\n");
  const pictures = [...Deno.readDirSync(`${root}docs/images`)].map(({ name }) => name);
  assert.ok(pictures.length > 0);
  assert.deepEqual(pictures.filter((name) => !documents.includes(`images/${name}`)), []);
});

function exists(path: string): boolean {
  try {
    Deno.statSync(`${root}${path}`);
    return true;
  } catch {
    return false;
  }
}

Deno.test("README: it stays short", () => {
  const words = texts.get("README.md")!.split(/\s+/).length;
  assert.ok(words <= 900, `${words} words`);
});

Deno.test("documents: a heading that the code names is in its document", () => {
  const missing: string[] = [];
  let found = 0;
  for (const [path, text] of texts) {
    if (!path.endsWith(".ts") || path.endsWith("_test.ts")) continue;
    for (const [, page = "", heading = ""] of text.matchAll(/(docs\/\w+\.md), ([A-Z][\w ]+)/g)) {
      found++;
      const headings = texts.get(page)?.match(/^#+ .*/gm) ?? [];
      if (!headings.some((line) => line.replace(/^#+ /, "").startsWith(heading))) {
        missing.push(`${path}: ${page}, ${heading}`);
      }
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(found >= 3, `found ${found}`);
});

Deno.test("documents: README's numbers are those of docs/faults.md and of sql/examples", () => {
  const readme = texts.get("README.md")!.replace(/\s+/g, " ");
  const [, kills, trades, verdict] =
    /\*\*(\d+) kills in \d+ s, (\d+) trades: (0 lost, 0 double);/.exec(texts.get("docs/faults.md")!) ?? [];
  const said = `${kills} faults at random moments, ${
    Number(trades).toLocaleString("en-US")
  } trades: ${verdict}`;
  assert.ok(readme.includes(said), said);
  const queries = [...texts.keys()].filter((path) => /^sql\/examples\/\w+\.sql$/.test(path)).length;
  assert.ok(readme.includes(`${queries} [example queries]`), `${queries} queries`);
});

Deno.test("documents: words that the glossary has replaced don't come back", () => {
  // Word → what to say.
  const replaced: [RegExp, string][] = [
    // Also in names such as holes_by_hour and openHoles.
    [/(?<![A-Za-z])[Hh]oles?(?![a-z])|[a-z]Holes?(?![a-z])/, "gap"],
    [/\b\w*warehouse\b/i, "clickhouse"],
    [/\bcrew\b/i, "process group"],
    [/(?<![a-z])rungs?\b/i, "base interval"],
    [/\b(?:stillOurs|assertOurs|assertMember)\b/, "assertOwned"],
    [/\brequire[A-Z]\w*/, "assert… or waitFor…"],
    [/\bloseInflight\b/, "writeTruncatedBatch"],
    [/\bjoinStoredTrades\b/, "compactTradeRuns"],
    [/\bCandleKeeper\b/, "CandleSeries"],
    [/\bOutgoing\b/, "KafkaRecord or StreamMessage"],
    [/\borNull\b/, "nullable"],
    [/\btold_twice\b/, "duplicate_delivery"],
    [/\bfed_wrongly\b/, "bad_feed"],
    [/\b(?:broker|kafka|clickhouse)_away\b/, "broker_outage, clickhouse_outage"],
    [/\bbufferedEvents\b|\w+ByNotice\b/, "items of the feed, feed event"],
    [/\bPartitionPlace\b|\bpartition_place\b/, "CommittedPosition"],
    [/\b(?:interface|type) Asked\b/, "RouteInput, TestArguments …"],
    [/\bisRight\b/, "isConsistent, isFresh …"],
    [/\bpatienceMs\b/, "timeoutMs, killAfterMs …"],
    [/\bforget[A-Z]\w*/, "removeClient, evict, deleteGroup, reset…, clear…"],
    [/\bcheck(?:Range|Limit|Sizes|Trades|Bucket|Backup|Day|Database)\b/, "assert…"],
  ];
  const found: string[] = [];
  for (const [path, text] of texts) {
    if (path === "tasks/documents_test.ts") continue;
    for (const [word, say] of replaced) {
      const [match] = word.exec(text) ?? [];
      if (match !== undefined) found.push(`${path}: "${match}", say "${say}"`);
    }
  }
  assert.deepEqual(found, []);
});

Deno.test("documents: docs/operations.md lists every metric, and none that there isn't", () => {
  const metrics = /^# Metrics\n((?:.+\n)+)/m.exec(
    Deno.readTextFileSync(`${root}tests/support/public_names.txt`),
  )![1]!;
  // Without their labels.
  const expected = metrics.trim().split("\n").map((metric) => metric.replace(/\{.*/, ""));
  assert.ok(expected.length > 50, `${expected.length} metrics`);
  const listed = texts.get("docs/operations.md")!.match(/\btapehouse_\w+/g) ?? [];
  assert.deepEqual([...new Set(listed)].sort(), expected.sort());
});

Deno.test("documents: docs/tasks.md lists every task", () => {
  const { tasks } = JSON.parse(texts.get("deno.json")!) as { tasks: Record<string, unknown> };
  const page = texts.get("docs/tasks.md")!;
  const missing = Object.keys(tasks).filter((name) => !new RegExp(`\`(?:deno task )?${name}\\b`).test(page));
  assert.deepEqual(missing, []);
});

Deno.test("documents: a test that a document quotes is in its file, under that title", () => {
  const missing: string[] = [];
  let found = 0;
  for (const [path, text] of texts) {
    if (!path.endsWith(".md")) continue;
    for (const [, file = "", title = ""] of text.matchAll(/`([\w/]+_test\.ts)`:\s+"([^"]+)"/g)) {
      found++;
      if (!texts.get(file)?.includes(title.replace(/\s+/g, " "))) missing.push(`${path}: ${file}: ${title}`);
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(found > 50, `found ${found}`);
});

Deno.test("documents: no code span is broken across lines", () => {
  const broken: string[] = [];
  for (const [path, text] of texts) {
    if (!path.endsWith(".md")) continue;
    const prose = text.replace(/^ *```[^]*?^ *```/gm, (block) => block.replace(/[^\n]/g, ""));
    prose.split("\n").forEach((line, index) => {
      if (line.split("`").length % 2 === 0) broken.push(`${path}:${index + 1}: ${line.trim()}`);
    });
  }
  assert.deepEqual(broken, []);
});

/**
 * Titles of a test file, of `Deno.test` and what stands for it. What isn't a text of its own (a variable that a helper
 * is given) is left out: it is the text where the helper is called.
 */
function titlesOf(text: string): string[] {
  const calls =
    /(?<![.\w])(?:Deno\.test|testUnless|testApart|test)\(\s*(?:"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;
  return [...text.matchAll(calls)].map(([, plain, template]) => plain ?? template ?? "");
}

/** `subject: statement`, the subject of up to three words and without an article. */
const isTitle = (title: string) => /^(?!an? |the )[^\s:]+(?: [^\s:]+){0,2}: \S/i.test(title);

Deno.test("documents: a test's title is its subject, a colon and a statement", () => {
  const source =
    'Deno.test(\n  "a: b", f); if (/x/.test("no")) testUnless(`c: ${d}`, test("e f: g"), test(name))';
  assert.deepEqual(titlesOf(source), ["a: b", "c: ${d}", "e f: g"]);
  for (
    const title of ["a queue: is fair", "queue:", "queue", "queue is fair", "what a queue does: it waits"]
  ) {
    assert.equal(isTitle(title), false, title);
  }
  const titles = [...texts].flatMap(([path, text]) =>
    path.endsWith("_test.ts") ? titlesOf(text).map((title) => ({ path, title })) : []
  );
  assert.ok(titles.length > 900, `${titles.length} titles`);
  assert.deepEqual(titles.filter(({ title }) => !isTitle(title)), []);
});
