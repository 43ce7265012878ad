/**
 * What every task (a command that a person or Airflow runs) shares: arguments, errors, the exit code.
 *
 * @module
 */

import { CommanderError } from "@commander-js/extra-typings";
import { ConfigError } from "./config.ts";
import { FatalError } from "./service.ts";

/**
 * Runs a task and exits the process: 0 when it succeeded, 2 for wrong arguments or a wrong environment variable, 1 for
 * anything else; an error that a person can act on is one line on stderr.
 *
 * @param main returns the exit code, or nothing for 0; commander's commands in it must have `exitOverride()`
 */
export async function runTask(main: () => Promise<number | void>): Promise<never> {
  try {
    Deno.exit(await main() ?? 0);
  } catch (error) {
    // commander has said what was wrong already.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    if (error instanceof ConfigError || error instanceof FatalError) console.error(error.message);
    else console.error(error);
    Deno.exit(error instanceof ConfigError ? 2 : 1);
  }
}

/** `30s`, `5m`, `2h`, `500ms` or a bare number of seconds → milliseconds. Undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null) return undefined;
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"] ?? 1000;
  return Number(match[1]) * unit;
}

/** A day such as 2026-07-07 → its midnight in ms, UTC; undefined when the calendar has no such day. */
export function parseDay(text: string): number | undefined {
  const midnight = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN;
  // Date.parse takes 2026-02-30 for the second of March.
  const isReal = !Number.isNaN(midnight) && new Date(midnight).toISOString().slice(0, 10) === text;
  return isReal ? midnight : undefined;
}
