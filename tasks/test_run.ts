/**
 * The rules of `deno task test`: which files run in which lane, and what a run of `deno test` says about itself.
 *
 * @module
 */

/** What `deno task test` was asked for. */
export interface TestArguments {
  /** Files and folders; none means all. */
  paths: string[];
  /** For `deno test`, such as `--filter=consumer`. */
  flags: string[];
}

/** Tells paths from flags; what follows a `--filter` is its text, not a path. */
export function readArguments(args: readonly string[]): TestArguments {
  const found: TestArguments = { paths: [], flags: [] };
  args.forEach((argument, i) => {
    const isFlag = argument.startsWith("-") || args[i - 1] === "--filter";
    (isFlag ? found.flags : found.paths).push(argument);
  });
  return found;
}

/** How the tests of a run ended. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Reads the last summary of a `deno test`, such as `ok | 12 passed (3 steps) | 0 failed | 2 ignored (1s)`.
 *
 * @param output with or without colours
 * @returns undefined when it printed none: it crashed, was killed, or found no file
 */
export function readSummary(output: string): Counts | undefined {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[\d;]*m/g, "");
  const steps = String.raw`(?: \(\d+ steps?\))?`;
  const line = new RegExp(
    String.raw`^(?:ok|FAILED) \| (\d+) passed${steps} \| (\d+) failed${steps}(?: \| (\d+) ignored)?`,
    "gm",
  );
  const last = [...plain.matchAll(line)].at(-1);
  return last && { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) };
}

/** So much of what a run says about its failed tests is said again at the end. */
const mostErrorText = 6000;

/** What a `deno test` says about its failed tests; of one that ended without a summary, its last words; else nothing. */
export function readErrors(output: string): string {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[\d;]*m/g, "");
  if (readSummary(plain) === undefined) return plain.trim().slice(-mostErrorText);
  const found = /^ ERRORS *$([^]*?)^ FAILURES *$/m.exec(plain)?.[1]?.trim() ?? "";
  return found.length > mostErrorText ? `${found.slice(0, mostErrorText)} …` : found;
}

/** A run of `deno test`: one file that starts servers, or all that start none. */
export interface Job {
  name: string;
  paths: string[];
}

/** How a job ended. */
export interface Outcome {
  name: string;
  /** Of the process; undefined when it was killed because it hung. */
  code: number | undefined;
  counts: Counts | undefined;
  /** What it said about its failed tests. */
  errors?: string;
}

/** The totals, and what is wrong beyond single tests: a crash, a hang, a run without a summary or without a test. */
export function judge(outcomes: readonly Outcome[]): Counts & { failures: string[] } {
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  const failures: string[] = [];
  for (const { name, code, counts } of outcomes) {
    total.passed += counts?.passed ?? 0;
    total.failed += counts?.failed ?? 0;
    total.skipped += counts?.skipped ?? 0;
    const why = code === undefined
      ? "hung and was killed"
      : counts === undefined
      ? `ended without a summary (exit code ${code})`
      : code !== 0 && counts.failed === 0
      ? `exit code ${code} without a failed test`
      : undefined;
    if (why !== undefined) {
      total.failed++;
      failures.push(`${name}: ${why}`);
    } else if (counts!.failed > 0) {
      failures.push(`${name}: ${counts!.failed} of its tests`);
    }
  }
  if (total.passed + total.failed + total.skipped === 0) {
    total.failed++;
    failures.push("no test ran: expected files or a filter that match at least one");
  }
  return { ...total, failures };
}

/**
 * Deals two lists of jobs out to lanes: as many as `lanes` says take the first list's from the front, one more the
 * second's. A lane whose list is empty helps with the other. With the longest first, all end at about the same time.
 */
export function createLanes<T>(first: readonly T[], second: readonly T[], lanes = 1): Lane<T>[] {
  const [one, two] = [[...first], [...second]];
  return [
    ...Array.from({ length: lanes }, () => () => one.shift() ?? two.shift()),
    () => two.shift() ?? one.shift(),
  ];
}

/** The next job of a lane; undefined when nothing is left. */
export type Lane<T> = () => T | undefined;
