/**
 * How the embedded Kafka is configured.
 *
 * @module
 */

import { join } from "node:path";

/** What real clusters have: several brokers, listeners that ask who connects, rights. */
export interface ClusterOptions {
  /** Where this broker's controller listens. @default {a free port} */
  controllerPort?: number;
  /** Shared by the brokers of a cluster. @default {a new one} */
  id?: string;
  /** Listeners beside the open one of `port`: name → port and security protocol, such as SASL_SSL. */
  listeners?: Record<string, { port: number; protocol: string }>;
  /** Server properties that are added, or stand in place of ours. */
  properties?: Record<string, string | number>;
  /** Arguments that are added when the data folder is prepared, such as `--add-scram`. */
  formatArguments?: string[];
}

/**
 * The broker's settings. Paths are relative to the working directory: Kafka splits them at commas and reads the
 * file as Latin-1, so a home with such a name would break.
 *
 * @param options.port where clients connect
 * @param options.controllerPort where the broker finds its controller, which is itself
 * @param options.data the folder of the topics
 */
export function serverProperties(options: {
  port: number;
  controllerPort: number;
  data: string;
  cluster?: ClusterOptions;
}): string {
  const { port, controllerPort, data, cluster = {} } = options;
  const more = Object.entries(cluster.listeners ?? {});
  const listeners = [
    `BROKER://127.0.0.1:${port}`,
    ...more.map(([name, { port }]) => `${name}://127.0.0.1:${port}`),
  ];
  const protocols = ["BROKER:PLAINTEXT", "CONTROLLER:PLAINTEXT"];
  const properties = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.voters": `1@127.0.0.1:${controllerPort}`,
    "listeners": [...listeners, `CONTROLLER://127.0.0.1:${controllerPort}`].join(","),
    "advertised.listeners": listeners.join(","),
    "listener.security.protocol.map": [
      ...protocols,
      ...more.map(([name, { protocol }]) => `${name}:${protocol}`),
    ].join(","),
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
    // A consumer may ask for a session this short, so that another takes over from one that was killed within it.
    "group.min.session.timeout.ms": 1000,
    // After a kill -9 the controller refuses the new broker until the old one's session is over: 9 s by default.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    // Of the heap; the default of 128 MB is a quarter of it, for a cleaner that has little to do.
    "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
    ...cluster.properties,
  };
  return Object.entries(properties).map(([name, value]) => `${name}=${value}\n`).join("");
}

/** A new cluster's id: 16 bytes in URL-safe base64. The first bit is 0, or it could begin with `-`, an option's sign. */
export function newClusterId(bytes = crypto.getRandomValues(new Uint8Array(16))): string {
  const [first = 0, ...others] = bytes;
  return Uint8Array.of(first & 0x7f, ...others).toBase64({ alphabet: "base64url", omitPadding: true });
}

export function formatArguments(jars: string, cluster: ClusterOptions): string[] {
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
    ...["format", "--cluster-id", cluster.id ?? newClusterId(), "--config", "server.properties"],
    ...cluster.formatArguments ?? [],
  ];
}

export const log4j = `-Dlog4j2.configurationFile=${new URL("./log4j2.properties", import.meta.url).href}`;
