/**
 * `deno task mutate`: breaks the code in one place after the other (tests/support/mutations.ts), in a copy, and runs the test that
 * must notice. Exits with 1 when a change survives.
 *
 * @module
 */

import "../tests/support/clean_environment.ts";
import { Command } from "@commander-js/extra-typings";
import { dirname } from "node:path";
import { runTask } from "../lib/process/task.ts";
import { FatalError } from "../lib/core/errors.ts";
import { readSummary } from "./test_run.ts";
import { type Mutation, mutations } from "../tests/support/mutations.ts";
import { root } from "../tests/support/tape.ts";

const program = new Command("deno task mutate")
  .description("Break the code in one place after the other, and see that a test notices.")
  .option("--only <text>", "only changes whose name has this text")
  .allowExcessArguments(false)
  .exitOverride();

/** A test that takes longer hangs, which is noticed too. */
const hangMs = 5 * 60_000;

await runTask(async () => {
  const { only = "" } = program.parse(Deno.args, { from: "user" }).opts();
  const chosen = mutations.filter(({ name }) => name.includes(only));
  if (chosen.length === 0) {
    throw new FatalError(`--only ${only}: no change of tests/support/mutations.ts has such a name`);
  }
  const copy = await copyOfTree();
  const survivors: string[] = [];
  try {
    for (const [i, mutation] of chosen.entries()) {
      const since = performance.now();
      const verdict = await tryOut(mutation, copy);
      if (verdict !== "noticed") survivors.push(`${mutation.name}: ${verdict}`);
      const seconds = ((performance.now() - since) / 1000).toFixed(1);
      console.log(`${i + 1}/${chosen.length} ${verdict}: ${mutation.name} (${mutation.file}, ${seconds} s)`);
    }
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
  console.log(`${chosen.length - survivors.length} noticed, ${survivors.length} not`);
  if (survivors.length > 0) throw new FatalError(survivors.join("\n"));
});

/** The project's files as git knows them, changed ones as they are; downloads are shared. */
async function copyOfTree(): Promise<string> {
  const copy = `${await Deno.makeTempDir({ prefix: "tapehouse-mutate-" })}/`;
  const git = new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: root,
  });
  const { success, stdout } = await git.output();
  if (!success) throw new FatalError("the files can't be listed: expected a clone with git");
  for (const path of new TextDecoder().decode(stdout).split("\0").filter(Boolean)) {
    await Deno.mkdir(dirname(copy + path), { recursive: true });
    await Deno.copyFile(root + path, copy + path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
  await Deno.mkdir(`${root}.tapehouse`, { recursive: true });
  await Deno.symlink(`${root}.tapehouse`, `${copy}.tapehouse`);
  return copy;
}

type Verdict = "noticed" | "SURVIVED" | "NO SUCH TEST";

async function tryOut(
  { file, find, replace, test: [testFile, testName] }: Mutation,
  copy: string,
): Promise<Verdict> {
  const text = await Deno.readTextFile(copy + file);
  await Deno.writeTextFile(copy + file, text.replace(find, () => replace));
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), hangMs);
  try {
    const test = new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", `--filter=${testName}`, testFile],
      cwd: copy,
      signal: abort.signal,
      stdin: "null",
      stderr: "null",
    });
    const { success, stdout } = await test.output();
    const counts = readSummary(new TextDecoder().decode(stdout));
    if (!success) return "noticed";
    return counts === undefined || counts.passed === 0 ? "NO SUCH TEST" : "SURVIVED";
  } finally {
    clearTimeout(timer);
    await Deno.writeTextFile(copy + file, text);
  }
}
