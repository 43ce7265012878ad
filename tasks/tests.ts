/**
 * `deno task test`: formatting, lint, types, then every test, in two lanes; with files or folders only those. Flags are
 * handed to `deno test`. Ends with a line `N passed, N failed, N skipped`, in which each check counts as one test.
 * docs/testing.md says more.
 *
 * @module
 */

import "../tests/support/clean_environment.ts";
import { normalize } from "node:path";
import {
  createLanes,
  type Job,
  judge,
  type Lane,
  type Outcome,
  readArguments,
  readErrors,
  readSummary,
} from "./test_run.ts";
import { startShared } from "../tests/support/clickhouse.ts";
import { prepareJava, quickJava } from "../tests/support/java.ts";
import { root } from "../tests/support/tape.ts";

// Paths are the project's, wherever this was started.
Deno.chdir(root);

const skippedFolders = /^\.|^(node_modules|dist.*|artifacts)$/;
/** The embedded ClickHouse has a deno.json of its own. */
const clickhouse = ["--config", "embedded/clickhouse/deno.json"];
const checks: [string, string[]][] = [
  ["formatted", ["fmt", "--check"]],
  ["linted", ["lint"]],
  ["typed", [
    "check",
    "lib",
    "exchange",
    "bench",
    "tasks",
    "tests",
    "producer.ts",
    "consumer.ts",
    "backfill.ts",
    "rollup.ts",
    "api.ts",
    "embedded/kafka/start.ts",
    "embedded/clickhouse/start.ts",
    ...testFiles("embedded").sort(),
  ]],
  // By itself: with the page in the same run, the browser's names would be known to the services too.
  ["page typed", ["check", "web"]],
  ["embedded ClickHouse typed", ["check", ...clickhouse, "embedded/clickhouse/server.ts"]],
];

/**
 * Files that wait most of their time, for a broker's session to end or a killed process to come back; they run beside
 * those that keep a core busy. In both lists the longest come first, or the lanes wait for one another at the end.
 */
const waiting = filesOf([
  "pipeline/kafka_engine",
  "ops/backfill",
  "faults/random_kills",
  "ops/supervision",
  "faults/lost_log",
  "faults/bad_feed",
  "faults/clickhouse_outage",
  "faults/consumer_dies",
  "ops/dev",
  "faults/stranger",
  "ops/health",
  "api/public_names",
  "faults/broker_outage",
  "pipeline/cluster_of_brokers",
  "faults/duplicate_delivery",
  "faults/consumer_takeover",
  "pipeline/publisher",
  "ops/embedded_kafka",
  "faults/broker_start",
  "pipeline/feed",
  "ops/start_anywhere",
  "pipeline/topics",
]);
/** Those that aren't named follow. */
const working = filesOf([
  "ops/backup",
  "browser/browser",
  "api/stream",
  "analytics/time_zones",
  "ops/archive",
  "pipeline/record_replay",
  "pipeline/end_to_end",
  "analytics/market_quality",
  "api/flood",
  "pipeline/counting_once",
  "ops/cluster",
  "analytics/rollup",
  "api/api",
  "analytics/anomalies",
]);
/** Two of them leave two cores little to wait for. */
const waitingLanes = 2;
/** Only a hang takes so long. */
const hangMs = 15 * 60_000;
/** What a killed run has to end its servers. */
const killAfterMs = 10_000;

/** The checks that run, and the process groups of the tests that do. */
const running = new Set<Deno.ChildProcess>();
const groups = new Set<number>();
let stopped = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);

const { paths, flags } = readArguments(Deno.args);
let passed = 0;
const failures: string[] = [];
for (const [name, args] of checks) {
  if (stopped) break;
  console.log(`\n── ${name}: deno ${args.join(" ")}`);
  if (await check(args)) passed++;
  else failures.push(name);
}
let failed = failures.length;
let skipped = 0;
if (!stopped) {
  const outcomes = await runTests();
  const total = judge(outcomes);
  passed += total.passed;
  failed += total.failed;
  skipped += total.skipped;
  failures.push(...total.failures);
  // What went wrong stands at the end too: a log of hours is read from there.
  for (const { name, errors } of outcomes) if (errors) console.log(`\n── what failed in ${name}\n${errors}`);
}
console.log();
for (const name of failures) console.log(`failed: ${name}`);
if (stopped) console.log("stopped before all tests ran");
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
Deno.exit(stopped ? 130 : failed > 0 ? 1 : 0);

