/**
 * `deno task chaos` in short: every fault that it knows, at random moments.
 *
 * @module
 */

import assert from "node:assert/strict";
import { root } from "../support/tape.ts";

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

Deno.test("chaos: with each fault at least once, two producers and two consumers, nothing is lost or double, and no process stays", async () => {
  const out = await Deno.makeTempFile({ suffix: ".md" });
  try {
    const { code, stdout, stderr } = await chaos([
      ...["--kills", "8"],
      ...["--seed", "2"],
      ...["--rate", "200"],
      ...["--out", out],
    ]);
    assert.equal(code, 0, stdout + stderr);
    const events = [...stdout.matchAll(/^ +\d+ {2}(\w+) +[\d.]+ {2}(?:[\d.]+|not waited for) +\S.*$/gm)];
    const names = new Set(events.map(([, fault]) => fault));
    const wanted = ["kill", "burst", "power", "topic", "retention", "clock"];
    const isSkipped = stdout.includes("clock is skipped: libfaketime isn't installed");
    assert.deepEqual(
      [...names].toSorted(),
      wanted.filter((name) => name !== "clock" || !isSkipped).toSorted(),
      stdout,
    );
    const summary =
      /^(\d+) kills in \d+ s, (\d+) trades: 0 lost, 0 double; (\d+) candles compared: all equal$/m.exec(
        stdout,
      );
    assert.ok(summary, stdout);
    assert.ok(Number(summary[1]) >= 8 && Number(summary[2]) > 1000 && Number(summary[3]) > 0, stdout);
    assert.match(
      stdout,
      /^A witness saw \d{2,} of tickers, \d{2,} of heartbeats, \d{2,} of book_changes, .*: none double/m,
    );
    assert.equal(
      (await Deno.readTextFile(out)).match(/^\| \d+ +\| \w+ +\| [\d.]+ +\| .* \|$/gm)?.length,
      events.length,
    );
    await assertNothingLeft(stdout);
  } finally {
    await Deno.remove(out);
  }
});

Deno.test("chaos: Ctrl-C ends it with exit code 130, and no process and no file stays", async () => {
  const { code, stdout } = await chaos(["--kills", "1000", "--rate", "200"], (line, pid) => {
    if (line.includes("recovered after")) Deno.kill(pid, "SIGINT");
  });
  assert.equal(code, 130, stdout);
  await assertNothingLeft(stdout);
});

Deno.test("chaos: a wrong argument is one line and exit code 2", async () => {
  const { code, stderr } = await chaos(["--kills", "many"]);
  assert.equal(code, 2);
  assert.match(stderr, /--kills.*many.*whole number/);
  const other = await chaos(["--faults", "kill,flood"]);
  assert.equal(other.code, 2);
  assert.match(other.stderr, /"flood" is no fault\. Expected names of kill, burst, power/);
});
