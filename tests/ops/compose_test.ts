/**
 * compose.yaml, the Dockerfile and what is mounted, checked as far as it goes without a Docker engine:
 * by the Compose project's own loader (`docker compose config`, or compose-go built with Go), by running the
 * Dockerfile's commands on the image's files with an empty cache, by ClickHouse itself (chDB) for its users, and by
 * SeaweedFS itself. `deno task up` and `down` are run against a stand-in for the docker command, which shows what they
 * ask for, not that Docker does it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { parse } from "yaml";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { startProcess } from "../../embedded/process/process.ts";
import { createApp } from "../../lib/api/app.ts";
import { openReadClient } from "../../lib/api/read_client.ts";
import { createReadiness } from "../../lib/api/readiness.ts";
import { archiveDay, dropDay } from "../../lib/archive/archive_day.ts";
import { createBackup } from "../../lib/archive/backup.ts";
import { restoreBackup } from "../../lib/archive/backup_restore.ts";
import { archivedTableNames } from "../../lib/archive/manifest.ts";
import { restoreDay } from "../../lib/archive/restore_day.ts";
import { type Config, type Variable, variables } from "../../lib/process/config.ts";
import {
  describeEngine,
  readEngineStatements,
  readEngineTables,
  waitForNoKafkaEngine,
} from "../../lib/clickhouse/kafka_engine.ts";
import { createLogger } from "../../lib/process/log.ts";
import { createRegistry, serveMetrics } from "../../lib/process/metrics_server.ts";
import { migrate, waitForSchema } from "../../lib/clickhouse/migrations.ts";
import { readMigrations } from "../../lib/clickhouse/sql_files.ts";
import { setRetention } from "../../lib/clickhouse/retention.ts";
import { rollUp } from "../../lib/ops/rollup.ts";
import { reconcile } from "../../lib/ingest/reconcile.ts";
import { openS3 } from "../../lib/archive/s3.ts";
import { BatchWriter } from "../../lib/ingest/batch_writer.ts";
import { parseInterval } from "../../lib/core/interval.ts";
import {
  loadAnomalies,
  loadBook,
  loadHistory,
  loadLastMatch,
  loadLastTrade,
  loadProducts,
  loadRuns,
  loadTicker,
} from "../../lib/stream/snapshots.ts";
import { nowMicros } from "../../lib/core/time.ts";
import { readGaps, readGivenUp, recordGivenUp } from "../../lib/gaps/trade_gaps.ts";
import { compactTradeRuns } from "../../lib/ingest/trade_runs.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { generatePassword, hashes, mounted, passwords } from "../../tasks/up.ts";
import { configOf } from "../support/config.ts";
import { openAppOptions } from "../support/app_options.ts";
import { program as seaweedfs, whyNoS3 } from "../support/s3.ts";
import { simulatedTape } from "../support/simulated_tape.ts";
import { type Skip, testUnless } from "../support/skip.ts";

interface Service {
  image?: string;
  build?: string;
  pull_policy?: string;
  mem_limit?: string;
  networks?: string[];
  profiles?: string[];
  command?: string[];
  entrypoint?: string[];
  environment?: Record<string, string | null>;
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[]; interval?: string; start_interval?: string };
  restart?: string;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  stop_grace_period?: string;
}

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

const root = join(import.meta.dirname ?? ".", "../..");
const text = await Deno.readTextFile(join(root, "compose.yaml"));
const compose: {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  networks: Record<string, unknown>;
} = parse(text, { merge: true });
const services = Object.entries(compose.services);
const ours = services.filter(([, { image }]) => image === "tapehouse:local");
/** A service is started by `up`; the others are named to `docker compose run`. */
const started = ours.filter(([, { profiles }]) => !profiles);
const users = await Deno.readTextFile(join(root, "deploy/compose/clickhouse/users.xml"));
const deno: {
  permissions?: Record<string, { env?: boolean | string[] }>;
  tasks?: Record<string, unknown>;
} = JSON.parse(await Deno.readTextFile(join(root, "deno.json")));

const ignored = (await Deno.readTextFile(join(root, ".dockerignore"))).split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"));
/** What .dockerignore lets into the image, and which tasks that are. */
const allowed = ignored.filter((rule) => rule.startsWith("!")).map((rule) => rule.slice(1));
const imageTasks = allowed.flatMap((rule) => /^tasks\/(\w+)\.ts$/.exec(rule)?.[1] ?? []);

/** In these no variable of lib/process/config.ts is meant: the images' own names. */
const foreign: Record<string, string[]> = {
  "redpanda-console": ["KAFKA_BROKERS", "REDPANDA_ADMINAPI_ENABLED", "REDPANDA_ADMINAPI_URLS"],
  clickhouse: ["CLICKHOUSE_SKIP_USER_SETUP", ...Object.values(hashes)],
  seaweedfs: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
};

async function run(command: string, args: string[], options: Deno.CommandOptions = {}): Promise<Outcome> {
  const output = await new Deno.Command(command, { stdin: "null", ...options, args }).output();
  const decoder = new TextDecoder();
  return { code: output.code, stdout: decoder.decode(output.stdout), stderr: decoder.decode(output.stderr) };
}

/** Whether a command can be run and ends well. */
async function works(command: string, ...args: string[]): Promise<boolean> {
  try {
    return (await run(command, args)).code === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function inFolder(fn: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await fn(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

// ---- compose.yaml by its own words ----

Deno.test("compose: every published port is bound to the loopback address, and none twice", () => {
  const ports = services.flatMap(([, { ports }]) => ports ?? []);
  for (const port of ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/);
  const published = ports.map((port) => port.split(":")[1]);
  assert.equal(new Set(published).size, published.length, String(published));
  assert(published.length > 0);
});

Deno.test("compose: nothing gets into the image but what .dockerignore names", () => {
  assert.equal(ignored[0], "*");
  assert.deepEqual(ignored.filter((rule) => !rule.startsWith("!")), ["*", "web/dist", "**/*_test.ts"]);
  assert.deepEqual(ignored.slice(-2), ["web/dist", "**/*_test.ts"]);
});

Deno.test("compose: every image is pinned to a full version", async () => {
  const dockerfile = await Deno.readTextFile(join(root, "Dockerfile"));
  const from = [...dockerfile.matchAll(/^FROM (\S*[:.]\S*)/gm)].map((match) => match[1] ?? "");
  const images = services.filter((service) => !ours.includes(service)).map(([, { image }]) => image ?? "");
  // SeaweedFS numbers its releases with two parts.
  for (const image of [...from, ...images]) {
    assert.match(image, /:v?\d+\.\d+\.\d+(\.\d+)?$|seaweedfs:\d+\.\d+$/);
  }
  assert(from.length > 0 && images.length === 4, String([from, images]));
});

Deno.test("compose: no password stands in compose.yaml, each comes from a variable that must be set", () => {
  const names = services.flatMap(([, { environment }]) =>
    Object.entries(environment ?? {}).filter(([name]) => /PASSWORD|SHA256|SECRET|TOKEN|_KEY/.test(name)).map(
      ([, value]) => {
        const name = /^\$\{([A-Z0-9_]+):\?[^}]*deno task up[^}]*\}$/.exec(value ?? "")?.[1];
        assert(name, `expected \${NAME:?message}: ${value}`);
        return name;
      },
    )
  );
  // No service logs in as `dashboards`: people do.
  const used = passwords.filter((name) => name !== "CLICKHOUSE_DASHBOARDS_PASSWORD");
  assert.deepEqual(new Set(names), new Set([...used, ...Object.values(hashes)]));
});

Deno.test("compose: every service has a health check, but for those that run once", () => {
  const once = new Set(
    services.flatMap(([, { depends_on }]) =>
      Object.entries(depends_on ?? {}).filter(([, { condition }]) =>
        condition === "service_completed_successfully"
      )
        .map(([name]) => name)
    ),
  );
  assert.deepEqual(once, new Set(["migrate", "topics"]));
  for (const [name, { healthcheck, restart, profiles }] of services) {
    const runsOnce = once.has(name) || profiles !== undefined;
    // The Console is a nicety, for which \`up --wait\` must not fail.
    assert.equal(healthcheck === undefined, runsOnce || name === "redpanda-console", name);
    assert.equal(restart, runsOnce ? "no" : "unless-stopped", name);
  }
});

Deno.test("compose: every service waits for services that exist and can become what it waits for", () => {
  for (const [name, { depends_on }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on ?? {})) {
      const service = compose.services[other];
      assert(service && !service.profiles, `${name} waits for ${other}`);
      if (condition === "service_healthy") assert(service.healthcheck, `${name} waits for ${other}`);
      else assert.equal(condition, "service_completed_successfully", `${name} waits for ${other}`);
    }
  }
});

Deno.test("compose: our containers can't write to their file system and have no privileges", () => {
  assert(ours.length >= 4);
  for (const [name, service] of ours) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    assert(parseInt(service.stop_grace_period ?? "") > 10, name);
  }
});

