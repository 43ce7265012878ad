/**
 * Who asks: ClickHouse's ways to name a user and a password over HTTP.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { decodeForm } from "./http.ts";
import { ClickHouseError } from "./clickhouse_error.ts";

/** A user's name and password. */
export interface Credentials {
  user: string;
  password: string;
}

/**
 * Reads the credentials of a request: `Authorization: Basic`, `X-ClickHouse-User` and `X-ClickHouse-Key`, or `user` and
 * `password` of the address. Nobody named is `default`.
 *
 * @param search the part of the address behind `?`, percent-encoded
 * @throws {ClickHouseError} for two ways at once, and for what can't be read
 */
export function readCredentials(search: string, headers: Headers): Credentials {
  const decoder = new TextDecoder();
  const inAddress = new Map(decodeForm(search).map(([name, value]) => [name, decoder.decode(value)]));
  const authorization = headers.get("authorization");
  const ways = {
    "Authorization HTTP header": authorization !== null,
    "X-ClickHouse HTTP headers": headers.has("x-clickhouse-user") || headers.has("x-clickhouse-key"),
    "authentication via parameters": inAddress.has("user") || inAddress.has("password"),
  };
  const used = Object.entries(ways).filter(([, is]) => is).map(([way]) => way);
  if (used.length > 1) {
    throw refusal(`Invalid authentication: it is not allowed to use ${used.join(" and ")} simultaneously`);
  }
  if (authorization !== null) return readBasic(authorization);
  const [user, password] = ways["X-ClickHouse HTTP headers"]
    ? [headers.get("x-clickhouse-user"), headers.get("x-clickhouse-key")]
    : [inAddress.get("user"), inAddress.get("password")];
  return { user: user || "default", password: password ?? "" };
}

function readBasic(authorization: string): Credentials {
  const [scheme = "", encoded = ""] = authorization.trim().split(/ +/);
  if (scheme.toLowerCase() !== "basic") {
    throw refusal(`Invalid authentication: '${scheme}' HTTP Authorization scheme is not supported`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(encoded));
  } catch {
    throw refusal("Invalid authentication: the Authorization header isn't base64 of user:password");
  }
  const colon = text.indexOf(":");
  const [user, password] = colon < 0 ? [text, ""] : [text.slice(0, colon), text.slice(colon + 1)];
  return { user: user || "default", password };
}

/**
 * Lets the one user in. A wrong name and a wrong password look the same and take the same time.
 *
 * @throws {ClickHouseError} REQUIRED_PASSWORD when no password came, else AUTHENTICATION_FAILED
 */
export function authenticate(given: Credentials, expected: Credentials): void {
  const fits = [isSame(given.user, expected.user), isSame(given.password, expected.password)];
  if (!fits.includes(false)) return;
  const message =
    `${given.user}: Authentication failed: password is incorrect, or there is no user with such ` +
    "name. The embedded ClickHouse's are in clickhouse/netrc of TAPEHOUSE_HOME: curl --netrc-file reads it";
  throw given.password === "" ? new ClickHouseError(194, "REQUIRED_PASSWORD", message) : refusal(message);
}

function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function refusal(message: string): ClickHouseError {
  return new ClickHouseError(516, "AUTHENTICATION_FAILED", message);
}
