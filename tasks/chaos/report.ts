/**
 * A run of chaos in words: what is printed at its end, and the page of docs.
 *
 * @module
 */

import type { Proof } from "../../lib/ops/proof.ts";
import type { FaultName } from "./faults.ts";
import type { Testimony } from "./testimony.ts";

/** One fault. Times are seconds; `recovered` is undefined when the next one came first. */
export interface Event {
  number: number;
  fault: FaultName;
  what: string;
  kills: number;
  at: number;
  recovered?: number;
}

/** Resident memory in MiB: when it had run for a while, and at the end. */
export interface Memory {
  name: string;
  start: number;
  end: number;
}

/** A whole run. */
export interface Run {
  seed: string;
  rate: number;
  faults: FaultName[];
  /** Why the faults that were asked for and didn't happen didn't, one line each. */
  skipped: string[];
  products: readonly string[];
  date: Date;
  seconds: number;
  versions: string;
  events: Event[];
  /** How often a consumer stopped with the line that asks for `deno task topics --reset-group`. */
  resets: number;
  memory: Memory[];
  proof: Proof;
  testimony: Testimony;
}

export const header = "   #  fault      at s  recovered after s        what";

/** An event as a row of the progress. */
export function line({ number, fault, what, at, recovered }: Event): string {
  const after = recovered === undefined ? "not waited for" : recovered.toFixed(1);
  return `${String(number).padStart(4)}  ${fault.padEnd(9)} ${at.toFixed(1).padStart(6)}  ${
    after.padEnd(23)
  }  ${what}`;
}

function total({ proof: { products }, events }: Run) {
  const sum = (of: (product: Proof["products"][number]) => number) => products.reduce((n, p) => n + of(p), 0);
  return {
    kills: events.reduce((n, { kills }) => n + kills, 0),
    trades: sum(({ unique }) => unique),
    lost: sum(({ first, made, unique }) => made - first + 1 - unique),
    double: sum(({ trades, unique }) => trades - unique),
    candles: sum(({ candles }) => candles),
  };
}

/** All that is wrong, one line each. */
export function problems(run: Run): string[] {
  return [...run.proof.problems, ...run.testimony.problems];
}

function summary(run: Run): string {
  const { kills, trades, lost, double, candles } = total(run);
  return `${kills} kills in ${
    Math.round(run.seconds)
  } s, ${trades} trades: ${lost} lost, ${double} double; ` +
    `${candles} candles compared: ${problems(run).length === 0 ? "all equal" : "NOT PROVEN"}`;
}

/** `kill 120, burst 20 (60 kills), …` */
function counts(run: Run): string {
  return run.faults.map((fault) => {
    const events = run.events.filter((event) => event.fault === fault);
    const kills = events.reduce((n, event) => n + event.kills, 0);
    return `${fault} ${events.length}${kills === 0 || fault === "kill" ? "" : ` (${kills} kills)`}`;
  }).join(", ");
}

function witnessed({ testimony: { seen, lostOnRecord, losses } }: Run): string {
  const messages = Object.entries(seen).map(([table, count]) => `${count} of ${table}`).join(", ");
  return `A witness saw ${messages}: none double, none lost but ${lostOnRecord} that are on record (${losses} losses)`;
}

const proofHeader = [
  "product",
  "first id",
  "last id",
  "last − first + 1",
  "count()",
  "uniqExact",
  "exchange's last id",
];

function proofRows({ proof }: Run): (string | number)[][] {
  return proof.products.map((
    p,
  ) => [p.productId, p.first, p.last, p.last - p.first + 1, p.trades, p.unique, p.made]);
}

/** The end of a run, on stdout. */
export function printResult(run: Run): void {
  console.log(`\n${proofHeader.join("  ")}`);
  for (const row of proofRows(run)) console.log(row.join("  "));
  console.log("\nmemory in MiB: process, at the start, at the end");
  for (const { name, start, end } of run.memory) console.log(`${name}  ${start}  ${end}`);
  console.log(`\nfaults: ${counts(run)}`);
  for (const skipped of run.skipped) console.log(skipped);
  if (run.resets > 0) console.log(`the consumers asked ${run.resets} times for a group that begins anew`);
  if (run.testimony.problems.length === 0) console.log(witnessed(run));
  for (const problem of problems(run)) console.log(`PROBLEM ${problem}`);
  console.log(summary(run));
}

function markdown(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** The run as a page; every figure is the one that was measured. */
export function report(run: Run, out: string): string {
  const { kills } = total(run);
  const times = run.faults.map((fault) => {
    const events = run.events.filter((event) => event.fault === fault);
    const sorted = events.flatMap(({ recovered }) => recovered ?? []).toSorted((a, b) => a - b);
    const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)]?.toFixed(1) ?? "";
    return [fault, events.length, events.reduce((n, event) => n + event.kills, 0), at(0.5), at(1)];
  });
  return `# What went wrong on purpose, and what became of the tape

Written by \`deno task chaos --kills ${kills} --seed ${run.seed} --rate ${run.rate} --faults ${run.faults.join()} --out ${out}\`; not edited.

**${summary(run)}**

- ${
    run.date.toISOString().slice(0, 19)
  }Z, ${run.versions}, ${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} cores
- A simulated exchange makes ${run.rate} matches and tickers a second on average, beside order books and heartbeats of
  ${
    run.products.join(", ")
  }; it is never killed, and its numbers of trades are the ledger. Two producers and two consumers
  run beside each other.
- **kill** is \`kill -9\` of one process, **burst** three within a second. Each is started again within 0.3 s, and may be
  killed while it starts.
- **power**: ClickHouse is killed, and the newest parts of half of its tables are removed or cut in the middle of a file.
- **topic**: both topics are deleted and created while everything runs. **retention**: their head goes, beyond what the
  consumers have read, while those are stopped or down.
- **clock**: one service's clock goes an hour forward and an hour back.
- A fault comes within 3 s of the last recovery; one in four isn't waited for.
- Recovered: a trade made after the fault is stored, of every product.
- At the end the market stops; then the proof: for every product count() = uniqExact(trade_id) = last − first + 1, the last
  id is the exchange's own, every candle of the four views equals the one computed from the exchange's trades in exact
  decimals, no gap in \`trade_gaps\`, \`completeness\` = 1.
- ${witnessed(run)}.
${run.skipped.map((skipped) => `- ${skipped}\n`).join("")}
The faults that are aimed at one place, such as a death between two steps of a batch, are tests: \`tests/faults/\`.

## The proof

${markdown(proofHeader, proofRows(run))}

${problems(run).map((problem) => `- **problem**: ${problem}`).join("\n") || "No problems."}

## Recovery, in seconds

${markdown(["fault", "times", "kills", "median", "longest"], times)}

The consumers asked ${run.resets} times for \`deno task topics --reset-group\`, and got it.

## Memory, in MiB

${
    markdown(
      ["process", "at the start", "at the end"],
      run.memory.map(({ name, start, end }) => [name, start, end]),
    )
  }

A process that was killed shows the memory of its last life.

## Every fault

${
    markdown(
      ["#", "fault", "at s", "recovered after s", "what"],
      run.events.map(({ number, fault, at, recovered, what }) => [
        number,
        fault,
        at.toFixed(1),
        recovered?.toFixed(1) ?? "not waited for",
        what,
      ]),
    )
  }
`;
}
