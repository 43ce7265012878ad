/**
 * A real Apache Kafka without Docker: one broker that is its own controller (KRaft), from jars that Maven downloads.
 *
 * What lies in `$TAPEHOUSE_HOME/kafka`: `lib-4.3.1/` the jars, `data/` the topics, `server.properties` (written anew at
 * every start), `kafka.pid`. The log is `$TAPEHOUSE_HOME/logs/kafka.log`.
 *
 * @module
 */

import { Kafka, logLevel } from "kafkajs";
import { fileURLToPath } from "node:url";
import { basename, dirname, join, resolve } from "node:path";
import "../lib/kafkajs_timers.ts";
import { FatalError } from "../lib/service.ts";
import { assertPortFree, freePort } from "./ports.ts";
import { endLeftOver, type RunningProcess, startProcess } from "./process.ts";

/** The version that embedded/kafka/pom.xml names. */
export const kafkaVersion = "4.3.1";

/** Where and how to run the broker. */
export interface KafkaOptions {
  /** TAPEHOUSE_HOME: holds the data and the log. */
  home: string;
  /** Of 127.0.0.1. The same data may be started with another port. */
  port: number;
  /** The folder of the jars, filled when it isn't there. @default `${home}/kafka/lib-4.3.1` */
  jars?: string;
  /** @default `${home}/logs/kafka.log` */
  logFile?: string;
  /** Is told what takes long, such as a download. */
  log?: (message: string) => void;
  /** Gives up a start that isn't finished; `startKafka` then throws the signal's reason. */
  signal?: AbortSignal;
}

/** A broker that answers. */
export interface RunningKafka extends RunningProcess {
  /** For KAFKA_BROKERS: `127.0.0.1:9092`. */
  brokers: string;
}

const otherWays = "or run Kafka in Docker (deno task up), " +
  "or set KAFKA_BROKERS to the address of any Kafka or Redpanda.";

const log4j = `-Dlog4j2.configurationFile=${new URL("./kafka/log4j2.properties", import.meta.url).href}`;

/**
 * Starts Kafka and waits until it answers a request. Only one start at a time works on a home.
 *
 * @throws {FatalError} when the port is held, Java or Maven is missing, the download fails, Kafka already runs in this
 * home, or it doesn't come up
 */
export async function startKafka(options: KafkaOptions): Promise<RunningKafka> {
  const { port, log, signal } = options;
  const folder = resolve(options.home, "kafka");
  const jars = resolve(options.jars ?? join(folder, `lib-${kafkaVersion}`));
  const logFile = options.logFile ?? join(options.home, "logs", "kafka.log");
  const pidFile = join(folder, "kafka.pid");
  await Deno.mkdir(folder, { recursive: true });
  using _lock = await lockFile(join(folder, "start.lock"), signal);

  await endLeftOver("Kafka", pidFile);
  await assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT");
  const java = await findJava();
  await installKafka(jars, { ...(log && { log }), ...(signal && { signal }) });
  const run = { command: java, cwd: folder, logFile, ...(signal && { signal }) };
  const controllerPort = freePort();
  const writeProperties = (data: string) =>
    Deno.writeTextFile(join(folder, "server.properties"), serverProperties({ port, controllerPort, data }));

  if (!await exists(join(folder, "data", "meta.properties"))) {
    // Renamed when it is whole: a format that was interrupted leaves nothing that looks formatted.
    await removeFolder(join(folder, "data.new"));
    await writeProperties("data.new");
    const format = await startProcess({ ...run, name: "Kafka's format", args: formatArguments(jars) });
    const status = await format.exited;
    signal?.throwIfAborted();
    if (!status.success) throw new FatalError(`Kafka could not prepare its data folder. See ${logFile}.`);
    await Deno.rename(join(folder, "data.new"), join(folder, "data"));
  }
  await writeProperties("data");
  const brokers = `127.0.0.1:${port}`;
  const broker = await startProcess({
    ...run,
    name: "Kafka",
    args: [
      "-Xmx512m",
      "-XX:+ExitOnOutOfMemoryError",
      log4j,
      "-cp",
      join(jars, "*"),
      "kafka.Kafka",
      "server.properties",
    ],
    pidFile,
    ready: () => answers(brokers),
  });
  return { ...broker, brokers };
}

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
  const pom = fileURLToPath(new URL("./kafka/pom.xml", import.meta.url));
  const download = await startProcess({
    name: "Maven",
    command: maven,
    // -C: a file whose checksum is wrong is an error.
    args: ["-B", "-C", "-ntp", "-f", pom, "dependency:copy-dependencies", `-DoutputDirectory=${partial}`],
    logFile,
  });
  const abort = () => void download.stop();
  options.signal?.addEventListener("abort", abort);
  if (options.signal?.aborted) abort();
  const status = await download.exited;
  options.signal?.removeEventListener("abort", abort);
  if (!status.success) {
    await removeFolder(partial);
    options.signal?.throwIfAborted();
    throw new FatalError(
      `Maven could not download Kafka ${kafkaVersion}; its log ${logFile} says why. Try again with a network, ` +
        otherWays,
    );
  }
  await Deno.rename(partial, jars);
}

