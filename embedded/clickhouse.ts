/**
 * Starts the embedded ClickHouse (`embedded/clickhouse/server.ts`) as a child process.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { FatalError } from "../lib/service.ts";
import { assertPortFree } from "./ports.ts";
import { endLeftOver, type RunningProcess, startProcess } from "./process.ts";

/** Where the embedded ClickHouse lives. */
export interface ClickHouseOptions {
  /** TAPEHOUSE_HOME: its data lie in `clickhouse` there. */
  home: string;
  /** A free port of 127.0.0.1. */
  port: number;
  /** Receives its log; the owner's stderr when absent. */
  logFile?: string;
  /** Gives the start up: nothing is left running, and `startClickHouse` throws the signal's reason. */
  signal?: AbortSignal;
}

const server = fileURLToPath(new URL("clickhouse/server.ts", import.meta.url));
const config = fileURLToPath(new URL("clickhouse/deno.json", import.meta.url));

/**
 * Downloads chDB when it isn't there yet (540 MB unpacked, with Deno's progress on stderr), starts the server and waits
 * until it has answered a query.
 *
 * @returns the process and its address, `http://127.0.0.1:<port>`; any user and password are accepted
 * @throws {FatalError} when the port is held, or it can't be downloaded or started, with the reason
 */
export async function startClickHouse(options: ClickHouseOptions): Promise<RunningProcess & { url: string }> {
  const home = resolve(options.home);
  const url = `http://127.0.0.1:${options.port}`;
  const pidFile = join(home, "clickhouse", "server.pid");
  await endLeftOver("ClickHouse", pidFile);
  await assertPortFree(options.port, "ClickHouse", "EMBEDDED_CLICKHOUSE_PORT");
  await download(options.signal);
  const process = await startProcess({
    name: "ClickHouse",
    command: Deno.execPath(),
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${config}`,
      "-P",
      `--allow-read=${home}`,
      `--allow-write=${home}`,
      server,
    ],
    env: { TAPEHOUSE_HOME: home, EMBEDDED_CLICKHOUSE_PORT: String(options.port) },
    pidFile,
    ...(options.logFile !== undefined && { logFile: options.logFile }),
    ...(options.signal && { signal: options.signal }),
    ready: () => answers(url),
  });
  return { ...process, url };
}

async function download(signal: AbortSignal | undefined): Promise<void> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["cache", `--config=${config}`, server],
    stdin: "null",
    ...(signal && { signal }),
  });
  const { success } = await command.spawn().status;
  signal?.throwIfAborted();
  if (success) return;
  throw new FatalError(
    "chDB, the engine of the embedded ClickHouse, couldn't be downloaded; the reason stands above. " +
      "Other ways: CLICKHOUSE_URL of a server you have, or Docker (deno task up).",
  );
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(`${url}/?query=SELECT+1`);
  return await response.text() === "1\n";
}
