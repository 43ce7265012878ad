/**
 * `deno task bench tape`: what `deno task dev` carries on this machine, end to end, and how fresh the rows are.
 *
 * @module
 */

import { kafkaVersion } from "../embedded/kafka/install.ts";
import { sleep } from "../lib/core/retry.ts";
import { ask, installJars, pidOf, processWords, run, withHome } from "../tests/support/dev_run.ts";
import { cpuSeconds, peakMemory } from "./process_usage.ts";
import { type Measured, quantile, type Row } from "./results.ts";

/** How often `dev` says how it does where there is no terminal. */
const lineSeconds = 5;
/** At first the services start and their code is compiled. */
const warmUpSeconds = 10;

/**
 * Runs `deno task dev --simulate --rate R` for each rate, one after the other.
 *
 * @param rates trades and tickers a second of the simulated exchange; books and heartbeats come on top
 * @param seconds how long each runs after its start
 */
export async function benchTape(rates: readonly number[], seconds: number): Promise<Measured> {
  await installJars();
  const rows: Row[] = [];
  const processes: Row[] = [];
  const versions: Record<string, string> = { "Apache Kafka": kafkaVersion };
  for (const rate of rates) {
    console.log(`${rate} trades and tickers a second, for ${seconds} s`);
    const { text, clickhouse, usage } = await runAt(rate, seconds);
    versions.ClickHouse = clickhouse;
    const row = rowOf(rate, readStatusLines(text));
    console.log(Object.entries(row).map(([name, value]) => `${name}: ${value}`).join(" · "));
    rows.push(row);
    processes.push(...usageRows(rate, Number(row["frames/s"]), usage));
  }
  return { versions, tables: { dev: rows, processes } };
}

type ProcessName = keyof typeof processWords;

/** What each process has used between the warm-up and the end. */
type Usage = Map<ProcessName, { cores: number; megabytes: number }>;

/** A line a rate: each process' cores, and all of them; then what a million frames costs, and the memory. */
function usageRows(rate: number, frames: number, usage: Usage): Row[] {
  const line = (
    what: string,
    value: (of: { cores: number; megabytes: number }) => number,
    digits: number,
  ) => {
    const values = [...usage].map(([name, of]) => [name, Number(value(of).toFixed(digits))] as const);
    const all = values.reduce((sum, [, each]) => sum + each, 0);
    return {
      "trades and tickers a second": rate,
      of: what,
      ...Object.fromEntries(values),
      all: Number(all.toFixed(digits)),
    };
  };
  return [
    line("cores", ({ cores }) => cores, 2),
    line("CPU s a million frames", ({ cores }) => 1e6 * cores / frames, 0),
    line("memory at most, MB", ({ megabytes }) => megabytes, 0),
  ];
}

/** Runs `dev` to its end. @returns all that it printed, the version of its ClickHouse, and what its processes used */
async function runAt(
  rate: number,
  seconds: number,
): Promise<{ text: string; clickhouse: string; usage: Usage }> {
  let [text, clickhouse] = ["", ""];
  let usage: Usage = new Map();
  await withHome(async (env) => {
    const dev = run(["-A", "tasks/dev.ts", "--simulate", "--rate", `${rate}`, "--for", `${seconds}s`], env);
    await dev.line(/^frames\/s /);
    clickhouse = await ask(env, "SELECT version()");
    await sleep(warmUpSeconds * 1000);
    // `dev` has run for a line already, and must not end meanwhile.
    usage = await readUsage(env.TAPEHOUSE_HOME ?? "", (seconds - warmUpSeconds - lineSeconds) * 800);
    const code = await dev.code;
    text = dev.text();
    if (code !== 0) throw new Error(`dev ended with ${code}: ${text}`);
  });
  return { text, clickhouse, usage };
}

/** Looks at the processes of a home for so long. */
async function readUsage(home: string, ms: number): Promise<Usage> {
  const names = Object.keys(processWords) as ProcessName[];
  const pids = names.map((name) => pidOf(home, processWords[name]) ?? 0);
  const before = pids.map(cpuSeconds);
  const startedAt = performance.now();
  await sleep(ms);
  const elapsed = (performance.now() - startedAt) / 1000;
  return new Map(names.map((name, at) => [name, {
    cores: (cpuSeconds(pids[at]!) - before[at]!) / elapsed,
    megabytes: peakMemory(pids[at]!),
  }]));
}

/** A line of `dev`: rates of the last five seconds, and messages that wait. */
export interface StatusLine {
  frames: number;
  rows: number;
  lag: number;
  /** ms; Infinity where it is more than `dev` can tell. */
  p50: number | undefined;
  p99: number | undefined;
}

/** The lines of `dev` that tell its state. Where no row was stored in five seconds, none was fresh or not. */
export function readStatusLines(text: string): StatusLine[] {
  const number = "([\\d,]+|NaN)";
  const pattern = new RegExp(
    `^frames/s ${number} · rows/s ${number} · lag ${number} · freshness p50 (.+?), p99 (.+?) · `,
    "gm",
  );
  const count = (digits = "") => Number(digits.replaceAll(",", ""));
  return [...text.matchAll(pattern)].map(([, frames, rows, lag, p50, p99]) => ({
    frames: count(frames),
    rows: count(rows),
    lag: count(lag),
    p50: freshness(p50),
    p99: freshness(p99),
  }));
}

function freshness(text = ""): number | undefined {
  if (text === "–") return undefined;
  return text === "over 2 min" ? Infinity : Number(text.replace(/ ms$/, ""));
}

/**
 * What was measured at a rate: the middle of the lines behind the warm-up.
 *
 * @throws {Error} when fewer than three of them have a freshness
 */
export function rowOf(rate: number, all: readonly StatusLine[]): Row {
  const lines = all.slice(warmUpSeconds / lineSeconds);
  const fresh = lines.filter(({ p50 }) => p50 !== undefined);
  if (fresh.length < 3) {
    throw new Error(
      `at ${rate} a second dev told ${fresh.length} times after ${warmUpSeconds} s how fresh the rows are, and 3 are needed: ` +
        "run it for longer (--seconds)",
    );
  }
  const middle = (name: "frames" | "rows") => quantile(lines.map((line) => line[name]), 0.5);
  const ms = (name: "p50" | "p99", share: number) => {
    const found = quantile(fresh.map((line) => line[name] ?? NaN), share);
    return Number.isFinite(found) ? found : "over 2 min";
  };
  return {
    "trades and tickers a second": rate,
    "frames/s": middle("frames"),
    "rows/s": middle("rows"),
    "freshness p50, ms": ms("p50", 0.5),
    "freshness p99, ms": ms("p99", 0.5),
    "its worst p99, ms": ms("p99", 1),
    "lag at the end": lines.at(-1)?.lag ?? NaN,
  };
}
