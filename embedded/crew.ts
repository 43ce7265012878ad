/**
 * Several child processes that belong together: kept running, and stopped in order.
 *
 * @module
 */

import { FatalError } from "../lib/service.ts";
import type { RunningProcess } from "./process.ts";

/** The processes that one owner started. */
export interface Crew {
  stop: AbortController;
  /** The folder of their logs. */
  logs: string;
  /**
   * Starts a process and keeps it running: one that ends by itself is started again, until it ends three times within
   * ten seconds of its start.
   */
  start<P extends RunningProcess>(begin: () => Promise<P>): Promise<P>;
  /** Stops all, the last started first, within ten seconds. */
  dismiss(): Promise<void>;
  /** Rejects when a process can't be kept running. */
  readonly failed: Promise<never>;
}

/**
 * A crew without members.
 *
 * @param stop aborting it means that processes end because they are told to
 * @param logs the folder of their logs, for messages
 */
export function createCrew(stop: AbortController, logs: string): Crew {
  const members: { current: RunningProcess }[] = [];
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});

  async function keep(member: { current: RunningProcess }, begin: () => Promise<RunningProcess>) {
    let quickEnds = 0;
    while (!stop.signal.aborted) {
      const { name, exited } = member.current;
      const since = performance.now();
      const status = await exited;
      if (stop.signal.aborted) return;
      quickEnds = performance.now() - since < 10_000 ? quickEnds + 1 : 0;
      const how = status.signal ?? `exit code ${status.code}`;
      if (quickEnds === 3) {
        throw new FatalError(
          `${name} ended three times in a row (${how}). Its log ${logs}/${name}.log says why.`,
        );
      }
      console.log(`${name} ended (${how}); starting it again`);
      member.current = await begin();
    }
  }

  return {
    stop,
    logs,
    failed: failed.promise,
    async start(begin) {
      const first = await begin();
      const member = { current: first as RunningProcess };
      members.push(member);
      keep(member, begin).catch(failed.reject);
      return first;
    },
    async dismiss() {
      stop.abort();
      const deadline = setTimeout(() => members.forEach(({ current }) => current.kill()), 9000);
      for (const { current } of members.reverse()) await current.stop();
      clearTimeout(deadline);
    },
  };
}
