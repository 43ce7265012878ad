/**
 * Figures of documents: a block between two comments is rendered from a result file, and never edited.
 *
 * @module
 */

import type { Result, Row } from "./results.ts";

/** `<!-- figures: SUBJECT/TABLE -->`, what is rendered, `<!-- end of figures -->`. */
const block = /<!-- figures: ([\w-]+)\/([\w-]+) -->\n[^]*?<!-- end of figures -->/g;

/**
 * The document with each block rendered anew.
 *
 * @param resultOf the result of a subject; throws when there is none
 * @throws {Error} when a result has no such table
 */
export function renderFigures(document: string, resultOf: (subject: string) => Result): string {
  return document.replace(block, (_, subject: string, table: string) => {
    const result = resultOf(subject);
    const rows = result.tables[table];
    if (rows === undefined) throw new Error(`bench/results/${subject}.json has no table ${table}`);
    const body = `${renderTable(rows)}\n\n${renderCircumstances(result)}`;
    return `<!-- figures: ${subject}/${table} -->\n\n${body}\n\n<!-- end of figures -->`;
  });
}

/** How many blocks a document has. */
export const countFigures = (document: string): number => document.match(block)?.length ?? 0;

/** Such as `Measured by …`, on one line; `deno fmt` wraps it. */
function renderCircumstances({ command, measured_at, commit, machine, versions }: Result): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return `\`${command}\`, ${measured_at.slice(0, 10)}, commit ${commit}; ${machine.cores} cores, ` +
    `${machine.memory_gib} GiB${machine.file_system ? `, ${machine.file_system}` : ""}, ` +
    `load ${machine.load_before} before; ${programs}.`;
}

/** A Markdown table, its columns as wide as `deno fmt` makes them. */
export function renderTable(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0] ?? {});
  const lines = [columns, ...rows.map((row) => columns.map((column) => shown(row[column] ?? "")))];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => line[at]!.length)));
  const text = (cells: string[]) => `| ${cells.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`;
  return [text(columns), text(widths.map((width) => "-".repeat(width))), ...lines.slice(1).map(text)].join(
    "\n",
  );
}

const shown = (value: string | number) =>
  typeof value === "number" ? value.toLocaleString("en-US", { maximumFractionDigits: 3 }) : value;
