/**
 * Documents that a task writes, laid out as the project's format check wants them.
 *
 * @module
 */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Formats the files by the rules of deno.json; none when there are none (`deno fmt` alone would format the project).
 *
 * @throws {Error} with what `deno fmt` says
 */
export async function formatFiles(paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "-q", ...paths.map((path) => resolve(path))],
    cwd: fileURLToPath(new URL("..", import.meta.url)),
  }).output();
  if (!success) throw new Error(`deno fmt ${paths.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
}