Deno.test("compose: every service runs a file with a permission set of its own, or a task, that gets into the image", async () => {
  for (const [name, { command = [] }] of started) {
    if (command[0] === "task") {
      assert(imageTasks.includes(command[1] ?? "") && deno.tasks?.[command[1] ?? ""], command.join(" "));
      continue;
    }
    const file = command.find((part) => part.endsWith(".ts")) ?? "";
    assert(file === `${name}.ts` || imageTasks.map((task) => `tasks/${task}.ts`).includes(file), file);
    assert((await Deno.stat(join(root, file))).isFile);
    assert(command.includes(`-P=${name}`) && deno.permissions?.[name], command.join(" "));
  }
  const others = ours.filter(([, { profiles }]) => profiles);
  assert.deepEqual(others.map(([name, { entrypoint }]) => [name, entrypoint]), [["tasks", ["deno", "task"]]]);
});

Deno.test("compose: every variable is one that the service knows, may read, and takes the value of", () => {
  for (const [name, { environment = {}, profiles }] of services) {
    if (foreign[name]) {
      assert.deepEqual(new Set(Object.keys(environment)), new Set(foreign[name]), name);
      continue;
    }
    // A service without a task of its own runs any of them.
    const sets = profiles ? imageTasks : [name];
    const readable = sets.map((set) => deno.permissions?.[set]?.env ?? false);
    for (const [variable, value] of Object.entries(environment)) {
      assert(variable in variables, `${name}: lib/process/config.ts doesn't know ${variable}`);
      assert(
        readable.some((set) => set === true || (set && set.some((pattern) => covers(pattern, variable)))),
        `${name} may not read ${variable}: it's missing in its permission set in deno.json`,
      );
      if (value !== null && !value.startsWith("${")) {
        assert(variables[variable as Variable].safeParse(value).success, `${name}: ${variable}=${value}`);
      }
    }
  }
});

/** Whether a name or a pattern such as KAFKA_* of a permission set allows a variable. */
function covers(pattern: string, variable: string): boolean {
  return pattern.endsWith("*") ? variable.startsWith(pattern.slice(0, -1)) : pattern === variable;
}

Deno.test("compose: health checks are seldom once a service runs, and cheap", () => {
  for (const [name, { healthcheck }] of services) {
    if (!healthcheck) continue;
    assert.deepEqual([healthcheck.interval, healthcheck.start_interval], ["30s", "2s"], name);
    assert.doesNotMatch(healthcheck.test.join(" "), /\bdeno\b/, name);
  }
});

testUnless(
  "compose: every health check of ours asks the port that the service listens on and publishes whether it is ready",
  Deno.build.os === "windows" ? { reason: "the health check needs bash", avoidable: false } : undefined,
  async () => {
    let missing: string | null = null;
    // It isn't asked whether the service is stuck, only whether it is ready.
    const health = { live: () => "stuck", ready: () => missing };
    const server = serveMetrics({ registry: createRegistry(), health, hostname: "127.0.0.1", port: 0 });
    for (const [name, { environment, healthcheck, ports }] of ours) {
      if (!healthcheck) continue;
      const port = environment?.METRICS_PORT;
      assert(ports?.includes(`127.0.0.1:${port}:${port}`), name);
      const [kind, command = "", ...args] = healthcheck.test.map((part) => part.replaceAll("$$", "$"));
      assert.equal(kind, "CMD");
      const check = async (at: number) =>
        (await run(command, args, { env: { METRICS_PORT: String(at) } })).code;
      missing = null;
      assert.equal(await check(server.addr.port), 0, name);
      missing = "ClickHouse doesn't answer";
      assert.notEqual(await check(server.addr.port), 0, name);
      assert.notEqual(await check(freePort()), 0, name);
    }
    await server.shutdown();
  },
);

Deno.test("compose: the image is built by one service, and no other one looks for it elsewhere", () => {
  assert.deepEqual(services.filter(([, { build }]) => build !== undefined).map(([name]) => name), [
    "migrate",
  ]);
  for (const [name, { pull_policy, profiles }] of ours) {
    assert.equal(pull_policy, "never", name);
    if (name === "migrate") assert.equal(profiles, undefined);
  }
});

Deno.test("compose: every service has a limit of memory, and their sum is what compose.yaml says", () => {
  const mebibytes = (limit = "") => {
    const [, count, unit = ""] = /^(\d+)([mg])$/.exec(limit) ?? [];
    return Number(count) * (unit === "g" ? 1024 : 1);
  };
  for (const [name, { mem_limit }] of services) assert(mebibytes(mem_limit) > 0, `${name}: ${mem_limit}`);
  const always = services.filter(([, { restart }]) => restart !== "no");
  const sum = always.reduce((total, [, { mem_limit }]) => total + mebibytes(mem_limit), 0);
  assert(text.includes(`all of them together are ${sum / 1024} GiB`), `${sum / 1024} GiB`);
});

Deno.test("compose: every service is in the networks of those that it names, and only they reach the filer of SeaweedFS", () => {
  const names = services.map(([name]) => name);
  const used = new Set<string>();
  for (const [name, service] of services) {
    const networks = service.networks ?? [];
    assert(networks.length > 0 && networks.every((network) => network in compose.networks), name);
    networks.forEach((network) => used.add(network));
    const called = Object.values(service.environment ?? {}).flatMap((value) =>
      names.filter((other) => new RegExp(`(^|/)${other}:\\d`).test(value ?? ""))
    );
    for (const other of called) {
      const shared = compose.services[other]?.networks?.some((network) => networks.includes(network));
      assert(shared, `${name} doesn't reach ${other}`);
    }
  }
  assert.deepEqual(used, new Set(Object.keys(compose.networks)));
  const near = services.filter(([, { networks }]) => networks?.includes("s3")).map(([name]) => name);
  assert.deepEqual(near.sort(), ["clickhouse", "seaweedfs", "tasks"]);
  // Where ClickHouse itself reads the topics: deno task migrate --kafka-engine.
  assert(compose.services.clickhouse?.networks?.includes("kafka"));
});

