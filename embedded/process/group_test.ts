import assert from "node:assert/strict";
import { ConfigError, FatalError } from "../../lib/core/errors.ts";
import { createProcessGroup, type ProcessGroup } from "./group.ts";
import { type ProcessOptions, startProcess } from "./process.ts";
import { startOf } from "./pid_file.ts";
import { until } from "../../tests/support/until.ts";

/** A group in a folder of its own; every start of a process appends its id to the file `starts`. */
interface Stage {
  group: ProcessGroup;
  folder: string;
  /** What the group has said. */
  said: string[];
  /** Starts a process that is ready when its script makes the file `up`. */
  start(script: string): ReturnType<typeof startProcess>;
  options(script: string): ProcessOptions;
  /** The ids of all processes that were started. */
  starts(): number[];
}

const upUntilKilled = "touch up; exec sleep 600";

async function onStage(body: (stage: Stage) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const said: string[] = [];
  const group = createProcessGroup(new AbortController(), `${folder}/logs`, (line) => said.push(line));
  const options = (script: string): ProcessOptions => ({
    name: "child",
    command: "sh",
    args: ["-c", `rm -f up; echo $$ >> starts; ${script}`],
    cwd: folder,
    logFile: `${folder}/logs/child.log`,
  });
  const starts = () => wholeLines(`${folder}/starts`).map(Number);
  const start = (script: string) =>
    group.start("child", () =>
      startProcess({
        ...options(script),
        ready: () => Deno.stat(`${folder}/up`).then(() => true),
        signal: group.stop.signal,
      }));
  try {
    await body({ group, folder, said, start, options, starts });
  } finally {
    await group.stopAll();
    const left = starts().filter((pid) => startOf(pid) !== undefined);
    await Deno.remove(folder, { recursive: true });
    assert.deepEqual(left, [], "left running");
  }
}

/** A file that was just made has none: a shell opens it before it writes. */
function wholeLines(path: string): string[] {
  try {
    return Deno.readTextFileSync(path).split("\n").slice(0, -1);
  } catch {
    return [];
  }
}

/** Kills the process that was started last. */
function killLast(starts: number[]): void {
  const pid = starts.at(-1);
  assert.ok(pid, "nothing was started");
  Deno.kill(pid, "SIGKILL");
}

const alive = (pids: number[]) => pids.filter((pid) => startOf(pid) !== undefined);

Deno.test("process group: a process is started again however fast and often it is killed, one at a time", () =>
  onStage(async ({ group, said, start, starts }) => {
    await start(upUntilKilled);
    for (let kills = 1; kills <= 4; kills++) {
      killLast(starts());
      await until(`start ${kills + 1}`, () => starts().length === kills + 1);
      assert.ok(alive(starts()).length <= 1, "no two at once");
    }
    assert.equal(group.failure, undefined);
    assert.equal(said.length, 4);
    assert.equal(said[0], "child ended (SIGKILL); starting it again");
  }));

Deno.test("process group: a process that is killed before it is ready, at its first start and later, is started again", () =>
  onStage(async ({ group, folder, said, start, starts }) => {
    // Up only once the file `go` is there.
    const started = start("while ! [ -e go ]; do sleep 0.01; done; touch up; exec sleep 600");
    for (let kills = 1; kills <= 3; kills++) {
      await until(`start ${kills}`, () => starts().length === kills);
      killLast(starts());
    }
    Deno.writeTextFileSync(`${folder}/go`, "");
    const { pid } = await started;
    assert.equal(starts().length, 4);
    assert.equal(pid, starts().at(-1));
    Deno.removeSync(`${folder}/go`);
    for (let kills = 4; kills <= 5; kills++) {
      await until(`start ${kills}`, () => starts().length === kills);
      killLast(starts());
    }
    await until("another start", () => starts().length === 6);
    assert.equal(group.failure, undefined);
    assert.equal(said[0], "child ended before it was ready (signal SIGKILL); starting it again");
  }));

Deno.test("process group: what never comes up is given up after five tries, with its last words and its log's place", () =>
  onStage(async ({ folder, start, starts }) => {
    await assert.rejects(start("echo no memory >&2; exit 1"), (error) => {
      assert.ok(error instanceof FatalError);
      assert.equal(
        error.message,
        "child never came up: it ended before it was ready (exit code 1), 5 times. It said: no memory. " +
          `Its log ${folder}/logs/child.log says more.`,
      );
      return true;
    });
    assert.equal(starts().length, 5);
  }));

Deno.test("process group: exit code 2 says that the configuration is wrong and ends everything, at the first start and later", async () => {
  const complaint = 'echo \'{"level":"error","message":"A=1: expected b"}\' >&2; exit 2';
  await onStage(async ({ start, starts }) => {
    await assert.rejects(start(complaint), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^child: A=1: expected b\. Its log \S+child\.log says more\.$/);
      return true;
    });
    assert.equal(starts().length, 1);
  });
  await onStage(async ({ group, start, starts }) => {
    await start(`if [ $(wc -l < starts) = 2 ]; then ${complaint}; fi; ${upUntilKilled}`);
    killLast(starts());
    await until("the group is told to stop", () => group.stop.signal.aborted);
    assert.ok(group.failure instanceof ConfigError);
    assert.equal(starts().length, 2);
  });
});

Deno.test("process group: a reason of ours ends the first start, and is waited out later", () =>
  onStage(async ({ group, said, options, folder, starts }) => {
    await assert.rejects(group.start("child", () => Promise.reject(new FatalError("Port 1 is held"))), {
      message: "Port 1 is held",
    });
    let held = 0;
    await group.start("child", () => {
      if (starts().length === 1 && held++ < 2) return Promise.reject(new FatalError("Port 1 is held"));
      return startProcess({
        ...options(upUntilKilled),
        ready: () => Deno.stat(`${folder}/up`).then(() => true),
      });
    });
    killLast(starts());
    await until("a second start", () => starts().length === 2);
    assert.deepEqual(said.slice(0, 2), [
      "child ended (SIGKILL); starting it again",
      "child can't be started (Port 1 is held); starting it again in 0.25 s",
    ]);
  }));

Deno.test("process group: nothing is left of a process that was just being started again when all were stopped", () =>
  onStage(async ({ group, folder, start, starts }) => {
    await start("[ -e again ] && exec sleep 600; touch up; exec sleep 600");
    Deno.writeTextFileSync(`${folder}/again`, "");
    killLast(starts());
    await until("a second start", () => starts().length === 2);
    await group.stopAll();
    assert.deepEqual(alive(starts()), []);
    assert.equal(group.failure, undefined);
  }));

Deno.test("process group: a program that is to run to its end is run again when it is killed, and not when it fails", () =>
  onStage(async ({ group, options, starts }) => {
    const run = group.run(options("[ $(wc -l < starts) = 3 ] && exit 5; exec sleep 600"));
    for (let kills = 1; kills <= 2; kills++) {
      await until(`start ${kills}`, () => starts().length === kills);
      killLast(starts());
    }
    assert.equal((await run).code, 5);
    const stopped = group.run(options("exec sleep 600"));
    await until("another start", () => starts().length === 4);
    group.stop.abort();
    await assert.rejects(stopped, { name: "AbortError" });
    assert.deepEqual(alive(starts()), []);
  }));
