/**
 * Which days and tables `deno task archive` and `deno task restore` are asked for.
 *
 * @module
 */

import { type ArchivedTable, archivedTableNames } from "./manifest.ts";
import { parseDay } from "../core/time.ts";
import { ConfigError } from "../core/errors.ts";

/**
 * The days, oldest first: one, or from … to, both included. Without any they are the last `back` that are over (UTC).
 *
 * @throws {ConfigError} for what isn't a day, or one that isn't over yet
 */
export function chooseDays(
  options: { date?: string; from?: string; to?: string },
  now: Date,
  back = 1,
): string[] {
  const daysAgo = (days: number) => new Date(now.getTime() - days * 86_400_000).toISOString().slice(0, 10);
  const yesterday = daysAgo(1);
  if (options.date !== undefined && (options.from !== undefined || options.to !== undefined)) {
    throw new ConfigError("--date is one day, --from and --to are several: give one or the other");
  }
  if (options.to !== undefined && options.from === undefined) throw new ConfigError("--to needs --from");
  for (const name of ["date", "from", "to"] as const) {
    const day = options[name];
    if (day === undefined) continue;
    if (parseDay(day) === undefined) {
      throw new ConfigError(`--${name} ${day}: expected a day such as 2026-07-07`);
    }
    if (day > yesterday) throw new ConfigError(`--${name} ${day}: expected a day that is over (UTC)`);
  }
  const from = options.date ?? options.from ?? daysAgo(Math.max(1, back));
  const to = options.date ?? options.to ?? yesterday;
  if (from > to) throw new ConfigError(`--from ${from} is after --to ${to}`);
  return daysBetween(from, to);
}

/** The days from `from` to `to`, both included, as `YYYY-MM-DD`. */
function daysBetween(from: string, to: string): string[] {
  const days: string[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += 86_400_000) {
    days.push(new Date(at).toISOString().slice(0, 10));
  }
  return days;
}

/**
 * The last day that may be dropped when `keepDays` whole days before today (UTC) are kept.
 *
 * `lastDroppable(7, new Date("2026-07-15T12:00:00Z"))` is 2026-07-07.
 */
export function lastDroppable(keepDays: number, now: Date): string {
  return new Date(now.getTime() - (keepDays + 1) * 86_400_000).toISOString().slice(0, 10);
}

/**
 * The tables of a list separated by commas; all without one.
 *
 * @throws {ConfigError} for a table that isn't archived
 */
export function chooseTables(list: string | undefined): ArchivedTable[] {
  if (list === undefined) return archivedTableNames;
  return list.split(",").map((name) => {
    const table = archivedTableNames.find((known) => known === name.trim());
    if (table !== undefined) return table;
    throw new ConfigError(
      `--table ${name.trim()}: expected ${
        archivedTableNames.join(", ")
      }; the rest is in the backups (deno task backup)`,
    );
  });
}
