/**
 * The checks of `deno task doctor`: how they are run and shown. lib/ops/doctor_checks.ts looks, lib/ops/doctor_judgements.ts
 * judges.
 *
 * @module
 */

/** `trouble` makes the exit code 1. */
export type Status = "ok" | "warning" | "trouble";

/** The result of a check. */
export interface Finding {
  status: Status;
  /** What is there, for a person. */
  found: string;
  /** What to do about it; empty when there is nothing to do. */
  advice: string;
}

/** A check by its name. */
export interface Check {
  name: string;
  /** A check that must not be in trouble: without it this one can't look. */
  needs?: string;
  /** How long it may take, ms; what takes longer is trouble. */
  limitMs?: number;
  /** @throws anything: trouble, with the error's message; `NotChecked` when another check tells why */
  look(): Promise<Finding>;
}

/** One line of the answer. */
export interface Checked extends Finding {
  name: string;
}

/** This couldn't be looked at; the reason is another check's trouble. */
export class NotChecked extends Error {
  override name = "NotChecked";
}

export const ok = (found: string): Finding => ({ status: "ok", found, advice: "" });
export const warning = (found: string, advice: string): Finding => ({ status: "warning", found, advice });
export const trouble = (found: string, advice: string): Finding => ({ status: "trouble", found, advice });

/** Runs all checks side by side. None can stop another, and none takes longer than its limit once it may begin. */
export function runChecks(checks: readonly Check[], limitMs = 5000): Promise<Checked[]> {
  const results = new Map<string, Promise<Checked>>();
  for (const check of checks) results.set(check.name, run(check));
  return Promise.all(results.values());

  async function run({ name, needs, limitMs: ownMs, look }: Check): Promise<Checked> {
    const limit = ownMs ?? limitMs;
    const needed = needs === undefined ? undefined : await results.get(needs);
    if (needed?.status === "trouble") return { name, ...warning(`not checked, see ${needed.name}`, "") };
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<Finding>((resolve) => {
      timer = setTimeout(() => resolve(trouble(`no answer within ${limit / 1000} s`, "")), limit);
    });
    try {
      return { name, ...await Promise.race([look(), timeout]) };
    } catch (error) {
      const message = (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
      if (error instanceof NotChecked) return { name, ...warning(`not checked, ${message}`, "") };
      return { name, ...trouble(message, "") };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** One line a check: `✗ topics       coinbase_level2 is missing → deno task topics`. */
export function render(checked: readonly Checked[]): string {
  const width = Math.max(...checked.map(({ name }) => name.length));
  const signs = { ok: "✓", warning: "!", trouble: "✗" };
  return checked.map(({ name, status, found, advice }) =>
    `${signs[status]} ${name.padEnd(width)}  ${found}${advice === "" ? "" : ` → ${advice}`}\n`
  ).join("");
}

/** `90.5` seconds → `1 m`, a rough measure for a person. */
export function age(seconds: number): string {
  if (seconds < 1) return "under 1 s";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} m`;
  if (seconds < 360_000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
