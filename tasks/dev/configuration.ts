/**
 * What the parts of `deno task dev` hand to one another.
 *
 * @module
 */

import { type Config, lookup, readConfig, type Variable, variables } from "../../lib/process/config.ts";

/** All variables. */
export type AllConfig = Config<Variable>;

/** Variables by name, for a process. */
export type Environment = Record<string, string>;

/** The configuration as the entrypoints will read it: ours first, then the person's. */
export function settingsOf(env: Environment): AllConfig {
  const names = Object.keys(variables) as Variable[];
  return readConfig(names, lookup(env));
}
