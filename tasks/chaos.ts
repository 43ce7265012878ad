/**
 * `deno task chaos`: kills what makes up a tape at random moments, again and again, and proves at the end that no trade is
 * lost and none counts twice. Servers, exchange and data are its own, in a temporary folder; the exchange alone is never
 * killed, because it knows what is true.
 *
 * Exit codes: 0 proven, 1 not, 2 wrong arguments, 130 stopped by Ctrl-C.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { resolve } from "node:path";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { kafkaVersion, startKafka } from "../embedded/kafka.ts";
import { freePort } from "../embedded/ports.ts";
import { type RunningProcess, startProcess } from "../embedded/process.ts";
import { retry, sleep } from "../lib/backoff.ts";
import { runTask } from "../lib/cli.ts";
import { fraction, keyOf } from "../lib/coinbase/exchange/hash.ts";
import { startExchange } from "../lib/coinbase/exchange/server.ts";
import { createSimulation } from "../lib/coinbase/exchange/simulation.ts";
import { readConfig } from "../lib/config.ts";
import { migrate } from "../lib/migrations.ts";
import { bar } from "../lib/progress_line.ts";
import { type Proof, proveTape } from "../lib/proof.ts";
import { FatalError } from "../lib/service.ts";
import { nowMicros } from "../lib/time.ts";
import { openWarehouse, warehouseVariables } from "../lib/warehouse.ts";

const root = resolve(import.meta.dirname ?? ".", "..");
const products = ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"];
/** What may be killed. */
const victims = ["producer", "consumer", "backfill", "Kafka", "ClickHouse"] as const;
type Victim = (typeof victims)[number];
/** Nothing takes so long to recover unless it never will. */
const patienceMs = 180_000;

const program = new Command("deno task chaos")
  .description(
    "Kills producer, consumer, backfill, Kafka and ClickHouse at random moments, then proves that every trade is " +
      "stored and counts once.",
  )
  .addOption(new Option("--kills <number>", "how many").default(200).argParser(wholeNumber))
  .addOption(
    new Option("--seed <text>", "another seed: other victims, other moments, another market").default("1"),
  )
  .addOption(
    new Option("--rate <number>", "matches and tickers a second, beside the order books").default(2000)
      .argParser(wholeNumber),
  )
  .option("--out <file>", "write the run's report there, as Markdown")
  .allowExcessArguments(false)
  .exitOverride();

/** One kill. Times are seconds; `recovered` is undefined when the next kill came first. */
interface Kill {
  number: number;
  victim: Victim;
  at: number;
  recovered?: number;
}

/** Resident memory in MiB: when it had run for a while, and at the end. */
interface Memory {
  name: string;
  start: number;
  end: number;
}

interface Run {
  seed: string;
  rate: number;
  date: Date;
  seconds: number;
  versions: string;
  kills: Kill[];
  memory: Memory[];
  proof: Proof;
}

