/**
 * Keeps one process running, by the rule of restarts.ts.
 *
 * @module
 */

import { sleep } from "../../lib/core/retry.ts";
import { ConfigError, FatalError } from "../../lib/core/errors.ts";
import { type RunningProcess, StartError } from "./process.ts";
import { afterEnd, type End, lastErrors, noHistory, type Verdict } from "./restarts.ts";

/** What the processes of one owner share. */
export interface Owner {
  /** Aborted when processes end because they are told to. */
  signal: AbortSignal;
  /** The folder of the processes' logs, for messages. */
  logs: string;
  /** Prints a line. */
  say(line: string): void;
}

/**
 * What is done about an end of a process: waits out the pause after which it is to be started again.
 *
 * @param what it did, in a few words
 * @param logged what it had logged until then
 * @throws {FatalError} when it never came up
 * @throws {ConfigError} when its configuration is wrong
 */
export type Restarter = (end: End, what: string, logged: string) => Promise<void>;

/** Follows the rule for one process that has no history yet. */
export function createRestarter(name: string, owner: Owner): Restarter {
  let history = noHistory;
  return async (end, what, logged) => {
    const judged = afterEnd(history, end);
    history = judged.history;
    const { verdict } = judged;
    if ("giveUp" in verdict) {
      throw givenUp(name, verdict.giveUp, what, history.failedStarts, logged, owner.logs);
    }
    const pause = verdict.restartAfterMs;
    owner.say(`${name} ${what}; starting it again${pause > 0 ? ` in ${pause / 1000} s` : ""}`);
    await sleep(pause, owner.signal);
  };
}

/** The error that says why a process isn't started again. */
function givenUp(
  name: string,
  why: Extract<Verdict, { giveUp: unknown }>["giveUp"],
  what: string,
  times: number,
  logged: string,
  logs: string,
): Error {
  const reason = lastErrors(logged);
  const log = `Its log ${logs}/${name.toLowerCase()}.log says more.`;
  if (why === "its configuration is wrong") return new ConfigError(`${name}: ${reason || why}. ${log}`);
  const said = reason && ` It said: ${reason}.`;
  return new FatalError(`${name} never came up: it ${what}, ${times} times.${said} ${log}`);
}

/**
 * Starts a process until it is up.
 *
 * @param begin starts it, each time
 * @param wasUp it was up before: then nothing is a reason to give up but the rule
 * @throws what `restart` throws, the signal's reason, and unless `wasUp` what keeps `begin` from starting anything
 */
export async function startUntilUp<P extends RunningProcess>(
  begin: () => Promise<P>,
  restart: Restarter,
  signal: AbortSignal,
  wasUp = false,
): Promise<P> {
  while (true) {
    signal.throwIfAborted();
    try {
      return await begin();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof StartError) {
        await restart({ ready: false, ranMs: 0, status: error.status }, error.what, error.logged);
      } else if (wasUp) {
        // A port that somebody took meanwhile, a full disk: no end of the process, but no reason to give up either.
        const what = `can't be started (${error instanceof Error ? error.message : error})`;
        await restart({ ready: true, ranMs: 0, status: undefined }, what, "");
      } else {
        throw error;
      }
    }
  }
}

/** A process that is kept running. */
export interface Kept {
  /** The one that runs, or that ran last. */
  current: RunningProcess;
}

/**
 * Starts a process again each time it has ended, until the signal aborts.
 *
 * @returns when it is stopped and nothing will be started any more
 * @throws what `restart` throws
 */
export async function keepRunning(
  kept: Kept,
  begin: () => Promise<RunningProcess>,
  restart: Restarter,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const { exited, logged } = kept.current;
    const since = performance.now();
    const status = await exited;
    if (signal.aborted) return;
    const ranMs = performance.now() - since;
    const what = `ended (${status.signal ?? `exit code ${status.code}`})`;
    await restart({ ready: true, ranMs, status }, what, logged());
    if (signal.aborted) return;
    kept.current = await startUntilUp(begin, restart, signal, true);
  }
  // All were stopped while this one came up.
  await kept.current.stop();
}
