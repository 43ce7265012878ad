/**
 * `/docs`: the OpenAPI document for people, without a script and without anything from another host.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { problemKinds } from "./problem.ts";

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  default?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  anyOf?: Schema[];
  example?: unknown;
}

interface Operation {
  summary?: string;
  description?: string;
  parameters?: { name: string; required?: boolean; description?: string; schema: Schema }[];
  responses?: Record<string, { content?: Record<string, { schema?: Schema }> }>;
}

const style = `
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code { font: 0.9em ui-monospace, monospace }
h2 { margin-top: 3rem; border-top: 1px solid #8886; padding-top: 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #8883 }
pre { overflow-x: auto; padding: 0.6rem; border: 1px solid #8886; border-radius: 4px }
.wide { overflow-x: auto }
`;

/** The page's own policy: its style is allowed by its digest. */
export const docsPolicy = `default-src 'none'; style-src 'sha256-${
  createHash("sha256").update(style).digest("base64")
}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** Makes the page from the document. */
export function docsPage(
  document: { info: { title: string; version: string; description?: string }; paths?: object },
): string {
  const operations = Object.entries(document.paths ?? {}) as [string, { get?: Operation }][];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(document.info.title)}</title>
<style>${style}</style>
</head>
<body>
<h1>${escape(document.info.title)} <small>${escape(document.info.version)}</small></h1>
${(document.info.description ?? "").split("\n\n").map((text) => `<p>${prose(text)}</p>`).join("\n")}
<p>For programs: <a href="/openapi.json">/openapi.json</a></p>
<ul>
${
    operations.map(([path, { get }]) =>
      `<li><a href="#${slug(path)}"><code>${escape(path)}</code></a> ${escape(get?.summary ?? "")}</li>`
    ).join("\n")
  }
<li><a href="#problems">Problems</a></li>
</ul>
${operations.map(([path, { get }]) => get ? operation(path, get) : "").join("\n")}
<h2 id="problems">Problems</h2>
<p>Errors are <code>application/problem+json</code>: type, title, status, detail, and where they apply parameter, allowed, nearest, limit.</p>
${
    table(
      ["type", "status", ""],
      Object.entries(problemKinds).map((
        [kind, { status, title }],
      ) => [`<code id="${kind}">/docs#${kind}</code>`, String(status), escape(title)]),
    )
  }
</body>
</html>
`;
}

function operation(
  path: string,
  { summary = "", description = "", parameters = [], responses = {} }: Operation,
): string {
  const row = rowOf(responses["200"]?.content?.["application/json"]?.schema);
  const example = parameters.filter(({ required }) => required)
    .map(({ name, schema }) => `${name}=${schema.example ?? ""}`).join("&");
  return `<h2 id="${slug(path)}"><code>${escape(path)}</code> ${escape(summary)}</h2>
<p>${prose(description)}</p>
<pre>curl '…${escape(path)}${example === "" ? "" : `?${escape(example)}`}'</pre>
${
    parameters.length === 0 ? "" : table(
      ["parameter", "", "default", ""],
      parameters.map(({ name, required, description, schema }) => [
        `<code>${escape(name)}</code>${required ? " (required)" : ""}`,
        allowed(schema),
        schema.default === undefined ? "" : `<code>${escape(String(schema.default))}</code>`,
        prose(description ?? schema.description ?? ""),
      ]),
    )
  }
${
    row === undefined ? "" : table(
      ["answer", "", ""],
      Object.entries(row).map(([name, schema]) => [
        `<code>${escape(name)}</code>`,
        escape(typeName(schema)),
        prose(schema.description ?? ""),
      ]),
    )
  }`;
}

/** The columns of a list, or the fields of an object. */
function rowOf(schema: Schema | undefined): Record<string, Schema> | undefined {
  return schema?.properties?.data?.items?.properties ?? schema?.properties;
}

function typeName({ type, anyOf, enum: values }: Schema): string {
  if (values) return values.join(" | ");
  if (anyOf) return [...new Set(anyOf.map(typeName))].join(" or ");
  return Array.isArray(type) ? type.join(" or ") : type ?? "object";
}

function allowed({ type, enum: values, minimum, maximum, pattern }: Schema): string {
  if (values) return values.map((value) => `<code>${escape(String(value))}</code>`).join(" ");
  const range = minimum === undefined ? "" : ` ${minimum} to ${maximum}`;
  return `${escape(String(type ?? ""))}${range}${pattern ? ` <code>${escape(pattern)}</code>` : ""}`;
}

function table(head: string[], rows: string[][]): string {
  const cells = (tag: string, values: string[]) =>
    values.map((value) => `<${tag}>${value}</${tag}>`).join("");
  return `<div class="wide"><table><tr>${cells("th", head)}</tr>${
    rows.map((row) => `<tr>${cells("td", row)}</tr>`).join("\n")
  }</table></div>`;
}

function slug(path: string): string {
  return path.replace(/^\//, "").replaceAll("/", "-");
}

/** Text with `code` in it. */
function prose(text: string): string {
  return escape(text).replace(/`([^`]+)`/g, "<code>$1</code>");
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
}
