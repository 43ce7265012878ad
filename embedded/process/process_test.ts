import assert from "node:assert/strict";
import { type ProcessOptions, startProcess } from "./process.ts";
import { startOf } from "./pid_file.ts";
import { until } from "../../tests/support/until.ts";

const thisModule = new URL("./process.ts", import.meta.url).href;

/** Runs `body` with a folder that is removed afterwards. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function shell(folder: string, script: string): ProcessOptions {
  return { name: "child", command: "sh", args: ["-c", script], logFile: `${folder}/logs/child.log` };
}

const exists = (path: string) => () => Deno.stat(path).then(() => true);
const read = (path: string) => {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
};

/** A Deno process that owns a child; the child is up when it has made the file `up`, owned when `owned` holds its id. */
function spawnOwner(folder: string, script: string): Deno.ChildProcess {
  const options = { ...shell(folder, script), pidFile: `${folder}/child.pid` };
  const source = `import { startProcess } from ${JSON.stringify(thisModule)};
    const child = await startProcess({ ...${JSON.stringify(options)},
      ready: () => Deno.stat(${JSON.stringify(`${folder}/up`)}).then(() => true) });
    Deno.writeTextFileSync(${JSON.stringify(`${folder}/owned`)}, String(child.pid));
    await child.exited;`;
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", source],
    stdin: "null",
    detached: true,
  }).spawn();
}

Deno.test("process: it is ready when its first request succeeds, and stop() lets it finish by itself", () =>
  inFolder(async (folder) => {
    const running = await startProcess({
      ...shell(
        folder,
        `trap 'echo bye; exit 3' TERM; echo hello $NAME; touch up; while :; do sleep 0.05; done`,
      ),
      env: { NAME: "world" },
      cwd: folder,
      ready: exists(`${folder}/up`),
    });
    assert.notEqual(startOf(running.pid), undefined);
    await Promise.all([running.stop(), running.stop()]);
    await running.stop();
    assert.equal((await running.exited).code, 3);
    assert.equal(startOf(running.pid), undefined);
    assert.equal(read(`${folder}/logs/child.log`), "hello world\nbye\n");
    running.kill();
  }));

Deno.test("process: one that ignores SIGTERM is killed when its time is over", () =>
  inFolder(async (folder) => {
    const running = await startProcess({
      ...shell(folder, `trap '' TERM; touch ${folder}/up; while :; do sleep 0.05; done`),
      ready: exists(`${folder}/up`),
      stopTimeoutMs: 200,
    });
    await running.stop();
    assert.equal((await running.exited).signal, "SIGKILL");
  }));

Deno.test("process: one that ends too early is reported with the last lines of this run and the log's path", () =>
  inFolder(async (folder) => {
    const start = (script: string) =>
      startProcess({ ...shell(folder, script), ready: () => Promise.resolve(false) });
    await assert.rejects(start("echo first run; exit 1"), /first run$/);
    await assert.rejects(
      start("for n in $(seq 1 20); do echo line $n; done; echo broken >&2; exit 7"),
      (error) => {
        assert.ok(error instanceof Error);
        const [first, ...lines] = error.message.split("\n");
        assert.equal(
          first,
          `child ended before it was ready (exit code 7). The last lines of ${folder}/logs/child.log:`,
        );
        assert.deepEqual(lines, [...Array(11).keys()].map((n) => `line ${n + 10}`).concat("broken"));
        return true;
      },
    );
    await assert.rejects(
      start("kill -9 $$"),
      /\(signal SIGKILL\)\. Its log \S+child\.log is empty\.$/,
    );
  }));

Deno.test("process: a program that doesn't exist is reported by name", () =>
  inFolder(async (folder) => {
    await assert.rejects(
      startProcess({
        ...shell(folder, ""),
        command: "no-such-program",
        ready: () => Promise.resolve(false),
      }),
      /exit code 127.*\n.*no-such-program.*not found/,
    );
  }));

Deno.test("process: one that doesn't get ready in time is ended, even when the question itself hangs", () =>
  inFolder(async (folder) => {
    const pidFile = `${folder}/child.pid`;
    let pid = NaN;
    await assert.rejects(
      startProcess({
        ...shell(folder, "exec sleep 600"),
        pidFile,
        ready: () => {
          pid = JSON.parse(read(pidFile)).pid;
          assert.ok(startOf(pid), "it runs while it is asked");
          return new Promise(() => {});
        },
        readyTimeoutMs: 500,
      }),
      /^FatalError: child wasn't ready after 0.5 s and was stopped\. Its log .*child\.log is empty\.$/,
    );
    assert.ok(pid > 0);
    assert.equal(startOf(pid), undefined);
  }));

Deno.test("process: a start can be given up by a signal", () =>
  inFolder(async (folder) => {
    const controller = new AbortController();
    const start = startProcess({
      ...shell(folder, `echo $$ > ${folder}/pid; exec sleep 600`),
      ready: () => {
        if (read(`${folder}/pid`) !== "") controller.abort(new Error("Ctrl-C"));
        return Promise.resolve(false);
      },
      signal: controller.signal,
    });
    await assert.rejects(start, { message: "Ctrl-C" });
    assert.equal(startOf(Number(read(`${folder}/pid`))), undefined);
  }));

