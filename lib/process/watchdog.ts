/**
 * Tells a loop that is stuck in itself from one that waits for somebody else.
 *
 * @module
 */

/** A loop, as the watchdog sees it. */
export interface Loop {
  /**
   * What should be going on by itself now, for a person; null while there is nothing to do, or while another system is
   * waited for. Must be cheap and must not throw.
   */
  due(): string | null;
  /** Anything that is another value after each step: a count of what was done. */
  progress(): unknown;
  /** Seconds without a step, while one is due, after which the loop is stuck. */
  limitSeconds: number;
}

/** Watches one loop. */
export interface Watchdog {
  /** For how many seconds a step has been due without one. */
  readonly seconds: number;
  /** Why the loop is stuck; null while it isn't. */
  reason(): string | null;
  stop(): void;
}

const tickMs = 1000;

/**
 * Looks at the loop once a second. Counted are looks, not time: a machine that slept, a process that was stopped and an
 * event loop that was blocked have had no chance to do anything meanwhile, and aren't stuck because of it.
 *
 * @param options.onStuck told once each time that the loop gets stuck
 * @param options.every calls back once a second until its result is called; for tests
 */
export function createWatchdog(
  loop: Loop,
  options: { onStuck?: (reason: string) => void; every?: (tick: () => void) => () => void } = {},
): Watchdog {
  const { every = everySecond, onStuck } = options;
  let seconds = 0;
  let what: string | null = null;
  let last: unknown = loop.progress();

  const stop = every(() => {
    const now = loop.progress();
    what = loop.due();
    seconds = what === null || now !== last ? 0 : seconds + 1;
    last = now;
    if (seconds === loop.limitSeconds) onStuck?.(describe());
  });

  const describe = () => `stuck for ${seconds} s: ${what}`;
  return {
    get seconds() {
      return seconds;
    },
    reason: () => seconds >= loop.limitSeconds ? describe() : null,
    stop,
  };
}

function everySecond(tick: () => void): () => void {
  const timer = setInterval(tick, tickMs);
  // A watchdog is no reason to stay alive.
  Deno.unrefTimer(timer);
  return () => clearInterval(timer);
}
