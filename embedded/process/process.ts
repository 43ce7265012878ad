/**
 * Supervises one child process: starts it, waits until it really answers, keeps its log, stops it.
 *
 * Who may end a child, and when:
 * - Its owner, by `stop()`. A Ctrl-C in the terminal doesn't reach it, because it runs in a session of its own; so
 *   owners can stop their children in order.
 * - Nobody's child lives on: beside each child waits a small `sh` that holds the reading end of a pipe to the owner.
 *   When the owner is gone, however it went (`kill -9` too), the pipe closes and the `sh` ends the child. The child's
 *   program begins only when that `sh` and the `pidFile` are there: an owner that dies before leaves nothing.
 * - With a `pidFile`, a child that still outlived its owner is ended by the next start.
 *
 * Runs on Linux and macOS.
 *
 * @module
 */

import { resolve } from "node:path";
import { FatalError } from "../../lib/core/errors.ts";
import { lastLines, openLog, readLog } from "./log_file.ts";
import { endLeftOver, removePidFile, writePidFile } from "./pid_file.ts";
import { pollMs, send, settles } from "./children.ts";

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
  /** What it has logged since its start; empty without a log file. */
  logged(): string;
}

/** A process that didn't come up. */
export class StartError extends FatalError {
  /**
   * @param what in a few words, without the log
   * @param status how it ended; undefined when it wasn't ready in time and was stopped
   * @param logged what it had logged until then
   */
  constructor(
    message: string,
    readonly what: string,
    readonly status: Deno.CommandStatus | undefined,
    readonly logged: string,
  ) {
    super(message);
  }
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
  /**
   * Resolves to true when a real request succeeds; polled. An error counts as "not yet".
   *
   * @param pid the process, for another one may answer at its port
   */
  ready?: (pid: number) => Promise<boolean>;
  /** @default 60_000 */
  readyTimeoutMs?: number;
  /** How long SIGTERM may take before SIGKILL. @default 8_000 */
  stopTimeoutMs?: number;
  /** Gives up a start that isn't ready yet: the process is stopped and `startProcess` throws the signal's reason. */
  signal?: AbortSignal;
}

/**
 * Begins at the owner's word; without an owner there is none. `exec` keeps the process id: what runs is the command
 * itself, writing into its log without a detour.
 */
const execLogged = 'read -r _ || exit; log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null';
const execPlain = 'read -r _ || exit; exec "$@" </dev/null';

/** Blocks until the owner's end of the pipe closes, then ends the child as `stop()` would. */
const guardScript = `read -r _
n=0
kill -TERM "$1" || exit
while kill -0 "$1" && [ "$n" -lt "$2" ]; do sleep 0.1; n=$((n + 1)); done
kill -KILL "$1"`;

/**
 * Starts a process and waits until it is ready. Nothing is left running when this throws.
 *
 * @throws {StartError} when it ends before it is ready (with the last lines of its log), or isn't ready in time
 * @throws {FatalError} when it already runs under another owner (`pidFile`)
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
    stdin: "piped",
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
  await begin(child);

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

  const logged = () => logFile ? readLog(logFile, logStart) : "";
  const outcome = ready
    ? await waitUntilReady(() => ready(child.pid), exited, readyTimeoutMs, signal)
    : "ready";
  if (outcome === "ready") {
    return { name, pid: child.pid, exited, stop, kill: () => send(child, "SIGKILL"), logged };
  }
  await stop();
  signal?.throwIfAborted();
  const status = outcome === "exited" ? await exited : undefined;
  const what = status
    ? `ended before it was ready (${howItEnded(status)})`
    : `wasn't ready after ${readyTimeoutMs / 1000} s and was stopped`;
  const log = logFile ? lastLines(logFile, logged()) : "What it printed stands above.";
  throw new StartError(`${name} ${what}. ${log}`, what, status, logged());
}

/**
 * Runs a program to its end; when the signal aborts, it is stopped.
 *
 * @throws the signal's reason once it has aborted and the process is gone
 */
export async function runToEnd(options: Omit<ProcessOptions, "ready">): Promise<Deno.CommandStatus> {
  const { signal } = options;
  const process = await startProcess(options);
  const stop = () => void process.stop();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  const status = await process.exited;
  signal?.removeEventListener("abort", stop);
  signal?.throwIfAborted();
  return status;
}

/** @throws {StartError} when a part of a start was killed, which says nothing about the next try */
export function assertNotKilled(name: string, status: Deno.CommandStatus): void {
  if (status.signal === null) return;
  const what = `couldn't be started: ${name} ended (${howItEnded(status)})`;
  throw new StartError(what, what, status, "");
}

/** Lets the waiting shell become the program. */
async function begin(child: Deno.ChildProcess): Promise<void> {
  try {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("\n"));
    await writer.close();
  } catch {
    // It was ended before it began; its status says so.
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
  // It may have aborted since the start was begun; then no event comes.
  if (signal?.aborted) abort();
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

/** `signal SIGKILL` or `exit code 1`. */
export function howItEnded(status: Deno.CommandStatus): string {
  return status.signal ? `signal ${status.signal}` : `exit code ${status.code}`;
}