Deno.test("process: a start that is given up before it asks for the first time ends at once", () =>
  inFolder(async (folder) => {
    const controller = new AbortController();
    const start = startProcess({
      ...shell(folder, `echo $$ > ${folder}/pid; exec sleep 600`),
      ready: () => assert.fail("it was asked"),
      // No timeout of it ends the wait: a hang is a hang.
      readyTimeoutMs: 600_000,
      signal: controller.signal,
    });
    controller.abort(new Error("Ctrl-C"));
    await assert.rejects(start, { message: "Ctrl-C" });
  }));

Deno.test("process: a log of more than 50 MB is moved aside at the start", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/logs`);
    await Deno.writeTextFile(`${folder}/logs/child.log`, "old\n");
    await Deno.truncate(`${folder}/logs/child.log`, 50 * 1024 * 1024 + 1);
    const running = await startProcess(shell(folder, "echo new"));
    await running.exited;
    assert.equal(read(`${folder}/logs/child.log`), "new\n");
    assert.equal((await Deno.stat(`${folder}/logs/child.log.1`)).size, 50 * 1024 * 1024 + 1);
  }));

Deno.test("process: a Ctrl-C for the owner's process group doesn't reach the child", () =>
  inFolder(async (folder) => {
    const owner = spawnOwner(
      folder,
      `trap 'echo interrupted' INT; touch ${folder}/up; while :; do sleep 0.05; done`,
    );
    await until("the owner has its child", () => read(`${folder}/owned`) !== "");
    // Negative: the whole group, as a terminal does it. The owner, which doesn't catch it, dies of it.
    Deno.kill(-owner.pid, "SIGINT");
    assert.equal((await owner.status).signal, "SIGINT");
    await until("the child is gone", () => startOf(Number(read(`${folder}/owned`))) === undefined);
    assert.equal(read(`${folder}/logs/child.log`), "");
  }));

Deno.test("process: when the owner is killed with -9, the child gets its SIGTERM and finishes", () =>
  inFolder(async (folder) => {
    const owner = spawnOwner(
      folder,
      `trap 'echo ended; exit' TERM; touch ${folder}/up; while :; do sleep 0.05; done`,
    );
    await until("the owner has its child", () => read(`${folder}/owned`) !== "");
    owner.kill("SIGKILL");
    await owner.status;
    await until("the child is gone", () => startOf(Number(read(`${folder}/owned`))) === undefined);
    assert.equal(read(`${folder}/logs/child.log`), "ended\n");
  }));

Deno.test("process: a start ends what an owner that was killed left over, before it starts its own", () =>
  inFolder(async (folder) => {
    // This child doesn't heed SIGTERM, so it outlives its owner until the next start or its guard kills it.
    const owner = spawnOwner(folder, `trap '' TERM; touch ${folder}/up; while :; do sleep 0.05; done`);
    await until("the owner has its child", () => read(`${folder}/owned`) !== "");
    const leftOver = Number(read(`${folder}/owned`));
    owner.kill("SIGKILL");
    await owner.status;
    assert.notEqual(startOf(leftOver), undefined);
    const pidFile = `${folder}/child.pid`;
    const running = await startProcess({ ...shell(folder, "exec sleep 600"), pidFile, stopTimeoutMs: 200 });
    assert.equal(startOf(leftOver), undefined);
    assert.equal(JSON.parse(read(pidFile)).pid, running.pid);
    await running.stop();
    assert.equal(read(pidFile), "");
  }));

Deno.test("process: one whose owner lives isn't touched by a second start", () =>
  inFolder(async (folder) => {
    const options = { ...shell(folder, "exec sleep 600"), pidFile: `${folder}/child.pid` };
    const first = await startProcess(options);
    await assert.rejects(startProcess(options), {
      message: `child already runs here as process ${first.pid}, started by process ${Deno.pid} ` +
        `(${options.pidFile}). Stop that one first, or set TAPEHOUSE_HOME to another folder.`,
    });
    assert.notEqual(startOf(first.pid), undefined);
    await first.stop();
  }));

Deno.test("process: a pid file whose process id belongs to somebody else by now is ignored", () =>
  inFolder(async (folder) => {
    const stranger = new Deno.Command("sleep", { args: ["600"] }).spawn();
    const pidFile = `${folder}/child.pid`;
    const record = { pid: stranger.pid, started: "another time", owner: 1, ownerStarted: "another time" };
    await Deno.writeTextFile(pidFile, JSON.stringify(record));
    const running = await startProcess({ ...shell(folder, "exec sleep 600"), pidFile });
    await running.stop();
    await Deno.writeTextFile(pidFile, '{"pid": 1');
    await (await startProcess({ ...shell(folder, "exec sleep 600"), pidFile })).stop();
    assert.notEqual(startOf(stranger.pid), undefined);
    stranger.kill("SIGKILL");
    await stranger.status;
  }));
