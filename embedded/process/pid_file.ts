/**
 * Pid files: which process runs under a name, and ending what a killed owner has left behind.
 *
 * @module
 */

import { dirname } from "node:path";
import { FatalError } from "../../lib/core/errors.ts";
import { pollMs } from "./children.ts";

/** What a pid file holds. A process id alone may have been given to somebody else since; with its start it is one. */
interface PidRecord {
  pid: number;
  started: string;
  owner: number;
  ownerStarted: string;
}

export function writePidFile(path: string, pid: number): void {
  const started = startOf(pid);
  const ownerStarted = startOf(Deno.pid);
  if (started === undefined || ownerStarted === undefined) return;
  const record: PidRecord = { pid, started, owner: Deno.pid, ownerStarted };
  Deno.mkdirSync(dirname(path), { recursive: true });
  Deno.writeTextFileSync(`${path}.new`, JSON.stringify(record));
  Deno.renameSync(`${path}.new`, path);
}

function readPidFile(path: string): PidRecord | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    // A torn file says nothing; then the port or the data folder's lock will.
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function removePidFile(path: string, pid: number): void {
  if (readPidFile(path)?.pid === pid) Deno.removeSync(path);
}

/**
 * Ends the process that a pid file records when its owner is gone. `startProcess` does it by itself; a caller needs it
 * only to look at the port or the data first.
 *
 * @throws {FatalError} when the recorded owner still lives, or the process can't be ended
 */
export async function endLeftOver(name: string, pidFile: string, stopTimeoutMs = 8_000): Promise<void> {
  const record = readPidFile(pidFile);
  if (!record || startOf(record.pid) !== record.started) return;
  const { pid, started, owner, ownerStarted } = record;
  if (startOf(owner) === ownerStarted) {
    throw new FatalError(
      `${name} already runs here as process ${pid}, started by process ${owner} (${pidFile}). ` +
        "Stop that one first, or set TAPEHOUSE_HOME to another folder.",
    );
  }
  for (const [signal, timeoutMs] of [["SIGTERM", stopTimeoutMs], ["SIGKILL", 5_000]] as const) {
    Deno.kill(pid, signal);
    for (let waited = 0; waited < timeoutMs; waited += pollMs) {
      if (startOf(pid) !== started) return;
      await new Promise((done) => setTimeout(done, pollMs));
    }
  }
  throw new FatalError(`${name} of an earlier run can't be ended: process ${pid} (${pidFile}).`);
}

/**
 * When a process started, as the system writes it: together with the id it names one process for ever.
 *
 * @returns undefined when there is no such process, or only what is left until its parent takes note of its end
 */
export function startOf(pid: number): string | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The second field is the program's name in parentheses; it may hold spaces. Then: state, … , start (the 22nd).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return `${Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim()} ${fields[19]}`;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    if (Deno.build.os === "linux") return undefined;
  }
  const ps = new Deno.Command("ps", {
    args: ["-o", "stat=,lstart=", "-p", String(pid)],
    env: { LC_ALL: "C" },
  });
  const [state, ...start] = new TextDecoder().decode(ps.outputSync().stdout).trim().split(/\s+/);
  return state === undefined || state === "" || state.startsWith("Z") ? undefined : start.join(" ");
}
