/**
 * The files of sql/: tables are numbered and made once; views have a file each and are made again when it changes.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { projectFolder } from "../process/project.ts";

/** A file of sql/tables or sql/views. */
export interface Migration {
  /** Its path in sql/ without `.sql`: `tables/001_trades`, `views/candles`. */
  name: string;
  /** By what it is known again: see `checksumOf`. */
  checksum: string;
  statements: string[];
}

/** The folder sql/ of this tapehouse. */
export const sqlFolder = fileURLToPath(projectFolder("sql"));

/** True for a view, which may be made again at any time. */
export function isView({ name }: Pick<Migration, "name">): boolean {
  return name.startsWith("views/");
}

/**
 * Reads the migrations in the order in which they are applied: the tables by their numbers, then the views, each behind
 * those that it reads. Other files are none.
 *
 * @throws {Error} when views read one another in a circle
 */
export async function readMigrations(folder = sqlFolder): Promise<Migration[]> {
  const tables = await readFolder(folder, "tables", /^\d{3}_\w+\.sql$/);
  const views = await readFolder(folder, "views", /^\w+\.sql$/);
  return [...tables, ...inReadingOrder(views)];
}

async function readFolder(folder: string, kind: string, pattern: RegExp): Promise<Migration[]> {
  const found: Migration[] = [];
  for await (const { name, isFile } of Deno.readDir(`${folder}/${kind}`)) {
    if (!isFile || !pattern.test(name)) continue;
    const text = await Deno.readTextFile(`${folder}/${kind}/${name}`);
    found.push({
      name: `${kind}/${name.slice(0, -4)}`,
      checksum: await checksumOf(text),
      statements: splitStatements(text),
    });
  }
  return found.sort((left, right) => left.name < right.name ? -1 : 1);
}

/** Views in an order in which each comes after those that it reads. */
export function inReadingOrder(views: readonly Migration[]): Migration[] {
  const byName = new Map(views.map((view) => [view.name.slice("views/".length), view]));
  const ordered = new Set<Migration>();
  const visit = (name: string, path: readonly string[]) => {
    const view = byName.get(name);
    if (view === undefined || ordered.has(view)) return;
    if (path.includes(name)) throw new Error(`sql/views: ${[...path, name].join(" reads ")}`);
    for (const read of readsOf(view)) if (read !== name) visit(read, [...path, name]);
    ordered.add(view);
  };
  for (const name of byName.keys()) visit(name, []);
  return [...ordered];
}

/** What a view's statement reads: tables, views, and names of its own. */
function readsOf({ statements }: Migration): string[] {
  const code = statements.join("\n").replace(/--.*$/gm, "");
  return [...code.matchAll(/\b(?:FROM|JOIN)\s+(\w+)/g)].map(([, name = ""]) => name);
}

/** A statement ends with a semicolon at the end of a line. */
export function splitStatements(sql: string): string[] {
  return sql.split(/;[ \t]*$/m).map((statement) => statement.trim())
    .filter((statement) => statement.replace(/--.*$/gm, "").trim() !== "");
}

/** Statements as they stand in a file, under its name. */
export function printMigration({ name, statements }: Migration): string {
  return `-- sql/${name}.sql\n\n${statements.map((statement) => `${statement};\n`).join("\n")}`;
}

/** SHA-256 of what ClickHouse is told by a file, hexadecimal: of its lines but those that are blank or a comment. */
export async function checksumOf(sql: string): Promise<string> {
  const lines = sql.split("\n").filter((line) => !/^\s*(--.*)?$/.test(line));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lines.join("\n")));
  return new Uint8Array(digest).toHex();
}
