/**
 * The command line of `deno task dev`.
 *
 * @module
 */

import { Command, Option } from "@commander-js/extra-typings";
import { duration } from "../../lib/core/options.ts";

export const program = new Command("deno task dev")
  .description(
    "Run the whole tape on this machine: exchange → producer → Kafka → consumer → ClickHouse → page.",
  )
  .option("--simulate", "a simulated exchange, even when Coinbase can be reached")
  .addOption(
    new Option("--replay <file>", "replay a recording (NDJSON) as the exchange").conflicts("simulate"),
  )
  .option("--speed <factor>", "times as fast as recorded, or max (with --replay)")
  .option("--once", "end the replay after the recording instead of looping (with --replay)")
  .addOption(
    new Option("--rate <number>", "trades and tickers a second of the simulated exchange").conflicts(
      "replay",
    ),
  )
  .addOption(new Option("--seed <text>", "another seed, another simulated market").conflicts("replay"))
  .addOption(
    new Option(
      "--history <duration>",
      "fetch the trades of so long first (default: 1h of the simulated market, none with --rate)",
    )
      .argParser(duration).conflicts("replay"),
  )
  .option("--for <duration>", "stop after this long: 30s, 5m, 2h", duration)
  .allowExcessArguments(false)
  .exitOverride();

export type Options = ReturnType<typeof program.opts>;
