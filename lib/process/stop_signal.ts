/**
 * When a process is asked to stop: the signals, how they count, and what asks for it by force.
 *
 * @module
 */

/** What a signal means, given those before it. */
export type Meaning = "stop" | "again" | "force";

/**
 * What comes within three seconds is one press: a terminal sends a Ctrl-C to the whole group, and `deno task` passes its
 * own on, on a busy machine more than a second later. The seconds are counted in turns of this process: while it has
 * none, nobody sees that it stops. Those who pass it on may be starved for longer than that, and nothing tells their
 * SIGINT from a person's; one press is passed on twice at most, so the third that comes late is a person's.
 */
const onePress = { turns: 30, turnMs: 100, passedOn: 2 };

/** What has come since the first signal. */
export interface Heard {
  /** How often this process had its turn since. */
  turns: number;
  /** How many SIGINT came after the time of one press. */
  late: number;
}

/**
 * The first signal stops in order. Only Ctrl-C again and again, by a person who has seen the first one's effect, forces:
 * service managers escalate with SIGKILL, and a closed terminal sends more than one kind.
 *
 * @param heard undefined when this is the first
 */
export function meaningOf(signal: Deno.Signal, heard: Heard | undefined): Meaning {
  if (heard === undefined) return "stop";
  return isLate(signal, heard) && heard.late >= onePress.passedOn ? "force" : "again";
}

const isLate = (signal: Deno.Signal, { turns }: Heard) => signal === "SIGINT" && turns >= onePress.turns;

/**
 * Listens to Ctrl-C (SIGINT), SIGTERM and the terminal's end (SIGHUP, unless it is ignored, as under `nohup`). SIGQUIT
 * is left to the system: it ends the process at once.
 *
 * @param options.onStop told the first signal, just before the controller aborts
 * @param options.onForce ends the process at once. @default exits with 130
 * @returns aborts with the first signal; may be aborted by its owner too
 */
export function stopOnSignal(
  options: { onStop?: (signal: Deno.Signal) => void; onForce?: () => void } = {},
): AbortController {
  const { onStop = () => {}, onForce = () => Deno.exit(130) } = options;
  const controller = new AbortController();
  let heard: Heard | undefined;
  const countTurns = (): Heard => {
    const count = { turns: 0, late: 0 };
    const timer = setInterval(() => {
      if (++count.turns >= onePress.turns) clearInterval(timer);
    }, onePress.turnMs);
    Deno.unrefTimer(timer);
    return count;
  };
  // Looked up before anything is listened to: the first listener undoes it.
  const isIgnored = isHangupIgnored();
  const listen = (signal: Deno.Signal) =>
    Deno.addSignalListener(signal, () => {
      const meaning = meaningOf(signal, heard);
      heard ??= countTurns();
      if (isLate(signal, heard)) heard.late++;
      if (meaning === "force") onForce();
      if (meaning !== "stop" || controller.signal.aborted) return;
      onStop(signal);
      controller.abort();
    });
  listen("SIGINT");
  listen("SIGTERM");
  if (isIgnored) Deno.addSignalListener("SIGHUP", () => {});
  else listen("SIGHUP");
  return controller;
}

/** True when SIGHUP was told to be ignored before the start. */
function isHangupIgnored(): boolean {
  try {
    const path = "/proc/self/status";
    // Asked first: on a terminal Deno would otherwise ask the person.
    if (Deno.permissions.querySync({ name: "read", path }).state === "granted") {
      const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(Deno.readTextFileSync(path))?.[1];
      if (mask !== undefined) return (BigInt(`0x${mask}`) & 1n) === 1n;
    }
  } catch {
    // Only a process with all permissions may look, and only on Linux.
  }
  // `nohup` leaves nothing connected to the terminal; and without a terminal nobody sends a hangup.
  return ![Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
}
