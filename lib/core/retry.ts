/**
 * Waiting between tries.
 *
 * @module
 */

/** Bounds of the wait. */
export interface BackoffOptions {
  /** The first wait in ms. @default {200} */
  initialMs?: number;
  /** No wait is longer, in ms. @default {10_000} */
  maximumMs?: number;
  /** For tests; 0 ≤ x < 1. @default {Math.random} */
  random?: () => number;
}

/**
 * The wait before try `failures + 1`: doubles with each failure up to the maximum, then between half and all of it
 * ("equal jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that clients that
 * failed together don't come back together.
 *
 * @param failures how many tries have failed in a row, at least 1
 */
export function backoffMs(failures: number, options: BackoffOptions = {}): number {
  const { initialMs = 200, maximumMs = 10_000, random = Math.random } = options;
  const whole = Math.min(maximumMs, initialMs * 2 ** Math.min(failures - 1, 30));
  return whole / 2 + (whole / 2) * random();
}

/** Waits; wakes early, without throwing, when the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(wake, ms);
  signal?.addEventListener("abort", wake, { once: true });
  function wake() {
    clearTimeout(timer);
    signal?.removeEventListener("abort", wake);
    resolve();
  }
  return promise;
}

/**
 * Tries until it succeeds.
 *
 * @param attempt called again after each error
 * @param options.onError told each error and the wait that follows; may throw to give up
 * @returns what `attempt` returned
 * @throws the last error once the signal has aborted, or what `onError` throws
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  options: BackoffOptions & { signal: AbortSignal; onError: (error: unknown, waitMs: number) => void },
): Promise<T> {
  for (let failures = 1;; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (options.signal.aborted) throw error;
      const waitMs = backoffMs(failures, options);
      options.onError(error, waitMs);
      await sleep(waitMs, options.signal);
      if (options.signal.aborted) throw error;
    }
  }
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/**
 * Waits for what can't be told to stop, such as a client that connects with retries of its own: when the signal aborts,
 * this rejects and the work is left to itself.
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    work.catch(() => {});
  }
}
