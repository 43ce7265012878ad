/**
 * The processes that make up a tape under chaos, and how each is started: two producers and two consumers beside each
 * other, backfill, Kafka and ClickHouse.
 *
 * @module
 */

import { resolve } from "node:path";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process/process.ts";
import { startOf } from "../../embedded/process/pid_file.ts";
import { clockVariables } from "./clock.ts";
import { answersMetrics } from "../../lib/process/metrics_server.ts";

const root = resolve(import.meta.dirname ?? ".", "../..");

/** The services, in the order in which they are stopped. */
const services = ["producer-1", "producer-2", "consumer-1", "consumer-2", "backfill"] as const;
type Service = (typeof services)[number];

/** The processes, in the order in which they are stopped. */
export const members = [...services, "Kafka", "ClickHouse"] as const;
export type Member = (typeof members)[number];
export const consumers = ["consumer-1", "consumer-2"] as const satisfies readonly Member[];

/** Services read the time from a clock of their own where the machine allows it. */
export const withOwnClock = ["producer-2", "consumer-2"] as const satisfies readonly Member[];

/** Where and how to run them. */
export interface MemberOptions {
  home: string;
  kafkaPort: number;
  clickhousePort: number;
  password: string;
  /** What the services are told. */
  variables: Record<string, string>;
  /** The library that gives a process a clock of its own; undefined where there is none. */
  clockLibrary: string | undefined;
  signal: AbortSignal;
}

/**
 * Starts one and waits until it is up.
 *
 * @throws {StartError} when it doesn't come up, or the signal's reason
 */
export function startMember(member: Member, options: MemberOptions): Promise<RunningProcess> {
  const { home, signal } = options;
  if (member === "Kafka") {
    const jars = `${root}/.tapehouse/kafka/lib-${kafkaVersion}`;
    return startKafka({ home, port: options.kafkaPort, jars, signal });
  }
  if (member === "ClickHouse") {
    const { clickhousePort: port, password } = options;
    return startClickHouse({ home, port, password, logFile: `${home}/logs/clickhouse.log`, signal });
  }
  return startService(member, options);
}

function startService(member: Service, options: MemberOptions): Promise<RunningProcess> {
  const { home, signal } = options;
  const entrypoint = member.replace(/-\d$/, "");
  const port = freePort();
  const hasOwnClock = (withOwnClock as readonly Member[]).includes(member);
  return startProcess({
    name: member,
    command: Deno.execPath(),
    args: [
      "run",
      "-q",
      `-P=${entrypoint}`,
      `${entrypoint}.ts`,
      ...(member === "backfill" ? ["--watch"] : []),
    ],
    cwd: root,
    env: {
      ...options.variables,
      METRICS_PORT: String(port),
      // Each takes over from itself when it was killed.
      ...(entrypoint === "consumer" ? { KAFKA_MEMBER: member } : {}),
      ...(hasOwnClock && options.clockLibrary !== undefined
        ? clockVariables(options.clockLibrary, home, member)
        : {}),
    },
    logFile: `${home}/logs/${member}.log`,
    pidFile: pidFileOf(member, home),
    signal,
    ready: (pid) => answersMetrics(`http://127.0.0.1:${port}`, pid),
  });
}

/** The process that runs now, by its pid file; undefined in the moments when there is none. */
export function pidOf(member: Member, home: string): number | undefined {
  try {
    const { pid, started } = JSON.parse(Deno.readTextFileSync(pidFileOf(member, home)));
    return startOf(pid) === started ? pid : undefined;
  } catch {
    return undefined;
  }
}

function pidFileOf(member: Member, home: string): string {
  if (member === "Kafka") return `${home}/kafka/kafka.pid`;
  if (member === "ClickHouse") return `${home}/clickhouse/server.pid`;
  return `${home}/run/${member}.pid`;
}
