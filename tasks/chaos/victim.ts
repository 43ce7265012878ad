/**
 * One process that is killed at any moment and started again.
 *
 * @module
 */

import { howItEnded, type RunningProcess } from "../../embedded/process/process.ts";
import { sleep } from "../../lib/core/retry.ts";
import { removeClockTraces } from "./clock.ts";

/** The process, life after life. Its fields are read by others and changed by the functions here alone. */
export interface Victim {
  /** Starts it and waits until it is up. */
  begin(): Promise<RunningProcess>;
  /** The id of what runs now, or is just being started; undefined when nothing does. */
  runningPid(): number | undefined;
  /** What runs now and is up. */
  process?: RunningProcess;
  /** The last one's. */
  pid?: number;
  /** It was killed since it was begun. */
  killed: boolean;
  /** It isn't started again before it is released. */
  held: boolean;
  released: PromiseWithResolvers<void>;
  stopping: boolean;
  /** Resolves when it is gone for good. */
  done: Promise<void>;
}

/** Nothing of it runs yet. */
export function createVictim(begin: Victim["begin"], runningPid: Victim["runningPid"]): Victim {
  return {
    ...{ begin, runningPid, killed: false, held: false, stopping: false },
    released: Promise.withResolvers<void>(),
    done: Promise.resolve(),
  };
}

/** Called when it has ended and nobody had killed it. @returns whether it is started again */
type EndedByItself = (how: string, lastLine: string) => Promise<boolean>;

/**
 * Starts it and keeps it alive; resolves when it is up for the first time, or when it never will be.
 *
 * @param failed told what `endedByItself` throws, which ends it for good
 */
export async function start(
  victim: Victim,
  signal: AbortSignal,
  endedByItself: EndedByItself,
  failed: (error: unknown) => void,
): Promise<void> {
  const up = Promise.withResolvers<void>();
  victim.done = keepAlive(victim, signal, up.resolve, endedByItself).catch(failed);
  await Promise.race([up.promise, victim.done]);
}

/** Starts it again each time it has ended, until it is to stop or the signal aborts. */
async function keepAlive(
  victim: Victim,
  signal: AbortSignal,
  up: () => void,
  endedByItself: EndedByItself,
): Promise<void> {
  while (!signal.aborted && !victim.stopping) {
    if (victim.held) await victim.released.promise;
    if (victim.stopping) return;
    const end = await live(victim, signal, up);
    if (end === undefined) return;
    delete victim.process;
    if (victim.pid !== undefined) await removeClockTraces(victim.pid);
    if (signal.aborted || victim.stopping) return;
    if (!victim.killed) {
      const lastLine = end.logged.trimEnd().split("\n").at(-1) ?? "";
      if (!await endedByItself(end.how, lastLine)) return;
    }
    // Sometimes at once, sometimes not: whoever looks meanwhile finds nobody.
    await sleep(Math.random() * 300, signal);
  }
}

/** How one life of a process ended. */
interface LifeEnd {
  /** In a few words. */
  how: string;
  /** What it had logged in this life. */
  logged: string;
}

/** One life, from its start to its end; undefined when the start was given up because the signal aborted. */
async function live(victim: Victim, signal: AbortSignal, up: () => void): Promise<LifeEnd | undefined> {
  victim.killed = false;
  try {
    const process = victim.process = await victim.begin();
    victim.pid = process.pid;
    up();
    // It was asked to stop while it was being started.
    if (victim.stopping) await process.stop();
    const status = await process.exited;
    return { how: howItEnded(status), logged: process.logged() };
  } catch (error) {
    if (signal.aborted) return undefined;
    return {
      how: error instanceof Error ? error.message : String(error),
      logged: error instanceof Error && "logged" in error ? String(error.logged) : "",
    };
  }
}

/** kill -9, whether it is up or just being started. False when nothing of it runs at the moment. */
export function kill(victim: Victim): boolean {
  const pid = victim.runningPid();
  if (pid === undefined) return false;
  victim.killed = true;
  victim.pid = pid;
  send(pid, "SIGKILL");
  return true;
}

/** kill -9, and not started again before `release`. */
export async function hold(victim: Victim, signal: AbortSignal): Promise<void> {
  if (!victim.held) victim.released = Promise.withResolvers();
  victim.held = true;
  // What is just being started is killed as soon as it has a process.
  while (!signal.aborted && (kill(victim) || victim.process !== undefined)) await sleep(20);
}

/** It may be started again. */
export function release(victim: Victim): void {
  victim.held = false;
  victim.released.resolve();
}

/** SIGTERM; resolves when it is gone for good. */
export async function stop(victim: Victim): Promise<void> {
  victim.stopping = true;
  release(victim);
  await victim.process?.stop();
  await victim.done;
}

/** Sends a signal; nothing when the process is gone. */
export function send(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended by itself, which is what every signal here is for.
  }
}
