/**
 * The command line of rollup.ts.
 *
 * @module
 */

import { Command, Option } from "@commander-js/extra-typings";
import { moment } from "../core/options.ts";
import { nowMicros } from "../core/time.ts";
import type { Span } from "./rollup.ts";

/** What a run is to do. */
export interface RollupArguments {
  /** Go on for ever. */
  watch: boolean;
  /** Fill this again. */
  again?: Span;
}

const command = new Command("deno task rollup")
  .description(
    "Fills book_depth_1s and anomalies. Without options: once, for what is due, at most a day back.",
  )
  .addOption(new Option("--watch", "go on for ever, as a service").conflicts(["from", "to"]))
  .option("--from <time>", "fill again from this moment on, such as 2026-07-01 or 2026-07-01T12:00Z", moment)
  .option(
    "--to <time>",
    "up to this moment; when absent, now. Anomalies are always searched until now",
    moment,
  )
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Killed and started again it goes on where it was; what is filled again is the same, once.
Exit codes: 0 all that is due is filled, 1 it isn't, 2 wrong arguments or variables.`,
  );

/** @throws {CommanderError} having said what is wrong */
export function readArguments(args: string[]): RollupArguments {
  const { watch = false, from, to } = command.parse(args, { from: "user" }).opts();
  if (from === undefined && to !== undefined) command.error("error: --to needs --from TIME");
  if (from === undefined) return { watch };
  const again = { from, to: Math.min(to ?? Infinity, nowMicros()) };
  if (again.from >= again.to) command.error("error: --from must be in the past, and before --to");
  return { watch, again };
}
