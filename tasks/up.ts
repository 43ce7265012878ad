/**
 * `deno task up`: starts Redpanda, ClickHouse, SeaweedFS and the services of compose.yaml with Docker. Makes the
 * passwords at the first start and keeps them in `.env`, which Compose reads by itself.
 *
 * Exit codes: 0 all services are healthy, 1 Docker is missing or something didn't start, 2 wrong arguments or `.env`.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { parseEnv } from "node:util";
import { Command } from "@commander-js/extra-typings";

/** The variables of compose.yaml that hold a password, a token or a key. */
export const passwords = [
  "CLICKHOUSE_ADMIN_PASSWORD",
  "CLICKHOUSE_WRITER_PASSWORD",
  "CLICKHOUSE_READER_PASSWORD",
  "CLICKHOUSE_DASHBOARDS_PASSWORD",
  "API_TOKENS",
  "S3_ACCESS_KEY",
  "S3_SECRET_KEY",
] as const;

/** What the ClickHouse container gets in the place of each password: its SHA-256, in hexadecimal digits. */
export const hashes: Record<string, string> = {
  CLICKHOUSE_ADMIN_PASSWORD: "CLICKHOUSE_ADMIN_SHA256",
  CLICKHOUSE_WRITER_PASSWORD: "CLICKHOUSE_WRITER_SHA256",
  CLICKHOUSE_READER_PASSWORD: "CLICKHOUSE_READER_SHA256",
  CLICKHOUSE_DASHBOARDS_PASSWORD: "CLICKHOUSE_DASHBOARDS_SHA256",
};

/** Files of ours that containers of other publishers read, as users of theirs. */
export const mounted = [
  "deploy/compose/clickhouse/config.xml",
  "deploy/compose/clickhouse/users.xml",
  "deploy/compose/redpanda/bootstrap.yaml",
];

/** The databases that users.xml gives rights on. */
const databases = ["market", "market_sim"];

/** Health checks that are frequent only at the start (start_interval) need the engine; Compose came with it. */
const oldestCompose = [2, 24] as const;
const oldestEngine = 25;

const urls = `the page           http://127.0.0.1:8080/ (asks for the token: API_TOKENS in .env)
the API            http://127.0.0.1:8080/docs
ClickHouse         http://127.0.0.1:8123 (users writer, reader, dashboards; passwords in .env)
Kafka API          127.0.0.1:9092
Redpanda Console   http://127.0.0.1:8081
producer           http://127.0.0.1:9101/metrics
consumer           http://127.0.0.1:9102/metrics
backfill           http://127.0.0.1:9103/metrics
API                http://127.0.0.1:9104/metrics
rollup             http://127.0.0.1:9105/metrics
S3                 http://127.0.0.1:8333 (keys in .env; "docker compose run --rm tasks archive" writes to it)`;

/** What a finished command left: its exit code, or `undefined` when it isn't installed, and its output. */
export interface Finished {
  code: number | undefined;
  stdout: string;
  stderr: string;
}

/**
 * Adds the passwords that `.env` lacks. What has a value stays, as do comments and all other lines; a line
 * `NAME=` without a value is filled in where it stands, other names are added at the end.
 *
 * @param env the text of `.env`, "" when there is none
 * @param names the variables that need a value
 * @param generate makes one password
 * @returns the new text and the names that were added
 */
export function addPasswords(
  env: string,
  names: readonly string[],
  generate: () => string,
): { text: string; added: string[] } {
  const values = parseEnv(env);
  const added = names.filter((name) => !values[name]);
  const newline = env.includes("\r\n") ? "\r\n" : "\n";
  let text = env;
  for (const name of added) {
    const empty = new RegExp(
      `^([ \\t]*(?:export[ \\t]+)?${name}[ \\t]*=)[ \\t]*(?:""|'')?[ \\t]*(?=\\r?$)`,
      "m",
    );
    if (empty.test(text)) text = text.replace(empty, `$1${generate()}`);
    else text += `${text === "" || text.endsWith("\n") ? "" : newline}${name}=${generate()}${newline}`;
  }
  return { text, added };
}