async function runTests(): Promise<Outcome[]> {
  const jobs = jobsOf(paths.length > 0 ? paths : ["."]);
  if (jobs.length === 1) return [await runJob(jobs[0]!, "", quickJava.variables)];
  const waits = inOrder(jobs.filter(({ name }) => waiting.includes(name)), waiting);
  const works = inOrder(jobs.filter(({ name }) => !waiting.includes(name)), working);
  const java = paths.length > 0 ? quickJava : await prepareJava();
  // One server for the files of the last lane that only ask it, each in a database of its own. In the others they start
  // theirs: two files at once would wait for one another.
  const server = await startShared();
  try {
    const lanes = createLanes(waits, works, waitingLanes);
    const runs = lanes.map((next, at) =>
      runLane(next, `lane ${at + 1}`, {
        ...java.variables,
        ...(at === waitingLanes && server.variables),
      })
    );
    return (await Promise.all(runs)).flat();
  } finally {
    await Promise.all([server.stop(), java.remove()]);
  }
}

function filesOf(names: string[]): string[] {
  return names.map((name) => `tests/${name}_test.ts`);
}

/** Those that are named first, in the order of the names. */
function inOrder(jobs: Job[], names: string[]): Job[] {
  const place = ({ name }: Job) => names.includes(name) ? names.indexOf(name) : names.length;
  return jobs.toSorted((left, right) => place(left) - place(right));
}

async function runLane(next: Lane<Job>, label: string, env: Record<string, string>): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let job = next(); job !== undefined && !stopped; job = next()) {
    outcomes.push(await runJob(job, label, env));
  }
  return outcomes;
}

/** Each file of tests/ by itself; all others, which start no servers, in one. A path that isn't there is a job too. */
function jobsOf(paths: string[]): Job[] {
  const files = new Set(paths.flatMap((path) => testFiles(path)));
  const servers = [...files].filter((path) => path.startsWith("tests/")).sort();
  const units = [...files].filter((path) => !path.startsWith("tests/")).sort();
  return [
    ...units.length > 0 ? [{ name: units.length === 1 ? units[0]! : "unit tests", paths: units }] : [],
    ...servers.map((path) => ({ name: path, paths: [path] })),
  ];
}

/** The test files of a folder, as paths from the project's; another path as it is. */
function testFiles(path: string): string[] {
  if (!isFolder(path)) return [normalize(path)];
  return [...Deno.readDirSync(path)].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return skippedFolders.test(name) ? [] : testFiles(`${path}/${name}`);
    return name.endsWith("_test.ts") ? [normalize(`${path}/${name}`)] : [];
  });
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** Runs `deno test`; alone it prints as it goes, in a lane all at once when it has ended. */
async function runJob(job: Job, label: string, env: Record<string, string>): Promise<Outcome> {
  const { name } = job;
  const isAlone = label === "";
  console.log(`\n── ${isAlone ? "" : `${label}: `}${name}${isAlone ? "" : " …"}`);
  const since = performance.now();
  // The types are checked already.
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...flags, ...job.paths],
    env: { ...env, ...(Deno.stdout.isTerminal() && { FORCE_COLOR: "1" }) },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A group of its own: what its tests have started and it can't end any more is ended with it.
    detached: true,
  }).spawn();
  groups.add(child.pid);
  let hung = false;
  const timers = [
    setTimeout(() => {
      hung = true;
      endGroup(child.pid, "SIGTERM");
    }, hangMs),
    setTimeout(() => endGroup(child.pid, "SIGKILL"), hangMs + killAfterMs),
  ];
  const chunks: Uint8Array[] = [];
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (isAlone) writeAllSync(chunk);
    }
  };
  const [{ code }] = await Promise.all([child.status, read(child.stdout), read(child.stderr)]);
  timers.forEach(clearTimeout);
  groups.delete(child.pid);
  endGroup(child.pid, "SIGTERM");
  const output = new TextDecoder().decode(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  if (!isAlone) {
    const seconds = Math.round((performance.now() - since) / 1000);
    console.log(
      `\n── ${label}: ${name}, ${
        hung ? "killed: it hung for" : "ended after"
      } ${seconds} s\n${output.trim()}`,
    );
  }
  return {
    name,
    code: hung ? undefined : code,
    counts: readSummary(output),
    ...(!isAlone && (hung || code !== 0) && { errors: readErrors(output) }),
  };
}

function writeAllSync(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

async function check(args: string[]): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null" }).spawn();
  running.add(child);
  const { success } = await child.status;
  running.delete(child);
  return success;
}

/** Ctrl-C, and whoever ends us: what runs is ended, and with it the servers that it started. */
function stop(): void {
  stopped = true;
  for (const child of running) child.kill("SIGTERM");
  for (const pid of groups) {
    endGroup(pid, "SIGTERM");
    setTimeout(() => groups.has(pid) && endGroup(pid, "SIGKILL"), killAfterMs);
  }
}

function endGroup(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-pid, signal);
  } catch (error) {
    // Nothing is left of it.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
