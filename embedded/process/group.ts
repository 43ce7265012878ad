/**
 * Several child processes that belong together: kept running, and stopped in order.
 *
 * @module
 */

import { createRestarter, keepRunning, type Kept, type Owner, startUntilUp } from "./keeper.ts";
import { howItEnded, type ProcessOptions, type RunningProcess, runToEnd } from "./process.ts";

/** The processes that one owner started. */
export interface ProcessGroup {
  /** Aborting it means that processes end because they are told to. */
  stop: AbortController;
  /** The folder of their logs. */
  logs: string;
  /**
   * Starts a process and keeps it running, by the rule of restarts.ts. What can't be kept running aborts `stop` and is
   * `failure`.
   *
   * @param name what people call it, and the name of its log
   * @param begin starts it, each time
   * @throws {FatalError} when it never comes up, or can't be begun for a reason of ours, such as a port in use
   * @throws {ConfigError} when it says by exit code 2 that its configuration is wrong
   */
  start<P extends RunningProcess>(name: string, begin: () => Promise<P>): Promise<P>;
  /** Runs a program to its end; when it is killed it is run again. */
  run(options: Omit<ProcessOptions, "ready" | "signal">): Promise<Deno.CommandStatus>;
  /** Stops all, the last started first, within ten seconds, and waits for those that are being started. */
  stopAll(): Promise<void>;
  /** SIGKILL for all, now. */
  kill(): void;
  /** Why a process couldn't be kept running. */
  readonly failure: Error | undefined;
}

interface Member extends Kept {
  /** Resolves when nothing of it runs any more and nothing will be started. */
  done: Promise<void>;
}

/**
 * A group without members.
 *
 * @param logs the folder of their logs, for messages
 * @param say prints a line
 */
export function createProcessGroup(
  stop: AbortController,
  logs: string,
  say: (line: string) => void = console.log,
): ProcessGroup {
  const members: Member[] = [];
  let failure: Error | undefined;
  const { signal } = stop;
  const owner: Owner = { signal, logs, say };

  function fail(error: unknown): void {
    if (signal.aborted) return;
    failure = error instanceof Error ? error : new Error(String(error));
    stop.abort(failure);
  }

  function kill(): void {
    for (const { current } of members) current.kill();
  }

  return {
    stop,
    logs,
    get failure() {
      return failure;
    },
    async start(name, begin) {
      const restart = createRestarter(name, owner);
      const first = await startUntilUp(begin, restart, signal);
      if (signal.aborted) {
        // Nobody would stop it: all were stopped while it came up.
        await first.stop();
        signal.throwIfAborted();
      }
      const member: Member = { current: first, done: Promise.resolve() };
      members.push(member);
      member.done = keepRunning(member, begin, restart, signal).catch(fail);
      return first;
    },
    async run(options) {
      const restart = createRestarter(options.name, owner);
      while (true) {
        const since = performance.now();
        const status = await runToEnd({ ...options, signal });
        if (status.signal === null) return status;
        await restart(
          { ready: true, ranMs: performance.now() - since, status },
          `ended (${howItEnded(status)})`,
          "",
        );
      }
    },
    async stopAll() {
      stop.abort();
      const deadline = setTimeout(kill, 9000);
      for (const member of members.toReversed()) {
        // What was about to be started again is given up by the signal; its start ends what it has begun.
        await member.current.stop();
        await member.done;
      }
      clearTimeout(deadline);
    },
    kill,
  };
}
