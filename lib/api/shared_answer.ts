/**
 * One computation for all who ask at about the same time.
 *
 * @module
 */

/**
 * Wraps `compute` so that an answer is given to everybody for `freshMs`. After that, up to `staleMs`, it is still given at
 * once while a newer one is computed; after that askers wait. A failure isn't kept.
 *
 * @param options.now ms of a monotonic clock
 */
export function createSharedAnswer<T>(
  compute: () => Promise<T>,
  options: { freshMs: number; staleMs: number; now?: () => number },
): () => Promise<T> {
  const { freshMs, staleMs, now = () => performance.now() } = options;
  let last: { value: T; at: number } | undefined;
  let running: Promise<T> | undefined;

  function start(): Promise<T> {
    const at = now();
    running ??= compute().then((value) => {
      last = { value, at };
      return value;
    }).finally(() => running = undefined);
    return running;
  }

  return () => {
    const age = last === undefined ? Infinity : now() - last.at;
    if (last === undefined || age > staleMs) return start();
    // Whoever asks when it is too old hears of a failure.
    if (age > freshMs) start().catch(() => {});
    return Promise.resolve(last.value);
  };
}
