/**
 * `deno task dev` as a person runs it: in a home and on ports of its own, from a shell or a terminal.
 *
 * @module
 */

import assert from "node:assert/strict";
import { keptPassword } from "../../embedded/clickhouse/password.ts";
import { installKafka, kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { simulatedDatabase } from "./databases.ts";
import { root } from "./tape.ts";
import { hangMs } from "./until.ts";

/** Shared with all tests; without Java or Maven this says so. */
const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
export const installJars = () => installKafka(jars);

/** A process of a test. */
export interface Run {
  pid: number;
  /** Everything printed so far. */
  text(): string;
  /** Resolves when a line matches; fails when the process ends or hangs before. */
  line(pattern: RegExp): Promise<string>;
  kill(signal: Deno.Signal): void;
  /** Types into its terminal. */
  type(text: string): Promise<void>;
  code: Promise<number>;
}

/** Those that haven't ended. */
const running = new Set<{ stop(): Promise<unknown> }>();

/** Runs `deno run -q …` in the project's folder, or in another one. */
export function run(args: string[], env: Record<string, string>, cwd = root): Run {
  return follow(Deno.execPath(), { args: ["run", "-q", ...args], cwd, env, stdin: "null" });
}

/**
 * Runs a command line of `sh` in a terminal of its own; killed with SIGKILL, it closes like a window. A Ctrl-C reaches
 * the shell too, and some die of it: one that isn't needed goes away with `exec`.
 */
export function runInTerminal(command: string, env: Record<string, string>): Run {
  const options = { args: ["-qfec", command, "/dev/null"], cwd: root, env: { ...env, SHELL: "/bin/sh" } };
  return follow("script", { ...options, stdin: "piped" });
}

function follow(program: string, options: Deno.CommandOptions): Run {
  const child = new Deno.Command(program, {
    ...options,
    env: { ...options.env, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let text = "";
  let changed = Promise.withResolvers<void>();
  const read = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
      changed.resolve();
      changed = Promise.withResolvers();
    }
  };
  const code = Promise.all([child.status, read(child.stdout), read(child.stderr)]).then(([status]) =>
    status.code
  );
  const process = {
    stop() {
      child.kill("SIGTERM");
      return code;
    },
  };
  running.add(process);
  code.finally(() => running.delete(process));
  return {
    pid: child.pid,
    text: () => text,
    kill: (signal) => child.kill(signal),
    async type(text) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(text));
      writer.releaseLock();
    },
    code,
    async line(pattern) {
      const timeout = Promise.withResolvers<void>();
      const timer = setTimeout(timeout.resolve, hangMs);
      try {
        while (true) {
          const found = text.split(/\r?\n|\r/).find((line) => pattern.test(line));
          if (found !== undefined) return found;
          const ended = await Promise.race([
            changed.promise,
            code.then(() => "ended"),
            timeout.promise.then(() => "hangs"),
          ]);
          if (ended) assert.fail(`no line ${pattern}, the process ${ended}:\n${text}`);
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Runs `body` with a TAPEHOUSE_HOME and ports of its own, Kafka's jars shared. */
export async function withHome(body: (env: Record<string, string>) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-dev-" });
  try {
    await Deno.mkdir(`${home}/kafka`);
    await Deno.symlink(jars, `${home}/kafka/lib-${kafkaVersion}`);
    await body({
      TAPEHOUSE_HOME: home,
      EMBEDDED_KAFKA_PORT: String(freePort()),
      EMBEDDED_CLICKHOUSE_PORT: String(freePort()),
    });
    assert.deepEqual(processesOf(home), [], "left running");
  } finally {
    // Where the body failed, its process still runs, and would write into the folder that is removed.
    await Promise.all([...running].map((process) => process.stop()));
    await Deno.remove(home, { recursive: true });
  }
}

/** Processes whose command line or environment names the folder. */
export function processesOf(home: string): string[] {
  if (Deno.build.os !== "linux") return [];
  return [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name)).flatMap(({ name }) => {
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const text = command + Deno.readTextFileSync(`/proc/${name}/environ`);
      return text.includes(home) ? [`${name} ${command.replaceAll("\0", " ")}`] : [];
    } catch {
      // It ended in the meantime.
      return [];
    }
  });
}

/** What the command lines of dev's processes are told apart by. */
export const processWords = {
  exchange: "-P=exchange",
  producer: "-P=producer",
  Kafka: "kafka.Kafka",
  consumer: "-P=consumer",
  ClickHouse: "clickhouse/server.ts",
  api: "-P=api",
  backfill: "backfill.ts --watch",
  rollup: "rollup.ts --watch",
  dev: "tasks/dev.ts",
};

/** The id of the one process of the home whose command line has the words; undefined when there is none, or two. */
export function pidOf(home: string, words: string): number | undefined {
  const found = processesOf(home).filter((line) => line.includes(words) && !/^\d+ sh -c /.test(line));
  return found.length === 1 ? Number(found[0]?.split(" ")[0]) : undefined;
}

/** A query's answer from the embedded ClickHouse. */
export const ask = async (env: Record<string, string>, query: string, database = simulatedDatabase) => {
  const url = `http://127.0.0.1:${env.EMBEDDED_CLICKHOUSE_PORT}/?database=${database}`;
  const headers = { "x-clickhouse-key": await keptPassword(env.TAPEHOUSE_HOME ?? "") };
  return (await (await fetch(url, { method: "POST", headers, body: query })).text()).trim();
};
