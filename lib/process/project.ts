/**
 * Where the project's own files lie: found from the code, never from the working directory.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

/**
 * The address of a folder that comes with tapehouse, such as `sql`. It lies beside lib/, two folders up; in a bundle
 * (`deno bundle`), which is one file, beside that file or one folder up.
 *
 * @param name relative to the project; the address ends with a slash
 */
export function projectFolder(name: string): URL {
  const places = ["./", "../", "../../"].map((up) => new URL(`${up}${name}/`, import.meta.url));
  return places.find(isFolder) ?? places.at(-1)!;
}

/** What we may not look at isn't ours: the permission sets name the project's folders. */
function isFolder(url: URL): boolean {
  try {
    const path = fileURLToPath(url);
    // Asked first: on a terminal Deno would otherwise ask the person.
    if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return false;
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
