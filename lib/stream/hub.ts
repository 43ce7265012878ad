/**
 * The middle of the stream: numbers every message, makes its text once, hands it to those who follow one of its keys,
 * and remembers the last ones for clients that come back. While nobody follows anything, and nobody who did can come back
 * any more, a message costs its number.
 *
 * @module
 */

/** Who is handed texts. */
export interface Subscriber {
  deliver(text: string): void;
}

/** How much is remembered: whatever is reached first. */
export interface RingLimits {
  messages: number;
  /** Of text, in UTF-16 units. */
  length: number;
  ms: number;
  /**
   * Of candles and books together, which each client asks for as it likes: apart from the rest, and shared out evenly,
   * so that nobody's many series push out what others come back for.
   */
  computed: { messages: number; length: number };
}

/** Used where nothing else is said: a minute, at most 100 000 messages or 64 Mi characters, and half of that for candles and books. */
export const ringLimits: RingLimits = {
  messages: 100_000,
  length: 64 * 1024 * 1024,
  ms: 60_000,
  computed: { messages: 50_000, length: 32 * 1024 * 1024 },
};

/** A message before it is numbered: `type`, and the rest. */
export interface StreamMessage {
  type: string;
  fields: object;
}

interface Entry {
  keys: readonly string[];
  text: string;
  /** ms of the monotonic clock. */
  at: number;
}

/** Messages by number. What is evicted is deleted at once, so a map's first entry is the oldest. */
interface Ring {
  entries: Map<number, Entry>;
  length: number;
  /** The newest number that was evicted. */
  evicted: number;
}

/** See the module. */
export class Hub {
  /** Names this process's numbering: another process, another name. */
  readonly stream = crypto.randomUUID();
  readonly #limits: RingLimits;
  readonly #now: () => number;
  readonly #members = new Map<string, Set<Subscriber>>();
  readonly #common = emptyRing();
  readonly #series = new Map<string, Ring>();
  /** Number → the series it is of. */
  readonly #seriesOf = new Map<number, Ring>();
  #seq = 0;
  /** When the last subscriber left, in ms of the clock. */
  #leftAt = -Infinity;

  /** @param now ms of a clock that never goes back */
  constructor(limits: RingLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** The number of the newest message; 0 before the first. */
  get seq(): number {
    return this.#seq;
  }

  /** Nobody follows anything, and nobody who did can come back any more. */
  get isForgotten(): boolean {
    return this.#members.size === 0 && this.#now() - this.#leftAt > this.#limits.ms;
  }

  /** What comes next doesn't follow what was: nobody can go on across it. Only while nobody follows anything. */
  breakOff(): void {
    this.#seq++;
    this.#evictAll();
  }

  /** Sends a message to the subscribers of `keys`, each once. `type` comes first, then `seq`, then the rest. */
  publish(keys: readonly string[], type: string, fields: object): void {
    const entry = this.#number(keys, type, fields);
    if (entry === undefined) return;
    this.#remember(this.#common, entry);
    this.#evictBeyond(this.#common, this.#limits.messages, this.#limits.length);
    this.#evictOld(entry.at);
    if (keys.length === 1) {
      for (const subscriber of this.#members.get(keys[0]!) ?? []) subscriber.deliver(entry.text);
      return;
    }
    const reached = new Set(keys.flatMap((key) => [...this.#members.get(key) ?? []]));
    for (const subscriber of reached) subscriber.deliver(entry.text);
  }

  /** The same for a series: a key whose messages are remembered by themselves. */
  publishSeries(key: string, type: string, fields: object): void {
    const entry = this.#number([key], type, fields);
    if (entry === undefined) return;
    const ring = this.#series.get(key) ?? emptyRing();
    this.#series.set(key, ring);
    this.#remember(ring, entry);
    this.#seriesOf.set(this.#seq, ring);
    const { messages, length } = this.#limits.computed;
    this.#evictBeyond(ring, messages / this.#series.size, length / this.#series.size);
    this.#evictOld(entry.at);
    for (const subscriber of this.#members.get(key) ?? []) subscriber.deliver(entry.text);
  }

  /** A series that is no longer computed: its messages are of no use to anybody. */
  dropSeries(key: string): void {
    const ring = this.#series.get(key);
    if (ring === undefined) return;
    this.#evictBeyond(ring, 0, 0);
    this.#series.delete(key);
  }

  join(key: string, subscriber: Subscriber): void {
    const members = this.#members.get(key);
    if (members) members.add(subscriber);
    else this.#members.set(key, new Set([subscriber]));
  }

  leave(key: string, subscriber: Subscriber): void {
    const members = this.#members.get(key);
    members?.delete(subscriber);
    if (members?.size !== 0) return;
    this.#members.delete(key);
    if (this.#members.size === 0) this.#leftAt = this.#now();
  }

  /** How many follow the key. */
  count(key: string): number {
    return this.#members.get(key)?.size ?? 0;
  }

  /** Whether every message after `seq` of the stream under one of the keys is still here. */
  covers(stream: string, seq: number, keys: ReadonlySet<string>): boolean {
    if (stream !== this.stream || seq > this.#seq) return false;
    return [...keys].every((key) => seq >= (this.#series.get(key) ?? this.#common).evicted);
  }

  /** The texts after `seq` under one of the keys, in order, and up to which number; stops when they get longer than `length`. */
  after(seq: number, keys: ReadonlySet<string>, length: number): { texts: string[]; seq: number } {
    const texts: string[] = [];
    let at = seq;
    for (let room = length; at < this.#seq && room > 0;) {
      const entry = this.#common.entries.get(++at) ?? this.#seriesOf.get(at)?.entries.get(at);
      if (entry === undefined || !entry.keys.some((key) => keys.has(key))) continue;
      texts.push(entry.text);
      room -= entry.text.length;
    }
    return { texts, seq: at };
  }

  /** Undefined when nobody will ever ask for the message. */
  #number(keys: readonly string[], type: string, fields: object): Entry | undefined {
    this.#seq++;
    if (this.isForgotten) {
      this.#evictAll();
      return undefined;
    }
    return { keys, text: JSON.stringify({ type, seq: this.#seq, ...fields }), at: this.#now() };
  }

  /** The newest number too. */
  #evictAll(): void {
    for (const ring of [this.#common, ...this.#series.values()]) {
      this.#evictBeyond(ring, 0, 0);
      ring.evicted = this.#seq;
    }
  }

  #remember(ring: Ring, entry: Entry): void {
    ring.entries.set(this.#seq, entry);
    ring.length += entry.text.length;
  }

  #evictOldest(ring: Ring): void {
    for (const [number, { text }] of ring.entries) {
      ring.entries.delete(number);
      this.#seriesOf.delete(number);
      ring.length -= text.length;
      ring.evicted = number;
      return;
    }
  }

  #evictBeyond(ring: Ring, messages: number, length: number): void {
    while (ring.entries.size > messages || ring.length > length) this.#evictOldest(ring);
  }

  /** By age; series too that say nothing any more. */
  #evictOld(at: number): void {
    const { ms } = this.#limits;
    for (const [, entry] of this.#common.entries) {
      if (at - entry.at <= ms) break;
      this.#evictOldest(this.#common);
    }
    for (const [number, ring] of this.#seriesOf) {
      if (at - (ring.entries.get(number)?.at ?? -Infinity) <= ms) break;
      this.#evictOldest(ring);
    }
  }
}

function emptyRing(): Ring {
  return { entries: new Map(), length: 0, evicted: 0 };
}
