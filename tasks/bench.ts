/**
 * `deno task bench`: measures, and prints what it measured. A subcommand each; the code is in lib/bench/.
 *
 * @module
 */

import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { kafkaVersion } from "../embedded/kafka.ts";
import { benchAnalytics } from "../lib/bench/analytics.ts";
import { benchApi } from "../lib/bench/api.ts";
import { benchStream, streamLoads } from "../lib/bench/stream.ts";
import { runTask } from "../lib/cli.ts";

const program = new Command("deno task bench")
  .description("Measure a part of tapehouse on this machine.")
  .exitOverride();

program.command("api")
  .description("/api/ohlc under load, over a database of its own")
  .option("--rate <number>", "requests a second", positive, 200)
  .option("--seconds <number>", "how long each case runs", positive, 30)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ rate, seconds }) => benchApi({ perSecond: rate, seconds }));

program.command("analytics")
  .description("candles of a year, and the order book over millions of changes")
  .option("--changes <number>", "book changes", positive, 50_000_000)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ changes }) => benchAnalytics(changes));

program.command("stream")
  .description("20 stream clients at 2,000 messages a second and 500 at 1,000, in batches and one by one")
  .allowExcessArguments(false)
  .exitOverride()
  .action(() =>
    benchStream(streamLoads, {
      jars: `.tapehouse/kafka/lib-${kafkaVersion}`,
      onFigures: (figures) => console.log(JSON.stringify(figures)),
    })
  );

await runTask(async () => {
  await program.parseAsync(Deno.args, { from: "user" });
});

function positive(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a whole number above 0");
}
