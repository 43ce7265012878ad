/**
 * compose.yaml, the Dockerfile and what is mounted, checked as far as it goes without a Docker engine:
 * by the Compose project's own loader (`docker compose config`, or compose-go built with Go), by loading the image's
 * files with an empty cache, and by ClickHouse itself (chDB) for its users. `deno task up` and `down` are run against
 * a stand-in for the docker command, which shows what they ask for, not that Docker does it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { parse } from "yaml";
import { type Variable, variables } from "../lib/config.ts";
import { readMigrations } from "../lib/migrations.ts";
import { passwords } from "../tasks/up.ts";
import { type Skip, testUnless } from "./skip.ts";

interface Service {
  image?: string;
  build?: string;
  profiles?: string[];
  command?: string[];
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
const users = await Deno.readTextFile(join(root, "deploy/compose/clickhouse/users.xml"));
const deno: {
  permissions?: Record<string, { env?: boolean | string[] }>;
  tasks?: Record<string, unknown>;
} = JSON.parse(await Deno.readTextFile(join(root, "deno.json")));

/** In these no variable of lib/config.ts is meant: the images' own names. */
const foreign: Record<string, string[]> = {
  "redpanda-console": ["KAFKA_BROKERS", "REDPANDA_ADMINAPI_ENABLED", "REDPANDA_ADMINAPI_URLS"],
  clickhouse: ["CLICKHOUSE_SKIP_USER_SETUP", ...passwords],
};
/** Read by a service that isn't there yet. */
const later = ["API_HOST", "API_PORT"];

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

Deno.test("every image is pinned to a full version", async () => {
  const dockerfile = await Deno.readTextFile(join(root, "Dockerfile"));
  const from = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map((match) => match[1] ?? "");
  const images = services.filter(([, { build }]) => !build).map(([, { image }]) => image ?? "");
  for (const image of [...from, ...images]) assert.match(image, /:v?\d+\.\d+\.\d+(\.\d+)?$/);
  assert(from.length > 0 && images.length === 3, String([from, images]));
});

Deno.test("no password stands in compose.yaml: each comes from a variable that must be set", () => {
  const names = services.flatMap(([, { environment }]) =>
    Object.entries(environment ?? {}).filter(([name]) => /PASSWORD|SECRET|TOKEN/.test(name)).map(
      ([, value]) => {
        const name = /^\$\{([A-Z_]+):\?[^}]*deno task up[^}]*\}$/.exec(value ?? "")?.[1];
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
  for (const [name, { healthcheck, restart }] of services) {
    assert.equal(healthcheck === undefined, once.has(name), name);
    assert.equal(restart, once.has(name) ? "no" : "unless-stopped", name);
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

Deno.test("every service runs a file, a permission set or a task that exists; one that doesn't is not started", async () => {
  for (const [name, { command = [], profiles }] of ours) {
    if (command[0] === "task") {
      assert(deno.tasks?.[command[1] ?? ""], `deno.json has no task ${command[1]}`);
      continue;
    }
    const exists = await Deno.stat(join(root, `${name}.ts`)).then(() => true, () => false);
    assert.equal(exists, profiles === undefined, `${name}.ts exists: ${exists}; profiles: ${profiles}`);
    assert(command.includes(`-P=${name}`) && command.includes(`${name}.ts`), command.join(" "));
    if (exists) assert(deno.permissions?.[name], `deno.json has no permission set ${name}`);
  }
});

Deno.test("every variable is one that the service knows, may read, and takes the value of", () => {
  for (const [name, { environment = {}, profiles }] of services) {
    if (foreign[name]) {
      assert.deepEqual(new Set(Object.keys(environment)), new Set(foreign[name]), name);
      continue;
    }
    const readable = profiles ? true : deno.permissions?.[name]?.env ?? false;
    for (const [variable, value] of Object.entries(environment)) {
      if (profiles && later.includes(variable)) continue;
      assert(variable in variables, `${name}: lib/config.ts doesn't know ${variable}`);
      assert(
        readable === true || (readable && readable.some((pattern) => covers(pattern, variable))),
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
  "the files of the image are enough to start each service, and chDB isn't among them",
  Deno.build.os === "windows" ? { reason: "the Dockerfile's commands need sh", avoidable: false } : undefined,
  () =>
    inFolder(async (folder) => {
      const app = join(folder, "app");
      await copyImageFiles(app);
      const cache = { DENO_DIR: join(folder, "deno-dir"), NO_COLOR: "1", PATH: await denoOnPath(folder) };
      const dockerfile = await Deno.readTextFile(join(root, "Dockerfile"));
      for (const [, command] of dockerfile.matchAll(/^RUN (.+)$/gm)) {
        const { code, stderr } = await run("sh", ["-c", command ?? ""], { cwd: app, env: cache });
        assert.equal(code, 0, `${command}: ${stderr}`);
      }
      assert.deepEqual((await tree(folder)).filter((path) => /\.env$|_test\.ts$|chdb/.test(path)), []);

      for (const [name, { command = [], environment = {}, profiles }] of ours) {
        if (profiles) continue;
        const variable = environment.KAFKA_BROKERS ? "KAFKA_BROKERS" : "CLICKHOUSE_URL";
        const { code, stderr } = await run(Deno.execPath(), command, {
          cwd: app,
          env: { ...cache, [variable]: "nonsense" },
        });
        assert.match(stderr, new RegExp(`${variable}=nonsense`), `${name}: ${stderr}`);
        assert.equal(code, 2, `${name}: ${stderr}`);
      }
    }),
);

/** Copies what .dockerignore lets through; it excludes everything and then names what gets in. */
async function copyImageFiles(target: string): Promise<void> {
  const rules = (await Deno.readTextFile(join(root, ".dockerignore"))).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  assert.equal(rules[0], "*");
  assert.deepEqual(rules.filter((rule) => !rule.startsWith("!")), ["*", "**/*_test.ts"]);
  const allowed = rules.filter((rule) => rule.startsWith("!")).map((rule) => rule.slice(1));
  const entries = [...Deno.readDirSync(root)].map(({ name }) => name);
  const paths = allowed.flatMap((rule) =>
    rule.startsWith("*.") ? entries.filter((name) => name.endsWith(rule.slice(1))) : [rule]
  );
  for (const path of paths) {
    const source = join(root, path);
    const files = (await Deno.stat(source)).isDirectory
      ? (await tree(source)).map((file) => join(path, file))
      : [path];
    for (const file of files.filter((file) => !file.endsWith("_test.ts"))) {
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
        // chDB is always the user "default": give that one the profile and the grants of the user in question.
        const body = new RegExp(`<${user}>\\s*<password [^>]*>([^]*?)</${user}>`).exec(users)?.[1];
        assert(body, `no user ${user} in users.xml`);
        await Deno.writeTextFile(
          join(folder, "users.d", "default.xml"),
          `<clickhouse><users><default><password/>${body}</default></users></clickhouse>`,
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
