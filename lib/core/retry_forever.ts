/**
 * Work that goes on until it succeeds: each failure is a line of the log, and only what trying again can't mend ends it.
 *
 * @module
 */

import { ConfigError, FatalError } from "./errors.ts";
import { type BackoffOptions, retry } from "./retry.ts";

/** Where and with what, for the log. */
type Fields = Record<string, unknown>;

/** How it is tried, and what is said meanwhile. */
export interface RetryForeverOptions extends BackoffOptions {
  signal: AbortSignal;
  log: { error(message: string, fields: Fields): void };
  fields?: Fields | ((error: unknown) => Fields);
  /** Turns an error into the FatalError or ConfigError that ends the tries, or leaves it as it is. */
  explain?: (error: unknown) => unknown;
  /** Called at each failure, before it is logged; may throw to give up. */
  onError?: (error: unknown) => void;
}

/**
 * Tries until it succeeds.
 *
 * @param failure what the log says of a failure, such as `ClickHouse doesn't answer`
 * @throws {FatalError|ConfigError} that `attempt` threw or `explain` made; the last error once the signal has aborted
 */
export function retryForever<T>(
  failure: string,
  attempt: () => Promise<T>,
  { log, fields, explain = (error) => error, onError, ...backoff }: RetryForeverOptions,
): Promise<T> {
  return retry(attempt, {
    ...backoff,
    onError(error, waitMs) {
      const explained = explain(error);
      if (explained instanceof FatalError || explained instanceof ConfigError) throw explained;
      onError?.(error);
      const more = typeof fields === "function" ? fields(error) : fields;
      log.error(`${failure}, trying again`, { ...more, error, wait_ms: Math.round(waitMs) });
    },
  });
}
