/**
 * All that makes up a tape, as processes that are killed at any moment and started again.
 *
 * @module
 */

import { FatalError } from "../../lib/core/errors.ts";
import { consumers, type Member, type MemberOptions, pidOf, startMember } from "./members.ts";
import { createVictim, hold, kill, release, send, start, stop, type Victim } from "./victim.ts";

/** Where and how to run the processes. */
export interface RigOptions extends MemberOptions {
  /** A consumer has said by its last line that the group must begin anew: do it. Both are down meanwhile. */
  onGroupToReset: () => Promise<void>;
}

/** The processes and what may be done to them. */
export interface Rig {
  /** Starts one and keeps it running; resolves when it is up for the first time. */
  start(member: Member): Promise<void>;
  /** kill -9, whether it is up or just being started. False when nothing of it runs at the moment. */
  kill(member: Member): boolean;
  /** kill -9, and not started again before `release`. */
  hold(member: Member): Promise<void>;
  release(member: Member): void;
  signal(member: Member, signal: "SIGSTOP" | "SIGCONT"): void;
  /** SIGTERM; resolves when it is gone for good. */
  stop(member: Member): Promise<void>;
  pid(member: Member): number | undefined;
  /** Ends that nobody had asked for, one line each. */
  readonly died: string[];
  /** How often the group had to begin anew. */
  readonly resets: number;
}

/** How the last line of a consumer reads that found its place beyond the end of the log. */
const mustBegin = /topics --reset-group/;

/** Nothing runs yet. */
export function createRig(options: RigOptions): Rig {
  const { home, signal } = options;
  /** Those that were started. */
  const victims = new Map<Member, Victim>();
  const died: string[] = [];
  let resets = 0;
  let resetting: Promise<void> | undefined;

  /** A consumer may ask for another beginning; nobody else may end. */
  async function endedByItself(member: Member, how: string, lastLine: string): Promise<boolean> {
    if (!mustBegin.test(lastLine)) {
      died.push(`${member} ended by itself (${how}): ${lastLine}`);
      return false;
    }
    await resetGroup();
    return true;
  }

  /** What the consumer's last line asks for, done once for both. */
  function resetGroup(): Promise<void> {
    return resetting ??= (async () => {
      resets++;
      try {
        await Promise.all(consumers.map(holdMember));
        await options.onGroupToReset();
      } finally {
        resetting = undefined;
        for (const consumer of consumers) releaseMember(consumer);
      }
    })();
  }

  async function holdMember(member: Member): Promise<void> {
    const victim = victims.get(member);
    if (victim === undefined) throw new Error(`${member} isn't one of ours`);
    await hold(victim, signal);
  }

  function releaseMember(member: Member): void {
    const victim = victims.get(member);
    if (victim !== undefined) release(victim);
  }

  return {
    died,
    get resets() {
      return resets;
    },
    async start(member) {
      const victim = createVictim(() => startMember(member, options), () => pidOf(member, home));
      victims.set(member, victim);
      await start(victim, signal, (how, lastLine) => endedByItself(member, how, lastLine), (error) => {
        if (!signal.aborted) died.push(`${member}: ${error instanceof Error ? error.message : error}`);
      });
      signal.throwIfAborted();
      if (victim.process === undefined) throw new FatalError(died.at(-1) ?? `${member} didn't come up.`);
    },
    kill(member) {
      const victim = victims.get(member);
      return victim !== undefined && kill(victim);
    },
    hold: holdMember,
    release: releaseMember,
    signal(member, name) {
      const pid = pidOf(member, home);
      if (pid !== undefined) send(pid, name);
    },
    async stop(member) {
      const victim = victims.get(member);
      if (victim !== undefined) await stop(victim);
    },
    pid: (member) => pidOf(member, home),
  };
}
