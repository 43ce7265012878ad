/**
 * A materialized view's SELECT over some of its source's rows: what was derived can be derived once more by the same
 * formula, which stands once, in sql/.
 *
 * @module
 */

/** Where a SELECT, as ClickHouse writes it, reads a table: with its database or without, and with its alias. */
function source(table: string): RegExp {
  return new RegExp(`\\bFROM (?:\`?[\\w-]+\`?\\.)?\`?${table}\`?(?: AS (\\w+))?(?!\\w)`, "g");
}

/** Whether a view's SELECT reads the table. */
export function readsSource(select: string, table: string): boolean {
  return source(table).test(select);
}

/**
 * Puts a condition on the table that a view's SELECT reads.
 *
 * @param where a condition on the table's rows
 * @throws {Error} when the SELECT doesn't read the table exactly once
 */
export function restrictSource(select: string, table: string, where: string, columns = "*"): string {
  if ([...select.matchAll(source(table))].length !== 1) {
    throw new Error(`A view was expected to read ${table} once: ${select}`);
  }
  return select.replace(
    source(table),
    (_, alias?: string) => `FROM (SELECT ${columns} FROM ${table} WHERE ${where}) AS ${alias ?? table}`,
  );
}
