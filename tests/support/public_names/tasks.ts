/**
 * The tasks with their arguments and options, as `--help` of each says them; the example queries with their parameters; and
 * what `deno task doctor --json` answers.
 *
 * @module
 */

import deno from "../../../deno.json" with { type: "json" };
import { readQueries } from "../../../lib/clickhouse/examples.ts";
import { root } from "../tape.ts";
import { fieldsOfValue } from "./json_fields.ts";

/** These take no options of their own, and do their work whatever they are told. */
const withoutOptions = ["check", "test", "producer", "consumer", "api", "web", "screenshots", "clickhouse"];

/** `deno task NAME` and, for each option, command and argument, `deno task NAME --option <value>`. */
export async function taskNames(): Promise<string[]> {
  const names: string[] = [];
  for (const [task, { command }] of Object.entries(deno.tasks)) {
    const name = `deno task ${task}`;
    names.push(name);
    if (!withoutOptions.includes(task)) names.push(...await optionsOf(name, command.split(" ").slice(1)));
  }
  return names.sort();
}

/** Those of a task's help, and of its commands' helps. */
async function optionsOf(name: string, args: string[]): Promise<string[]> {
  const { code, text } = await run([...args, "--help"]);
  if (code !== 0 || !text.startsWith("Usage: ")) {
    throw new Error(`${name} --help: exit code ${code}\n${text}`);
  }
  const names: string[] = [];
  for (const section of text.split(/^(?=[A-Z]\w+:$)/m).slice(1)) {
    const isOptions = section.startsWith("Options:");
    const isCommands = section.startsWith("Commands:");
    // Two spaces, what it is called, two spaces, what it does.
    for (const [, called = ""] of section.matchAll(/^ {2}(\S.*?)(?: {2}|$)/gm)) {
      // Behind the options there may be examples.
      if (/^(?:-h, --)?help\b/.test(called) || (isOptions && !called.startsWith("-"))) continue;
      const [command = ""] = called.split(" ");
      names.push(`${name} ${isCommands ? command : called}`);
      if (isCommands) names.push(...await optionsOf(`${name} ${command}`, [...args, command]));
    }
  }
  return names;
}

/** `deno task query NAME parameter Type` */
export async function queryNames(): Promise<string[]> {
  return (await readQueries()).flatMap(({ name, parameters }) => [
    `deno task query ${name}`,
    ...parameters.map((parameter) => `deno task query ${name} ${parameter.name} ${parameter.type}`),
  ]);
}

/** The names of the checks, and the fields of the answer. */
export async function doctorNames(): Promise<string[]> {
  // What the checks find doesn't matter.
  const nowhere = "127.0.0.1:1";
  const { text } = await run(["run", "-q", "-P=doctor", "tasks/doctor.ts", "--json"], {
    KAFKA_BROKERS: nowhere,
    CLICKHOUSE_URL: `http://${nowhere}`,
    COINBASE_REST_URL: `http://${nowhere}`,
    COINBASE_WS_URL: `ws://${nowhere}`,
  });
  const answer = JSON.parse(text) as { checks: { name: string }[] };
  return [...fieldsOfValue(answer), ...answer.checks.map(({ name }) => `checks[].name=${name}`)];
}

async function run(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; text: string }> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
    stderr: "inherit",
  }).output();
  return { code, text: new TextDecoder().decode(stdout) };
}
