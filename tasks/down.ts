/**
 * `deno task down`: stops what `deno task up` started. The data stays, unless `--volumes` is given.
 *
 * Exit codes: 0 stopped, 1 Docker is missing or refused, 2 wrong arguments or not confirmed.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { checkDocker, docker, hashes, passwords } from "./up.ts";

/** Deletes for good; so it's asked, and where nobody can answer the answer is no. */
function confirmed(): boolean {
  return Deno.stdin.isTerminal() &&
    prompt('This deletes everything stored: the topics, the trades, the candles. Type "delete" to go on:') ===
      "delete";
}

async function main(): Promise<number> {
  const program = new Command()
    .name("deno task down")
    .description("Stops what deno task up started; the data stays.")
    .option("--volumes", "also delete the data: topics, trades, candles, everything")
    .option("--yes", "don't ask before deleting")
    .allowExcessArguments(false)
    .exitOverride((error) => Deno.exit(error.exitCode === 0 ? 0 : 2));
  const { volumes, yes } = program.parse(Deno.args, { from: "user" }).opts();

  const problem = await checkDocker();
  if (problem) {
    console.error(problem);
    return 1;
  }
  if (volumes && !yes && !confirmed()) {
    console.error("Nothing was stopped or deleted: --volumes needs a confirmation, or --yes");
    return 2;
  }
  // compose.yaml refuses to be read without passwords, but stopping needs none: .env may be gone.
  const unused = Object.fromEntries([...passwords, ...Object.values(hashes)].map((name) => [name, "unused"]));
  const args = ["compose", "down", "--remove-orphans", ...(volumes ? ["--volumes"] : [])];
  const code = await docker(args, unused);
  if (code !== 0) console.error(`"docker ${args.join(" ")}" failed with exit code ${code}: see above`);
  return code === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
