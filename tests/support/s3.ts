/**
 * What the tests of the archive and the backup share: an S3 and a ClickHouse of their own, and the tasks as processes
 * under their own permission sets.
 *
 * @module
 */

import "./clean_environment.ts";
import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { installS3, seaweedVersion, startS3 } from "./embedded_s3.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { openS3, type S3 } from "../../lib/archive/s3.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import deno from "../../deno.json" with { type: "json" };
import { configOf } from "./config.ts";
import type { Skip } from "./skip.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tasks: Record<string, { command: string }> = deno.tasks;
/** All tests share one download. */
export const program = `${root}.tapehouse/s3/seaweedfs-${seaweedVersion}`;
/** With characters that need care in addresses and statements. */
export const secretKey = "s3cr3t+/='Key";

/** Why there is no S3 here; undefined when there is one. Downloads it. */
export async function whyNoS3(): Promise<Skip | undefined> {
  try {
    await installS3(program);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { reason: error.message, avoidable: Deno.build.os === "linux" };
  }
}

/** What a task printed and how it ended. */
export interface Outcome {
  code: number;
  signal: Deno.Signal | null;
  stdout: string;
  stderr: string;
}

/** Servers in a temporary folder. */
export interface Store {
  home: string;
  env: Record<string, string>;
  s3: S3;
  /** Creates a database with all migrations. */
  migrate(database: string): Promise<ClickHouseClient>;
  /** Runs `deno task <name>` on that database; `kill` gets a function that ends it as `kill -9` does. */
  task(
    name: string,
    database: string,
    args: string[],
    more?: { env?: Record<string, string>; started?: (kill: () => void) => void },
  ): Promise<Outcome>;
}

/** Runs `deno task <name>` as it is run, under its own permissions, until it ends. */
export async function runTask(
  name: string,
  env: Record<string, string>,
  args: readonly string[],
  started?: (kill: () => void, terminate: () => void) => void,
): Promise<Outcome> {
  const command = tasks[name]?.command.split(" ").slice(1);
  assert(command, name);
  const child = new Deno.Command(Deno.execPath(), {
    args: [...command, ...args],
    cwd: root,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let ended = false;
  child.status.then(() => ended = true);
  // Who ended by itself is told by its code.
  started?.(() => child.kill("SIGKILL"), () => ended || child.kill("SIGTERM"));
  const { code, signal, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return { code, signal, stdout: text(stdout), stderr: text(stderr) };
}

/** An S3 server with a bucket of its own, and the variables that name it. */
export async function startBucket(home: string) {
  const server = await startS3({
    home,
    port: freePort(),
    bucket: "tape",
    accessKey: "tester",
    secretKey,
    program,
  });
  const env = {
    S3_ENDPOINT: server.url,
    S3_BUCKET: "tape",
    S3_ACCESS_KEY: "tester",
    S3_SECRET_KEY: secretKey,
    S3_PREFIX: "tapehouse",
    NO_COLOR: "1",
  };
  return { env, stop: () => server.stop() };
}

/** Starts both servers, runs `body`, stops them and removes the folder. */
export async function withStore(body: (store: Store) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const clients: ClickHouseClient[] = [];
  const bucket = await startBucket(home);
  const clickhouse = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const env: Record<string, string> = {
    ...clickhouse.env,
    ...bucket.env,
  };
  const configIn = (database: string) => configOf({ ...env, CLICKHOUSE_DATABASE: database });
  try {
    await body({
      home,
      env,
      s3: openS3(configIn("default")),
      async migrate(database) {
        await migrate(configIn(database), () => {});
        const clickhouse = openClickHouse(configIn(database));
        clients.push(clickhouse);
        return clickhouse;
      },
      task: (name, database, args, more = {}) =>
        runTask(name, { ...env, CLICKHOUSE_DATABASE: database, ...more.env }, args, more.started),
    });
  } finally {
    for (const client of clients) await client.close();
    await clickhouse.stop();
    await bucket.stop();
    await Deno.remove(home, { recursive: true });
  }
}
