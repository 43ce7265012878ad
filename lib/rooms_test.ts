/**
 * The house: each folder of lib/ reads only those below it, and can be taken in at a glance.
 *
 * @module
 */

import assert from "node:assert/strict";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Folders are added when they have an obvious door, not when one is full. */
const mostModules = 16;

/** Every module of a folder, relative to the project; tests aren't modules. */
function modulesOf(folder: string): string[] {
  return [...Deno.readDirSync(join(root, folder))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return name === "node_modules" || name.startsWith("dist") ? [] : modulesOf(path);
    return name.endsWith(".ts") && !name.endsWith("_test.ts") ? [normalize(path)] : [];
  });
}

/** Module → the modules of the project that it imports. */
function readImports(): Map<string, string[]> {
  const folders = ["lib", "web", "exchange", "embedded", "bench", "tasks"];
  const services = [...Deno.readDirSync(root)].map(({ name }) => name).filter((name) => name.endsWith(".ts"));
  const modules = [...services, ...folders.flatMap(modulesOf)];
  return new Map(modules.map((path) => {
    const text = Deno.readTextFileSync(join(root, path));
    const paths = [...text.matchAll(/^(?:import|export)\b[^;"]*"(\.{1,2}\/[^"]+)";$/gm)].map(([, to = ""]) =>
      to
    );
    return [path, paths.map((to) => normalize(join(dirname(path), to)))];
  }));
}

/** A path along the arrows that comes back to where it began; undefined when there is none. */
function circleIn(arrows: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const left = new Set<string>();
  const visit = (at: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(at)) return [...path.slice(path.indexOf(at)), at];
    if (left.has(at)) return undefined;
    for (const to of arrows.get(at) ?? []) {
      const circle = visit(to, [...path, at]);
      if (circle !== undefined) return circle;
    }
    left.add(at);
    return undefined;
  };
  for (const at of arrows.keys()) {
    const circle = visit(at, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

Deno.test("rooms: modules import one another in no circle", () => {
  assert.deepEqual(circleIn(new Map([["a", ["b"]], ["b", ["c"]], ["c", ["b"]]])), ["b", "c", "b"]);
  const imports = readImports();
  assert.ok([...imports.values()].flat().length > 500, "imports are found");
  assert.equal(circleIn(imports), undefined);
});

Deno.test("rooms: folders of lib/ read one another in no circle, and core reads none", () => {
  const folderOf = (path: string) => path.split("/")[1]!;
  const arrows = new Map<string, string[]>();
  for (const [from, to] of readImports()) {
    if (!from.startsWith("lib/")) continue;
    const others = to.filter((path) => path.startsWith("lib/") && folderOf(path) !== folderOf(from)).map(
      folderOf,
    );
    arrows.set(folderOf(from), [...new Set([...arrows.get(folderOf(from)) ?? [], ...others])]);
    assert.deepEqual(to.filter((path) => !path.startsWith("lib/")), [], `${from} reads only lib/`);
  }
  assert.deepEqual(arrows.get("core"), []);
  assert.equal(circleIn(arrows), undefined);
});

Deno.test("rooms: no folder of lib/ has more modules than can be taken in at a glance", () => {
  const counts = Map.groupBy(modulesOf("lib"), dirname);
  const full = [...counts].filter(([, modules]) => modules.length > mostModules).map(([folder]) => folder);
  assert.deepEqual(full, []);
});
