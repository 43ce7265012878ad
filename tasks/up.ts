/**
 * `deno task up`: starts Redpanda, ClickHouse, SeaweedFS and the services of compose.yaml with Docker. Makes the
 * passwords at the first start and keeps them in `.env`, which Compose reads by itself.
 *
 * Exit codes: 0 all services are healthy, 1 Docker is missing or something didn't start, 2 wrong arguments.
 *
 * @module
 */

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

/** `up --wait` of older ones takes a finished one-shot service (migrate, topics) for a failure. */
const oldestCompose = [2, 20] as const;

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
 * Makes the passwords that are missing and writes them to `path`, readable by its owner only. The file is
 * replaced in one step, so a crash leaves either the old one or the new one.
 *
 * @returns the names that were added
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
  const { text, added } = addPasswords(env, passwords, generatePassword);
  if (added.length > 0) {
    const temporary = `${file}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(temporary, text, { mode: 0o600, createNew: true });
    await Deno.rename(temporary, file);
  } else if (Deno.build.os !== "windows") {
    await Deno.chmod(file, 0o600);
  }
  return added;
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
  const added = await ensurePasswords(".env");
  if (added.length > 0) console.log(`Made passwords in .env: ${added.join(", ")}`);
  const code = await docker(["compose", "up", "--build", "--detach", "--wait"]);
  if (code !== 0) {
    console.error(
      `"docker compose up" failed with exit code ${code}: see above, and "docker compose logs SERVICE"`,
    );
    return 1;
  }
  console.log(`\n${urls}\n\nStop with "deno task down"; the data stays.`);
  return 0;
}

if (import.meta.main) Deno.exit(await main());
