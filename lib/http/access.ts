/**
 * Who may ask: rules without a socket.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { offeredToken } from "./subprotocol.ts";

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
 * Which of the tokens `given` is; -1 when it is none. Digests of equal length are compared in constant time, and all of
 * them, so that the time tells nothing.
 */
export function tokenIndex(tokens: readonly string[], given: string): number {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const wanted = digest(given);
  return tokens.map((token) => timingSafeEqual(digest(token), wanted)).indexOf(true);
}

/**
 * The token of a request: `Authorization: Bearer …`. A page can't send that with a WebSocket: it offers the subprotocol
 * `tapehouse.bearer.<token in base64url>`, which, unlike an address, stands in no log.
 */
export function givenToken(request: Request): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  if (bearer !== undefined || !isWebSocket(request)) return bearer;
  return offeredToken(request.headers.get("sec-websocket-protocol"));
}

/** True for the handshake of a WebSocket. */
export function isWebSocket(request: Request): boolean {
  return request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/**
 * True for what a page of another site makes a browser send: a fetch, an image, a form, a frame, a WebSocket. The page
 * can't read the answer, but a query would have run; on loopback it needs no token for that. Pages that CORS allows may.
 *
 * @param navigable a link of another site may lead here, as to the page itself
 */
export function isFromOtherSite(
  request: Request,
  origins: readonly string[],
  navigable = false,
): boolean {
  const { headers } = request;
  const origin = headers.get("origin");
  if (origin !== null) return !isOriginAllowed(origin, headers.get("host"), origins);
  const site = headers.get("sec-fetch-site");
  if (site === null || site === "same-origin" || site === "none" || origins.includes("*")) return false;
  const isNavigation = headers.get("sec-fetch-mode") === "navigate" &&
    headers.get("sec-fetch-dest") === "document";
  return !(navigable && isNavigation);
}

/** The same host, or one that CORS allows. */
function isOriginAllowed(origin: string, host: string | null, origins: readonly string[]): boolean {
  if (origins.includes("*") || origins.includes(origin)) return true;
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}
