/**
 * The middle of the stream: numbers every message, makes its text once, hands it to those who follow one of its keys,
 * and remembers the last ones for clients that come back.
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
}

/** See the module. */
export interface Hub {
  /** Names this process's numbering: another process, another name. */
  readonly stream: string;
  /** The number of the newest message; 0 before the first. */
  readonly seq: number;
  /** Sends a message to the subscribers of `keys`, each once. `type` comes first, then `seq`, then the rest. */
  publish(keys: readonly string[], type: string, fields: object): void;
  join(key: string, subscriber: Subscriber): void;
  leave(key: string, subscriber: Subscriber): void;
  /** How many follow the key. */
  count(key: string): number;
  /** Whether every message after `seq` of the stream is still here. */
  covers(stream: string, seq: number): boolean;
  /** The texts after `seq` under one of the keys, in order, and up to which number; stops when they get longer than `length`. */
  after(seq: number, keys: ReadonlySet<string>, length: number): { texts: string[]; seq: number };
}

interface Entry {
  keys: readonly string[];
  text: string;
  /** ms of the monotonic clock. */
  at: number;
}

/** @param now ms of a clock that never goes back */
export function createHub(limits: RingLimits, now: () => number = () => performance.now()): Hub {
  const stream = crypto.randomUUID();
  const members = new Map<string, Set<Subscriber>>();
  /** By number; what is forgotten is deleted at once, so the map's first entry is the oldest. */
  const ring = new Map<number, Entry>();
  let seq = 0;
  let length = 0;

  function remember(entry: Entry): void {
    ring.set(seq, entry);
    length += entry.text.length;
    for (const [number, { text, at }] of ring) {
      const fits = ring.size <= limits.messages && length <= limits.length && entry.at - at <= limits.ms;
      if (fits) break;
      ring.delete(number);
      length -= text.length;
    }
  }

  return {
    stream,
    get seq() {
      return seq;
    },
    publish(keys, type, fields) {
      seq++;
      const text = JSON.stringify({ type, seq, ...fields });
      remember({ keys, text, at: now() });
      if (keys.length === 1) {
        for (const subscriber of members.get(keys[0]!) ?? []) subscriber.deliver(text);
        return;
      }
      const reached = new Set(keys.flatMap((key) => [...members.get(key) ?? []]));
      for (const subscriber of reached) subscriber.deliver(text);
    },
    join(key, subscriber) {
      const set = members.get(key);
      if (set) set.add(subscriber);
      else members.set(key, new Set([subscriber]));
    },
    leave(key, subscriber) {
      const set = members.get(key);
      set?.delete(subscriber);
      if (set?.size === 0) members.delete(key);
    },
    count: (key) => members.get(key)?.size ?? 0,
    covers: (name, from) => name === stream && from <= seq && from >= seq - ring.size,
    after(from, keys, most) {
      const texts: string[] = [];
      let at = from;
      for (let room = most; at < seq && room > 0;) {
        const entry = ring.get(++at);
        if (entry === undefined || !entry.keys.some((key) => keys.has(key))) continue;
        texts.push(entry.text);
        room -= entry.text.length;
      }
      return { texts, seq: at };
    },
  };
}
