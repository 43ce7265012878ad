/**
 * `deno task doctor`: is all well, and if not, what to do. A line a check.
 *
 * Exit codes: 0 all is well or there are only warnings, 1 there is trouble, 2 wrong arguments.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { runTask } from "../lib/cli.ts";
import { render, runChecks } from "../lib/doctor.ts";
import { createChecks } from "../lib/doctor_checks.ts";

const program = new Command("deno task doctor")
  .description(
    "Check broker, topics, consumer, ClickHouse, data and disk; say what to do (exit code 1: trouble).",
  )
  .option(
    "--json",
    'one object: {"ok":bool,"checks":[{"name","status":"ok|warning|trouble","found","advice"}]}',
  )
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const { json } = program.parse(Deno.args, { from: "user" }).opts();
  const checks = await runChecks(createChecks());
  const ok = checks.every(({ status }) => status !== "trouble");
  if (json) console.log(JSON.stringify({ ok, checks }));
  else await Deno.stdout.write(new TextEncoder().encode(render(checks)));
  return ok ? 0 : 1;
});
