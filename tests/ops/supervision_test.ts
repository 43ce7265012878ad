/**
 * `deno task dev` whose processes are killed, and how it ends: by Ctrl-C in a terminal, with the terminal, by kill -9.
 *
 * @module
 */

import assert from "node:assert/strict";
import {
  ask,
  installJars,
  pidOf,
  processesOf,
  processWords as words,
  run,
  runInTerminal,
  withHome,
} from "../support/dev_run.ts";
import { type Skip, testUnless } from "../support/skip.ts";
import { until } from "../support/until.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { sleep } from "../../lib/core/retry.ts";
import { root } from "../support/tape.ts";

Deno.test.beforeAll(installJars);

type Env = Record<string, string>;
const homeOf = (env: Env) => env.TAPEHOUSE_HOME ?? "";
const simulate = ["-A", "tasks/dev.ts", "--simulate", "--history", "1s"];

/** Kills the process as soon as there is one, ready or not. */
async function kill(env: Env, name: keyof typeof words, besides?: number): Promise<number> {
  let pid: number | undefined;
  await until(`a process of ${name} to kill`, () => {
    pid = pidOf(homeOf(env), words[name]);
    return pid !== undefined && pid !== besides;
  });
  Deno.kill(pid!, "SIGKILL");
  return pid!;
}

/** Waits until trades are stored that were made from now on. */
async function goesOn(env: Env): Promise<void> {
  const now = Date.now() * 1000;
  await until("new trades in ClickHouse", async () => {
    const query =
      `SELECT count() > 0 FROM trades WHERE received_at > fromUnixTimestamp64Micro(${now}, 'UTC')`;
    return await ask(env, query).catch(() => "") === "1";
  });
}

/** Each trade once, and each process. */
async function isWhole(env: Env): Promise<void> {
  await goesOn(env);
  assert.equal(await ask(env, "SELECT count() = uniqExact(product_id, trade_id) FROM trades"), "1");
  for (const [name, text] of Object.entries(words)) {
    const found = processesOf(homeOf(env)).filter((line) => line.includes(text) && !/^\d+ sh -c /.test(line));
    assert.equal(found.length, 1, `${name}: ${found.join("\n")}`);
  }
}

Deno.test("dev: it never ends by itself, though everything is killed, while it starts, within a second, and before it is ready again", () =>
  withHome(async (env) => {
    const dev = run(simulate, env);
    // While dev itself is starting.
    let clickhouse = 0;
    await Promise.all([kill(env, "Kafka"), kill(env, "ClickHouse").then((pid) => clickhouse = pid)]);
    await kill(env, "ClickHouse", clickhouse);
    await kill(env, "exchange");
    let consumer = await kill(env, "consumer");
    await dev.line(/^everything is up/);
    await dev.line(/^first candle/);
    await isWhole(env);

    // Three kills as fast as there is something to kill, then two more while it comes back.
    for (let kills = 0; kills < 3; kills++) consumer = await kill(env, "consumer", consumer);
    await goesOn(env);
    for (let kills = 0; kills < 2; kills++) consumer = await kill(env, "consumer", consumer);
    await kill(env, "producer");
    const kafka = await kill(env, "Kafka");
    await kill(env, "Kafka", kafka);
    clickhouse = await kill(env, "ClickHouse");
    await kill(env, "ClickHouse", clickhouse);
    await kill(env, "exchange");
    await isWhole(env);
    assert.match(dev.text(), /^consumer ended before it was ready \(signal SIGKILL\); starting it again in/m);

    // As a terminal and `deno task` do it.
    dev.kill("SIGINT");
    dev.kill("SIGINT");
    assert.equal(await dev.code, 0, dev.text());
  }));

Deno.test("dev: SIGHUP and SIGTERM at once stop everything in order; exit code 0", () =>
  withHome(async (env) => {
    const dev = run(simulate, env);
    await dev.line(/^everything is up/);
    for (const signal of ["SIGHUP", "SIGTERM", "SIGHUP"] as const) dev.kill(signal);
    assert.equal(await dev.code, 0, dev.text());
    assert.equal(dev.text().match(/^stopping$/gm)?.length, 1, dev.text());
    assert.match(await Deno.readTextFile(`${homeOf(env)}/logs/consumer.log`), /"message":"stopped"/);
  }));

Deno.test("dev: a stop while everything is being started leaves nothing; exit code 0", () =>
  withHome(async (env) => {
    for (const sign of ["A SIMULATED EXCHANGE", "migrations applied"]) {
      const dev = run(simulate, env);
      await dev.line(new RegExp(sign));
      dev.kill("SIGINT");
      dev.kill("SIGINT");
      assert.equal(await dev.code, 0, dev.text());
      assert.deepEqual(processesOf(homeOf(env)), []);
    }
  }));

Deno.test("dev: a service that calls its configuration wrong ends it with that line; exit code 2", () =>
  withHome(async (env) => {
    const [flag = "", file = "", ...options] = simulate;
    // From another folder, too.
    const dev = run([flag, `${root}${file}`, ...options], { ...env, API_HOST: "0.0.0.0" }, "/");
    assert.equal(await dev.code, 2, dev.text());
    const [line] = dev.text().trim().split("\n").slice(-1);
    assert.match(
      line ?? "",
      /^api: API_HOST=0\.0\.0\.0: others can reach this address.* Its log \S+api\.log/,
    );
  }));

