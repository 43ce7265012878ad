/**
 * `deno task clickhouse`: the embedded ClickHouse by itself, in the foreground, until Ctrl-C.
 *
 * Environment: EMBEDDED_CLICKHOUSE_PORT (8123), TAPEHOUSE_HOME (.tapehouse).
 *
 * @module
 */

import { startClickHouse } from "../embedded/clickhouse.ts";
import { ConfigError, readConfig } from "../lib/config.ts";

async function main(): Promise<void> {
  const interrupt = new AbortController();
  const interrupted = new Promise<void>((done) => interrupt.signal.addEventListener("abort", () => done()));
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, () => interrupt.abort());

  const config = readConfig(["EMBEDDED_CLICKHOUSE_PORT", "TAPEHOUSE_HOME"]);
  const { EMBEDDED_CLICKHOUSE_PORT: port, TAPEHOUSE_HOME: home } = config;
  try {
    const server = await startClickHouse({ home, port, signal: interrupt.signal });
    console.log(`ClickHouse answers at ${server.url} (Ctrl-C stops it). Try:
  curl ${server.url} -d "SELECT version() FORMAT JSON"`);
    const ended = await Promise.race([interrupted, server.exited]);
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
