/**
 * The metrics, as the five services declare them.
 *
 * @module
 */

import { freePort } from "../../../embedded/process/ports.ts";
import { startExchange } from "../../../exchange/server.ts";
import { createSimulation } from "../../../exchange/simulation.ts";
import { type Servers, withTape } from "../tape.ts";
import { exchangeEnv } from "../exchange.ts";

const preload = new URL("declared_metrics.ts", import.meta.url).href;

/** `name` or `name{label,…}` of each metric of tapehouse's own. */
export async function metricNames(servers: Servers): Promise<string[]> {
  const exchange = await startExchange({ source: createSimulation({ products: ["BTC-USD"], rate: 10 }) });
  const env = {
    ...exchangeEnv(exchange),
    COINBASE_PRODUCTS: "BTC-USD",
    FEED_SOURCE: "simulator",
    API_PORT: String(freePort()),
  };
  const names = new Set<string>();
  try {
    await withTape({ ...servers, runArguments: [`--preload=${preload}`] }, env, async (tape) => {
      const services = await Promise.all([
        tape.start("producer"),
        tape.start("consumer"),
        tape.start("backfill", {}, ["--watch"]),
        tape.start("rollup", {}, ["--watch"]),
        tape.start("api"),
      ]);
      for (const service of services) {
        // Only then all that it does has begun, and all is declared.
        await tape.until(`${service.name} to be ready`, async () => {
          const answer = await fetch(`${service.metricsUrl}/readyz`);
          await answer.body?.cancel();
          return answer.ok;
        });
        for (const { declared } of await service.log()) names.add(String(declared ?? ""));
      }
    });
  } finally {
    await exchange.stop();
  }
  return [...names].filter((name) => name.startsWith("tapehouse_")).sort();
}
