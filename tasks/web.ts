/**
 * `deno task web`: the page of web/ and the API's `/docs` as a few files in web/dist, which api.ts serves. Scripts and styles
 * carry a part of their hash in their names, so that they can be cached for ever; index.html and docs.html name them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import swaggerFolder from "swagger-ui-dist/absolute-path.js";
import { runTask } from "../lib/process/task.ts";
import { putFiles } from "./web/put_files.ts";
import { FatalError } from "../lib/core/errors.ts";

const web = fileURLToPath(new URL("../web/", import.meta.url));

await runTask(async () => {
  const swagger = swaggerFolder();
  const style = await bundle("style.css");
  const icon = await Deno.readTextFile(`${web}icon.svg`);
  const page = withParts(await Deno.readTextFile(`${web}index.html`), {
    "app.ts": ["js", await bundle("app.ts")],
    "style.css": ["css", style],
    "icon.svg": ["svg", icon],
  });
  const docs = withParts(await Deno.readTextFile(`${web}docs/docs.html`), {
    "docs.ts": ["js", await bundle("docs/docs.ts")],
    "docs.css": ["css", await bundle("docs/docs.css")],
    "swagger-ui-bundle.js": ["js", withoutMap(await Deno.readTextFile(`${swagger}/swagger-ui-bundle.js`))],
    "swagger-ui.css": ["css", withoutMap(await Deno.readTextFile(`${swagger}/swagger-ui.css`))],
    "style.css": ["css", style],
    "icon.svg": ["svg", icon],
  });
  const licence = await Promise.all(
    ["LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"].map((name) =>
      Deno.readTextFile(`${swagger}/${name}`)
    ),
  );
  await putFiles(
    `${web}dist`,
    new Map([
      ...docs.parts,
      ["swagger-ui-license.txt", licence.join("\n")],
      ["docs.html", docs.html],
      ...page.parts,
      ["index.html", page.html],
    ]),
  );
  const sizes = [...page.parts, ...docs.parts].map(([name, text]) =>
    `${name} ${(new TextEncoder().encode(text).length / 1000).toFixed(1)} kB`
  );
  console.log(`web/dist: ${[...new Set(sizes)].join(", ")}, index.html, docs.html`);
});

/**
 * A document whose parts have their hash in their names.
 *
 * @param parts by the name by which the document calls them: ending, content
 * @throws {FatalError} when it doesn't call one of them
 */
function withParts(
  html: string,
  parts: Record<string, [ending: string, text: string]>,
): { html: string; parts: [name: string, text: string][] } {
  const named = Object.entries(parts).map(([source, [ending, text]]): [string, string] => {
    if (!html.includes(`"${source}"`)) throw new FatalError(`web: expected a reference to "${source}"`);
    const name = hashed(source.replace(/\.\w+$/, ""), ending, text);
    html = html.replace(`"${source}"`, `"${name}"`);
    return [name, text];
  });
  return { html, parts: named };
}

/** A script or style sheet with all that it imports. @throws {FatalError} with what the bundler said */
async function bundle(entry: string): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["bundle", "-q", "--platform", "browser", "--minify", entry],
    cwd: web,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const bundler = command.spawn();
  // A terminal's Ctrl-C reaches both, another's SIGTERM only us: the bundler isn't left behind.
  const end = () => bundler.kill("SIGTERM");
  Deno.addSignalListener("SIGTERM", end);
  const { success, stdout, stderr } = await bundler.output();
  Deno.removeSignalListener("SIGTERM", end);
  if (!success) {
    throw new FatalError(`web/${entry} can't be bundled: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return new TextDecoder().decode(stdout);
}

/** Without the address of a source map, which isn't served. */
function withoutMap(text: string): string {
  return text.replace(/\n?(\/\/|\/\*)# sourceMappingURL=.*$/m, "");
}

function hashed(name: string, ending: string, text: string): string {
  return `${name}-${createHash("sha256").update(text).digest("hex").slice(0, 10)}.${ending}`;
}
