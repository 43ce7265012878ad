/**
 * `deno task bench soak`: what becomes of a tape that runs for long: freshness, CPU, memory, files and parts, window by
 * window. What takes minutes to show (merges, deleted files, memory that grows) shows here.
 *
 * @module
 */

import { kafkaVersion } from "../embedded/kafka/install.ts";
import { sleep } from "../lib/core/retry.ts";
import { ask, installJars, pidOf, processWords, run, withHome } from "../tests/support/dev_run.ts";
import { cpuSeconds, memory } from "./process_usage.ts";
import { type Measured, quantile, ratio, type Row } from "./results.ts";
import { readStatusLines, type StatusLine } from "./tape.ts";

/** The run is told in so many windows. */
const windows = 6;

/** Processes whose memory is told one by one. */
const watched = ["producer", "consumer", "api", "ClickHouse", "Kafka"] as const;

/**
 * Runs `deno task dev --simulate --rate R` for each rate, one after the other.
 *
 * @param minutes how long each runs
 */
export async function benchSoak(rates: readonly number[], minutes: number): Promise<Measured> {
  await installJars();
  const versions: Record<string, string> = { "Apache Kafka": kafkaVersion };
  const rows: Row[] = [];
  for (const rate of rates) {
    await withHome(async (env) => {
      // The run ends when it is told to, after its last window.
      const dev = run(["-A", "tasks/dev.ts", "--simulate", "--rate", `${rate}`], env);
      await dev.line(/^frames\/s /);
      versions.ClickHouse = await ask(env, "SELECT version()");
      const own: Row[] = [];
      for (let window = 0; window < windows; window++) {
        const row = await watch(
          env,
          rate,
          (window + 1) * minutes / windows,
          minutes * 60 / windows,
          dev.text,
        );
        console.log(Object.entries(row).map(([name, value]) => `${name}: ${value}`).join(" · "));
        own.push(row);
      }
      dev.kill("SIGTERM");
      await dev.code;
      rows.push(...own, compare(rate, own));
    });
  }
  return { versions, tables: { soak: rows } };
}

/** Looks at a tape for so many seconds. */
async function watch(
  env: Record<string, string>,
  rate: number,
  minute: number,
  seconds: number,
  text: () => string,
): Promise<Row> {
  const home = env.TAPEHOUSE_HOME ?? "";
  const pids = Object.values(processWords).map((words) => pidOf(home, words) ?? 0);
  const clickhouse = pidOf(home, processWords.ClickHouse) ?? 0;
  const used = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const before = { all: used(), clickhouse: cpuSeconds(clickhouse), length: text().length };
  const begun = performance.now();
  await sleep(seconds * 1000);
  const elapsed = (performance.now() - begun) / 1000;
  const lines = readStatusLines(text().slice(before.length));
  const of = (name: keyof StatusLine) => quantile(lines.map((line) => line[name] ?? NaN), 0.5);
  return {
    "trades and tickers a second": rate,
    "to minute": minute,
    "frames/s": of("frames"),
    "freshness p50, ms": of("p50"),
    "p99, ms": of("p99"),
    "cores": Number(((used() - before.all) / elapsed).toFixed(2)),
    "of them ClickHouse": Number(((cpuSeconds(clickhouse) - before.clickhouse) / elapsed).toFixed(2)),
    ...Object.fromEntries(
      watched.map((name) => [`${name}, MB`, memory(pidOf(home, processWords[name]) ?? 0)]),
    ),
    "files": countFiles(`${home}/clickhouse`),
    "parts": Number(
      await ask(env, "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()"),
    ),
  };
}

/** The last window ÷ the first. */
function compare(rate: number, own: readonly Row[]): Row {
  const [first, last] = [own[0] ?? {}, own.at(-1) ?? {}];
  return {
    ...Object.fromEntries(
      Object.keys(first).map((name) => [name, ratio(Number(last[name]) / Number(first[name]))]),
    ),
    "trades and tickers a second": rate,
    "to minute": "last ÷ first",
  };
}

/** Files below a folder; what is removed meanwhile doesn't count. */
function countFiles(folder: string): number {
  let count = 0;
  try {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      count += isDirectory ? countFiles(`${folder}/${name}`) : 1;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return count;
}
