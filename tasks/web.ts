/**
 * `deno task web`: the page of web/ as three files in web/dist, which api.ts serves. Script and style carry a part of
 * their hash in their names, so that they can be cached for ever; index.html names them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { runTask } from "../lib/cli.ts";
import { FatalError } from "../lib/service.ts";

const web = fileURLToPath(new URL("../web/", import.meta.url));

await runTask(async () => {
  const script = await bundle(`${web}main.ts`);
  const style = squeezed(await Deno.readTextFile(`${web}style.css`));
  const icon = await Deno.readTextFile(`${web}icon.svg`);
  const names = {
    "main.ts": hashed("main", "js", script),
    "style.css": hashed("style", "css", style),
    "icon.svg": hashed("icon", "svg", icon),
  };
  let page = await Deno.readTextFile(`${web}index.html`);
  for (const [source, name] of Object.entries(names)) {
    if (!page.includes(`"${source}"`)) {
      throw new FatalError(`web/index.html: expected a reference to "${source}"`);
    }
    page = page.replace(`"${source}"`, `"${name}"`);
  }
  // Written beside and put in place at once: who reads web/dist meanwhile finds the old page or the new one.
  const fresh = await Deno.makeTempDir({ dir: web, prefix: "dist-" });
  await Deno.chmod(fresh, 0o755);
  await Deno.writeTextFile(`${fresh}/index.html`, page);
  await Deno.writeTextFile(`${fresh}/${names["main.ts"]}`, script);
  await Deno.writeTextFile(`${fresh}/${names["style.css"]}`, style);
  await Deno.writeTextFile(`${fresh}/${names["icon.svg"]}`, icon);
  await Deno.remove(`${web}dist`, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await Deno.rename(fresh, `${web}dist`);
  const size = (text: string) => `${(new TextEncoder().encode(text).length / 1000).toFixed(1)} kB`;
  console.log(
    `web/dist: ${names["main.ts"]} ${size(script)}, ${names["style.css"]} ${size(style)}, index.html`,
  );
});

/** @throws {FatalError} with what the bundler said */
async function bundle(entry: string): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["bundle", "-q", "--platform", "browser", "--minify", entry],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stdout, stderr } = await command.output();
  if (!success) {
    throw new FatalError(`web/main.ts can't be bundled: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return new TextDecoder().decode(stdout);
}

/** A style sheet without comments and without the white space between its rules. */
function squeezed(css: string): string {
  return css.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\s+/g, " ").replace(/ ?([{};,]) ?/g, "$1").trim();
}

function hashed(name: string, ending: string, text: string): string {
  return `${name}-${createHash("sha256").update(text).digest("hex").slice(0, 10)}.${ending}`;
}
