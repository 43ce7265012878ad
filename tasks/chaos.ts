/**
 * `deno task chaos`: does to a tape what can be done to it, at random moments, again and again, and proves at the end that
 * no trade is lost and none counts twice. Servers, exchange and data are its own, in a temporary folder; the exchange
 * alone is never touched, because it knows what is true.
 *
 * Exit codes: 0 proven, 1 not, 2 wrong arguments, 130 stopped by Ctrl-C.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { wholeNumber } from "../lib/core/options.ts";
import { migrate } from "../lib/clickhouse/migrations.ts";
import { retry } from "../lib/core/retry.ts";
import { firstTrades, type Proof, proveTape } from "../lib/ops/proof.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";
import { runTask } from "../lib/process/task.ts";
import { findClockLibrary } from "./chaos/clock.ts";
import { openDisplay } from "./chaos/display.ts";
import { type FaultName, faultNames } from "./chaos/faults.ts";
import { members } from "./chaos/members.ts";
import { compareMemory, measureMemory } from "./chaos/memory.ts";
import { printResult, problems, report, type Run } from "./chaos/report.ts";
import { storm } from "./chaos/storm.ts";
import { completeWithinMs, openTape, products, type Tape } from "./chaos/chaos_tape.ts";
import type { Testimony } from "./chaos/testimony.ts";
import { formatFiles } from "./format_files.ts";
import { isComplete, waitForAll, waitForEndOfTopics, waitForNewTrades } from "./chaos/waiting.ts";

const program = new Command("deno task chaos")
  .description(
    "Kills, cuts power, takes topics and messages away and moves clocks at random moments, then proves that every trade " +
      "is stored and counts once.",
  )
  .addOption(new Option("--kills <number>", "how many").default(200).argParser(wholeNumber(1, 1_000_000)))
  .addOption(
    new Option(
      "--faults <names>",
      "which: kill, burst (three within a second), power, topic, retention, clock",
    )
      .default(faultNames, "all").argParser(faultList),
  )
  .addOption(
    new Option("--seed <text>", "another seed: other faults, other moments, another market").default("1"),
  )
  .addOption(
    new Option("--rate <number>", "matches and tickers a second, beside the order books").default(2000)
      .argParser(wholeNumber(1, 1_000_000)),
  )
  .option("--out <file>", "write the run's report there, as Markdown")
  .allowExcessArguments(false)
  .exitOverride();

async function main(): Promise<number> {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const stop = stopOnSignal();
  const home = await Deno.makeTempDir({ prefix: "tapehouse-chaos-" });
  let keep = false;
  try {
    const run = await chaos({ ...options, home, signal: stop.signal });
    printResult(run);
    const proven = problems(run).length === 0;
    keep = !proven;
    if (keep) console.log(`The logs are in ${home}/logs`);
    if (options.out !== undefined) {
      await Deno.writeTextFile(options.out, report(run, options.out));
      await formatFiles([options.out]);
      console.log(`Written to ${options.out}`);
    }
    return proven ? 0 : 1;
  } catch (error) {
    if (stop.signal.aborted) {
      console.log("\nStopped.");
      return 130;
    }
    keep = true;
    if (error instanceof Error) error.message += ` The logs are in ${home}/logs.`;
    throw error;
  } finally {
    if (!keep) await Deno.remove(home, { recursive: true });
  }
}

interface ChaosOptions {
  kills: number;
  faults: FaultName[];
  seed: string;
  rate: number;
  home: string;
  signal: AbortSignal;
}

async function chaos(options: ChaosOptions): Promise<Run> {
  const { kills, seed, rate, home, signal } = options;
  const date = new Date();
  const { faults, skipped, clockLibrary } = await chooseFaults(options.faults);
  for (const text of skipped) console.log(text);
  const tape = await openTape({ seed, rate, home, clockLibrary, signal });
  const display = openDisplay();
  try {
    console.log(`Starting everything in ${home}`);
    await startAll(tape);
    const before = await measureMemory(tape.rig);
    const known = await firstTrades(tape.query);
    const begun = performance.now();
    const seconds = () => (performance.now() - begun) / 1000;
    const events = await storm(tape, { kills, faults, seed, seconds }, display);
    const memory = compareMemory(before, await measureMemory(tape.rig));
    const found = await settleAndProve(tape, known);
    const versions = await readVersions(tape);
    return {
      ...{ seed, rate, faults, skipped, products, date, seconds: seconds(), versions, events },
      ...{ resets: tape.rig.resets, memory, ...found },
    };
  } finally {
    display.clear();
    await tape.close();
  }
}

/** Leaves out what this machine doesn't allow, and says so. */
async function chooseFaults(
  wanted: FaultName[],
): Promise<{ faults: FaultName[]; skipped: string[]; clockLibrary: string | undefined }> {
  const clockLibrary = wanted.includes("clock") ? await findClockLibrary() : undefined;
  const faults = wanted.filter((fault) => fault !== "clock" || clockLibrary !== undefined);
  const skipped = faults.length === wanted.length ? [] : [
    "clock is skipped: libfaketime isn't installed (Debian: apt install libfaketime; or FAKETIME_LIBRARY)",
  ];
  return { faults, skipped, clockLibrary };
}

/** The servers, the tables, the services; then until trades arrive. */
async function startAll(tape: Tape): Promise<void> {
  const { rig, config, signal } = tape;
  await Promise.all([rig.start("Kafka"), rig.start("ClickHouse")]);
  await retry(() => migrate(config, () => {}), { signal, onError() {} });
  await Promise.all(members.filter((member) => rig.pid(member) === undefined).map(rig.start));
  await waitForNewTrades(tape);
}

/**
 * Stops the market, waits until all of it is stored, stops the services and compares what is stored with what was made.
 *
 * @param known the first stored trade of each product
 */
async function settleAndProve(
  tape: Tape,
  known: Map<string, number>,
): Promise<{ proof: Proof; testimony: Testimony }> {
  const { rig, witness, market, query, clickhouse } = tape;
  await waitForAll(tape);
  tape.freezeMarket();
  const complete = await isComplete(tape);
  // In order, so that what is on its way is written before the proof.
  for (const name of ["producer-1", "producer-2", "backfill"] as const) await rig.stop(name);
  await waitForEndOfTopics(tape);
  await witness.look();
  for (const name of ["consumer-1", "consumer-2"] as const) await rig.stop(name);
  const proof = await proveTape(query, market, products, known);
  const testimony = await witness.testify(clickhouse);
  proof.problems.unshift(...rig.died);
  if (!complete) {
    proof.problems.unshift(`Not complete ${completeWithinMs / 1000} s after the market had stopped.`);
  }
  return { proof, testimony };
}

async function readVersions({ query }: Tape): Promise<string> {
  const [version] = await query("SELECT version() AS version");
  return `Deno ${Deno.version.deno}, Apache Kafka ${kafkaVersion}, ClickHouse ${version?.version}`;
}

function faultList(text: string): FaultName[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !(faultNames as string[]).includes(name));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`"${unknown}" is no fault. Expected names of ${faultNames.join(", ")}.`);
  }
  return faultNames.filter((name) => names.includes(name));
}

await runTask(main);
