/**
 * The live page's files, as `deno task web` has built them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { Problem } from "./problem.ts";

const types: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
  png: "image/png",
  ico: "image/x-icon",
  json: "application/json",
  map: "application/json",
  webmanifest: "application/manifest+json",
  woff2: "font/woff2",
  txt: "text/plain; charset=utf-8",
};

/**
 * A file of the page, with its ETag: a browser asks each time whether it changed.
 *
 * @param folder ends with `/`
 * @param path of the request, `/` for the page itself
 * @throws {Problem} when there is no such file
 */
export async function pageFile(folder: URL, path: string, request: Request): Promise<Response> {
  const name = path === "/" ? "index.html" : path.slice(1);
  const type = types[name.split(".").at(-1) ?? ""];
  // Plain names only: no dot at the start of one, no escape.
  const isPlain = name.split("/").every((part) => /^[\w-][\w.-]*$/.test(part));
  const bytes = isPlain && type !== undefined ? await readFile(new URL(name, folder)) : undefined;
  if (bytes !== undefined && type !== undefined) return fileAnswer(request, bytes, type);
  if (path === "/") {
    return new Response(notBuilt, { headers: { "content-type": "text/html; charset=utf-8" } });
  }
  throw new Problem("not-found", { detail: "Nothing is at this address. /docs lists what there is." });
}

async function readFile(url: URL): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await Deno.readFile(url);
  } catch (error) {
    const isMissing = [
      Deno.errors.NotFound,
      Deno.errors.IsADirectory,
      Deno.errors.NotADirectory,
      Deno.errors.NotCapable,
    ]
      .some((kind) => error instanceof kind);
    if (isMissing) return undefined;
    throw error;
  }
}

function fileAnswer(request: Request, bytes: Uint8Array<ArrayBuffer>, type: string): Response {
  const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
  const headers = { "content-type": type, "cache-control": "no-cache", etag };
  const isKnown = request.headers.get("if-none-match")?.replace(/^W\//, "") === etag;
  return isKnown ? new Response(null, { status: 304, headers }) : new Response(bytes, { headers });
}

const notBuilt = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>tapehouse</title>
<h1>tapehouse</h1>
<p>The page isn't built yet: run <code>deno task web</code>, then load this again.</p>
<p>The API is here: <a href="/docs">/docs</a>, <a href="/api/status">/api/status</a></p>
</html>
`;
