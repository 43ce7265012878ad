/**
 * What the API's variables of access may say together.
 *
 * @module
 */

import { ConfigError } from "../core/errors.ts";
import { isLoopback } from "./access.ts";
import { parseTrustedProxies, type TrustedProxies, trustedProxiesExpected } from "./client_address.ts";

/** @throws {ConfigError} when others could reach the API without a token, or a token is too short */
export function assertGuarded(
  { API_HOST, API_TOKENS }: { API_HOST: string; API_TOKENS: readonly string[] },
): void {
  if (API_TOKENS.some((token) => token.length < 16)) {
    throw new ConfigError("API_TOKENS: expected tokens of at least 16 characters, separated by commas");
  }
  if (isLoopback(API_HOST) || API_TOKENS.length > 0) return;
  throw new ConfigError(
    `API_HOST=${API_HOST}: others can reach this address, so API_TOKENS must name at least one token ` +
      "(16 characters or more), or leave API_HOST at 127.0.0.1",
  );
}

/** @throws {ConfigError} */
export function readTrustedProxies({ API_TRUST_PROXY }: { API_TRUST_PROXY: string }): TrustedProxies {
  const trusted = parseTrustedProxies(API_TRUST_PROXY);
  if (trusted !== undefined) return trusted;
  throw new ConfigError(`API_TRUST_PROXY=${API_TRUST_PROXY}: ${trustedProxiesExpected}`);
}
