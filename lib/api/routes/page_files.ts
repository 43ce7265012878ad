/**
 * The live page's files, as `deno task web` has built them.
 *
 * @module
 */

import { createSharedAnswer } from "../../core/shared_answer.ts";
import type { Api } from "../env.ts";
import { notFound } from "../problem.ts";
import { fileAnswer, type StaticFile, staticFile } from "../static_file.ts";

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

/** A file, and what changes with its content. */
type StoredFile = StaticFile & { stamp: string };

/** The files are looked at anew at most so often: the page may be built while the API runs. */
const freshMs = 1000;

/** The page's files. */
export interface Page {
  /** A file by its name in the folder. */
  file(name: string): Promise<StaticFile | undefined>;
  /**
   * A file of the page.
   *
   * @param path of the request, `/` for the page itself
   * @throws {Problem} when there is no such file
   */
  answer(path: string, request: Request): Promise<Response>;
}

/**
 * Opens the page. Its files are in memory: a request reads nothing, whether there is such a file or not.
 *
 * @param folder ends with `/`
 */
export function openPage(folder: URL, now: () => number = () => performance.now()): Page {
  let files = new Map<string, StoredFile>();
  const look = createSharedAnswer(async () => {
    const found = new Map<string, StoredFile>();
    for await (const [name, stamp] of filesOf(folder, "")) {
      const type = types[name.split(".").at(-1) ?? ""];
      if (type === undefined) continue;
      const known = files.get(name);
      if (known?.stamp === stamp) found.set(name, known);
      else {
        const file = await staticFile(await Deno.readFile(new URL(name, folder)), type);
        found.set(name, { ...file, stamp });
      }
    }
    return files = found;
  }, { freshMs, staleMs: freshMs, now });
  // What isn't built yet is looked for each time, by all who ask together.
  const file = async (name: string) => (await look(undefined, files.size === 0 ? -1 : freshMs)).get(name);

  return {
    file,
    async answer(path, request) {
      const found = await file(path === "/" ? "index.html" : path.slice(1));
      if (found !== undefined) return fileAnswer(request, found);
      if (path === "/") {
        return new Response(notBuilt, { headers: { "content-type": "text/html; charset=utf-8" } });
      }
      throw notFound();
    },
  };
}

/** Adds the page: whatever address no other route has. */
export function addPage(app: Api, page: Page): void {
  app.get("*", (context) => page.answer(decoded(new URL(context.req.url).pathname), context.req.raw));
}

function decoded(pathname: string): string {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return pathname;
  }
}

/** Name → what changes with its content. Plain names only: no dot at the start of one, no link that leads elsewhere. */
async function* filesOf(folder: URL, path: string): AsyncGenerator<[name: string, stamp: string]> {
  try {
    for await (const { name, isFile, isDirectory } of Deno.readDir(new URL(path, folder))) {
      if (!/^[\w-][\w.-]*$/.test(name)) continue;
      if (isDirectory) yield* filesOf(folder, `${path}${name}/`);
      if (!isFile) continue;
      const { size, mtime } = await Deno.stat(new URL(`${path}${name}`, folder));
      yield [`${path}${name}`, `${size} ${mtime?.getTime()}`];
    }
  } catch (error) {
    // Not built, or being built anew.
    const isMissing = error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable;
    if (!isMissing) throw error;
  }
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
