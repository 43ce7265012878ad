/**
 * A real Apache Kafka without Docker: one broker that is its own controller (KRaft), from jars that Maven downloads.
 *
 * What lies in `$TAPEHOUSE_HOME/kafka`: `lib-4.3.1/` the jars, `data/` the topics, `server.properties` (written anew at
 * every start), `kafka.pid`. The log is `$TAPEHOUSE_HOME/logs/kafka.log`.
 *
 * @module
 */

import { Kafka, logLevel } from "kafkajs";
import { join, resolve } from "node:path";
import { FatalError } from "../../lib/core/errors.ts";
import { endLeftOver } from "../process/pid_file.ts";
import { assertPortFree, freePort } from "../process/ports.ts";
import { assertNotKilled, type RunningProcess, runToEnd, startProcess } from "../process/process.ts";
import { exists, findJava, installKafka, kafkaVersion, lockFile } from "./install.ts";
import { type ClusterOptions, formatArguments, log4j, serverProperties } from "./properties.ts";
import "../../lib/kafka/timers.ts";
import { removeFolder } from "./install.ts";

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
  /** For tests of what real clusters have. @default {a single broker that asks nobody who they are} */
  cluster?: ClusterOptions;
}

/** A broker that answers. */
export interface RunningKafka extends RunningProcess {
  /** For KAFKA_BROKERS: `127.0.0.1:9092`. */
  brokers: string;
}

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
  const { cluster = {} } = options;
  const controllerPort = cluster.controllerPort ?? freePort();
  const writeProperties = (data: string) =>
    Deno.writeTextFile(
      join(folder, "server.properties"),
      serverProperties({ port, controllerPort, data, cluster }),
    );

  if (!await exists(join(folder, "data", "meta.properties"))) {
    // Renamed when it is whole: a format that was interrupted leaves nothing that looks formatted.
    await removeFolder(join(folder, "data.new"));
    await writeProperties("data.new");
    const status = await runToEnd({ ...run, name: "Kafka's format", args: formatArguments(jars, cluster) });
    assertNotKilled("Kafka's format", status);
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
    // After a kill it reads its topics first, which on a slow disk takes long.
    readyTimeoutMs: 120_000,
    ready: () => answers(brokers),
  });
  return { ...broker, brokers };
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
