/**
 * `deno task clickhouse`: the embedded ClickHouse by itself, in the foreground, until Ctrl-C.
 *
 * Environment: EMBEDDED_CLICKHOUSE_PORT (8123), TAPEHOUSE_HOME (.tapehouse), CLICKHOUSE_USER (default),
 * CLICKHOUSE_PASSWORD (made at the first start).
 *
 * @module
 */

import { chosenAccess, curlLine, startClickHouse } from "../embedded/clickhouse/start.ts";
import { readConfig } from "../lib/process/config.ts";
import { aborted } from "../lib/core/retry.ts";
import { ConfigError } from "../lib/core/errors.ts";
import { tolerateLostOutput } from "../lib/process/output.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";

async function main(): Promise<void> {
  tolerateLostOutput();
  const interrupt = stopOnSignal();

  const config = readConfig(["EMBEDDED_CLICKHOUSE_PORT", "TAPEHOUSE_HOME"]);
  const { EMBEDDED_CLICKHOUSE_PORT: port, TAPEHOUSE_HOME: home } = config;
  try {
    const server = await startClickHouse({ home, port, ...chosenAccess(), signal: interrupt.signal });
    console.log(`ClickHouse answers at ${server.url} (Ctrl-C stops it). Try:
  ${curlLine(home, server.url, "SELECT version() FORMAT JSON")}`);
    const ended = await Promise.race([aborted(interrupt.signal), server.exited]);
    if (ended) {
      throw new Error(`ClickHouse ended by itself (exit code ${ended.code}); its last lines say why.`);
    }
    await server.stop();
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  }
}

if (import.meta.main) {
  try {
    await main();
    Deno.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(error instanceof ConfigError ? 2 : 1);
  }
}
