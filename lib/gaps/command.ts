/**
 * The command line of backfill.ts.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { longDuration, moment } from "../core/options.ts";

const command = new Command("deno task backfill")
  .description(
    "Fills the gaps of the tape from Coinbase's REST. Without options: once, until none is left.",
  )
  .addOption(new Option("--watch", "go on for ever, as a service").conflicts(["product", "wait"]))
  .addOption(new Option("--no-wait", "don't wait until the trades are stored"))
  .option("--product <id>", "history of this product, with --from", productId)
  .option("--from <time>", "the first moment, such as 2026-07-01 or 2026-07-01T12:00Z", moment)
  .option("--to <time>", "the moment behind the last; when absent, up to what is stored, or now", moment)
  .addOption(
    new Option("--timeout <duration>", "end with exit code 1 when nothing has moved for so long")
      .default(120_000, "2m").argParser(longDuration),
  )
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Killed and started again it goes on where it was. What REST proves not to have is asked for again by --watch, ever
more rarely, for 30 days; --product --from --to asks at once. A gap of more than BACKFILL_MAX_GAP trades is filled
only by --product --from --to. docs/completeness.md tells more.
Exit codes: 0 no gap is left that the exchange serves, 1 some are, 2 wrong arguments or variables.`,
  );

/** What a run is to do. */
export type BackfillOptions = ReturnType<typeof readOptions>;

/** @throws {CommanderError} having said what is wrong */
export function readOptions(args: string[]) {
  const { product, from, to, ...others } = command.parse(args, { from: "user" }).opts();
  if (product === undefined && (from !== undefined || to !== undefined)) {
    command.error("error: --from and --to need --product ID");
  }
  if (product !== undefined && from === undefined) command.error("error: --product needs --from TIME");
  if (from !== undefined && to !== undefined && from >= to) {
    command.error("error: --from must be before --to");
  }
  const history = product === undefined || from === undefined ? undefined : { product, from, to };
  return { ...others, history };
}

function productId(text: string): string {
  if (/^[A-Z0-9]+-[A-Z0-9]+$/.test(text)) return text;
  throw new InvalidArgumentError("Expected a product id such as BTC-USD.");
}
