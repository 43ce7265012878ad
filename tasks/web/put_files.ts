/**
 * A folder of files that is replaced while others read it, or write it too.
 *
 * @module
 */

/**
 * Makes a folder hold these files and no others. Each is written beside and put in its place whole, the last one of
 * `files` last; only then what is too many goes. So whoever starts from that one finds all that it names, old or new.
 */
export async function putFiles(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const fresh = await Deno.makeTempDir({ dir: `${folder}/..`, prefix: "dist-" });
  try {
    for (const [name, text] of files) {
      await Deno.writeTextFile(`${fresh}/${name}`, text);
      await Deno.rename(`${fresh}/${name}`, `${folder}/${name}`);
    }
  } finally {
    await Deno.remove(fresh, { recursive: true });
  }
  for await (const { name } of Deno.readDir(folder)) {
    if (files.has(name)) continue;
    await Deno.remove(`${folder}/${name}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}
