/**
 * Places for work of which only so much may run at once, shared out fairly: a bounded number of them for one client, a
 * short queue, and turns that go round the clients, not along the requests: a client's own requests queue behind each
 * other.
 *
 * @module
 */

/** How much may run and wait. */
export interface FairQueueOptions {
  /** So many run at once, over all clients. */
  places: number;
  /** So many of one client. */
  placesOfClient: number;
  /** So many wait, over all clients. @default {128} */
  waiting?: number;
  /** So many of one client. @default {16} */
  waitingOfClient?: number;
  /** Nobody waits for longer, in ms. @default {10_000} */
  maxWaitMs?: number;
  /** Told how long a place was waited for, in seconds; 0 when it was free. */
  onPlace?: (seconds: number) => void;
  onRefused?: (reason: RefusalReason) => void;
}

/** Why there is no place: the client has enough that waits, everybody has, or it took too long. */
export type RefusalReason = "client_queue" | "queue" | "wait";

/** There is no place now; a later try may find one. */
export class Refused extends Error {
  override name = "Refused";

  constructor(readonly reason: RefusalReason, message: string) {
    super(message);
  }
}

/** What the service does for all clients together: neither limited nor sent away, but its turn comes like any other. */
export const ourselves = "";

/** Made by {@linkcode createFairQueue}. */
export interface FairQueue {
  /**
   * Waits for a place.
   *
   * @returns gives the place back; further calls do nothing
   * @throws {Refused} when there is none; the signal's reason when it fires while this waits
   */
  take(client: string, signal?: AbortSignal): Promise<() => void>;
  readonly running: number;
  readonly waiting: number;
}

interface Waiter {
  turn: PromiseWithResolvers<() => void>;
}

/** Who runs: so many places, and so many of them for one client. */
class Places {
  readonly #most: number;
  readonly #mostOfClient: number;
  readonly #ofClient = new Map<string, number>();
  #running = 0;

  constructor(most: number, mostOfClient: number) {
    this.#most = most;
    this.#mostOfClient = mostOfClient;
  }

  get running(): number {
    return this.#running;
  }

  runningOf(client: string): number {
    return this.#ofClient.get(client) ?? 0;
  }

  isFree(client: string): boolean {
    return this.#running < this.#most &&
      (client === ourselves || this.runningOf(client) < this.#mostOfClient);
  }

  occupy(client: string): void {
    this.#running++;
    this.#ofClient.set(client, this.runningOf(client) + 1);
  }

  giveBack(client: string): void {
    this.#running--;
    const left = this.runningOf(client) - 1;
    if (left > 0) this.#ofClient.set(client, left);
    else this.#ofClient.delete(client);
  }
}

/** Who waits: a line for each client. */
class Lines {
  /** The client whose turn is next stands first. */
  readonly #byClient = new Map<string, Waiter[]>();
  #length = 0;

  /** Over all lines. */
  get length(): number {
    return this.#length;
  }

  lengthOf(client: string): number {
    return this.#byClient.get(client)?.length ?? 0;
  }

  add(client: string, waiter: Waiter): void {
    const line = this.#byClient.get(client);
    if (line === undefined) this.#byClient.set(client, [waiter]);
    else line.push(waiter);
    this.#length++;
  }

  /** False when it waits no more. */
  remove(client: string, waiter: Waiter): boolean {
    const line = this.#byClient.get(client) ?? [];
    const index = line.indexOf(waiter);
    if (index < 0) return false;
    line.splice(index, 1);
    this.#length--;
    if (line.length === 0) this.#byClient.delete(client);
    return true;
  }

  /** Takes out the one whose turn it is among the clients that may have a place. */
  shift(isFree: (client: string) => boolean): [client: string, Waiter] | undefined {
    for (const [client, line] of this.#byClient) {
      const first = line[0];
      if (first === undefined || !isFree(client)) continue;
      this.remove(client, first);
      // Its next one comes after all others.
      if (line.length > 0) {
        this.#byClient.delete(client);
        this.#byClient.set(client, line);
      }
      return [client, first];
    }
    return undefined;
  }

  /** Takes out the last of the longest line of a client, if that line is longer than `length`. */
  popLongerThan(length: number): Waiter | undefined {
    let longest: [client: string, line: Waiter[]] | undefined;
    for (const entry of this.#byClient) {
      const [client, line] = entry;
      if (client !== ourselves && line.length > (longest?.[1].length ?? length)) longest = entry;
    }
    const last = longest?.[1].at(-1);
    if (longest !== undefined && last !== undefined) this.remove(longest[0], last);
    return last;
  }
}

/**
 * Stands in the client's line.
 *
 * @returns what the turn brings
 * @throws what `tooLong` makes, after so many ms; the signal's reason when it fires
 */
async function waitForTurn(
  lines: Lines,
  client: string,
  { maxWaitMs, tooLong, signal }: { maxWaitMs: number; tooLong(): Refused; signal: AbortSignal | undefined },
): Promise<() => void> {
  const waiter: Waiter = { turn: Promise.withResolvers() };
  lines.add(client, waiter);
  const leave = (reason: () => unknown) => {
    if (lines.remove(client, waiter)) waiter.turn.reject(reason());
  };
  const abort = () => leave(() => signal?.reason);
  const timer = setTimeout(() => leave(tooLong), maxWaitMs);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await waiter.turn.promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Makes a queue that is empty. */
export function createFairQueue(options: FairQueueOptions): FairQueue {
  const { waiting: maxWaiting = 128, waitingOfClient = 16, maxWaitMs = 10_000 } = options;
  const places = new Places(options.places, options.placesOfClient);
  const lines = new Lines();
  const isFree = (client: string) => places.isFree(client);

  function occupy(client: string): () => void {
    places.occupy(client);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      places.giveBack(client);
      serve();
    };
  }

  /** Hands free places to those whose turn it is. */
  function serve(): void {
    while (places.running < options.places) {
      const next = lines.shift(isFree);
      if (next === undefined) return;
      const [client, { turn }] = next;
      turn.resolve(occupy(client));
    }
  }

  function refusal(reason: RefusalReason, message: string): Refused {
    options.onRefused?.(reason);
    return new Refused(reason, message);
  }

  /** @throws {Refused} when this client, or all of them, have enough that waits */
  function assertMayWait(client: string): void {
    if (client === ourselves) return;
    const own = lines.lengthOf(client);
    if (own >= waitingOfClient) {
      throw refusal("client_queue", `${places.runningOf(client)} queries of this client run and ${own} wait`);
    }
    // What the service does for everybody is no reason to send anybody away.
    const ofClients = lines.length - lines.lengthOf(ourselves);
    if (ofClients < maxWaiting) return;
    // A client with a short line has room at the cost of the one with the longest.
    const last = lines.popLongerThan(own + 1);
    if (last === undefined) throw refusal("queue", `${ofClients} queries of all clients wait`);
    last.turn.reject(refusal("queue", `more than ${maxWaiting} queries of all clients wait`));
  }

  return {
    async take(client, signal) {
      signal?.throwIfAborted();
      if (lines.lengthOf(client) === 0 && isFree(client)) {
        options.onPlace?.(0);
        return occupy(client);
      }
      assertMayWait(client);
      const started = performance.now();
      const tooLong = () => refusal("wait", `no place came free within ${maxWaitMs / 1000} s`);
      const release = await waitForTurn(lines, client, { maxWaitMs, tooLong, signal });
      options.onPlace?.((performance.now() - started) / 1000);
      return release;
    },
    get running() {
      return places.running;
    },
    get waiting() {
      return lines.length;
    },
  };
}