Deno.test("compose: every volume is declared, every mounted file is there, read-only, and made readable by up", async () => {
  const files: string[] = [];
  for (const volume of services.flatMap(([, { volumes }]) => volumes ?? [])) {
    const [source = "", target, mode] = volume.split(":");
    assert(target?.startsWith("/"), volume);
    if (!source.startsWith("./")) {
      assert(source in compose.volumes, volume);
    } else {
      files.push(source.slice("./".length));
      assert.equal(mode, "ro", volume);
      assert((await Deno.stat(join(root, source))).isFile, volume);
    }
  }
  assert.deepEqual(files.sort(), [...mounted].sort());
});

Deno.test("compose: every ClickHouse user that a service logs in as exists, with that service's password", () => {
  for (const [name, { environment }] of ours) {
    const user = environment?.CLICKHOUSE_USER;
    if (!user) continue;
    const hash = new RegExp(`<${user}>\\s*<password_sha256_hex from_env="(\\w+)"/>`).exec(users)?.[1];
    assert(hash, `${name}: no user ${user} in users.xml`);
    const password = Object.keys(hashes).find((password) => hashes[password] === hash);
    assert(environment?.CLICKHOUSE_PASSWORD?.startsWith(`\${${password}:?`), name);
  }
});

// ---- by the Compose project's loader ----

const hashOfX = createHash("sha256").update("x").digest("hex");
const withPasswords = {
  ...Object.fromEntries(passwords.map((name) => [name, "x"])),
  ...Object.fromEntries(Object.values(hashes).map((name) => [name, hashOfX])),
};

/** Reads a compose file by the official schema; resolves to what the loader says against it. */
type Loader = (files: string[], env: Record<string, string>) => Promise<Outcome>;

async function findLoader(): Promise<Loader | Skip> {
  if (await works("docker", "compose", "version")) {
    const config = ["--profile", "*", "config", "--quiet"];
    return (files, env) =>
      run("docker", ["compose", ...files.flatMap((file) => ["--file", file]), ...config], {
        env,
        cwd: dirname(files[0] ?? ""),
      });
  }
  if (!(await works("go", "version"))) {
    return { reason: "neither docker compose nor Go is on this machine", avoidable: false };
  }
  // The loader that docker compose is built on, as a command of its own: 17 s the first time.
  const module = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2";
  const folder = join(root, ".tapehouse", "compose-go-v2.16.2");
  const program = join(folder, "cmd");
  if (!(await Deno.stat(program).then(() => true, () => false))) {
    const { code, stderr } = await run("go", ["install", module], { env: { GOBIN: folder, GOFLAGS: "" } });
    if (code !== 0) return { reason: `go install ${module} failed: ${stderr.trim()}`, avoidable: true };
  }
  // It knows no environment, so variables stay as they stand.
  return (files) => run(program, ["-no-interpolation", ...files], { cwd: dirname(files[0] ?? "") });
}

const loader = await findLoader();
const noLoader = typeof loader === "function" ? undefined : loader;

testUnless(
  "compose: compose.yaml is valid by the Compose specification, and a misspelt key is not",
  noLoader,
  async () => {
    assert(typeof loader === "function");
    const good = await loader([join(root, "compose.yaml")], withPasswords);
    assert.deepEqual([good.code, good.stderr.trim()], [0, ""]);
    await inFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "compose.yaml"), text.replace("healthcheck:", "healthchek:"));
      const bad = await loader([join(folder, "compose.yaml")], withPasswords);
      assert.notEqual(bad.code, 0);
      assert.match(bad.stderr, /healthchek/);
    });
  },
);

