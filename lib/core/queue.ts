/**
 * A queue between a producer that can't wait (a socket) and a consumer that may be slow (a broker), bounded in bytes.
 *
 * @module
 */

/** An async iterator with a push side. */
export interface Queue<T> extends AsyncIterable<T> {
  /**
   * Adds an item, also when the queue is full: the caller decides what to do about that.
   *
   * @returns false when the queue holds more than its limit now
   */
  push(item: T, bytes: number): boolean;
  /** Bytes that wait. */
  readonly bytes: number;
  /** Items that wait. */
  readonly length: number;
  /** Resolves when no more than half of the limit waits. */
  room(): Promise<void>;
  /** The iterator ends when what waits has been taken; it throws `error` then, if there is one. */
  end(error?: Error): void;
}

/** @param limitBytes what `push` and `room` go by */
export function createQueue<T>(limitBytes: number): Queue<T> {
  // Items are taken from the front of one array while the other fills: no shifting.
  let front: { item: T; bytes: number }[] = [];
  let next = 0;
  let back: { item: T; bytes: number }[] = [];
  let bytes = 0;
  let ended = false;
  let failure: Error | undefined;
  let wake = () => {};
  let roomWaiters: (() => void)[] = [];

  function take(): T | undefined {
    if (next === front.length) {
      [front, back, next] = [back, [], 0];
      if (front.length === 0) return undefined;
    }
    const entry = front[next]!;
    // Let go of what was taken, before the rest of the array is.
    front[next++] = undefined as never;
    bytes -= entry.bytes;
    if (roomWaiters.length > 0 && bytes <= limitBytes / 2) {
      roomWaiters.forEach((resolve) => resolve());
      roomWaiters = [];
    }
    return entry.item;
  }

  return {
    push(item, size) {
      back.push({ item, bytes: size });
      bytes += size;
      wake();
      return bytes <= limitBytes;
    },
    get bytes() {
      return bytes;
    },
    get length() {
      return front.length - next + back.length;
    },
    room: () =>
      bytes <= limitBytes / 2 ? Promise.resolve() : new Promise((resolve) => roomWaiters.push(resolve)),
    end(error) {
      ended = true;
      failure = error;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      while (true) {
        const item = take();
        if (item !== undefined) {
          yield item;
        } else if (ended) {
          if (failure !== undefined) throw failure;
          return;
        } else {
          await new Promise<void>((resolve) => wake = resolve);
        }
      }
    },
  };
}
