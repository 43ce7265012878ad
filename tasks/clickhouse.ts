/**
 * `deno task clickhouse`: the embedded ClickHouse by itself, in the foreground, until Ctrl-C.
 *
 * Environment: EMBEDDED_CLICKHOUSE_PORT (8123), TAPEHOUSE_HOME (.tapehouse).
 *
 * @module
 */

import { startClickHouse } from "../embedded/clickhouse.ts";
import { assertPortFree } from "../embedded/ports.ts";
import { ConfigError, readConfig } from "../lib/config.ts";

async function main(): Promise<number> {
  const stopped = interrupted();
  const config = readConfig(["EMBEDDED_CLICKHOUSE_PORT", "TAPEHOUSE_HOME"]);
  const port = config.EMBEDDED_CLICKHOUSE_PORT;
  await assertPortFree(port, "ClickHouse", "EMBEDDED_CLICKHOUSE_PORT");
  const server = await startClickHouse({ home: config.TAPEHOUSE_HOME, port });
  console.log(`ClickHouse answers at ${server.url} (Ctrl-C stops it). Try:
  curl ${server.url} -d "SELECT version() FORMAT JSON"`);

  const ended = await Promise.race([stopped, server.exited]);
  if (ended) {
    console.error(`ClickHouse ended by itself (exit code ${ended.code}); its last lines say why.`);
    return 1;
  }
  await server.stop();
  return 0;
}

function interrupted(): Promise<undefined> {
  return new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(signal, () => done(undefined));
    }
  });
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(error instanceof ConfigError ? 2 : 1);
  }
}
