import assert from "node:assert/strict";
import { testUnless } from "../../tests/support/skip.ts";
import { type Heard, type Meaning, meaningOf } from "./stop_signal.ts";

Deno.test("stop signal: what a signal means, given what came before it", () => {
  const cases: [Deno.Signal, Heard | undefined, Meaning][] = [
    ["SIGINT", undefined, "stop"],
    ["SIGTERM", undefined, "stop"],
    ["SIGHUP", undefined, "stop"],
    // The terminal's own and those that `deno task` passes on, at once or late.
    ["SIGINT", { turns: 0, late: 0 }, "again"],
    ["SIGINT", { turns: 29, late: 0 }, "again"],
    ["SIGINT", { turns: 30, late: 0 }, "again"],
    ["SIGINT", { turns: 30, late: 1 }, "again"],
    ["SIGINT", { turns: 30, late: 2 }, "force"],
    // Service managers, `timeout` and a guard may repeat themselves: they force with SIGKILL.
    ["SIGTERM", { turns: 30, late: 2 }, "again"],
    ["SIGHUP", { turns: 30, late: 2 }, "again"],
  ];
  for (const [signal, heard, expected] of cases) {
    assert.equal(meaningOf(signal, heard), expected, `${signal} after ${JSON.stringify(heard)}`);
  }
});

const stopSignal = new URL("./stop_signal.ts", import.meta.url).href;
const output = new URL("./output.ts", import.meta.url).href;

/** A process that stops in order within `stopMs`, and says so in its exit code, 7. */
function stoppable(stopMs: number): { args: string[]; stdin: "null"; stdout: "piped"; stderr: "inherit" } {
  const source = `import { stopOnSignal } from ${JSON.stringify(stopSignal)};
    import { tolerateLostOutput } from ${JSON.stringify(output)};
    tolerateLostOutput();
    const { signal } = stopOnSignal({ onStop: (name) => console.log("stopping", name) });
    signal.addEventListener("abort", () => setTimeout(() => { console.log("stopped"); Deno.exit(7); }, ${stopMs}));
    setInterval(() => {}, 1000);
    console.log("up");`;
  return { args: ["eval", "--no-lock", source], stdin: "null", stdout: "piped", stderr: "inherit" };
}

/** Starts it, waits until it is up, and hands it over with a reader of its lines. */
async function withProcess(
  command: string,
  options: Deno.CommandOptions,
  body: (process: Deno.ChildProcess, line: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const process = new Deno.Command(command, { ...options, detached: true }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const line = async (wanted: string) => {
    while (!text.includes(wanted)) {
      const { value, done } = await reader.read();
      assert.ok(!done, `ended without "${wanted}": ${text}`);
      text += value;
    }
  };
  try {
    await line("up");
    await body(process, line);
  } finally {
    try {
      Deno.kill(-process.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    await process.status;
    await reader.cancel().catch(() => {});
  }
}

Deno.test("stop signal: SIGINT, SIGTERM or SIGHUP, told twice at once, stop in order", async () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    await withProcess(Deno.execPath(), stoppable(100), async (process) => {
      process.kill(signal);
      process.kill(signal);
      assert.equal((await process.status).code, 7, signal);
    });
  }
});

Deno.test("stop signal: Ctrl-C again and again after three seconds forces; late ones of one press, and SIGTERM, don't", async () => {
  await withProcess(Deno.execPath(), stoppable(600_000), async (process, line) => {
    process.kill("SIGINT");
    await line("stopping SIGINT");
    // As a person does: again and again, until it has its effect.
    const presses = setInterval(() => process.kill("SIGINT"), 1100);
    const { code } = await process.status;
    clearInterval(presses);
    assert.equal(code, 130);
  });
  // What follows at once is the same press, also when the process was too busy to hear either.
  await withProcess(Deno.execPath(), stoppable(4000), async (process, line) => {
    process.kill("SIGINT");
    await line("stopping SIGINT");
    process.kill("SIGSTOP");
    await new Promise((done) => setTimeout(done, 3500));
    process.kill("SIGINT");
    process.kill("SIGCONT");
    assert.equal((await process.status).code, 7);
  });
  // Passed on by somebody who was starved: still the one press.
  await withProcess(Deno.execPath(), stoppable(5000), async (process, line) => {
    process.kill("SIGINT");
    await line("stopping SIGINT");
    for (const afterMs of [3500, 500]) {
      await new Promise((done) => setTimeout(done, afterMs));
      process.kill("SIGINT");
    }
    assert.equal((await process.status).code, 7);
  });
  await withProcess(Deno.execPath(), stoppable(4000), async (process, line) => {
    process.kill("SIGTERM");
    await line("stopping SIGTERM");
    await new Promise((done) => setTimeout(done, 3300));
    process.kill("SIGTERM");
    process.kill("SIGHUP");
    assert.equal((await process.status).code, 7);
  });
});

/** A shell starts what it puts into the background with SIGQUIT ignored; that can't be undone here. */
const ignoresQuit = Deno.build.os === "linux" &&
  (BigInt(`0x${/^SigIgn:\s*(\w+)$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1]}`) & 4n) !== 0n;
const noQuit = ignoresQuit
  ? { reason: "SIGQUIT is ignored, as in the background", avoidable: false }
  : undefined;

testUnless(
  "stop signal: SIGQUIT is left to the system",
  noQuit,
  () =>
    withProcess(Deno.execPath(), stoppable(100), async (process) => {
      process.kill("SIGQUIT");
      assert.equal((await process.status).signal, "SIGQUIT");
    }),
);

Deno.test("stop signal: nohup's wish is kept", async () => {
  const { args, ...options } = stoppable(100);
  await withProcess("nohup", { args: [Deno.execPath(), ...args], ...options }, async (process, line) => {
    process.kill("SIGHUP");
    process.kill("SIGTERM");
    await line("stopping SIGTERM");
    assert.equal((await process.status).code, 7);
  });
});

Deno.test("output: a process whose reader has gone stops in order all the same", async () => {
  const process = new Deno.Command(Deno.execPath(), { ...stoppable(100) }).spawn();
  const reader = process.stdout.getReader();
  await reader.read();
  await reader.cancel();
  process.kill("SIGTERM");
  assert.equal((await process.status).code, 7);
});
