/**
 * `deno task exchange`: a Coinbase Exchange on this machine, simulated or replayed from a recording.
 *
 * Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 it can't be started, 2 wrong arguments.
 *
 * @module
 */

import { Command, Option } from "@commander-js/extra-typings";
import { createReplay } from "../exchange/replayed_recording.ts";
import { type ExchangeOptions, startExchange } from "../exchange/server.ts";
import { createSimulation, type SimulationOptions } from "../exchange/simulation.ts";
import type { Source } from "../exchange/source.ts";
import { RecordingError } from "../lib/recording/recording.ts";
import { runTask } from "../lib/process/task.ts";
import { aborted } from "../lib/core/retry.ts";
import { duration, positiveNumber, speed, wholeNumber } from "../lib/core/options.ts";
import { FatalError } from "../lib/core/errors.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";

const statusMs = 5000;

const program = new Command("deno task exchange")
  .description("A Coinbase Exchange on this machine: WebSocket feed and REST, simulated or replayed.")
  .addOption(
    new Option("--port <port>", "port on 127.0.0.1, 0 takes a free one").default(8765).argParser(
      wholeNumber(0, 65535),
    ),
  )
  .addOption(new Option("--seed <text>", "another seed, another market").conflicts("replay"))
  .addOption(
    new Option("--products <ids>", "products to list, separated by commas").conflicts("replay")
      .argParser((text) => text.split(",").map((id) => id.trim()).filter((id) => id !== "")),
  )
  .addOption(
    new Option("--rate <number>", "matches and tickers a second, over all products").conflicts("replay")
      .argParser(positiveNumber),
  )
  .option("--replay <file>", "play a recording: NDJSON, one frame a line, plain or .gz")
  .option("--speed <number>", "times as fast as recorded, or max (with --replay)", speed)
  .option("--once", "fall silent after the recording instead of beginning again (with --replay)")
  .option("--drop-every <duration>", "close all connections every so often, such as 5s", duration)
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
More faults while it runs, for example:
  curl -d '{"swallowTrades":3}' http://127.0.0.1:8765/_exchange/faults
What was made and sent:
  curl http://127.0.0.1:8765/_exchange/ledger`,
  );

async function main(): Promise<void> {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  if (options.replay === undefined && (options.speed !== undefined || options.once)) {
    program.error("error: --speed and --once need --replay FILE");
  }
  const exchange = await start({ port: options.port, source: await openSource(options) });
  if (options.dropEvery !== undefined) exchange.faults.inject({ dropEverySeconds: options.dropEvery / 1000 });

  // Whoever reads the URLs may stop us at once: listen before they are printed.
  const stopped = interrupted();
  const what = options.replay === undefined ? "SIMULATED" : "REPLAYED";
  console.log(`*** ${what} DATA: this is not Coinbase, and these are not today's prices ***`);
  console.log(`COINBASE_WS_URL=${exchange.wsUrl}`);
  console.log(`COINBASE_REST_URL=${exchange.restUrl}`);

  let before = 0;
  const status = Deno.stdout.isTerminal() ? setInterval(printStatus, statusMs) : undefined;
  await stopped;
  clearInterval(status);
  await exchange.stop();

  function printStatus() {
    const { sent } = exchange.ledger.report();
    const total = Object.values(sent).flatMap((byType) => Object.values(byType)).reduce((a, b) => a + b, 0);
    const rate = Math.round((total - before) / statusMs * 1000);
    before = total;
    console.log(`${exchange.connections()} connected, ${rate} messages/s, ${total} messages in all`);
  }
}

async function start(options: ExchangeOptions) {
  try {
    return await startExchange(options);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new FatalError(
      `Port ${options.port} is in use: stop what holds it or choose another with --port`,
    );
  }
}

async function openSource(options: ReturnType<typeof program.opts>): Promise<Source> {
  try {
    if (options.replay !== undefined) {
      return await createReplay(options.replay, { speed: options.speed ?? 1, once: options.once ?? false });
    }
    const simulation: SimulationOptions = {};
    if (options.seed !== undefined) simulation.seed = options.seed;
    if (options.products) simulation.products = options.products;
    if (options.rate !== undefined) simulation.rate = options.rate;
    return createSimulation(simulation);
  } catch (error) {
    if (error instanceof RecordingError) throw new FatalError(error.message);
    if (error instanceof RangeError) program.error(`error: ${error.message}`);
    throw error;
  }
}

function interrupted(): Promise<void> {
  const { signal } = stopOnSignal();
  return aborted(signal);
}

await runTask(main);
