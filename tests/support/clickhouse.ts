/**
 * An embedded ClickHouse for tests that only ask and insert, each file in databases of its own. `deno task test` starts one
 * for those of a lane; a file that is run by itself starts its own.
 *
 * @module
 */

import "./clean_environment.ts";
import { type RunningClickHouse, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";

/** Where the shared server is: what `ClickHouse.env` says, as JSON. */
const variable = "TAPEHOUSE_TEST_CLICKHOUSE";

/** A server for tests. */
export interface TestClickHouse {
  env: RunningClickHouse["env"];
  /** Ends it and removes its folder; a shared one goes on. */
  stop(): Promise<void>;
}

/** The shared server, or one of its own. */
export async function useClickHouse(): Promise<TestClickHouse> {
  const shared = Deno.env.get(variable);
  return shared ? { env: JSON.parse(shared), stop: () => Promise.resolve() } : await startOwn();
}

/** Starts a server to be shared by the processes that get `variables`, one after the other: it answers one question at a time. */
export async function startShared(): Promise<TestClickHouse & { variables: Record<string, string> }> {
  const server = await startOwn();
  return { ...server, variables: { [variable]: JSON.stringify(server.env) } };
}

async function startOwn(): Promise<TestClickHouse> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const { env, stop } = await startClickHouse({
    home,
    port: freePort(),
    logFile: `${home}/clickhouse.log`,
  });
  return {
    env,
    async stop() {
      await stop();
      await Deno.remove(home, { recursive: true });
    },
  };
}
