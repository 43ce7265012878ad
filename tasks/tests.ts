/**
 * `deno task test`: formatting, lint, types, then every test; arguments are handed to `deno test`. Ends with a line
 * `N passed, N failed, N skipped`, in which each check counts as one test.
 *
 * @module
 */

/** The embedded ClickHouse has a deno.json of its own. */
const clickhouse = ["--config", "embedded/clickhouse/deno.json"];
const checks: [string, string[]][] = [
  ["formatted", ["fmt", "--check"]],
  ["linted", ["lint"]],
  ["typed", [
    "check",
    "lib",
    "tasks",
    "tests",
    "producer.ts",
    "consumer.ts",
    "backfill.ts",
    "api.ts",
    "embedded/kafka.ts",
    "embedded/s3.ts",
    "embedded/clickhouse.ts",
  ]],
  // By itself: with the page in the same run, the browser's names would be known to the services too.
  ["page typed", ["check", "web"]],
  ["embedded ClickHouse typed", ["check", ...clickhouse, "embedded/clickhouse/server.ts"]],
];

let passed = 0;
let failed = 0;
const failures: string[] = [];
for (const [name, args] of checks) {
  console.log(`\n── ${name}: deno ${args.join(" ")}`);
  if (await deno(args) === 0) {
    passed++;
  } else {
    failed++;
    failures.push(name);
  }
}

console.log("\n── tests");
const { code, output } = await denoTee(["test", "-A", "--permit-no-files", ...Deno.args]);
const summary = /(\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed(?: \(\d+ steps?\))?(?: \| (\d+) ignored)?/
  .exec(output);
passed += Number(summary?.[1] ?? 0);
failed += Number(summary?.[2] ?? 0);
const skipped = Number(summary?.[3] ?? 0);
// A type error, a leak or a crash of the runner fails without a failed test.
if (code !== 0 && Number(summary?.[2] ?? 0) === 0) {
  failed++;
  failures.push("deno test itself");
}

for (const name of failures) console.log(`failed: ${name}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
Deno.exit(failed > 0 || code !== 0 ? 1 : 0);

async function deno(args: string[]): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  });
  return (await command.spawn().status).code;
}

/** Runs deno, shows what it prints as it comes, and returns it too, without colours. */
async function denoTee(args: string[]): Promise<{ code: number; output: string }> {
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "inherit" })
    .spawn();
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    await Deno.stdout.write(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  // deno-lint-ignore no-control-regex
  return { code: (await child.status).code, output: output.replace(/\x1b\[[\d;]*m/g, "") };
}
