/**
 * What the tests of the archive and the backup share: an S3 and a ClickHouse of their own, and the tasks as processes
 * under their own permission sets.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { fileURLToPath } from "node:url";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { freePort } from "../embedded/ports.ts";
import { installS3, seaweedVersion, startS3 } from "../embedded/s3.ts";
import { readConfig, type Variable, variables } from "../lib/config.ts";
import { migrate } from "../lib/migrations.ts";
import { openS3, type S3 } from "../lib/s3.ts";
import { openWarehouse } from "../lib/warehouse.ts";
import type { Skip } from "./skip.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
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

/** Starts both servers, runs `body`, stops them and removes the folder. */
export async function withStore(body: (store: Store) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const clients: ClickHouseClient[] = [];
  const s3Server = await startS3({
    home,
    port: freePort(),
    bucket: "tape",
    accessKey: "tester",
    secretKey,
    program,
  });
  const clickhouse = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const env: Record<string, string> = {
    CLICKHOUSE_URL: clickhouse.url,
    S3_ENDPOINT: s3Server.url,
    S3_BUCKET: "tape",
    S3_ACCESS_KEY: "tester",
    S3_SECRET_KEY: secretKey,
    S3_PREFIX: "tapehouse",
    NO_COLOR: "1",
  };
  const configOf = (database: string) => {
    const all: Record<string, string> = { ...env, CLICKHOUSE_DATABASE: database };
    return readConfig(Object.keys(variables) as Variable[], (name) => all[name]);
  };
  try {
    await body({
      home,
      env,
      s3: openS3(configOf("default")),
      async migrate(database) {
        await migrate(configOf(database), () => {});
        const client = openWarehouse(configOf(database));
        clients.push(client);
        return client;
      },
      async task(name, database, args, more = {}) {
        const child = new Deno.Command(Deno.execPath(), {
          args: ["run", "-q", `-P=${name}`, `tasks/${name}.ts`, ...args],
          cwd: root,
          env: { ...env, CLICKHOUSE_DATABASE: database, ...more.env },
          stdin: "null",
          stdout: "piped",
          stderr: "piped",
        }).spawn();
        more.started?.(() => child.kill("SIGKILL"));
        const { code, signal, stdout, stderr } = await child.output();
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
        // Deno says once that permission sets are experimental.
        return { code, signal, stdout: text(stdout), stderr: text(stderr) };
      },
    });
  } finally {
    for (const client of clients) await client.close();
    await clickhouse.stop();
    await s3Server.stop();
    await Deno.remove(home, { recursive: true });
  }
}
