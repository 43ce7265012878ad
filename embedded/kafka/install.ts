/**
 * Getting the embedded Kafka: its jars by Maven, and a Java that runs them.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { FatalError } from "../../lib/core/errors.ts";
import { assertNotKilled, runToEnd } from "../process/process.ts";

/** The version that embedded/kafka/pom.xml names. */
export const kafkaVersion = "4.3.1";

/**
 * Downloads Kafka's jars into `folder` unless they are there; then neither Maven nor a network is needed. The folder
 * appears when it is whole; several processes may ask for the same one at once. Maven's log is `<folder>.log`.
 *
 * @throws {FatalError} when Maven is missing or fails
 */
export async function installKafka(
  folder: string,
  options: { log?: (message: string) => void; signal?: AbortSignal } = {},
): Promise<void> {
  const jars = resolve(folder);
  if (await exists(jars)) return;
  await Deno.mkdir(dirname(jars), { recursive: true });
  using _lock = await lockFile(`${jars}.lock`, options.signal);
  if (await exists(jars)) return;
  await removePartial(jars);

  const maven = fromHome("MAVEN_HOME", "mvn");
  if (await firstOutput(maven, "--version") === undefined) {
    throw new FatalError(
      `Kafka's jars are downloaded with Maven, and there is no ${maven}. Install Maven, ${otherWays}`,
    );
  }
  options.log?.(`downloading Kafka ${kafkaVersion} (43 MB)`);
  const partial = await Deno.makeTempDir({ dir: dirname(jars), prefix: `${basename(jars)}.partial-` });
  const logFile = `${jars}.log`;
  const pom = fileURLToPath(new URL("./pom.xml", import.meta.url));
  const status = await runToEnd({
    name: "Maven",
    command: maven,
    // -C: a file whose checksum is wrong is an error.
    args: ["-B", "-C", "-ntp", "-f", pom, "dependency:copy-dependencies", `-DoutputDirectory=${partial}`],
    logFile,
    ...(options.signal && { signal: options.signal }),
  }).catch(async (error) => {
    await removeFolder(partial);
    throw error;
  });
  if (!status.success) {
    await removeFolder(partial);
    assertNotKilled("Maven", status);
    throw new FatalError(
      `Maven could not download Kafka ${kafkaVersion}; its log ${logFile} says why. Try again with a network, ` +
        otherWays,
    );
  }
  await Deno.rename(partial, jars);
}

/**
 * The major version in what `java -version` prints: `openjdk version "17.0.15" …` is 17, `java version "1.8.0_392"` 8.
 *
 * @returns undefined when it isn't there
 */
export function javaMajor(output: string): number | undefined {
  const match = /version "(?:1\.)?(\d+)/.exec(output);
  return match ? Number(match[1]) : undefined;
}

export async function findJava(): Promise<string> {
  const java = fromHome("JAVA_HOME", "java");
  const output = await firstOutput(java, "-version");
  if (output === undefined) {
    throw new FatalError(
      `Kafka needs Java 17 or newer, and there is no working ${java}. Install a JRE or JDK, ${otherWays}`,
    );
  }
  const major = javaMajor(output);
  if (major !== undefined && major < 17) {
    throw new FatalError(
      `Kafka needs Java 17 or newer, and ${java} is Java ${major}. Install a newer one, ${otherWays}`,
    );
  }
  return java;
}

/** `JAVA_HOME=/opt/jdk` → `/opt/jdk/bin/java`; without the variable plain `java`, found by PATH. */
function fromHome(variable: string, program: string): string {
  const home = Deno.env.get(variable);
  return home ? resolve(home, "bin", program) : program;
}

/** What a program prints about itself; undefined when it doesn't run. */
async function firstOutput(program: string, argument: string): Promise<string | undefined> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(program, { args: [argument] }).output();
    return success ? new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return undefined;
    }
    throw error;
  }
}

/** Waits for the file's exclusive lock. The system drops it with the process, so it can't be left over. */
export async function lockFile(path: string, signal: AbortSignal | undefined): Promise<Disposable> {
  const file = await Deno.open(path, { create: true, write: true });
  try {
    while (!await file.tryLock(true)) {
      signal?.throwIfAborted();
      await new Promise((done) => setTimeout(done, 100));
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Removes what interrupted downloads left beside the folder. */
async function removePartial(jars: string): Promise<void> {
  for await (const { name } of Deno.readDir(dirname(jars))) {
    if (name.startsWith(`${basename(jars)}.partial-`)) await removeFolder(join(dirname(jars), name));
  }
}

const otherWays = "or run Kafka in Docker (deno task up), " +
  "or set KAFKA_BROKERS to the address of any Kafka or Redpanda.";

export async function removeFolder(path: string): Promise<void> {
  if (await exists(path)) await Deno.remove(path, { recursive: true });
}
