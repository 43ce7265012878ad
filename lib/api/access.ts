/**
 * Who may ask, and how often: rules without a socket.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";

/** True for an address or name that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The name in a `Host` header, without the port, in lower case. */
export function hostName(header: string | null): string {
  return (header ?? "").toLowerCase().replace(/:\d+$/, "");
}

/**
 * A page of another site can bend its name to 127.0.0.1 and then read what only this machine should. So an API on
 * loopback answers loopback names and the configured ones alone. One on another address asks for a token, which such a
 * page doesn't have.
 */
export function isServedHost(listening: string, allowed: readonly string[], header: string | null): boolean {
  const name = hostName(header);
  return !isLoopback(listening) || isLoopback(name) || allowed.includes(name);
}

/**
 * True when `given` is one of the tokens. Digests of equal length are compared in constant time, and all of them, so that
 * the time tells nothing.
 */
export function isToken(tokens: readonly string[], given: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const wanted = digest(given);
  return tokens.map((token) => timingSafeEqual(digest(token), wanted)).includes(true);
}

/** The token of a request: `Authorization: Bearer …`; `?token=` only for a WebSocket, which can't send headers. */
export function givenToken(request: Request): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  if (bearer !== undefined || request.headers.get("upgrade")?.toLowerCase() !== "websocket") return bearer;
  return new URL(request.url).searchParams.get("token") ?? undefined;
}

/**
 * The client that a rate belongs to. A proxy in front appends the address it saw to X-Forwarded-For: the last one is
 * the proxy's word, those before are the client's own.
 */
export function clientAddress(address: string, forwarded: string | null, trustProxy: boolean): string {
  const last = forwarded?.split(",").at(-1)?.trim();
  return trustProxy && last ? last.slice(0, 64) : address;
}

/** True when a WebSocket may be opened for a page of this origin: the same host, or one that CORS allows. */
export function isOriginAllowed(request: Request, origins: readonly string[]): boolean {
  const origin = request.headers.get("origin");
  if (origin === null || origins.includes("*") || origins.includes(origin)) return true;
  return URL.canParse(origin) && new URL(origin).host === request.headers.get("host")?.toLowerCase();
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
 * A token bucket for each client: `perSecond` requests a second in the long run, twice as many at once. Memory is bounded:
 * the clients that were longest silent are forgotten.
 *
 * @param now ms of a monotonic clock
 */
export function createRateLimit(
  perSecond: number,
  now: () => number = () => performance.now(),
  maxClients = 10_000,
) {
  const burst = perSecond * 2;
  const buckets = new Map<string, { left: number; at: number }>();
  return (client: string): Allowance => {
    const at = now();
    const known = buckets.get(client) ?? { left: burst, at };
    const left = Math.min(burst, known.left + (at - known.at) / 1000 * perSecond);
    const allowed = left >= 1;
    const bucket = { left: allowed ? left - 1 : left, at };
    // Put behind all others: the first of the map is the one that was silent longest.
    buckets.delete(client);
    buckets.set(client, bucket);
    if (buckets.size > maxClients) buckets.delete(buckets.keys().next().value ?? client);
    return {
      allowed,
      limit: burst,
      remaining: Math.floor(bucket.left),
      resetSeconds: Math.ceil((burst - bucket.left) / perSecond),
      retrySeconds: allowed ? 0 : Math.max(1, Math.ceil((1 - left) / perSecond)),
    };
  };
}
