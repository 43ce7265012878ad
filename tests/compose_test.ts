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
import { dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { parse } from "yaml";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { freePort } from "../embedded/ports.ts";
import { startProcess } from "../embedded/process.ts";
import { createApp } from "../lib/api/app.ts";
import { openDatabase } from "../lib/api/database.ts";
import { archiveDay, archivedTableNames, dropDay } from "../lib/archive.ts";
import { restoreDay } from "../lib/archive_restore.ts";
import { createBackup, restoreBackup } from "../lib/backup.ts";
import { type Config, readConfig, type Variable, variables } from "../lib/config.ts";
import {
  describeEngine,
  readEngineStatements,
  readEngineTables,
  requireNoEngine,
} from "../lib/kafka_engine.ts";
import { createLogger } from "../lib/log.ts";
import { migrate, readMigrations, requireSchema } from "../lib/migrations.ts";
import { setRetention } from "../lib/retention.ts";
import { rollUp } from "../lib/rollup.ts";
import { openS3 } from "../lib/s3.ts";
import { openStorage } from "../lib/storage.ts";
import { parseInterval } from "../lib/stream/protocol.ts";
import {
  loadAnomalies,
  loadBook,
  loadHistory,
  loadLastMatch,
  loadLastTrade,
  loadProducts,
  loadRuns,
  loadTicker,
} from "../lib/stream/seeds.ts";
import { nowMicros } from "../lib/time.ts";
import { readGivenUp, readHoles, recordGivenUp } from "../lib/trade_gaps.ts";
import { joinStoredTrades } from "../lib/trade_runs.ts";
import { openWarehouse } from "../lib/warehouse.ts";
import { generatePassword, passwords } from "../tasks/up.ts";
import { program as seaweedfs, whyNoS3 } from "./s3.ts";
import { simulatedTape } from "./simulated_tape.ts";
import { type Skip, testUnless } from "./skip.ts";

interface Service {
  image?: string;
  build?: string;
  profiles?: string[];
  command?: string[];
  entrypoint?: string[];
  environment?: Record<string, string | null>;
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
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

const root = join(import.meta.dirname ?? ".", "..");
const text = await Deno.readTextFile(join(root, "compose.yaml"));
const compose: { services: Record<string, Service>; volumes: Record<string, unknown> } = parse(text, {
  merge: true,
});
const services = Object.entries(compose.services);
const ours = services.filter(([, { build }]) => build !== undefined);
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

/** In these no variable of lib/config.ts is meant: the images' own names. */
const foreign: Record<string, string[]> = {
  "redpanda-console": ["KAFKA_BROKERS", "REDPANDA_ADMINAPI_ENABLED", "REDPANDA_ADMINAPI_URLS"],
  clickhouse: ["CLICKHOUSE_SKIP_USER_SETUP", ...passwords.filter((name) => /^CLICKHOUSE_/.test(name))],
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

Deno.test("every published port is bound to the loopback address, and none twice", () => {
  const ports = services.flatMap(([, { ports }]) => ports ?? []);
  for (const port of ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/);
  const published = ports.map((port) => port.split(":")[1]);
  assert.equal(new Set(published).size, published.length, String(published));
  assert(published.length > 0);
});

Deno.test("nothing gets into the image but what .dockerignore names", () => {
  assert.equal(ignored[0], "*");
  assert.deepEqual(ignored.filter((rule) => !rule.startsWith("!")), ["*", "web/dist", "**/*_test.ts"]);
  assert.deepEqual(ignored.slice(-2), ["web/dist", "**/*_test.ts"]);
});

Deno.test("every image is pinned to a full version", async () => {
  const dockerfile = await Deno.readTextFile(join(root, "Dockerfile"));
  const from = [...dockerfile.matchAll(/^FROM (\S*[:.]\S*)/gm)].map((match) => match[1] ?? "");
  const images = services.filter(([, { build }]) => !build).map(([, { image }]) => image ?? "");
  // SeaweedFS numbers its releases with two parts.
  for (const image of [...from, ...images]) {
    assert.match(image, /:v?\d+\.\d+\.\d+(\.\d+)?$|seaweedfs:\d+\.\d+$/);
  }
  assert(from.length > 0 && images.length === 4, String([from, images]));
});

Deno.test("no password stands in compose.yaml: each comes from a variable that must be set", () => {
  const names = services.flatMap(([, { environment }]) =>
    Object.entries(environment ?? {}).filter(([name]) => /PASSWORD|SECRET|TOKEN|_KEY/.test(name)).map(
      ([, value]) => {
        const name = /^\$\{([A-Z0-9_]+):\?[^}]*deno task up[^}]*\}$/.exec(value ?? "")?.[1];
        assert(name, `expected \${NAME:?message}: ${value}`);
        return name;
      },
    )
  );
  assert.deepEqual(new Set(names), new Set(passwords));
});

Deno.test("every service has a health check, but for those that run once", () => {
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
    assert.equal(healthcheck === undefined, runsOnce, name);
    assert.equal(restart, runsOnce ? "no" : "unless-stopped", name);
  }
});