testUnless(
  "compose: with deploy/compose/kafka.yaml every service that names the broker names the other one, and none waits for Redpanda",
  noLoader,
  async () => {
    assert(typeof loader === "function");
    const file = join(root, "deploy/compose/kafka.yaml");
    const env = { ...withPasswords, EXTERNAL_KAFKA_BROKERS: "broker.example.com:9092" };
    const both = await loader([join(root, "compose.yaml"), file], env);
    assert.deepEqual([both.code, both.stderr.trim()], [0, ""]);
    const other: typeof compose = parse(await Deno.readTextFile(file), { merge: true, logLevel: "silent" });
    for (const [name, { environment, depends_on }] of ours) {
      const changed = other.services[name];
      if (environment?.KAFKA_BROKERS === undefined) {
        assert.equal(changed, undefined, name);
        continue;
      }
      assert.match(changed?.environment?.KAFKA_BROKERS ?? "", /^\$\{EXTERNAL_KAFKA_BROKERS:\?/, name);
      for (const variable of Object.keys(changed?.environment ?? {})) {
        assert(variable in variables && variable.startsWith("KAFKA_"), `${name}: ${variable}`);
      }
      if (depends_on?.redpanda === undefined) continue;
      assert(changed?.depends_on !== undefined && !("redpanda" in changed.depends_on), name);
    }
  },
);

// ---- the image's files ----

testUnless(
  "compose: the image's files are enough to start each service and task, serve the page, and hold no chDB and no browser",
  Deno.build.os === "windows" ? { reason: "the Dockerfile's commands need sh", avoidable: false } : undefined,
  () =>
    inFolder(async (folder) => {
      const path = await denoOnPath(folder);
      const { app, cache } = await buildImage(folder, path);
      // What git left to its owner alone is read by the user `deno` of the containers.
      for (const file of await tree(app)) {
        assert.equal(((await Deno.stat(join(app, file))).mode ?? 0) & 0o004, 0o004, file);
      }
      const unwanted = /\.env$|_test\.ts$|chdb|chromium|playwright|esbuild/;
      const files = [...await tree(app), ...await tree(cache)];
      assert.deepEqual(files.filter((path) => unwanted.test(path)), []);
      const env = { DENO_DIR: cache, NO_COLOR: "1", PATH: path };

      const tasks = imageTasks.filter((task) => task !== "web").map((task): [string, string[]] => {
        const args = ["restore", "stats"].includes(task) ? ["--date", "2026-07-07"] : [];
        return [task, ["task", task, ...args]];
      });
      for (
        const [name, command] of [
          ...started.map(([name, { command = [] }]) => [name, command] as const),
          ...tasks,
        ]
      ) {
        const broker = ["producer", "topics"].includes(name);
        const variable = broker ? "KAFKA_BROKERS" : "CLICKHOUSE_URL";
        const { code, stderr } = await run(Deno.execPath(), [...command], {
          cwd: app,
          env: { ...env, [variable]: "nonsense" },
        });
        assert.match(stderr, new RegExp(`${variable}=nonsense`), `${name}: ${stderr}`);
        assert.equal(code, 2, `${name}: ${stderr}`);
        assert.doesNotMatch(stderr, /Download/, name);
      }
      await checkApi(app, env);
    }),
);

/** The API of the image, as its service starts it, with nothing behind it. */
async function checkApi(app: string, env: Record<string, string>): Promise<void> {
  const { command = [], environment = {} } = compose.services.api ?? {};
  const [port, metricsPort] = [freePort(), freePort()];
  const variables = {
    ...env,
    API_HOST: environment.API_HOST ?? "",
    API_PORT: String(port),
    METRICS_PORT: String(metricsPort),
    KAFKA_BROKERS: `127.0.0.1:${freePort()}`,
    CLICKHOUSE_URL: `http://127.0.0.1:${freePort()}`,
  };
  const open = await run(Deno.execPath(), command, { cwd: app, env: variables });
  assert.equal(open.code, 2);
  assert.match(open.stderr, /API_TOKENS must name at least one token/);

  const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  const logFile = join(app, "..", "api.log");
  const api = await startProcess({
    name: "API",
    command: Deno.execPath(),
    args: command,
    cwd: app,
    env: { ...variables, API_TOKENS: "0123456789abcdef" },
    logFile,
    pidFile: join(app, "..", "api.pid"),
    ready: () => ask("/").then(async (answer) => (await answer.text()) !== ""),
  });
  try {
    const page = await (await ask("/")).text();
    const files = [...page.matchAll(/"((?:app|style|icon)-\w+\.(?:js|css|svg))"/g)].map((match) =>
      match[1] ?? ""
    );
    assert.equal(new Set(files).size, 3, page);
    for (const file of files) {
      const answer = await ask(`/${file}`);
      assert.equal(answer.status, 200, file);
      assert((await answer.text()).length > 100, file);
    }
    const refused = await ask("/api/status");
    assert.equal(refused.status, 401);
    await refused.body?.cancel();
    const health = await fetch(`http://127.0.0.1:${metricsPort}/livez`);
    assert.equal(await health.text(), "ok\n");
  } finally {
    await api.stop();
  }
  assert.equal((await api.exited).code, 0, await Deno.readTextFile(logFile));
}

/** A stage of the Dockerfile: what stands in /app and in the cache. */
interface Stage {
  app: string;
  cache: string;
}

/** Does what the Dockerfile says, without Docker; resolves to its last stage. */
async function buildImage(folder: string, path: string): Promise<Stage> {
  const env = { NO_COLOR: "1", PATH: path };
  const stages = new Map<string, Stage>();
  let stage: Stage | undefined;
  const dockerfile = await Deno.readTextFile(join(root, "Dockerfile"));
  for (const [, word = "", rest = ""] of dockerfile.matchAll(/^([A-Z]+) (.+)$/gm)) {
    if (word === "FROM") {
      const [from = "", , name = "last"] = rest.split(" ");
      const parent = stages.get(from);
      stage = { app: join(folder, name, "app"), cache: join(folder, name, "deno-dir") };
      for (const part of ["app", "cache"] as const) {
        if (parent) await copyTree(parent[part], stage[part]);
        else await Deno.mkdir(stage[part], { recursive: true });
      }
      stages.set(name, stage);
    }
    assert(stage, "a Dockerfile begins with FROM");
    const { app, cache } = stage;
    const copied = /^(?:--from=(\S+) )?(?:--chmod=(\d+) )?(\S+) (\S+)$/.exec(rest);
    if (word === "COPY" && copied) {
      const [, from, chmod, source = "", target = ""] = copied;
      if (from === undefined) {
        assert.deepEqual([source, target], [".", "."]);
        await copyImageFiles(app);
        // As it was checked out with a umask of 077, unless the Dockerfile says how it is copied.
        for (const file of await tree(app)) await Deno.chmod(join(app, file), parseInt(chmod ?? "600", 8));
      } else {
        assert(source.startsWith("/app/"), rest);
        await copyTree(join(stages.get(from)?.app ?? "", source.slice("/app/".length)), join(app, target));
      }
    } else if (word === "RUN") {
      const { code, stderr } = await run("sh", ["-c", rest], { cwd: app, env: { ...env, DENO_DIR: cache } });
      assert.equal(code, 0, `${rest}: ${stderr}`);
    } else {
      assert(["FROM", "WORKDIR", "ENV", "USER", "ENTRYPOINT"].includes(word), word);
    }
  }
  assert(stage);
  return stage;
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for (const file of await tree(from)) {
    await Deno.mkdir(dirname(join(to, file)), { recursive: true });
    await Deno.copyFile(join(from, file), join(to, file));
  }
}

/** Copies what .dockerignore lets through; it excludes everything and then names what gets in. */
async function copyImageFiles(target: string): Promise<void> {
  const entries = [...Deno.readDirSync(root)].map(({ name }) => name);
  const paths = allowed.flatMap((rule) =>
    rule.startsWith("*.") ? entries.filter((name) => name.endsWith(rule.slice(1))) : [rule]
  );
  for (const path of paths) {
    const source = join(root, path);
    const files = (await Deno.stat(source)).isDirectory
      ? (await tree(source)).map((file) => join(path, file))
      : [path];
    for (const file of files.filter((file) => !file.endsWith("_test.ts") && !file.startsWith("web/dist"))) {
      await Deno.mkdir(dirname(join(target, file)), { recursive: true });
      await Deno.copyFile(join(root, file), join(target, file));
    }
  }
}

/** A PATH on which `deno` is the one that runs this test. */
async function denoOnPath(folder: string): Promise<string> {
  await Deno.mkdir(join(folder, "bin"));
  await Deno.symlink(Deno.execPath(), join(folder, "bin", "deno"));
  return `${join(folder, "bin")}:/usr/bin:/bin`;
}

/** Every file below a folder, relative to it. */
async function tree(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    files.push(...(isDirectory ? (await tree(join(folder, name))).map((file) => join(name, file)) : [name]));
  }
  return files;
}

// ---- ClickHouse's users, by ClickHouse ----

/** What a user says, and ClickHouse's answer: tab-separated rows, or a part of the error. */
type Dialogue = [statement: string, answer: string | RegExp][];

const denied = /ACCESS_DENIED/;
const insertTrade = `INSERT INTO market.trades (product_id, trade_id, time, price, size, taker_side)
  SETTINGS insert_deduplication_token = 'x', deduplicate_blocks_in_dependent_materialized_views = 1
  VALUES ('BTC-USD', 7, '2026-07-07 22:58:17.123456', 109000.01, 0.5, 'buy')`;
