/**
 * What every task (a command that a person or a scheduler runs) shares: arguments, errors, the exit code.
 *
 * @module
 */

import { CommanderError } from "@commander-js/extra-typings";
import { ConfigError, FatalError } from "../core/errors.ts";
import { tolerateLostOutput } from "./output.ts";

/**
 * Runs a task and exits the process: 0 when it succeeded, 2 for wrong arguments or a wrong environment variable, 1 for
 * anything else; an error that a person can act on is one line on stderr.
 *
 * @param main returns the exit code, or nothing for 0; commander's commands in it must have `exitOverride()`
 */
export async function runTask(main: () => Promise<number | void>): Promise<never> {
  tolerateLostOutput();
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
