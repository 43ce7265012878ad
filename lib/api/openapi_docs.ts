/**
 * `/openapi.json`, and `/docs`: the same for people. The document stands in the page, so that whoever has no token yet can
 * read what the API offers. The page itself is docs.html of `deno task web`.
 *
 * @module
 */

import { version } from "../core/version.ts";
import type { Api } from "./env.ts";
import { problemKinds } from "./problem.ts";
import type { Page } from "./routes/page_files.ts";
import { fileAnswer, type StaticFile, staticFile } from "./static_file.ts";

/** Adds both; every route that they tell of is there already. */
export function addDocs(app: Api, page: Page): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "token", {
    type: "http",
    scheme: "bearer",
    description: "One of API_TOKENS; not needed where none are set.",
  });
  const document = JSON.stringify(app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "tapehouse API",
      version,
      description:
        "The Coinbase tape as it is stored: complete, counted once, exact. Decimals are strings, times UTC with " +
        "microseconds. `from` is included, `to` is not.\n\nLists come in pages: `next` goes into `cursor`. " +
        "What happens now comes by the WebSocket `/api/stream`: see docs/stream.md.",
    },
  }));
  const json = staticFile(document, "application/json");
  app.get("/openapi.json", async ({ req }) => fileAnswer(req.raw, await json));

  // Made anew when the page was built anew.
  let made: { from: string; file: Promise<StaticFile> } | undefined;
  app.get("/docs", async ({ req }) => {
    const template = await page.file("docs.html");
    const from = template?.etag ?? "";
    if (made?.from !== from) {
      const html = template === undefined ? notBuilt : new TextDecoder().decode(template.bytes);
      made = { from, file: staticFile(docsPage(html, document), "text/html; charset=utf-8") };
    }
    return fileAnswer(req.raw, await made.file);
  });
}

/**
 * Puts the document and the kinds of problems into the page.
 *
 * @param template says with `<!--openapi-->` and `<!--problems-->` where
 */
export function docsPage(template: string, document: string): string {
  // A block of data, which no browser runs; nothing in it can end it.
  const data = `<script type="application/json" id="openapi">${document.replaceAll("<", "\\u003c")}</script>`;
  const rows = Object.entries(problemKinds).map(([kind, { status, title }]) =>
    `<tr id="${kind}"><td><code>/docs#${kind}</code></td><td>${status}</td><td>${title}</td></tr>`
  );
  const problems = `<table><tr><th>type</th><th>status</th><th>title</th></tr>${rows.join("")}</table>`;
  return template.replace("<!--openapi-->", () => data).replace("<!--problems-->", () => problems);
}

const notBuilt = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>tapehouse API</title>
<h1>tapehouse API</h1>
<p>This page isn't built yet: run <code>deno task web</code>, then load it again.</p>
<p>For programs: <a href="openapi.json">openapi.json</a></p>
<h2>Problems</h2>
<!--problems-->
<!--openapi-->
</html>
`;