const dialogues: Record<string, Dialogue> = {
  tapehouse_admin: [
    ["CREATE DATABASE market", ""],
    ["USE market", ""],
    ...(await readMigrations()).flatMap(({ statements }) =>
      statements.map((statement): [string, string] => [statement, ""])
    ),
    ["CREATE TABLE applied (name String) ENGINE = MergeTree ORDER BY name", ""],
    ["INSERT INTO applied VALUES ('001')", ""],
    ["SELECT name FROM applied", "001"],
    ["ALTER TABLE applied ADD COLUMN b String", ""],
    ["ALTER TABLE applied MODIFY SETTING non_replicated_deduplication_window = 100", ""],
    ["DROP TABLE applied", ""],
    ["CREATE DATABASE market_sim", ""],
    ["CREATE DATABASE market_copy", ""],
    ["DROP DATABASE market_copy", ""],
    ["CREATE DATABASE other", denied],
    ["DROP DATABASE market", denied],
    ["CREATE USER other", denied],
    ["SELECT * FROM file('/etc/passwd', LineAsString)", denied],
  ],
  writer: [
    [insertTrade, ""],
    [insertTrade, ""],
    ["SELECT trade_id FROM market.trades", "7"],
    ["SELECT getSetting('memory_overcommit_ratio_denominator')", "0"],
    ["DELETE FROM market.trade_runs WHERE product_id = 'none'", ""],
    // To take back what was written twice, and to mend tables that disagree.
    ["DELETE FROM market.trades WHERE product_id = 'none'", ""],
    ["DELETE FROM market.tickers WHERE product_id = 'none'", ""],
    ["DELETE FROM market.book_changes WHERE product_id = 'none'", ""],
    ["DELETE FROM market.heartbeats WHERE product_id = 'none'", ""],
    ["DELETE FROM market.feed_events WHERE product_id = 'none'", ""],
    ["DELETE FROM market.rejected WHERE reason = 'none'", ""],
    ["DELETE FROM market.candle_states WHERE product_id = 'none'", ""],
    ["DELETE FROM market.trade_gap_asks WHERE product_id = 'none'", denied],
    ["DELETE FROM market.anomalies_state WHERE product_id = 'none'", denied],
    ["DELETE FROM market.book_levels WHERE product_id = 'none'", denied],
    ["CREATE TABLE market.repair_x AS market.candle_states", ""],
    ["ALTER TABLE market.candle_states ATTACH PARTITION ID '202607' FROM market.repair_x", ""],
    ["DROP TABLE market.repair_x", ""],
    ["CREATE TABLE market.x (a UInt64) ENGINE = Memory", denied],
    ["ALTER TABLE market.trades UPDATE source = '' WHERE 1", denied],
    ["TRUNCATE TABLE market.trades", denied],
    ["DROP TABLE market.trades", denied],
  ],
  reader: [
    ["SELECT trades, close FROM market.candles_1d SETTINGS max_execution_time = 5", "1\t109000.01"],
    ["SELECT 1 SETTINGS output_format_json_quote_64bit_integers = 1, enable_http_compression = 1", "1"],
    ["SELECT name FROM system.tables WHERE database = 'market' AND name = 'trades'", "trades"],
    ["SELECT DISTINCT table FROM system.parts WHERE database = 'market' AND table = 'trades'", "trades"],
    ["SELECT DISTINCT table FROM system.parts_columns WHERE table = 'trades'", "trades"],
    ["SELECT count() > 0 FROM system.disks", "1"],
    ["SELECT 1 SETTINGS max_execution_time = 11", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_execution_time = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_memory_usage = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_memory_usage = 2000000001", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_memory_usage = 500000000, max_threads = 1, priority = 2", "1"],
    ["SELECT 1 SETTINGS max_memory_usage_for_user = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_concurrent_queries_for_user = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS priority = 1", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS priority = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS max_threads = 9", /SETTING_CONSTRAINT_VIOLATION/],
    ["SELECT 1 SETTINGS memory_overcommit_ratio_denominator = 0", /SETTING_CONSTRAINT_VIOLATION/],
    ["KILL QUERY WHERE query = 'none' SYNC", ""],
    ["SELECT 1 SETTINGS readonly = 0", /READONLY/],
    ["SELECT number FROM numbers(2000000) FORMAT Null", /TOO_MANY_ROWS/],
    ["SELECT count() FROM numbers(2000000000)", /TOO_MANY_ROWS/],
    [insertTrade, denied],
    ["CREATE TABLE market.x (a UInt64) ENGINE = Memory", denied],
    ["SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", denied],
    ["SELECT * FROM system.users", denied],
  ],
  dashboards: [
    ["SELECT trades, close FROM market.candles_1s SETTINGS max_execution_time = 65", "1\t109000.01"],
    ["SELECT 1 SETTINGS max_execution_time = 0", /SETTING_CONSTRAINT_VIOLATION/],
    [insertTrade, denied],
    ["SELECT * FROM file('/etc/passwd', LineAsString)", denied],
  ],
};

Deno.test("compose: the profile that docs/api.md recommends for a ClickHouse of one's own is that of users.xml", async () => {
  const [, inXml = ""] = /<reader>([^]*?)<\/reader>/.exec(users) ?? [];
  const [, constraints = ""] = /<constraints>([^]*?)<\/constraints>/.exec(inXml) ?? [];
  const values = [...inXml.replace(/<constraints>[^]*/, "").matchAll(/<(\w+)>(\d+)<\/\1>/g)];
  const bounds = new Map(
    [...constraints.matchAll(/<(\w+)>(?=<(?:min|max|readonly))(.*?)<\/\1>/g)].map(([, name, body = ""]) => [
      name,
      body.replace("<readonly/>", " READONLY").replace(/<min>(\d+)<\/min>/, " MIN $1")
        .replace(/<max>(\d+)<\/max>/, " MAX $1"),
    ]),
  );
  const expected = values.map(([, name, value]) => `${name} = ${value}${bounds.get(name) ?? ""}`);
  assert.ok(expected.length > 8 && bounds.size > 7, expected.join());
  const docs = await Deno.readTextFile(join(root, "docs/api.md"));
  const [, inDocs = ""] = /CREATE SETTINGS PROFILE tapehouse_reader SETTINGS([^;]*);/.exec(docs) ?? [];
  assert.deepEqual(inDocs.split(",").map((line) => line.trim()).sort(), expected.sort());
  const [, grants = ""] = /<reader>\s*<password[^]*?<grants>([^]*?)<\/grants>/.exec(users) ?? [];
  for (const [, grant = ""] of grants.matchAll(/<query>(.*?)<\/query>/g)) {
    if (!grant.includes("market_sim")) assert.ok(docs.includes(`${grant} TO tapehouse_reader;`), grant);
  }
});

/** chDB is always the user "default": that one with the profile and the grants of the user in question. */
function asDefault(user: string): string {
  const body = new RegExp(`<${user}>\\s*<password_sha256_hex [^>]*>([^]*?)</${user}>`).exec(users)?.[1];
  assert(body, `no user ${user} in users.xml`);
  return `<default><password/>${body}</default>`;
}

/** Runs in a process of its own, for chDB reads its users once; answers one JSON line a statement. */
const chdbScript = `
import { Session } from "chdb";
const [data, config, statements] = Deno.args;
const session = new Session(data, { connectionArgs: ["--config-file=" + config] });
for (const statement of JSON.parse(Deno.readTextFileSync(statements))) {
  let answer;
  try { answer = String(session.query(statement, "TSV")).trim(); } catch (error) { answer = String(error); }
  console.log(JSON.stringify(answer));
}`;

Deno.test(
  "compose: each ClickHouse user can do its work and nothing else",
  () =>
    inFolder(async (folder) => {
      assert.doesNotMatch(users, /<default>|access_management/);
      await Deno.mkdir(join(folder, "users.d"));
      // Merged into the configuration as in the container, so that a file that can't be read is found.
      await Deno.mkdir(join(folder, "config.d"));
      await Deno.copyFile(
        join(root, "deploy/compose/clickhouse/config.xml"),
        join(folder, "config.d", "tapehouse.xml"),
      );
      await Deno.writeTextFile(join(folder, "users.xml"), users);
      const config = join(folder, "config.xml");
      await Deno.writeTextFile(
        config,
        `<clickhouse><users_config>${join(folder, "users.xml")}</users_config></clickhouse>`,
      );
      for (const [user, dialogue] of Object.entries(dialogues)) {
        await Deno.writeTextFile(
          join(folder, "users.d", "default.xml"),
          `<clickhouse><users>${asDefault(user)}</users></clickhouse>`,
        );
        const script = join(folder, "script.ts");
        await Deno.writeTextFile(script, chdbScript);
        // As a file: all migrations together are longer than an argument may be.
        const statements = join(folder, "statements.json");
        await Deno.writeTextFile(statements, JSON.stringify(dialogue.map(([statement]) => statement)));
        const args = ["run", "-A", "--config", join(root, "embedded/clickhouse/deno.json"), script];
        const { code, stdout, stderr } = await run(
          Deno.execPath(),
          [...args, join(folder, "data"), config, statements],
          { env: withPasswords },
        );
        assert.equal(code, 0, stderr);
        const answers: string[] = stdout.trim().split("\n").map((line) => JSON.parse(line));
        for (const [index, [statement, expected]] of dialogue.entries()) {
          const answer = answers[index] ?? "no answer";
          const message = `${user}: ${statement}: ${answer}`;
          if (typeof expected === "string") assert.equal(answer, expected, message);
          else assert.match(answer, expected, message);
        }
      }
    }),
);

// ---- what our code asks of ClickHouse, as the user that it logs in as ----

/** Every variable's default, and where the servers are. */
type AnyConfig = Config<Variable>;

/** Starts ClickHouse on the data of `home`, where everybody has the rights of `user`, for as long as `work` takes. */
async function asUser(home: string, user: string, work: (config: AnyConfig) => Promise<void>): Promise<void> {
  const directory = join(home, "clickhouse", "empty"); // chDB reads config.xml of its working directory
  await Deno.mkdir(directory, { recursive: true });
  const passwordless = users.replace(/<password_sha256_hex from_env="\w+"\/>/g, "<password/>");
  await Deno.writeTextFile(
    join(home, "users.xml"),
    passwordless.replace("<users>", `<users>${asDefault(user)}`),
  );
  await Deno.writeTextFile(
    join(directory, "config.xml"),
    `<clickhouse><users_config>${join(home, "users.xml")}</users_config></clickhouse>`,
  );
  const server = await startClickHouse({ home, port: freePort(), logFile: join(home, "clickhouse.log") });
  try {
    await work(configOf(server.env));
  } finally {
    await server.stop();
  }
}

const product = "BTC-USD";
const { signal } = new AbortController();
const log = createLogger({}, { level: "error" });

async function askAsMigrate(config: AnyConfig): Promise<void> {
  await migrate(config, () => {});
  const clickhouse = openClickHouse(config);
  await setRetention(clickhouse, config.CLICKHOUSE_DATABASE, { ...config, CLICKHOUSE_BOOK_DAYS: 7 });
  await assert.rejects(
    setRetention(clickhouse, config.CLICKHOUSE_DATABASE, { ...config, CLICKHOUSE_STORAGE_POLICY: "none" }),
    /the server knows no such policy/,
  );
  // Nothing listens there; the engine's tables are made all the same.
  const engine = { ...config, KAFKA_BROKERS: [`127.0.0.1:${freePort()}`] };
  for (const query of await readEngineStatements(engine)) await clickhouse.command({ query });
  assert.match(await describeEngine(clickhouse, config.CLICKHOUSE_DATABASE), /^on, 0 partitions/);
  for (const table of await readEngineTables(clickhouse, config.CLICKHOUSE_DATABASE)) {
    await clickhouse.command({ query: `DROP TABLE ${table} SYNC` });
  }
  await clickhouse.close();
}

async function askAsWriter(config: AnyConfig): Promise<void> {
  const clickhouse = openClickHouse(config);
  await waitForSchema(clickhouse, config.CLICKHOUSE_DATABASE, signal, log);
  await waitForNoKafkaEngine(clickhouse, config.CLICKHOUSE_DATABASE, signal, log);
  const writer = new BatchWriter(clickhouse, {
    onError(what, error) {
      throw new Error(what, { cause: error });
    },
  });
  const from = Math.floor(nowMicros() / 3600e6 - 1) * 3600e6;
  const tape = simulatedTape({ products: [product], rate: 1, from, hours: 1, bookMinutes: 2 });
  const trades = tape.trades.map((row) => row.slice(0, -1)); // without the batch, which the writer names
  await writer.write({ ...tape, trades: trades.toSpliced(100, 10) }, {
    name: "test/1",
    mayBeStored: false,
    signal,
  });
  await compactTradeRuns(clickhouse, product, "test/2");
  // What a power cut leaves behind: a candle without its trades, a double, a run too little.
  await clickhouse.command({
    query: "DELETE FROM candle_states WHERE interval = '1s' AND time < (SELECT min(time) + 60 FROM trades)",
  });
  await clickhouse.command({
    query:
      "INSERT INTO trades SELECT * REPLACE (now64(6) AS ingested_at) FROM trades LIMIT 1 SETTINGS insert_deduplicate = 0",
  });
  const [repair] = await reconcile(clickhouse, [{ product, from }]);
  assert(
    repair !== undefined && repair.doubled === 1 && (repair.candles["1s"] ?? 0) > 0,
    JSON.stringify(repair),
  );
  assert.deepEqual(await reconcile(clickhouse, [{ product, from }]), []);
  assert.equal((await readGaps(clickhouse)).length, 1);
  await recordGivenUp(clickhouse, product, [{ first: 1, last: 2 }], "not served");
  assert.equal((await readGivenUp(clickhouse)).get(product)?.length, 1);
  const filled = await rollUp(clickhouse, { now: nowMicros(), signal, run: (_, statement) => statement() });
  assert(filled.minutes > 0);
  await clickhouse.close();
}

interface Operation {
  get: { parameters?: { name: string; in: string }[] };
}

async function askAsReader(config: AnyConfig): Promise<void> {
  const reader = openReadClient(config, config.API_QUERY_SECONDS);
  const clickhouse = openClickHouse(config);
  const faults: string[] = [];
  const api = createApp({
    ...openAppOptions,
    clickhouse: reader,
    databaseName: config.CLICKHOUSE_DATABASE,
    host: "0.0.0.0",
    // As api.ts does it.
    health: { live: () => null, ready: createReadiness(clickhouse) },
    pageFolder: new URL("../../web/dist/", import.meta.url),
    log,
  });
  const ask = async (path: string) => {
    const answer = await api(new Request(`http://127.0.0.1:8080${path}`), "127.0.0.1");
    const body = await answer.text();
    if (answer.status !== 200) faults.push(`${path}: ${answer.status} ${body}`);
    return body;
  };
  const { paths }: { paths: Record<string, Operation> } = JSON.parse(await ask("/openapi.json"));
  for (const [path, { get: { parameters = [] } }] of Object.entries(paths)) {
    const has = (name: string) => parameters.some((parameter) => parameter.name === name);
    const asked = `${path}?${has("product_id") ? `product_id=${product}` : ""}`;
    await ask(asked);
    if (has("format")) {
      for (const format of ["csv", "parquet", "arrow"]) await ask(`${asked}&format=${format}`);
    }
  }
  await ask("/healthz");
  const status = await ask("/api/status");
  assert.deepEqual(faults, []);
  const answered = JSON.parse(status);
  assert.deepEqual([answered.clickhouse.ok, answered.products.length], [true, 1], status);
  await reader.close();

  const interval = parseInterval("1m");
  assert(interval);
  const [now, dayAgo] = [nowMicros(), nowMicros() - 86_400e6];
  assert((await loadProducts(clickhouse)).has(product));
  assert(await loadTicker(clickhouse, product));
  assert(await loadLastMatch(clickhouse, product));
  assert(await loadBook(clickhouse, product));
  assert((await loadLastTrade(clickhouse, product)).id > 0);
  assert((await loadHistory(clickhouse, product, "1m", interval, now, 1440)).length > 0);
  assert((await loadRuns(clickhouse, product, interval, dayAgo)).length > 0);
  await loadAnomalies(clickhouse, "2026-07-07 00:00:00", new AbortController().signal);
  await clickhouse.close();
}

/** Who reads tables of `system`, and where that is written. */
const readers: Record<string, string[]> = {
  // CLICKHOUSE_CLUSTER (lib/clickhouse/cluster.ts) isn't Compose's.
  tapehouse_admin: [
    "lib/archive",
    "lib/clickhouse/dedup_window.ts",
    "lib/clickhouse/kafka_engine.ts",
    "lib/clickhouse/migrations.ts",
    "lib/clickhouse/retention.ts",
  ],
  writer: [
    "lib/clickhouse/client.ts",
    "lib/clickhouse/dedup_window.ts",
    "lib/clickhouse/migrations.ts",
    "lib/ingest",
    "lib/ops/rollup.ts",
    "tasks/stats.ts",
  ],
  reader: [
    "lib/api",
    "lib/ops/doctor_checks.ts",
    "lib/ops/kafka_checks.ts",
    "lib/ops/stored_tables.ts",
    "lib/ops/tape_checks.ts",
    "lib/stream",
    "sql/examples",
  ],
  dashboards: ["sql/examples"],
};

Deno.test("compose: every table of system that a user's code reads is granted, unless it is open to all", async () => {
  // The image's config.xml asks for these grants (select_from_system_db_requires_grant), and chDB doesn't.
  const openToAll = ["system.tables", "system.columns", "system.settings"];
  let found = 0;
  for (const [user, paths] of Object.entries(readers)) {
    for (const path of paths) {
      const files = (await Deno.stat(join(root, path))).isDirectory ? await tree(join(root, path)) : [""];
      for (const file of files.filter((name) => !name.endsWith("_test.ts"))) {
        const source = await Deno.readTextFile(join(root, path, file));
        for (const [table] of source.matchAll(/\bsystem\.[a-z_]+/g)) {
          if (openToAll.includes(table)) continue;
          assert(
            asDefault(user).includes(`GRANT SELECT ON ${table}<`),
            `${user}: ${join(path, file)} reads ${table}`,
          );
          found++;
        }
      }
    }
  }
  assert(found >= 6, `found ${found}`);
});

Deno.test("compose: migrate, the services and the API have the rights that they need", () =>
  inFolder(async (home) => {
    await asUser(home, "tapehouse_admin", askAsMigrate);
    await asUser(home, "writer", askAsWriter);
    await asUser(home, "reader", askAsReader);
  }));

/** Such as `deno task up` makes. */
const [accessKey, secretKey] = [generatePassword(), generatePassword()];

/** SeaweedFS with the flags of compose.yaml; only its ports and its folder are others. */
async function startSeaweedfs(home: string): Promise<{ url: string; stop(): Promise<void> }> {
  const { command = [], healthcheck } = compose.services.seaweedfs ?? {};
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const inner = ["master.port", "volume.port", "filer.port", "admin.port"].flatMap((name) => [
    `-${name}=${freePort()}`,
    `-${name}.grpc=${freePort()}`,
  ]);
  const here = command.map((flag) =>
    flag.replace("=/data", `=${home}/s3`).replace("=8333", `=${port}`).replace("=0.0.0.0", "=127.0.0.1")
  );
  await Deno.mkdir(join(home, "s3"));
  const health = new URL(healthcheck?.test.at(-1) ?? "").pathname;
  const { stop } = await startProcess({
    name: "S3",
    command: join(seaweedfs, "weed"),
    args: [...here, ...inner, `-s3.port.grpc=${freePort()}`],
    env: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey },
    logFile: join(home, "s3.log"),
    ready: async () => {
      const answer = await fetch(url + health);
      await answer.body?.cancel();
      return answer.ok;
    },
  });
  return { url, stop };
}