/**
 * Writes the hash of each password into `.env`: a line that has one is replaced, what is missing is added at the end.
 *
 * @param env the text of `.env`, with every password
 * @param get a variable of the process, which wins over `.env` for Compose too
 * @throws {UserError} for a password that Compose would read as another one
 */
export function addHashes(env: string, get: (name: string) => string | undefined): string {
  const values = parseEnv(env);
  const newline = env.includes("\r\n") ? "\r\n" : "\n";
  let text = env;
  for (const [name, hashName] of Object.entries(hashes)) {
    const password = get(name) || values[name] || "";
    if (!/^[^\s$"'`\\#]+$/.test(password)) {
      throw new UserError(`${name}: expected a password without spaces and without any of $ " ' \` \\ #`);
    }
    const hash = createHash("sha256").update(password).digest("hex");
    if (values[hashName] === hash) continue;
    const line = new RegExp(`^([ \\t]*(?:export[ \\t]+)?${hashName}[ \\t]*=).*?(?=\\r?$)`, "m");
    if (line.test(text)) text = text.replace(line, `$1${hash}`);
    else text += `${text === "" || text.endsWith("\n") ? "" : newline}${hashName}=${hash}${newline}`;
  }
  return text;
}

/** Something that the user can put right; its message is one line. */
class UserError extends Error {}

/** 192 random bits as hexadecimal digits: nothing that .env, XML or a URL would have to escape. */
export function generatePassword(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Says in one line what is wrong with Docker on this machine.
 *
 * @param compose what `docker compose version` left
 * @param engine what `docker info --format {{.ServerVersion}}` left
 * @returns undefined when nothing is
 */
export function dockerProblem(compose: Finished, engine: Finished): string | undefined {
  const otherwise = 'or run everything without Docker: "deno task dev"';
  if (compose.code === undefined) return `There is no docker command here: install Docker, ${otherwise}`;
  const [least, leastMinor] = oldestCompose;
  const needed = `Docker Compose ${least}.${leastMinor} or newer`;
  if (compose.code !== 0) {
    return `"docker compose" doesn't work (${reason(compose)}): install ${needed}, ${otherwise}`;
  }
  // A Compose built from source calls itself "dev".
  const version = /(\d+)\.(\d+)\S*/.exec(compose.stdout);
  const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
  if (version && (major < least || (major === least && minor < leastMinor))) {
    return `Docker Compose ${version[0]} is too old: install ${needed}, ${otherwise}`;
  }
  // Some versions of docker info exit with 0 and an empty version when no engine answers.
  if (engine.code !== 0 || engine.stdout.trim() === "") {
    return `Docker's engine doesn't answer (${reason(engine)}): start it, ${otherwise}`;
  }
  const engineVersion = engine.stdout.trim();
  if (Number(/^\d+/.exec(engineVersion)?.[0]) < oldestEngine) {
    return `Docker's engine ${engineVersion} is too old: install version ${oldestEngine} or newer, ${otherwise}`;
  }
}

/** The first line that a failed command wrote: docker says why there, and what to read after it. */
function reason({ code, stderr }: Finished): string {
  return stderr.trim().split("\n").find((line) => line.trim() !== "")?.trim() ?? `exit code ${code}`;
}

/** Runs docker and reads its output. */
async function ask(...args: string[]): Promise<Finished> {
  try {
    const { code, stdout, stderr } = await new Deno.Command("docker", { args, stdin: "null" }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { code: undefined, stdout: "", stderr: "" };
  }
}

/** Looks at Docker and says what is wrong with it, or returns undefined; see {@link dockerProblem}. */
export async function checkDocker(): Promise<string | undefined> {
  return dockerProblem(
    await ask("compose", "version"),
    await ask("info", "--format", "{{.ServerVersion}}"),
  );
}

/**
 * Runs docker with this terminal's output.
 *
 * @param args docker's arguments
 * @param env variables on top of the environment
 * @returns its exit code
 */
export async function docker(args: string[], env: Record<string, string> = {}): Promise<number> {
  const child = new Deno.Command("docker", { args, env, stdin: "null" }).spawn();
  // Ctrl-C reaches docker too, which stops by itself; this process stays to report how it ended.
  const wait = () => {};
  Deno.addSignalListener("SIGINT", wait);
  const { code } = await child.status;
  Deno.removeSignalListener("SIGINT", wait);
  return code;
}

/**
 * Makes the passwords that are missing and the hashes of all, and writes them to `path`, readable by its owner only. The
 * file is replaced in one step, so a crash leaves either the old one or the new one.
 *
 * @returns the names of the passwords that were added
 */
export async function ensurePasswords(path: string): Promise<string[]> {
  let file = path;
  let env = "";
  try {
    file = await Deno.realPath(path); // a link stays a link
    env = await Deno.readTextFile(file);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const { text: withPasswords, added } = addPasswords(env, passwords, generatePassword);
  const text = addHashes(withPasswords, (name) => Deno.env.get(name));
  if (text !== env) {
    const temporary = `${file}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(temporary, text, { mode: 0o600, createNew: true });
    await Deno.rename(temporary, file);
  } else if (Deno.build.os !== "windows") {
    await Deno.chmod(file, 0o600);
  }
  return added;
}

/**
 * Makes the mounted files readable to everybody: ClickHouse and Redpanda run as users of their own, and with a umask of
 * 077 git leaves these files to their owner alone. There is nothing secret in them.
 *
 * @throws {UserError} when one is missing, where Docker would put an empty folder
 */
export async function openMounted(folder: string): Promise<void> {
  for (const file of mounted) {
    const path = `${folder}/${file}`;
    const info = await Deno.stat(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (!info?.isFile) throw new UserError(`${file} is missing here: start in the folder of compose.yaml`);
    if (Deno.build.os === "windows" || info.mode === null || (info.mode & 0o444) === 0o444) continue;
    await Deno.chmod(path, info.mode & 0o777 | 0o444);
  }
}

/** @throws {UserError} for a database on which the users of users.xml have no rights */
function assertDatabase(env: string): void {
  const name = Deno.env.get("CLICKHOUSE_DATABASE") || parseEnv(env).CLICKHOUSE_DATABASE || "market";
  if (databases.includes(name)) return;
  throw new UserError(
    `CLICKHOUSE_DATABASE=${name}: with Docker it is ${databases.join(" or ")}: ` +
      "deploy/compose/clickhouse/users.xml gives rights on no other",
  );
}

async function main(): Promise<number> {
  const program = new Command()
    .name("deno task up")
    .description(
      "Starts Redpanda, ClickHouse, SeaweedFS and tapehouse's services with Docker (compose.yaml).",
    )
    .allowExcessArguments(false)
    .exitOverride((error) => Deno.exit(error.exitCode === 0 ? 0 : 2));
  program.parse(Deno.args, { from: "user" });

  const problem = await checkDocker();
  if (problem) {
    console.error(problem);
    return 1;
  }
  try {
    await openMounted(".");
    assertDatabase(await Deno.readTextFile(".env").catch(() => ""));
    const added = await ensurePasswords(".env");
    if (added.length > 0) console.log(`Made passwords in .env: ${added.join(", ")}`);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    return 2;
  }
  // One image, built once, before anything is started from it.
  for (const args of [["build"], ["up", "--detach", "--wait"]]) {
    const code = await docker(["compose", ...args]);
    if (code === 0) continue;
    console.error(
      `"docker compose ${
        args[0]
      }" failed with exit code ${code}: see above, and "docker compose logs SERVICE"`,
    );
    return 1;
  }
  console.log(`\n${urls}\n\nStop with "deno task down"; the data stays.`);
  return 0;
}

if (import.meta.main) Deno.exit(await main());
