/**
 * One computation for all who ask at about the same time: stale while it is revalidated.
 *
 * @module
 */

/** An answer that is computed once for many. */
export interface SharedAnswer<T, A = void> {
  /**
   * An answer whose computation began at most `staleMs` before this was asked for. One that is older than `freshMs` is
   * given at once, while a newer one is computed.
   *
   * @param staleMs of this asker; -1: computed after this call
   */
  (asker: A, staleMs?: number): Promise<T>;
  /** The same without waiting: undefined when nothing is known that is young enough. */
  known(asker: A): T | undefined;
}

/** How an answer is shared. */
export interface Sharing<A> {
  /** Up to this age an answer is given to everybody, and nothing is computed. */
  freshMs: number;
  /** Up to this age it is still given while a newer one is computed; then askers wait. */
  staleMs: number;
  /** Whether an asker waits with what is computed for another, or has it computed again. */
  mayJoin?: (running: A, asker: A) => boolean;
  /** A failure of that one's, which is none for others: the next of them computes anew. */
  isPersonal?: (error: unknown) => boolean;
  /** ms of a monotonic clock */
  now?: () => number;
}

/**
 * Wraps `compute`. A failure is told to all who wait for it, and isn't kept.
 *
 * @param compute is told who asked first: the work is on that one's account
 */
export function createSharedAnswer<T, A = void>(
  compute: (asker: A) => Promise<T>,
  options: Sharing<A>,
): SharedAnswer<T, A> {
  const { freshMs, staleMs, mayJoin = () => true, isPersonal = () => false } = options;
  const { now = () => performance.now() } = options;
  let last: { value: T; at: number } | undefined;
  let running: { asker: A; at: number; answer: Promise<T> } | undefined;

  /** @param since when a computation must have begun, at the earliest */
  async function join(asker: A, since: number): Promise<T> {
    if (running === undefined || !mayJoin(running.asker, asker)) return start(asker);
    const { at, answer } = running;
    try {
      const value = await answer;
      if (at >= since) return value;
    } catch (error) {
      if (!isPersonal(error)) throw error;
    }
    return last !== undefined && last.at >= since ? last.value : await join(asker, since);
  }

  function start(asker: A): Promise<T> {
    const at = now();
    const answer = compute(asker).then((value) => {
      if (last === undefined || at >= last.at) last = { value, at };
      return value;
    }).finally(() => {
      if (running === own) running = undefined;
    });
    const own = { asker, at, answer };
    running = own;
    return answer;
  }

  /** Whoever asks when it is too old hears of a failure. */
  function renew(asker: A): void {
    if (last === undefined || now() - last.at > freshMs) join(asker, -Infinity).catch(() => {});
  }

  return Object.assign(async (asker: A, oldest = staleMs): Promise<T> => {
    const since = now() - oldest;
    if (last === undefined || last.at < since) return await join(asker, since);
    renew(asker);
    return last.value;
  }, {
    known(asker: A): T | undefined {
      renew(asker);
      return last !== undefined && now() - last.at <= staleMs ? last.value : undefined;
    },
  });
}

/**
 * The same of each of many keys.
 *
 * @param options.maxKeys the one that nobody asked for longest goes first
 */
export function createSharedAnswers<T, A = void>(
  compute: (key: string, asker: A) => Promise<T>,
  options: Sharing<A> & { maxKeys: number },
): (key: string) => SharedAnswer<T, A> {
  const answers = new Map<string, SharedAnswer<T, A>>();
  return (key) => {
    const answer = answers.get(key) ?? createSharedAnswer((asker: A) => compute(key, asker), options);
    answers.delete(key);
    answers.set(key, answer);
    if (answers.size > options.maxKeys) answers.delete(answers.keys().next().value ?? key);
    return answer;
  };
}
