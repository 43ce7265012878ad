/**
 * When a process that ended is started again. The rule is pure; keeper.ts keeps to it.
 *
 * @module
 */

/** How a process ended. */
export interface End {
  /** It had answered its first request. */
  ready: boolean;
  /** From that answer to its end, in ms; 0 when there was none. */
  ranMs: number;
  /** Undefined when it wasn't ready in time and was stopped. */
  status: Pick<Deno.CommandStatus, "code" | "signal"> | undefined;
}

/** What is remembered of a process's ends. */
export interface History {
  /** It has come up at least once. */
  cameUp: boolean;
  /** Ends in a row without a good run between them. */
  quickEnds: number;
  /** Those before it first came up that were its own doing. */
  failedStarts: number;
}

/** Nothing has happened yet. */
export const noHistory: History = { cameUp: false, quickEnds: 0, failedStarts: 0 };

/** What is done about an end: another start after a pause, or none and why. */
export type Verdict =
  | { restartAfterMs: number }
  | { giveUp: "its configuration is wrong" | "it never came up" };

/** A run this long resets the failure count. */
const goodRunMs = 10_000;
/** So many starts that end by themselves before the first success are enough to know. */
const mostFailedStarts = 5;
const firstPauseMs = 250;
/** Long enough not to burn a core, short enough that the tape is whole soon after a storm. */
const longestPauseMs = 5000;
/** "Wrong arguments or a wrong environment variable", of every program of ours. */
const wrongConfiguration = 2;

/**
 * The rule. What once came up is started again without an end: at once after a good run, then after pauses that double.
 * Only two things end it: the program itself says that its configuration is wrong, which no repetition mends; or it
 * never came up. Who was killed from outside hasn't failed by itself, so that counts for the pauses alone.
 */
export function afterEnd(history: History, end: End): { history: History; verdict: Verdict } {
  const { status } = end;
  const cameUp = history.cameUp || end.ready;
  const quickEnds = end.ranMs >= goodRunMs ? 1 : history.quickEnds + 1;
  const failedStarts = history.failedStarts + (cameUp || wasKilled(status) ? 0 : 1);
  const verdict = (): Verdict => {
    if (status?.signal === null && status.code === wrongConfiguration) {
      return { giveUp: "its configuration is wrong" };
    }
    if (failedStarts >= mostFailedStarts) return { giveUp: "it never came up" };
    if (quickEnds === 1) return { restartAfterMs: 0 };
    return { restartAfterMs: Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(quickEnds - 2, 30)) };
  };
  return { history: { cameUp, quickEnds, failedStarts }, verdict: verdict() };
}

/** Java turns SIGTERM and its like into exit codes: 128 and the signal's number. */
const killedCodes = [129, 130, 137, 143];

function wasKilled(status: End["status"]): boolean {
  if (status === undefined) return false;
  const killers = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"];
  return status.signal === null ? killedCodes.includes(status.code) : killers.includes(status.signal);
}

/**
 * What a program says of its wrong configuration: the errors among its JSON lines, in one line; its last line where it
 * doesn't log JSON.
 */
export function lastErrors(logged: string): string {
  const lines = logged.trim().split("\n");
  const errors = lines.flatMap((line) => {
    try {
      const { level, message } = JSON.parse(line);
      return level === "error" && typeof message === "string" ? [message] : [];
    } catch {
      return [];
    }
  });
  return errors.length > 0 ? errors.slice(-5).join("; ") : lines.at(-1) ?? "";
}
