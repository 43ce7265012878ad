/**
 * The entrypoints started from a folder that isn't the project's, as a service manager does it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { freePort } from "../../embedded/process/ports.ts";
import { run } from "../support/dev_run.ts";
import { type Skip, testUnless } from "../support/skip.ts";
import { root } from "../support/tape.ts";

const away = { KAFKA_BROKERS: "127.0.0.1:1", CLICKHOUSE_URL: "http://127.0.0.1:1" };
const services = {
  producer: ["producer.ts"],
  consumer: ["consumer.ts"],
  backfill: ["backfill.ts", "--watch"],
  rollup: ["rollup.ts", "--watch"],
  api: ["api.ts"],
};
const ports = () => ({ METRICS_PORT: String(freePort()), API_PORT: String(freePort()) });

Deno.test("start anywhere: every service starts from another folder, whose .env it says that it doesn't read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/.env`, "CLICKHOUSE_DATABASE=elsewhere\nLOG_LEVEL=error\n");
    for (const [name, [file, ...args]] of Object.entries(services)) {
      const env = { ...away, ...ports(), LOG_LEVEL: "debug" };
      const service = run(
        [`-P=${name}`, "--config", `${root}deno.json`, `${root}${file}`, ...args],
        env,
        folder,
      );
      await service.line(/"level":"debug".*"\.env is not read","service":"\w+","reason":"no permission/);
      await service.line(/"message":"started"/);
      service.kill("SIGTERM");
      assert.equal(await service.code, 0, service.text());
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Every task that needs no server to say something of its own, and what it says. */
const tasks: [string, string[], RegExp][] = [
  ["migrate", ["tasks/migrate.ts", "--status"], /ClickHouse at http:\/\/127\.0\.0\.1:1 \(CLICKHOUSE_URL\)/],
  ["topics", ["tasks/topics.ts", "--dry-run"], /Kafka at 127\.0\.0\.1:1 \(KAFKA_BROKERS\)/],
  ["doctor", ["tasks/doctor.ts"], /✓ environment +every variable is valid/],
  ["stats", ["tasks/stats.ts", "--date", "2026-01-01"], /ClickHouse at http:\/\/127\.0\.0\.1:1/],
  ["query", ["tasks/query.ts"], /^candles +\S/m],
  ["archive", ["tasks/archive.ts", "--date", "2026-01-01"], /S3_ENDPOINT.* aren't set/],
  ["backup", ["tasks/backup.ts", "--list"], /S3_ENDPOINT.* aren't set/],
  ["restore", ["tasks/restore.ts", "--date", "2026-01-01"], /S3_ENDPOINT.* aren't set/],
  ["replay", ["tasks/replay.ts", "--help"], /Usage: deno task replay/],
  ["record", ["tasks/record.ts", "--help"], /Usage: deno task record/],
  ["exchange", ["tasks/exchange.ts", "--help"], /Usage: deno task exchange/],
];

Deno.test("start anywhere: every task starts from another folder", async () => {
  for (const [name, [file, ...args], expected] of tasks) {
    const task = run([`-P=${name}`, `${root}${file}`, ...args], away, "/");
    await task.code;
    assert.match(task.text(), expected);
    assert.doesNotMatch(task.text(), /NotCapable/);
  }
});

/** A shell whose mounts are its own: where the project and the user's caches lie, nothing can be written. */
const readOnly =
  'for folder in / "$1" "$HOME"; do mount -o remount,ro,bind "$(stat -c %m "$folder")" || exit; done; ' +
  'shift; ! touch "$HOME/x" 2>/dev/null && cd / && exec "$@"';
const mounts = new Deno.Command("unshare", {
  args: ["-m", "sh", "-c", readOnly, "sh", root, "true"],
  stdout: "null",
  stderr: "null",
});
const noMounts: Skip | undefined = await mounts.output().then(({ success }) => success, () => false)
  ? undefined
  : { reason: "unshare -m isn't allowed here", avoidable: false };

testUnless("start anywhere: every service starts on a read-only file system", noMounts, async () => {
  for (const [name, [file = "", ...args]] of Object.entries(services)) {
    const command = new Deno.Command("unshare", {
      args: [
        ...["-m", "sh", "-c", readOnly, "sh", root, Deno.execPath(), "run", "-q", `-P=${name}`],
        ...[`${root}${file}`, ...args],
      ],
      env: { ...away, ...ports() },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
    const service = command.spawn();
    let text = "";
    let told = false;
    for await (const chunk of service.stderr.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      // Once: it may end while the rest of its lines is still being read.
      if (told || !text.includes('"message":"started"')) continue;
      service.kill("SIGTERM");
      told = true;
    }
    assert.equal((await service.status).code, 0, text);
  }
});

Deno.test("start anywhere: a bundle finds sql/ beside itself or one folder up, from any folder", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.symlink(`${root}sql`, `${folder}/sql`);
    for (const place of ["query.js", "dist/query.js"]) {
      const bundle = new Deno.Command(Deno.execPath(), {
        args: ["bundle", "-q", "--output", `${folder}/${place}`, "tasks/query.ts"],
        cwd: root,
        stderr: "piped",
      });
      const { success, stderr } = await bundle.output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const query = run(["-A", `${folder}/${place}`], {}, "/");
      assert.equal(await query.code, 0, query.text());
      assert.match(query.text(), /^candles +\S/m);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
