/**
 * `deno task bench tape`: what `deno task dev` carries on this machine, end to end, and how fresh the rows are.
 *
 * @module
 */

import { kafkaVersion } from "../embedded/kafka/install.ts";
import { ask, installJars, run, withHome } from "../tests/support/dev_run.ts";
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
  const versions: Record<string, string> = { "Apache Kafka": kafkaVersion };
  for (const rate of rates) {
    console.log(`${rate} trades and tickers a second, for ${seconds} s`);
    const { text, clickhouse } = await runAt(rate, seconds);
    versions.ClickHouse = clickhouse;
    rows.push(rowOf(rate, readStatusLines(text)));
  }
  return { versions, tables: { dev: rows } };
}

/** Runs `dev` to its end. @returns all that it printed, and the version of its ClickHouse */
async function runAt(rate: number, seconds: number): Promise<{ text: string; clickhouse: string }> {
  let [text, clickhouse] = ["", ""];
  await withHome(async (env) => {
    const dev = run(["-A", "tasks/dev.ts", "--simulate", "--rate", `${rate}`, "--for", `${seconds}s`], env);
    await dev.line(/^frames\/s /);
    clickhouse = await ask(env, "SELECT version()");
    const code = await dev.code;
    text = dev.text();
    if (code !== 0) throw new Error(`dev ended with ${code}: ${text}`);
  });
  return { text, clickhouse };
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
