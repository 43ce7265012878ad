/**
 * The configuration of tests.
 *
 * @module
 */

import { type Config, readConfig, type Variable, variables } from "../../lib/process/config.ts";

/** All variables as `env` sets them, the others with their defaults; nothing of the process's own environment. */
export function configOf(env: Record<string, string> = {}): Config<Variable> {
  return readConfig(Object.keys(variables) as Variable[], (name) => env[name]);
}
