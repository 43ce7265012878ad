/**
 * How far a long task is: one line that changes on a terminal, a plain line now and then elsewhere.
 *
 * @module
 */

/** Shows texts; `end` leaves the last one. */
export interface ProgressLine {
  show(text: () => string): void;
  end(): void;
}

/** @param options.plainMs how often a line is printed where there is no terminal. @default {10_000} */
export function createProgressLine(
  options: { terminal?: boolean; plainMs?: number; write?: (text: string) => void; now?: () => number } = {},
): ProgressLine {
  const { terminal = Deno.stdout.isTerminal(), plainMs = 10_000, now = () => performance.now() } = options;
  const encoder = new TextEncoder();
  const write = options.write ?? ((text) => void Deno.stdout.writeSync(encoder.encode(text)));
  const everyMs = terminal ? 200 : plainMs;
  let shownAt = now();
  let open = false;
  return {
    show(text) {
      if (now() - shownAt < everyMs) return;
      shownAt = now();
      write(terminal ? `\r\x1b[K${text()}` : `${text()}\n`);
      open = terminal;
    },
    end() {
      if (open) write("\n");
      open = false;
    },
  };
}

/** `bar(0.25)` → `[#####               ]  25 %`. */
export function bar(fraction: number): string {
  const whole = Math.max(0, Math.min(1, fraction));
  const filled = Math.floor(whole * 20);
  return `[${"#".repeat(filled)}${" ".repeat(20 - filled)}] ${String(Math.floor(whole * 100)).padStart(3)} %`;
}
