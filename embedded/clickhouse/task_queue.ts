/**
 * Lets a fixed number of tasks run side by side; the others wait their turn, first come, first served.
 *
 * @module
 */

/** Made by {@linkcode createQueue}. */
export interface Queue {
  /**
   * Runs `task` when a place is free. A task that has started is never given up.
   *
   * @throws what the task throws; the signal's reason when it fires while the task waits; {@linkcode QueueClosed}
   */
  run<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** Turns away all that wait or come; resolves when those that run are done. */
  close(): Promise<void>;
}

/** The queue was closed before the task's turn came. */
export class QueueClosed extends Error {
  override name = "QueueClosed";
}

/** @param places how many tasks may run at the same time */
export function createQueue(places: number): Queue {
  const waiting = new Set<PromiseWithResolvers<void>>();
  const { promise: idle, resolve: becomeIdle } = Promise.withResolvers<void>();
  let running = 0;
  let closed = false;

  async function take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (closed) throw new QueueClosed();
    if (running < places) {
      running++;
      return;
    }
    const turn = Promise.withResolvers<void>();
    const leave = () => {
      if (waiting.delete(turn)) turn.reject(signal.reason);
    };
    waiting.add(turn);
    signal.addEventListener("abort", leave);
    await turn.promise.finally(() => signal.removeEventListener("abort", leave));
  }

  /** Hands the place over without giving it up in between, so that nobody who comes now gets ahead. */
  function release(): void {
    const [next] = waiting;
    if (next) {
      waiting.delete(next);
      next.resolve();
      return;
    }
    running--;
    if (closed && running === 0) becomeIdle();
  }

  return {
    async run(task, signal) {
      await take(signal);
      try {
        return await task();
      } finally {
        release();
      }
    },
    close() {
      closed = true;
      for (const turn of waiting) turn.reject(new QueueClosed());
      waiting.clear();
      if (running === 0) becomeIdle();
      return idle;
    },
  };
}
