/**
 * `deno task doctor`: is all well, and if not, what to do. A line a check.
 *
 * Exit codes: 0 all is well or there are only warnings, 1 there is trouble, 2 wrong arguments.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { runTask } from "../lib/process/task.ts";
import { readConfig, simulatedNames } from "../lib/process/config.ts";
import { render, runChecks } from "../lib/ops/doctor.ts";
import { createChecks } from "../lib/ops/doctor_checks.ts";

const program = new Command("deno task doctor")
  .description(
    "Check broker, topics, consumer, ClickHouse, data and disk; say what to do (exit code 1: trouble).",
  )
  .option(
    "--json",
    'one object: {"ok":bool,"checks":[{"name","status":"ok|warning|trouble","found","advice"}]}',
  )
  .option("--simulated", "look at market_sim, the simulated data of `deno task dev`")
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const { json, simulated } = program.parse(Deno.args, { from: "user" }).opts();
  if (simulated) {
    const config = readConfig(["KAFKA_TOPIC", "KAFKA_LEVEL2_TOPIC", "KAFKA_GROUP"]);
    for (const [name, value] of Object.entries(simulatedNames(config))) Deno.env.set(name, value);
  }
  const checks = await runChecks(createChecks());
  const ok = checks.every(({ status }) => status !== "trouble");
  if (json) console.log(JSON.stringify({ ok, checks }));
  else await Deno.stdout.write(new TextEncoder().encode(render(checks)));
  return ok ? 0 : 1;
});