async function askAsArchive(config: AnyConfig, url: string): Promise<void> {
  const { S3_BUCKET = null, S3_ENDPOINT = null } = compose.services.tasks?.environment ?? {};
  assert.equal(S3_ENDPOINT, "http://seaweedfs:8333");
  const store = {
    S3_ENDPOINT: url,
    S3_BUCKET: S3_BUCKET ?? "",
    S3_ACCESS_KEY: accessKey,
    S3_SECRET_KEY: secretKey,
  };
  const all = { ...config, ...store };
  await migrate(all, () => {});
  const clickhouse = openClickHouse(all);
  const from = Date.UTC(2026, 6, 7, 10) * 1000;
  const tape = simulatedTape({ products: [product], rate: 1, from, hours: 1, bookMinutes: 1 });
  const writer = new BatchWriter(clickhouse, { onError: (_, error) => assert.fail(String(error)) });
  await writer.write({ ...tape, trades: tape.trades.map((row) => row.slice(0, -1)) }, {
    name: "test/1",
    mayBeStored: false,
    signal,
  });

  const s3 = openS3(all);
  await s3.assertBucket();
  const archive = { clickhouse, s3, config: all, database: all.CLICKHOUSE_DATABASE };
  for (const table of archivedTableNames) {
    const options = { rewrite: false, dryRun: false, onPart: () => {} };
    const { manifest } = await archiveDay(archive, table, "2026-07-07", options);
    if (table !== "book_changes") continue;
    assert(manifest);
    const gone = await dropDay(archive, manifest);
    assert(gone > 0);
    assert.deepEqual(await restoreDay(archive, manifest, clickhouse, options), { inserted: gone, there: 0 });
  }
  const server = openClickHouse({ ...all, CLICKHOUSE_DATABASE: "default" });
  const backups = { clickhouse: server, s3, config: all, database: all.CLICKHOUSE_DATABASE };
  const full = await createBackup(backups, "one", undefined, undefined);
  await createBackup(backups, "two", full, undefined);
  const { tables } = await restoreBackup(backups, "two", "market_copy");
  assert(tables > 20);
  await server.command({ query: "DROP DATABASE market_copy SYNC" });
  const stats = ["run", "-q", "-P=stats", "tasks/stats.ts", "--date", "2026-07-07"];
  const { code, stderr } = await run(Deno.execPath(), stats, {
    cwd: root,
    env: {
      CLICKHOUSE_URL: all.CLICKHOUSE_URL,
      CLICKHOUSE_USER: all.CLICKHOUSE_USER,
      CLICKHOUSE_PASSWORD: all.CLICKHOUSE_PASSWORD,
    },
  });
  assert.equal(code, 0, stderr);
  await Promise.all([clickhouse.close(), server.close()]);
}

