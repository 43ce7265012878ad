/**
 * `deno task chaos` in short: everything but the exchange is killed at random moments.
 *
 * @module
 */

import assert from "node:assert/strict";
import { root } from "../tape.ts";

/** Runs the task; `onLine` sees each line of stdout as it comes. */
async function chaos(args: string[], onLine = (_line: string, _pid: number) => {}) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "tasks/chaos.ts", ...args],
    cwd: root,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  let stdout = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const from = stdout.lastIndexOf("\n") + 1;
    stdout += text;
    for (const line of stdout.slice(from).split("\n").slice(0, -1)) onLine(line, child.pid);
  }
  return { code: (await child.status).code, stdout, stderr: await stderr };
}

async function assertNothingLeft(stdout: string): Promise<void> {
  const home = /^Starting everything in (\S+)$/m.exec(stdout)?.[1] ?? "";
  assert.match(home, /tapehouse-chaos-/);
  await assert.rejects(Deno.stat(home), Deno.errors.NotFound);
  const processes = await new Deno.Command("ps", { args: ["-eo", "args"] }).output();
  assert.ok(!new TextDecoder().decode(processes.stdout).includes(home), "no process of it is left");
}

Deno.test("producer, consumer, backfill, Kafka and ClickHouse are killed at random: nothing is lost or double", async () => {
  const out = await Deno.makeTempFile({ suffix: ".md" });
  try {
    const { code, stdout, stderr } = await chaos([
      "--kills",
      "8",
      "--seed",
      "2",
      "--rate",
      "400",
      "--out",
      out,
    ]);
    assert.equal(code, 0, stdout + stderr);
    const kills = stdout.match(/^ +\d+ {2}(producer|consumer|backfill|Kafka|ClickHouse) .*$/gm) ?? [];
    assert.equal(kills.length, 8, stdout);
    assert.match(
      stdout,
      /^8 kills in \d+ s, \d{4,} trades: 0 lost, 0 double; \d+ candles compared: all equal$/m,
    );
    const report = await Deno.readTextFile(out);
    assert.equal(report.match(/^\| \d+ +\| \w+ +\| [\d.]+ +\| .* \|$/gm)?.length, 8);
    await assertNothingLeft(stdout);
  } finally {
    await Deno.remove(out);
  }
});

Deno.test("Ctrl-C ends the chaos: exit code 130, no process and no file stays", async () => {
  const { code, stdout } = await chaos(["--kills", "1000", "--rate", "200"], (line, pid) => {
    if (line.includes("recovered after")) Deno.kill(pid, "SIGINT");
  });
  assert.equal(code, 130, stdout);
  await assertNothingLeft(stdout);
});

Deno.test("a wrong argument is one line and exit code 2", async () => {
  const { code, stderr } = await chaos(["--kills", "many"]);
  assert.equal(code, 2);
  assert.match(stderr, /--kills.*many.*whole number/);
});
