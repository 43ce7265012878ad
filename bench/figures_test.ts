import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { countFigures, renderFigures } from "./figures.ts";
import { readResult, type Result } from "./results.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const result: Result = {
  command: "deno task bench api",
  measured_at: "2026-07-07T12:00:00Z",
  commit: "abcdef0",
  machine: { cores: 2, memory_gib: 24, load_before: 0.1 },
  versions: { Deno: "2.9.6" },
  tables: { ohlc: [{ what: "the newest", "p50, ms": 1234.5 }, { what: "any", "p50, ms": 2 }] },
};

Deno.test("figures: a block is rendered from its result, and the rest of the document stays", () => {
  const rendered = renderFigures(
    "Before.\n\n<!-- figures: api/ohlc -->\nold\n<!-- end of figures -->\n\nAfter.\n",
    (subject) => subject === "api" ? result : assert.fail(subject),
  );
  assert.equal(
    rendered,
    `Before.

<!-- figures: api/ohlc -->

| what       | p50, ms |
| ---------- | ------- |
| the newest | 1,234.5 |
| any        | 2       |

\`deno task bench api\`, 2026-07-07, commit abcdef0; 2 cores, 24 GiB, load 0.1 before; Deno 2.9.6.

<!-- end of figures -->

After.
`,
  );
});

Deno.test("figures: a table that a result doesn't have is named", () => {
  const document = "<!-- figures: api/other -->\n<!-- end of figures -->";
  assert.throws(
    () => renderFigures(document, () => result),
    /^Error: bench\/results\/api\.json has no table other$/,
  );
});

Deno.test("figures: those of the documents are the ones of bench/results", () => {
  // `deno fmt` wraps lines.
  const parts = (text: string) => text.replace(/\s+/g, " ").split("<!-- ");
  let blocks = 0;
  for (const { name } of Deno.readDirSync(`${root}docs`)) {
    if (!name.endsWith(".md")) continue;
    const text = Deno.readTextFileSync(`${root}docs/${name}`);
    blocks += countFigures(text);
    assert.deepEqual(
      parts(text),
      parts(renderFigures(text, readResult)),
      `docs/${name}: deno task bench documents`,
    );
  }
  assert.ok(blocks >= 5, `${blocks} blocks`);
});
