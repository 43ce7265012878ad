/**
 * Starts the embedded ClickHouse (`embedded/clickhouse/server.ts`) as a child process.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isSet, readConfig } from "../../lib/process/config.ts";
import { netrcPath } from "../../lib/process/netrc.ts";
import { FatalError } from "../../lib/core/errors.ts";
import { keptPassword } from "./password.ts";
import { assertPortFree } from "../process/ports.ts";
import { assertNotKilled, type RunningProcess, runToEnd, startProcess } from "../process/process.ts";
import { endLeftOver } from "../process/pid_file.ts";

/** Where the embedded ClickHouse lives. */
export interface ClickHouseOptions {
  /** TAPEHOUSE_HOME: its data lie in `clickhouse` there. */
  home: string;
  /** A free port of 127.0.0.1. */
  port: number;
  /** The one user that it lets in. @default "default" */
  user?: string;
  /** The user's password. @default made at the first start and kept in `home` */
  password?: string;
  /** Receives its log; the owner's stderr when absent. */
  logFile?: string;
  /** Gives the start up: nothing is left running, and `startClickHouse` throws the signal's reason. */
  signal?: AbortSignal;
}

/** An embedded ClickHouse that answers. */
export interface RunningClickHouse extends RunningProcess {
  /** Such as `http://127.0.0.1:8123`. */
  url: string;
  /** The variables that let a process in. */
  env: Record<"CLICKHOUSE_URL" | "CLICKHOUSE_USER" | "CLICKHOUSE_PASSWORD", string>;
  /** The headers that let a request in. */
  headers: Record<"x-clickhouse-user" | "x-clickhouse-key", string>;
}

const server = fileURLToPath(new URL("./server.ts", import.meta.url));
const config = fileURLToPath(new URL("./deno.json", import.meta.url));

/**
 * Downloads chDB when it isn't there yet (540 MB unpacked, with Deno's progress on stderr), starts the server and waits
 * until it has answered a query.
 *
 * @throws {FatalError} when the port is held, or it can't be downloaded or started, with the reason
 */
export async function startClickHouse(options: ClickHouseOptions): Promise<RunningClickHouse> {
  const home = resolve(options.home);
  const url = `http://127.0.0.1:${options.port}`;
  const user = options.user || "default";
  const pidFile = join(home, "clickhouse", "server.pid");
  await endLeftOver("ClickHouse", pidFile);
  await assertPortFree(options.port, "ClickHouse", "EMBEDDED_CLICKHOUSE_PORT");
  await download(options.signal);
  const password = options.password || await keptPassword(home);
  const headers = { "x-clickhouse-user": user, "x-clickhouse-key": password };
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
    env: {
      TAPEHOUSE_HOME: home,
      EMBEDDED_CLICKHOUSE_PORT: String(options.port),
      CLICKHOUSE_USER: user,
      CLICKHOUSE_PASSWORD: password,
    },
    pidFile,
    ...(options.logFile !== undefined && { logFile: options.logFile }),
    ...(options.signal && { signal: options.signal }),
    ready: () => answers(url, headers),
  });
  const env = { CLICKHOUSE_URL: url, CLICKHOUSE_USER: user, CLICKHOUSE_PASSWORD: password };
  return { ...process, url, env, headers };
}

/** User and password as the person set them, for `startClickHouse`; what isn't set is the server's own business. */
export function chosenAccess(): Pick<ClickHouseOptions, "user" | "password"> {
  const config = readConfig(["CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"]);
  return {
    ...(isSet("CLICKHOUSE_USER") && { user: config.CLICKHOUSE_USER }),
    ...(isSet("CLICKHOUSE_PASSWORD") && { password: config.CLICKHOUSE_PASSWORD }),
  };
}

/** A line for a shell that runs a query on the server of `home`. The password isn't in it: curl reads the file. */
export function curlLine(home: string, url: string, query: string): string {
  return `curl --netrc-file ${shellWord(netrcPath(home))} ${shellWord(url)} -d ${shellWord(query)}`;
}

function shellWord(text: string): string {
  return /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

async function download(signal: AbortSignal | undefined): Promise<void> {
  const name = "The download of chDB";
  const args = ["cache", `--config=${config}`, server];
  const status = await runToEnd({ name, command: Deno.execPath(), args, ...(signal && { signal }) });
  assertNotKilled(name, status);
  if (status.success) return;
  throw new FatalError(
    "chDB, the engine of the embedded ClickHouse, couldn't be downloaded; the reason stands above. " +
      "Other ways: CLICKHOUSE_URL of a server you have, or Docker (deno task up).",
  );
}

async function answers(url: string, headers: Record<string, string>): Promise<boolean> {
  // By POST: a GET is made read-only, which a user whose profile is that already may not ask for.
  const response = await fetch(url, { method: "POST", headers, body: "SELECT 1" });
  return await response.text() === "1\n";
}