Deno.test("dev: killed with -9, its processes end; the next run ends what is left, and goes on", () =>
  withHome(async (env) => {
    const first = run(simulate, env);
    await first.line(/^first candle/);
    // One that doesn't hear its SIGTERM stays behind for a while.
    const consumer = pidOf(homeOf(env), words.consumer)!;
    Deno.kill(consumer, "SIGSTOP");
    first.kill("SIGKILL");
    await first.code;
    const second = run(simulate, env);
    await second.line(/^first candle/);
    await isWhole(env);
    assert.notEqual(pidOf(homeOf(env), words.consumer), consumer);
    second.kill("SIGKILL");
    await second.code;
    await until("the end of all its processes", () => processesOf(homeOf(env)).length === 0);
  }));

const noTerminal: Skip | undefined = Deno.build.os === "linux"
  ? undefined
  : { reason: "script(1) of util-linux makes the terminal", avoidable: false };
const task = `'${Deno.execPath()}' task dev --simulate --history 1s`;
// Without `deno task`, which dies of the SIGINT itself when it gets its turn only once `dev` has ended.
const dev = `exec '${Deno.execPath()}' run -q ${simulate.join(" ")}`;

testUnless(
  "dev: in a terminal one Ctrl-C ends it with 0, and nothing is left",
  noTerminal,
  () =>
    withHome(async (env) => {
      const terminal = runInTerminal(dev, env);
      await terminal.line(/everything is up/);
      await terminal.line(/frames\/s/);
      await terminal.type("\x03");
      assert.equal(await terminal.code, 0, terminal.text());
      assert.match(terminal.text(), /stopping[^]*stopped\s*$/);
    }),
);

testUnless(
  "dev: in a terminal one Ctrl-C that `deno task` passes on late is still one, and ends it with 0",
  noTerminal,
  () =>
    withHome(async (env) => {
      // A shell that waits for it in between: script(1) itself would stop with the one that it runs.
      const terminal = runInTerminal(`trap : INT; ${task}; exit $?`, env);
      await terminal.line(/everything is up/);
      const producer = pidOf(homeOf(env), words.producer)!;
      const line = processesOf(homeOf(env)).find((line) => /^\d+ \S+ task dev /.test(line));
      assert.ok(line, "no `deno task dev` runs");
      const starved = Number.parseInt(line);
      Deno.kill(starved, "SIGSTOP");
      // Whose stop takes longer than one press may.
      Deno.kill(producer, "SIGSTOP");
      await terminal.type("\x03");
      await terminal.line(/stopping/);
      await sleep(4000);
      Deno.kill(starved, "SIGCONT");
      await sleep(1000);
      Deno.kill(producer, "SIGCONT");
      assert.equal(await terminal.code, 0, terminal.text());
    }),
);

testUnless(
  "dev: in a terminal Ctrl-C again and again after three seconds forces, and nothing stays",
  noTerminal,
  () =>
    withHome(async (env) => {
      const terminal = runInTerminal(`exec ${task}`, env);
      await terminal.line(/everything is up/);
      // The first one can't have its effect: a child is asleep.
      Deno.kill(pidOf(homeOf(env), words.producer)!, "SIGSTOP");
      await terminal.type("\x03");
      // As a person does: again, until it has its effect.
      const presses = setInterval(() => terminal.type("\x03").catch(() => {}), 1200);
      const code = await terminal.code;
      clearInterval(presses);
      assert.equal(code, 130, terminal.text());
      await until("the end of all its processes", () => processesOf(homeOf(env)).length === 0);
    }),
);

testUnless(
  "dev: when its terminal is closed, everything stops, and nothing is left",
  noTerminal,
  () =>
    withHome(async (env) => {
      const terminal = runInTerminal(`exec ${task}`, env);
      await terminal.line(/everything is up/);
      await terminal.line(/frames\/s/);
      terminal.kill("SIGKILL");
      await until("the end of all its processes", () => processesOf(homeOf(env)).length === 0);
      // In order: the consumer has left its group rather than been killed.
      const log = await Deno.readTextFile(`${homeOf(env)}/logs/consumer.log`);
      assert.match(log, /"message":"stopped"/);
    }),
);

Deno.test("services: in each two Ctrl-C at once are one, and so are two SIGTERM; exit code 0", async () => {
  const away = { KAFKA_BROKERS: "127.0.0.1:1", CLICKHOUSE_URL: "http://127.0.0.1:1" };
  const services: [string, string[]][] = [
    ["producer", ["producer.ts"]],
    ["consumer", ["consumer.ts"]],
    ["backfill", ["backfill.ts", "--watch"]],
    ["rollup", ["rollup.ts", "--watch"]],
    ["api", ["api.ts"]],
  ];
  for (const [name, args] of services) {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const env = { ...away, METRICS_PORT: String(freePort()), API_PORT: String(freePort()) };
      const service = run([`-P=${name}`, ...args], env);
      await service.line(/"message":"started"/);
      service.kill(signal);
      service.kill(signal);
      assert.equal(await service.code, 0, service.text());
      assert.equal(service.text().match(/"message":"stopping"/g)?.length, 1, service.text());
    }
  }
});