Deno.test("every service waits for services that exist and can become what it waits for", () => {
  for (const [name, { depends_on }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on ?? {})) {
      const service = compose.services[other];
      assert(service && !service.profiles, `${name} waits for ${other}`);
      if (condition === "service_healthy") assert(service.healthcheck, `${name} waits for ${other}`);
      else assert.equal(condition, "service_completed_successfully", `${name} waits for ${other}`);
    }
  }
});

Deno.test("our containers can't write to their file system and have no privileges", () => {
  assert(ours.length >= 4);
  for (const [name, service] of ours) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    assert(parseInt(service.stop_grace_period ?? "") > 10, name);
  }
});

Deno.test("every service runs a file with a permission set of its own, or a task, that gets into the image", async () => {
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

Deno.test("every variable is one that the service knows, may read, and takes the value of", () => {
  for (const [name, { environment = {}, profiles }] of services) {
    if (foreign[name]) {
      assert.deepEqual(new Set(Object.keys(environment)), new Set(foreign[name]), name);
      continue;
    }
    // A service without a task of its own runs any of them.
    const sets = profiles ? imageTasks : [name];
    const readable = sets.map((set) => deno.permissions?.[set]?.env ?? false);
    for (const [variable, value] of Object.entries(environment)) {
      assert(variable in variables, `${name}: lib/config.ts doesn't know ${variable}`);
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

Deno.test("every health check of ours asks the port that the service listens on and publishes", () => {
  for (const [name, { environment, healthcheck, ports }] of ours) {
    if (!healthcheck) continue;
    const port = environment?.METRICS_PORT;
    assert(ports?.includes(`127.0.0.1:${port}:${port}`), name);
    assert.match(healthcheck.test.join(" "), /^CMD deno eval .*METRICS_PORT.*\/healthz/s);
  }
});

Deno.test("every volume is declared, every mounted file is there and read-only", async () => {
  for (const volume of services.flatMap(([, { volumes }]) => volumes ?? [])) {
    const [source = "", target, mode] = volume.split(":");
    assert(target?.startsWith("/"), volume);
    if (!source.startsWith("./")) {
      assert(source in compose.volumes, volume);
    } else {
      assert.equal(mode, "ro", volume);
      assert((await Deno.stat(join(root, source))).isFile, volume);
    }
  }
});

Deno.test("every ClickHouse user that a service logs in as exists, with that service's password", () => {
  for (const [name, { environment }] of ours) {
    const user = environment?.CLICKHOUSE_USER;
    if (!user) continue;
    const variable = new RegExp(`<${user}>\\s*<password from_env="(\\w+)"/>`).exec(users)?.[1];
    assert(variable, `${name}: no user ${user} in users.xml`);
    assert(environment?.CLICKHOUSE_PASSWORD?.startsWith(`\${${variable}:?`), name);
  }
});

// ---- by the Compose project's loader ----

const withPasswords = Object.fromEntries(passwords.map((name) => [name, "x"]));

/** Reads a compose file by the official schema; resolves to what the loader says against it. */
type Loader = (file: string, env: Record<string, string>) => Promise<Outcome>;

async function findLoader(): Promise<Loader | Skip> {
  if (await works("docker", "compose", "version")) {
    const config = ["--profile", "*", "config", "--quiet"];
    return (file, env) => run("docker", ["compose", "--file", file, ...config], { env, cwd: dirname(file) });
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
  return (file) => run(program, ["-no-interpolation", file], { cwd: dirname(file) });
}

const loader = await findLoader();
const noLoader = typeof loader === "function" ? undefined : loader;

testUnless(
  "compose.yaml is valid by the Compose specification, and a misspelt key is not",
  noLoader,
  async () => {
    assert(typeof loader === "function");
    const good = await loader(join(root, "compose.yaml"), withPasswords);
    assert.deepEqual([good.code, good.stderr.trim()], [0, ""]);
    await inFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "compose.yaml"), text.replace("healthcheck:", "healthchek:"));
      const bad = await loader(join(folder, "compose.yaml"), withPasswords);
      assert.notEqual(bad.code, 0);
      assert.match(bad.stderr, /healthchek/);
    });
  },
);

// ---- the image's files ----

testUnless(
  "the image's files are enough to start each service and task, serve the page, and hold no chDB and no browser",
  Deno.build.os === "windows" ? { reason: "the Dockerfile's commands need sh", avoidable: false } : undefined,
  () =>
    inFolder(async (folder) => {
      const path = await denoOnPath(folder);
      const { app, cache } = await buildImage(folder, path);
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
    const files = [...page.matchAll(/"((?:main|style|icon)-\w+\.(?:js|css|svg))"/g)].map((match) =>
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
    const health = await fetch(`http://127.0.0.1:${metricsPort}/healthz`);
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
    const from = /^--from=(\S+) \/app\/(\S+) (\S+)$/.exec(rest);
    if (word === "COPY" && from) {
      await copyTree(join(stages.get(from[1] ?? "")?.app ?? "", from[2] ?? ""), join(app, from[3] ?? ""));
    } else if (word === "COPY") {
      assert.equal(rest, ". .");
      await copyImageFiles(app);
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
    ["DELETE FROM market.trade_runs WHERE product_id = 'none'", ""],
    ["CREATE TABLE market.x (a UInt64) ENGINE = Memory", denied],
    ["ALTER TABLE market.trades DELETE WHERE 1", denied],
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

/** chDB is always the user "default": that one with the profile and the grants of the user in question. */
function asDefault(user: string): string {
  const body = new RegExp(`<${user}>\\s*<password [^>]*>([^]*?)</${user}>`).exec(users)?.[1];
  assert(body, `no user ${user} in users.xml`);
  return `<default><password/>${body}</default>`;
}

/** Runs in a process of its own, for chDB reads its users once; answers one JSON line a statement. */
const chdbScript = `
import { Session } from "chdb";
const [data, config, statements] = Deno.args;
const session = new Session(data, { connectionArgs: ["--config-file=" + config] });
for (const statement of JSON.parse(statements)) {
  let answer;
  try { answer = String(session.query(statement, "TSV")).trim(); } catch (error) { answer = String(error); }
  console.log(JSON.stringify(answer));
}`;

Deno.test(
  "each ClickHouse user can do its work and nothing else",
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
        const statements = JSON.stringify(dialogue.map(([statement]) => statement));
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
  const passwordless = users.replace(/<password from_env="\w+"\/>/g, "<password/>");
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
    const defaults = readConfig(Object.keys(variables) as Variable[], () => undefined);
    await work({ ...defaults, CLICKHOUSE_URL: server.url });
  } finally {
    await server.stop();
  }
}

const product = "BTC-USD";
const { signal } = new AbortController();
const log = createLogger({}, { level: "error" });

async function askAsMigrate(config: AnyConfig): Promise<void> {
  await migrate(config, () => {});
  const warehouse = openWarehouse(config);
  await setRetention(warehouse, config.CLICKHOUSE_DATABASE, { ...config, CLICKHOUSE_BOOK_DAYS: 7 });
  await assert.rejects(
    setRetention(warehouse, config.CLICKHOUSE_DATABASE, { ...config, CLICKHOUSE_STORAGE_POLICY: "none" }),
    /the server knows no such policy/,
  );
  // Nothing listens there; the engine's tables are made all the same.
  const engine = { ...config, KAFKA_BROKERS: [`127.0.0.1:${freePort()}`] };
  for (const query of await readEngineStatements(engine)) await warehouse.command({ query });
  assert.match(await describeEngine(warehouse, config.CLICKHOUSE_DATABASE), /^on, 0 partitions/);
  for (const table of await readEngineTables(warehouse, config.CLICKHOUSE_DATABASE)) {
    await warehouse.command({ query: `DROP TABLE ${table} SYNC` });
  }
  await warehouse.close();
}

async function askAsWriter(config: AnyConfig): Promise<void> {
  const warehouse = openWarehouse(config);
  await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, signal, log);
  await requireNoEngine(warehouse, config.CLICKHOUSE_DATABASE, signal, log);
  const storage = openStorage(warehouse, {
    onError(what, error) {
      throw new Error(what, { cause: error });
    },
  });
  const from = Math.floor(nowMicros() / 3600e6 - 1) * 3600e6;
  const tape = simulatedTape({ products: [product], rate: 1, from, hours: 1, bookMinutes: 2 });
  const trades = tape.trades.map((row) => row.slice(0, -1)); // without the batch, which the storage names
  await storage.write({ ...tape, trades: trades.toSpliced(100, 10) }, "test/1", signal);
  await joinStoredTrades(warehouse, product, "test/2");
  assert.equal((await readHoles(warehouse)).length, 1);
  await recordGivenUp(warehouse, product, [{ first: 1, last: 2 }], "not served");
  assert.equal((await readGivenUp(warehouse)).get(product)?.length, 1);
  const filled = await rollUp(warehouse, { now: nowMicros(), signal, run: (_, statement) => statement() });
  assert(filled.minutes > 0);
  await warehouse.close();
}

interface Operation {
  get: { parameters?: { name: string; in: string }[] };
}

async function askAsReader(config: AnyConfig): Promise<void> {
  const database = openDatabase(config, config.API_QUERY_SECONDS);
  const faults: string[] = [];
  const api = createApp({
    database,
    databaseName: config.CLICKHOUSE_DATABASE,
    simulated: false,
    host: "0.0.0.0",
    allowedHosts: [],
    tokens: [],
    corsOrigins: [],
    ratePerSecond: 0,
    trustProxy: false,
    pageFolder: new URL("../web/dist/", import.meta.url),
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
  const { clickhouse, products } = JSON.parse(status);
  assert.deepEqual([clickhouse.ok, products.length], [true, 1], status);
  await database.close();

  const warehouse = openWarehouse(config);
  const interval = parseInterval("1m");
  assert(interval);
  const [now, dayAgo] = [nowMicros(), nowMicros() - 86_400e6];
  assert((await loadProducts(warehouse)).has(product));
  assert(await loadTicker(warehouse, product));
  assert(await loadLastMatch(warehouse, product));
  assert(await loadBook(warehouse, product));
  assert((await loadLastTrade(warehouse, product)).id > 0);
  assert((await loadHistory(warehouse, product, "1m", interval, now, 1440)).length > 0);
  assert((await loadRuns(warehouse, product, interval, dayAgo)).length > 0);
  await loadAnomalies(warehouse, "2026-07-07 00:00:00", new AbortController().signal);
  await warehouse.close();
}

/** Who reads tables of `system`, and where that is written. */
const readers: Record<string, string[]> = {
  tapehouse_admin: ["retention", "kafka_engine", "migrations", "archive", "backup"].map((name) =>
    `lib/${name}.ts`
  ),
  writer: ["migrations", "trade_runs", "rollup", "storage"].map((name) => `lib/${name}.ts`),
  reader: ["lib/doctor_checks.ts", "lib/api", "lib/stream", "sql/examples"],
  dashboards: ["sql/examples"],
};

Deno.test("every table of system that a user's code reads is granted, unless it is open to all", async () => {
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

Deno.test("migrate, the services and the API have the rights that they need", () =>
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
  const warehouse = openWarehouse(all);
  const from = Date.UTC(2026, 6, 7, 10) * 1000;
  const tape = simulatedTape({ products: [product], rate: 1, from, hours: 1, bookMinutes: 1 });
  const storage = openStorage(warehouse, { onError: (_, error) => assert.fail(String(error)) });
  await storage.write({ ...tape, trades: tape.trades.map((row) => row.slice(0, -1)) }, "test/1", signal);

  const s3 = openS3(all);
  await s3.checkBucket();
  const archive = { warehouse, s3, config: all, database: all.CLICKHOUSE_DATABASE };
  for (const table of archivedTableNames) {
    const options = { rewrite: false, dryRun: false, onPart: () => {} };
    const { manifest } = await archiveDay(archive, table, "2026-07-07", options);
    if (table !== "book_changes") continue;
    assert(manifest);
    const gone = await dropDay(archive, manifest);
    assert(gone > 0);
    assert.deepEqual(await restoreDay(archive, manifest, warehouse, options), { inserted: gone, there: 0 });
  }
  const server = openWarehouse({ ...all, CLICKHOUSE_DATABASE: "default" });
  const backups = { clickhouse: server, s3, config: all, database: all.CLICKHOUSE_DATABASE };
  const full = await createBackup(backups, "one", undefined);
  await createBackup(backups, "two", full);
  const tables = await restoreBackup(backups, "two", "market_copy");
  assert(tables > 20);
  await server.command({ query: "DROP DATABASE market_copy SYNC" });
  const stats = ["run", "-q", "-P=stats", "tasks/stats.ts", "--date", "2026-07-07"];
  const { code, stderr } = await run(Deno.execPath(), stats, {
    cwd: root,
    env: { CLICKHOUSE_URL: all.CLICKHOUSE_URL },
  });
  assert.equal(code, 0, stderr);
  await Promise.all([warehouse.close(), server.close()]);
}

testUnless(
  "archive, restore, backup and stats have the rights that they need, with SeaweedFS as compose.yaml starts it",
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
  "compose up"*) cat .env > env-at-up; exit "\${FAKE_UP_CODE:-0}" ;;
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
const starting = "compose up --build --detach --wait";

testUnless(
  "deno task up makes the passwords first, starts everything, and prints where it is",
  noShell,
  () =>
    inFolder(async (folder) => {
      const { code, stdout, calls } = await withStandIn(folder, ["up"]);
      assert.equal(code, 0);
      assert.equal(calls.at(-1), starting);
      assert.deepEqual(Object.keys(parseEnv(await Deno.readTextFile(join(folder, "env-at-up")))), [
        ...passwords,
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
  "deno task up reports a start that failed in one line, with exit code 1",
  noShell,
  () =>
    inFolder(async (folder) => {
      const { code, stderr } = await withStandIn(folder, ["up"], { FAKE_UP_CODE: "17" });
      assert.equal(code, 1);
      assert.match(stderr, /^"docker compose up" failed with exit code 17: [^\n]+\n$/);
    }),
);

testUnless("deno task up without Docker, or with an old one, changes nothing", noShell, async () => {
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
  "deno task down stops and keeps the data, also when .env is gone",
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
  "deno task down --volumes deletes nothing unless it is confirmed",
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
  "a wrong option ends with exit code 2 before Docker is asked",
  noShell,
  () =>
    inFolder(async (folder) => {
      for (const args of [["up", "--volumes"], ["up", "extra"], ["down", "--force"]]) {
        const { code, calls } = await withStandIn(folder, args);
        assert.deepEqual([code, calls], [2, []], args.join(" "));
      }
    }),
);
