/**
 * The simulated or replayed exchange for tests.
 *
 * @module
 */

import { type Exchange, startExchange } from "../../exchange/server.ts";

/** Runs `body` with an exchange of its own. */
export async function withExchange(
  options: Parameters<typeof startExchange>[0],
  body: (exchange: Exchange) => Promise<void>,
): Promise<void> {
  const exchange = await startExchange(options);
  try {
    await body(exchange);
  } finally {
    await exchange.stop();
  }
}

/** Leads services to it. */
export const exchangeEnv = (exchange: Pick<Exchange, "wsUrl" | "restUrl">) => ({
  COINBASE_WS_URL: exchange.wsUrl,
  COINBASE_REST_URL: exchange.restUrl,
});