async function main(): Promise<number> {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => stop.signal.aborted ? Deno.exit(130) : stop.abort());
  }
  const home = await Deno.makeTempDir({ prefix: "tapehouse-chaos-" });
  let keep = false;
  try {
    const run = await chaos({ ...options, home, signal: stop.signal });
    printResult(run);
    const proven = run.proof.problems.length === 0;
    keep = !proven;
    if (keep) console.log(`The logs are in ${home}/logs`);
    if (options.out !== undefined) {
      await Deno.writeTextFile(options.out, report(run, options.out));
      // Tables with aligned columns, as the project's format check wants them.
      await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", options.out] }).output();
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

async function chaos(
  { kills: wanted, seed, rate, home, signal }: {
    kills: number;
    seed: string;
    rate: number;
    home: string;
    signal: AbortSignal;
  },
): Promise<Run> {
  const date = new Date();
  let frozenAt: number | undefined;
  const source = createSimulation({ seed, rate, products, clock: () => frozenAt ?? nowMicros() });
  const exchange = await startExchange({ source });
  const kafkaPort = freePort();
  const clickhousePort = freePort();
  const variables: Record<string, string> = {
    COINBASE_WS_URL: exchange.wsUrl,
    COINBASE_REST_URL: exchange.restUrl,
    COINBASE_PRODUCTS: products.join(),
    FEED_SOURCE: "simulator",
    KAFKA_BROKERS: `127.0.0.1:${kafkaPort}`,
    CLICKHOUSE_URL: `http://127.0.0.1:${clickhousePort}`,
    CLICKHOUSE_DATABASE: "chaos",
    BACKFILL_INTERVAL_SECONDS: "1",
  };
  const warehouse = openWarehouse(readConfig(warehouseVariables, (name) => variables[name]));
  const running = new Map<Victim, RunningProcess>();
  /** Processes that ended though nobody had killed them. */
  const died: string[] = [];
  const killing = new Set<RunningProcess>();

  const starts: Record<Victim, () => Promise<RunningProcess>> = {
    Kafka: () =>
      startKafka({ home, port: kafkaPort, jars: `${root}/.tapehouse/kafka/lib-${kafkaVersion}`, signal }),
    ClickHouse: () =>
      startClickHouse({ home, port: clickhousePort, logFile: `${home}/logs/clickhouse.log`, signal }),
    producer: () => startService("producer"),
    consumer: () => startService("consumer"),
    backfill: () => startService("backfill", "--watch"),
  };

  function startService(name: string, ...args: string[]): Promise<RunningProcess> {
    const port = freePort();
    return startProcess({
      name,
      command: Deno.execPath(),
      args: ["run", "-q", `-P=${name}`, `${name}.ts`, ...args],
      cwd: root,
      env: { ...variables, METRICS_PORT: String(port) },
      logFile: `${home}/logs/${name}.log`,
      signal,
      ready: async () => {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`);
        await response.body?.cancel();
        return response.ok;
      },
    });
  }

  async function start(name: Victim): Promise<void> {
    const process = await starts[name]();
    running.set(name, process);
    process.exited.then((status) => {
      if (killing.has(process) || signal.aborted) return;
      died.push(`${name} ended by itself (${status.signal ?? `exit code ${status.code}`})`);
    });
  }

  async function query(statement: string): Promise<Record<string, string>[]> {
    const answer = await warehouse.query({ query: statement, format: "JSONEachRow" });
    return await answer.json();
  }

  /** The newest trade of each product that is stored. */
  async function newest(): Promise<Map<string, number>> {
    const rows = await query(
      "SELECT product_id, max(last_trade_id) AS last FROM trade_runs GROUP BY product_id",
    );
    return new Map(rows.map((row) => [row.product_id ?? "", Number(row.last)]));
  }

  /** Polls; false when it takes longer than `ms`. An error of ClickHouse, which may be down, is a no. */
  async function within(ms: number, probe: () => Promise<boolean>): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (performance.now() < deadline) {
      signal.throwIfAborted();
      if (died.length > 0) throw new FatalError(`${died[0]}, which nobody had asked for.`);
      if (await probe().catch(() => false)) return true;
      await sleep(100, signal);
    }
    return false;
  }

  /** Until a trade that was made from now on is stored, of every product. */
  function recovers(ms: number): Promise<boolean> {
    const marks = new Map(products.map((product) => [product, source.lastTrade(product)]));
    return within(ms, async () => {
      const stored = await newest();
      return [...marks].every(([product, mark]) => (stored.get(product) ?? 0) > mark);
    });
  }

  async function startAll(...names: Victim[]): Promise<void> {
    // All of them, also when one fails: nothing may still be starting when the rest is stopped.
    const failed = (await Promise.allSettled(names.map(start))).find(({ status }) => status === "rejected");
    if (failed) throw (failed as PromiseRejectedResult).reason;
  }

  const display = openDisplay();
  try {
    console.log(`Starting everything in ${home}`);
    await startAll("Kafka", "ClickHouse");
    await retry(() => migrate(readConfig(warehouseVariables, (name) => variables[name]), () => {}), {
      signal,
      onError() {},
    });
    await startAll("consumer", "producer", "backfill");
    if (!await recovers(patienceMs)) throw new FatalError("The tape doesn't run: no trades are stored.");
    const before = await measure(running);

    const kills: Kill[] = [];
    const key = keyOf(seed, "chaos");
    const begun = performance.now();
    display.row(header);
    for (let number = 1; number <= wanted; number++) {
      // Up to three seconds between two kills: in the middle of batches, fills and recoveries.
      await sleep(fraction(key, number * 4) * 3000, signal);
      signal.throwIfAborted();
      const victim = victims[Math.floor(fraction(key, number * 4 + 1) * victims.length)] ?? "consumer";
      const process = running.get(victim);
      if (!process) throw new Error(`${victim} isn't running`);
      const killedAt = performance.now();
      killing.add(process);
      process.kill();
      await process.exited;
      await sleep(fraction(key, number * 4 + 2) * 1000, signal);
      await start(victim);
      const kill: Kill = { number, victim, at: (killedAt - begun) / 1000 };
      // One in four isn't waited for: the next kill hits a system that is still recovering.
      if (number === wanted || fraction(key, number * 4 + 3) >= 0.25) {
        if (!await recovers(patienceMs)) {
          throw new FatalError(`No recovery ${patienceMs / 1000} s after kill ${number}, of ${victim}.`);
        }
        kill.recovered = (performance.now() - killedAt) / 1000;
      }
      kills.push(kill);
      display.row(line(kill), `${bar(number / wanted)} ${number} of ${wanted} kills`);
    }
    display.clear();
    const after = await measure(running);

    frozenAt = nowMicros();
    const settled = await within(patienceMs, async () => {
      const stored = await newest();
      const [holes] = await query("SELECT toString(count()) AS holes FROM trade_gaps");
      return holes?.holes === "0" &&
        products.every((product) => stored.get(product) === source.lastTrade(product));
    });
    // In order, so that what is on its way is written before the proof.
    for (const name of ["producer", "backfill", "consumer"] as const) await end(name);
    const proof = await proveTape(query, source, products);
    proof.problems.unshift(...died);
    if (!settled) proof.problems.unshift(`Not complete ${patienceMs / 1000} s after the market had stopped.`);
    const [version] = await query("SELECT version() AS version");
    const memory = [...before].map(([name, bytes]) => ({ name, start: bytes, end: after.get(name) ?? 0 }));
    const versions =
      `Deno ${Deno.version.deno}, Apache Kafka ${kafkaVersion}, ClickHouse ${version?.version}`;
    return { seed, rate, date, seconds: (performance.now() - begun) / 1000, versions, kills, memory, proof };
  } finally {
    display.clear();
    for (const name of ["producer", "backfill", "consumer", "Kafka", "ClickHouse"] as const) await end(name);
    await warehouse.close();
    await exchange.stop();
  }

  async function end(name: Victim): Promise<void> {
    const process = running.get(name);
    if (!process) return;
    killing.add(process);
    await process.stop();
  }
}

/** Resident memory in MiB by process, this one with the exchange in it included. */
async function measure(running: ReadonlyMap<string, RunningProcess>): Promise<Map<string, number>> {
  const memory = new Map([["chaos and the exchange", Math.round(Deno.memoryUsage().rss / 1048576)]]);
  for (const [name, { pid }] of running) {
    const ps = new Deno.Command("ps", { args: ["-o", "rss=", "-p", String(pid)] });
    memory.set(name, Math.round(Number(new TextDecoder().decode((await ps.output()).stdout)) / 1024));
  }
  return memory;
}

/** Rows, and on a terminal a bar below them. */
function openDisplay() {
  const terminal = Deno.stdout.isTerminal();
  const write = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(text));
  const clear = () => {
    if (terminal) write("\r\x1b[K");
  };
  return {
    clear,
    row(text: string, progress = "") {
      clear();
      write(`${text}\n`);
      if (terminal) write(progress);
    },
  };
}

const header = "   #  killed       at s  recovered after s";

function line({ number, victim, at, recovered }: Kill): string {
  const after = recovered === undefined ? "killed again before that" : recovered.toFixed(1);
  return `${String(number).padStart(4)}  ${victim.padEnd(10)} ${at.toFixed(1).padStart(6)}  ${after}`;
}

function total({ proof: { products } }: Run) {
  const sum = (of: (product: Proof["products"][number]) => number) => products.reduce((n, p) => n + of(p), 0);
  return {
    trades: sum(({ unique }) => unique),
    lost: sum(({ first, made, unique }) => made - first + 1 - unique),
    double: sum(({ trades, unique }) => trades - unique),
    candles: sum(({ candles }) => candles),
  };
}

function summary(run: Run): string {
  const { trades, lost, double, candles } = total(run);
  return `${run.kills.length} kills in ${
    Math.round(run.seconds)
  } s, ${trades} trades: ${lost} lost, ${double} double; ` +
    `${candles} candles compared: ${run.proof.problems.length === 0 ? "all equal" : "NOT PROVEN"}`;
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

function printResult(run: Run): void {
  console.log(`\n${proofHeader.join("  ")}`);
  for (const row of proofRows(run)) console.log(row.join("  "));
  console.log("\nmemory in MiB: process, at the start, at the end");
  for (const { name, start, end } of run.memory) console.log(`${name}  ${start}  ${end}`);
  console.log("");
  for (const problem of run.proof.problems) console.log(`PROBLEM ${problem}`);
  console.log(summary(run));
}

function markdown(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** The run as a page; every figure is the one that was measured. */
function report(run: Run, out: string): string {
  const recoveries = run.kills.flatMap(({ victim, recovered }) =>
    recovered === undefined ? [] : [{ victim, recovered }]
  );
  const byVictim = victims.map((victim) => {
    const times = recoveries.filter((kill) => kill.victim === victim).map(({ recovered }) => recovered).sort((
      a,
      b,
    ) => a - b);
    const at = (part: number) => times[Math.floor((times.length - 1) * part)]?.toFixed(1) ?? "";
    return [victim, run.kills.filter((kill) => kill.victim === victim).length, at(0.5), at(1)];
  });
  return `# What was killed, and what became of the tape

Written by \`deno task chaos --kills ${run.kills.length} --seed ${run.seed} --rate ${run.rate} --out ${out}\`; not edited.

**${summary(run)}**

- ${
    run.date.toISOString().slice(0, 19)
  }Z, ${run.versions}, ${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} cores
- A simulated exchange makes ${run.rate} matches and tickers a second on average, beside order books and heartbeats of
  ${products.join(", ")}; it is never killed, and its numbers of trades are the ledger.
- Each kill is \`kill -9\`, at a moment within 3 s of the last recovery; the victim is started again within a second. After
  one kill in four the next one doesn't wait for the recovery.
- Recovered: a trade made after the victim's new start is stored, of every product.
- At the end the market stops; then the proof: for every product count() = uniqExact(trade_id) = last − first + 1, the last
  id is the exchange's own, every candle of the four views equals the one computed from the exchange's trades in exact
  decimals, no hole in \`trade_gaps\`, \`completeness\` = 1.

The faults that are aimed at one place, such as a death between two steps of a batch, are tests: \`tests/faults/\`.

## The proof

${markdown(proofHeader, proofRows(run))}

${run.proof.problems.map((problem) => `- **problem**: ${problem}`).join("\n") || "No problems."}

## Recovery, in seconds

${markdown(["killed", "times", "median", "longest"], byVictim)}

## Memory, in MiB

${
    markdown(
      ["process", "at the start", "at the end"],
      run.memory.map(({ name, start, end }) => [name, start, end]),
    )
  }

A process that was killed shows the memory of its last life.

## Every kill

${
    markdown(
      ["#", "killed", "at s", "recovered after s"],
      run.kills.map(({ number, victim, at, recovered }) => [
        number,
        victim,
        at.toFixed(1),
        recovered?.toFixed(1) ?? "killed again before that",
      ]),
    )
  }
`;
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= 1 && number <= 1_000_000) return number;
  throw new InvalidArgumentError("Expected a whole number from 1.");
}

await runTask(main);
