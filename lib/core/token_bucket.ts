/**
 * Token buckets: `burst` at once, `perSecond` a second in the long run. Who finds none waits (a pacer) or is refused (a
 * rate limit). Times are ms of one monotonic clock.
 *
 * @module
 */

/** How many tokens a bucket regains and how many it holds. */
interface Rate {
  perSecond: number;
  burst: number;
}

/** What a bucket held at a moment; below 0 when tokens are promised that aren't there yet. */
interface Bucket {
  left: number;
  at: number;
}

/** What a bucket holds at `now`. */
function leftAt(now: number, bucket: Bucket, { perSecond, burst }: Rate): number {
  return Math.min(burst, bucket.left + (now - bucket.at) / 1000 * perSecond);
}

/** How long until a bucket that holds `left` tokens holds so many; 0 or less when it does. */
function secondsUntil(tokens: number, left: number, { perSecond }: Rate): number {
  return (tokens - left) / perSecond;
}

/** Spreads work over time: each call has its turn, in the order of asking. */
export interface Pacer {
  /** Takes a token; returns how long to wait until it may be used, in ms. */
  take(now: number): number;
  /** Nobody's turn comes before `until`. */
  pause(until: number): void;
  /** How long the pause still lasts, in ms. */
  paused(now: number): number;
}

/** A pacer whose bucket is full. */
export function createPacer(perSecond: number, burst: number): Pacer {
  const rate = { perSecond, burst };
  let bucket: Bucket = { left: burst, at: -Infinity };
  let pausedUntil = -Infinity;
  const paused = (now: number) => Math.max(0, pausedUntil - now);
  return {
    take(now) {
      bucket = { left: leftAt(now, bucket, rate) - 1, at: now };
      return Math.max(paused(now), secondsUntil(0, bucket.left, rate) * 1000);
    },
    pause(until) {
      pausedUntil = Math.max(pausedUntil, until);
    },
    paused,
  };
}

/** What a rate limit says about one request. */
export interface Allowance {
  allowed: boolean;
  limit: number;
  remaining: number;
  /** Seconds until the bucket is full again. */
  resetSeconds: number;
  /** Seconds until the next request is allowed; 0 when this one was. */
  retrySeconds: number;
}

/**
 * A bucket for each client. Memory is bounded: the clients that were longest silent are forgotten.
 *
 * @param options.burst @default {2 * perSecond}
 * @param options.now ms of a monotonic clock
 */
export function createRateLimit(
  options: { perSecond: number; burst?: number; now?: () => number; maxClients?: number },
): (client: string, cost?: number) => Allowance {
  const { perSecond, burst = perSecond * 2, now = () => performance.now(), maxClients = 10_000 } = options;
  const rate = { perSecond, burst };
  const buckets = new Map<string, Bucket>();
  return (client, cost = 1) => {
    const at = now();
    const left = leftAt(at, buckets.get(client) ?? { left: burst, at }, rate);
    // What costs more than there ever is takes all of it.
    const price = Math.min(cost, burst);
    const allowed = left >= price;
    const bucket = { left: allowed ? left - price : left, at };
    // Put behind all others: the first of the map is the one that was silent longest.
    buckets.delete(client);
    buckets.set(client, bucket);
    if (buckets.size > maxClients) buckets.delete(buckets.keys().next().value ?? client);
    return {
      allowed,
      limit: burst,
      remaining: Math.floor(bucket.left),
      resetSeconds: Math.ceil(secondsUntil(burst, bucket.left, rate)),
      retrySeconds: allowed ? 0 : Math.max(1, Math.ceil(secondsUntil(price, left, rate))),
    };
  };
}
