/**
 * Supervises one child process: starts it, waits until it really answers, keeps its log, stops it.
 *
 * Who may end a child, and when:
 * - Its owner, by `stop()`. A Ctrl-C in the terminal doesn't reach it, because it runs in a session of its own; so
 *   owners can stop their children in order.
 * - Nobody's child lives on: beside each child waits a small `sh` that holds the reading end of a pipe to the owner.
 *   When the owner is gone, however it went (`kill -9` too), the pipe closes and the `sh` ends the child.
 * - With a `pidFile`, a child that still outlived its owner is ended by the next start.
 *
 * Runs on Linux and macOS.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { FatalError } from "../lib/service.ts";

/** A child process that has answered its first request. */
export interface RunningProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the process is gone, whatever the reason. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** SIGTERM, then SIGKILL when it takes too long; resolves when the process is gone. May be called again. */
  stop(): Promise<void>;
  /** SIGKILL, now. */
  kill(): void;
}

/** What to start and how to tell that it runs. */
export interface ProcessOptions {
  /** What people call it; it stands in messages. */
  name: string;
  /** A program, found by PATH when it has no slash. */
  command: string;
  args: string[];
  /** Added to the owner's environment. */
  env?: Record<string, string>;
  cwd?: string;
  /** stdout and stderr are appended there; the folder is made. Inherited when absent. */
  logFile?: string;
  /**
   * Written while the process runs; the folder is made. At the start, a process that is recorded there and has lost
   * its owner is ended first.
   */
  pidFile?: string;
  /** Resolves to true when a real request succeeds; polled. An error counts as "not yet". */
  ready?: () => Promise<boolean>;
  /** @default 60_000 */
  readyTimeoutMs?: number;
  /** How long SIGTERM may take before SIGKILL. @default 8_000 */
  stopTimeoutMs?: number;
  /** Gives up a start that isn't ready yet: the process is stopped and `startProcess` throws the signal's reason. */
  signal?: AbortSignal;
}

const pollMs = 100;
const largestLog = 50 * 1024 * 1024;
const shownLines = 12;

/** `exec` keeps the process id: what runs is the command itself, writing into its log without a detour. */
const execLogged = 'log=$1; shift; exec "$@" >>"$log" 2>&1';
const execPlain = 'exec "$@"';

/** Blocks until the owner's end of the pipe closes, then ends the child as `stop()` would. */
const guardScript = `read -r _
n=0
kill -TERM "$1" || exit
while kill -0 "$1" && [ "$n" -lt "$2" ]; do sleep 0.1; n=$((n + 1)); done
kill -KILL "$1"`;

/**
 * Starts a process and waits until it is ready. Nothing is left running when this throws.
 *
 * @throws {FatalError} when it ends before it is ready (with the last lines of its log), isn't ready in time, or already
 * runs under another owner (`pidFile`)
 */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { name, ready, readyTimeoutMs = 60_000, stopTimeoutMs = 8_000, signal } = options;
  const logFile = options.logFile && resolve(options.logFile);
  const pidFile = options.pidFile && resolve(options.pidFile);
  signal?.throwIfAborted();
  if (pidFile) await endLeftOver(name, pidFile, stopTimeoutMs);
  const logStart = logFile ? await openLog(logFile) : 0;

  const child = new Deno.Command("sh", {
    args: [
      "-c",
      ...(logFile ? [execLogged, "sh", logFile] : [execPlain, "sh"]),
      options.command,
      ...options.args,
    ],
    ...(options.env && { env: options.env }),
    ...(options.cwd && { cwd: options.cwd }),
    stdin: "null",
    stdout: logFile ? "null" : "inherit",
    stderr: logFile ? "null" : "inherit",
    detached: true,
  }).spawn();
  const guard = new Deno.Command("sh", {
    args: ["-c", guardScript, "sh", String(child.pid), String(Math.ceil(stopTimeoutMs / 100))],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  if (pidFile) writePidFile(pidFile, child.pid);

  const exited = child.status.then(async (status) => {
    // The guard goes first: a closed pipe would make it signal a process id that isn't ours any more.
    send(guard, "SIGKILL");
    await guard.status;
    await guard.stdin.close().catch(() => {});
    if (pidFile) removePidFile(pidFile, child.pid);
    return status;
  });
  let stopping: Promise<void> | undefined;
  const stop = () => stopping ??= endChild();
  async function endChild(): Promise<void> {
    send(child, "SIGTERM");
    if (await settles(exited, stopTimeoutMs)) return;
    send(child, "SIGKILL");
    await exited;
  }

  const outcome = ready ? await waitUntilReady(ready, exited, readyTimeoutMs, signal) : "ready";
  if (outcome === "ready") return { name, pid: child.pid, exited, stop, kill: () => send(child, "SIGKILL") };
  await stop();
  signal?.throwIfAborted();
  const what = outcome === "exited"
    ? `${name} ended before it was ready (${describe(await exited)})`
    : `${name} wasn't ready after ${readyTimeoutMs / 1000} s and was stopped`;
  throw new FatalError(
    `${what}. ${logFile ? lastLines(logFile, logStart) : "What it printed stands above."}`,
  );
}

function send(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch {
    // It has ended by itself, which is what every signal here is for.
  }
}

/** Polls until `ready`, the process's end, the time limit or the signal; the first that comes. */
async function waitUntilReady(
  ready: () => Promise<boolean>,
  exited: Promise<unknown>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<"ready" | "exited" | "late" | "aborted"> {
  let ended: "exited" | "late" | "aborted" | undefined;
  const { promise: end, resolve: finish } = Promise.withResolvers<void>();
  const endAs = (how: typeof ended) => () => {
    ended ??= how;
    finish();
  };
  exited.then(endAs("exited"));
  const timer = setTimeout(endAs("late"), timeoutMs);
  const abort = endAs("aborted");
  signal?.addEventListener("abort", abort);
  try {
    while (!ended) {
      const answer = await Promise.race([ready().catch(() => false), end]);
      // A process that ended can't be ready: then somebody else answered.
      if (answer === true && !ended) return "ready";
      if (!ended) await settles(end, pollMs);
    }
    return ended;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** True when `promise` resolves within `ms`. */
async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((done) => timer = setTimeout(() => done(false), ms));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

function describe(status: Deno.CommandStatus): string {
  return status.signal ? `signal ${status.signal}` : `exit code ${status.code}`;
}

/** Makes the log's folder, moves a large log to `.1`, and returns the byte at which this run's lines will start. */
async function openLog(path: string): Promise<number> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const size = await Deno.stat(path).then((info) => info.size, () => 0);
  if (size <= largestLog) return size;
  await Deno.rename(path, `${path}.1`);
  return 0;
}

function lastLines(path: string, from: number): string {
  let text = "";
  try {
    text = new TextDecoder().decode(Deno.readFileSync(path).subarray(from)).trimEnd();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (text === "") return `Its log ${path} is empty.`;
  return `The last lines of ${path}:\n${text.split("\n").slice(-shownLines).join("\n")}`;
}

/** What a pid file holds. A process id alone may have been given to somebody else since; with its start it is one. */
interface PidRecord {
  pid: number;
  started: string;
  owner: number;
  ownerStarted: string;
}

function writePidFile(path: string, pid: number): void {
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

function removePidFile(path: string, pid: number): void {
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
  for (const [signal, patienceMs] of [["SIGTERM", stopTimeoutMs], ["SIGKILL", 5_000]] as const) {
    Deno.kill(pid, signal);
    for (let waited = 0; waited < patienceMs; waited += pollMs) {
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