testUnless(
  "compose: archive, restore, backup and stats have the rights that they need, with SeaweedFS as compose.yaml starts it",
  await whyNoS3(),
  () =>
    inFolder(async (home) => {
      const s3 = await startSeaweedfs(home);
      try {
        await asUser(home, "tapehouse_admin", (config) => askAsArchive(config, s3.url));
      } finally {
        await s3.stop();
      }
    }),
);

// ---- deno task up and down, with a stand-in for docker ----

const standIn = `#!/bin/sh
echo "$*" >> calls
case "$*" in
  "compose version") echo "$FAKE_COMPOSE"; exit "\${FAKE_COMPOSE_CODE:-0}" ;;
  "info "*) echo 28.2.2 ;;
  "compose build") cat .env > env-at-up; exit "\${FAKE_BUILD_CODE:-0}" ;;
  "compose up"*) exit "\${FAKE_UP_CODE:-0}" ;;
  "compose down"*) echo "$CLICKHOUSE_ADMIN_PASSWORD" > password-at-down ;;
esac
`;

/** Runs a task in an empty folder where `docker` is the stand-in; resolves to its outcome and docker's calls. */
async function withStandIn(
  folder: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<Outcome & { calls: string[] }> {
  await Deno.writeTextFile(join(folder, "docker"), standIn, { mode: 0o755 });
  for (const file of mounted) {
    await Deno.mkdir(dirname(join(folder, file)), { recursive: true });
    await Deno.copyFile(join(root, file), join(folder, file));
  }
  const [task = "", ...rest] = args;
  const permissions = ["--allow-run=docker", "--allow-read", "--allow-write=.", "--allow-env"];
  const outcome = await run(
    Deno.execPath(),
    ["run", "--config", join(root, "deno.json"), ...permissions, join(root, "tasks", `${task}.ts`), ...rest],
    {
      cwd: folder,
      env: { FAKE_COMPOSE: "Docker Compose version v2.40.3", PATH: `${folder}:/usr/bin:/bin`, ...env },
    },
  );
  const calls = await Deno.readTextFile(join(folder, "calls")).catch(() => "");
  return { ...outcome, calls: calls.split("\n").filter(Boolean) };
}

const noShell = Deno.build.os === "windows"
  ? { reason: "the stand-in for docker is a shell script", avoidable: false }
  : undefined;
const starting = "compose up --detach --wait";

testUnless(
  "up: makes the passwords first, starts everything, and prints where it is",
  noShell,
  () =>
    inFolder(async (folder) => {
      const { code, stdout, calls } = await withStandIn(folder, ["up"]);
      assert.equal(code, 0);
      assert.deepEqual(calls.slice(-2), ["compose build", starting]);
      assert.deepEqual(Object.keys(parseEnv(await Deno.readTextFile(join(folder, "env-at-up")))), [
        ...passwords,
        ...Object.values(hashes),
      ]);
      const published = services.filter(([, { profiles }]) => !profiles).flatMap(([, { ports }]) =>
        ports ?? []
      );
      for (const port of published) assert(stdout.includes(port.split(":").slice(0, 2).join(":")), port);
      const password = parseEnv(await Deno.readTextFile(join(folder, ".env")))[passwords[0]] ?? "";
      assert(password.length > 20 && !stdout.includes(password));
    }),
);

testUnless(
  "up: reports a start that failed in one line, with exit code 1",
  noShell,
  () =>
    inFolder(async (folder) => {
      const { code, stderr } = await withStandIn(folder, ["up"], { FAKE_UP_CODE: "17" });
      assert.equal(code, 1);
      assert.match(stderr, /^"docker compose up" failed with exit code 17: [^\n]+\n$/);
    }),
);

testUnless(
  "up: starts nothing when the image can't be built, or for a database without rights",
  noShell,
  () =>
    inFolder(async (folder) => {
      const unbuilt = await withStandIn(folder, ["up"], { FAKE_BUILD_CODE: "3" });
      assert.equal(unbuilt.code, 1);
      assert.match(unbuilt.stderr, /^"docker compose build" failed with exit code 3: [^\n]+\n$/);
      assert(!unbuilt.calls.includes(starting));
      const other = await withStandIn(folder, ["up"], { CLICKHOUSE_DATABASE: "prices" });
      assert.equal(other.code, 2);
      assert.match(
        other.stderr,
        /^CLICKHOUSE_DATABASE=prices: with Docker it is market or market_sim: [^\n]+\n$/,
      );
      assert(!other.calls.includes(starting));
      assert.equal((await withStandIn(folder, ["up"], { CLICKHOUSE_DATABASE: "market_sim" })).code, 0);
    }),
);

testUnless("up: changes nothing without Docker, or with an old one", noShell, async () => {
  const machines: [env: Record<string, string>, message: RegExp][] = [
    [{ PATH: "/nonexistent" }, /There is no docker command here/],
    [{ FAKE_COMPOSE_CODE: "125" }, /^"docker compose" doesn't work \(exit code 125\)/],
    [{ FAKE_COMPOSE: "Docker Compose version v2.6.0" }, /^Docker Compose v?2\.6\.0 is too old/],
  ];
  for (const [env, message] of machines) {
    await inFolder(async (folder) => {
      const { code, stderr, calls } = await withStandIn(folder, ["up"], env);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.match(stderr, /"deno task dev"\n$/);
      assert(!calls.includes(starting));
      assert.equal(await Deno.stat(join(folder, ".env")).then(() => true, () => false), false);
    });
  }
});

testUnless(
  "down: stops and keeps the data, also when .env is gone",
  noShell,
  () =>
    inFolder(async (folder) => {
      const { code, calls } = await withStandIn(folder, ["down"]);
      assert.equal(code, 0);
      assert.equal(calls.at(-1), "compose down --remove-orphans");
      assert.equal(await Deno.readTextFile(join(folder, "password-at-down")), "unused\n");
    }),
);

testUnless(
  "down: deletes nothing with --volumes unless it is confirmed",
  noShell,
  () =>
    inFolder(async (folder) => {
      const refused = await withStandIn(folder, ["down", "--volumes"]);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /^Nothing was stopped or deleted: [^\n]+--yes\n$/);
      assert(!refused.calls.some((call) => call.startsWith("compose down")));
      const done = await withStandIn(folder, ["down", "--volumes", "--yes"]);
      assert.equal(done.code, 0);
      assert.equal(done.calls.at(-1), "compose down --remove-orphans --volumes");
    }),
);

testUnless(
  "up: a wrong option ends with exit code 2 before Docker is asked, with down too",
  noShell,
  () =>
    inFolder(async (folder) => {
      for (const args of [["up", "--volumes"], ["up", "extra"], ["down", "--force"]]) {
        const { code, calls } = await withStandIn(folder, args);
        assert.deepEqual([code, calls], [2, []], args.join(" "));
      }
    }),
);
