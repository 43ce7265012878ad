/**
 * The errors that a person can act on. Each is shown as one line, without a stack trace.
 *
 * @module
 */

/** A reason to stop that a person can act on: logged as one line, without a stack trace. */
export class FatalError extends Error {
  override name = "FatalError";
}

/** A wrong value in the environment; one line a variable: its name, the value, what is allowed. */
export class ConfigError extends Error {
  override name = "ConfigError";
}