/**
 * The broker's settings. Paths are relative to the working directory: Kafka splits them at commas and reads the
 * file as Latin-1, so a home with such a name would break.
 *
 * @param options.port where clients connect
 * @param options.controllerPort where the broker finds its controller, which is itself
 * @param options.data the folder of the topics
 */
export function serverProperties(options: { port: number; controllerPort: number; data: string }): string {
  const { port, controllerPort, data } = options;
  const properties = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.voters": `1@127.0.0.1:${controllerPort}`,
    "listeners": `BROKER://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    "advertised.listeners": `BROKER://127.0.0.1:${port}`,
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "log.dirs": data,
    // A topic with a mistyped name is an error, not a new topic.
    "auto.create.topics.enable": false,
    // The most that a topic may allow itself; a first snapshot of the order book passes the usual 1 MB.
    "message.max.bytes": 32 * 1024 * 1024,
    "replica.fetch.max.bytes": 32 * 1024 * 1024,
    "log.retention.hours": 168,
    // Retention works on whole segments; 1 GiB, the default, would be days of a quiet market.
    "log.segment.bytes": 256 * 1024 * 1024,
    // A laptop that was off for some weeks goes on where it stopped.
    "offsets.retention.minutes": 365 * 24 * 60,
    // One broker: no copies, no waiting for other members, few internal partitions for a fast start.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "group.initial.rebalance.delay.ms": 0,
    // After a kill -9 the controller refuses the new broker until the old one's session is over: 9 s by default.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    // Of the heap; the default of 128 MB is a quarter of it, for a cleaner that has little to do.
    "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
  };
  return Object.entries(properties).map(([name, value]) => `${name}=${value}\n`).join("");
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

/** A new cluster's id: 16 bytes in URL-safe base64. The first bit is 0, or it could begin with `-`, an option's sign. */
export function newClusterId(bytes = crypto.getRandomValues(new Uint8Array(16))): string {
  const [first = 0, ...others] = bytes;
  return Uint8Array.of(first & 0x7f, ...others).toBase64({ alphabet: "base64url", omitPadding: true });
}

function formatArguments(jars: string): string[] {
  return [
    // A short run: the second compiler and several collector threads would not pay.
    ...[
      "-XX:TieredStopAtLevel=1",
      "-XX:+UseSerialGC",
      log4j,
      "-cp",
      join(jars, "*"),
      "kafka.tools.StorageTool",
    ],
    ...["format", "--cluster-id", newClusterId(), "--config", "server.properties"],
  ];
}

/** True when a broker that calls itself `address` answers. */
async function answers(address: string): Promise<boolean> {
  const kafka = new Kafka({
    clientId: "tapehouse-start",
    brokers: [address],
    connectionTimeout: 1000,
    requestTimeout: 2000,
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
  });
  const admin = kafka.admin();
  try {
    await admin.connect();
    const { brokers } = await admin.describeCluster();
    return brokers.some(({ host, port }) => `${host}:${port}` === address);
  } finally {
    await admin.disconnect();
  }
}

async function findJava(): Promise<string> {
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
async function lockFile(path: string, signal: AbortSignal | undefined): Promise<Disposable> {
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

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeFolder(path: string): Promise<void> {
  if (await exists(path)) await Deno.remove(path, { recursive: true });
}

/** Removes what interrupted downloads left beside the folder. */
async function removePartial(jars: string): Promise<void> {
  for await (const { name } of Deno.readDir(dirname(jars))) {
    if (name.startsWith(`${basename(jars)}.partial-`)) await removeFolder(join(dirname(jars), name));
  }
}
