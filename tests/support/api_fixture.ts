/**
 * Small databases with known contents in an embedded ClickHouse, and the API over each.
 *
 * @module
 */

import "./clean_environment.ts";
import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { type AppOptions, createApp, type Fetch } from "../../lib/api/app.ts";
import { openReadClient } from "../../lib/api/read_client.ts";
import type { Config, Variable } from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "./config.ts";
import { contents, type FixtureTrade, tradeRows } from "./api_contents.ts";
import { createReadiness } from "../../lib/api/readiness.ts";
import { openAppOptions } from "./app_options.ts";

/** An embedded ClickHouse for databases of the fixture. */
export interface FixtureServer {
  home: string;
  readonly clickhouse: Awaited<ReturnType<typeof startClickHouse>>;
  /** After it was killed: on the same port and data. */
  restartClickHouse(): Promise<void>;
  stop(): Promise<void>;
}

export interface Fixture {
  server: FixtureServer;
  config: Config<Variable>;
  clickhouse: ClickHouseClient;
  /** The page's folder; ends with `/`. */
  pageFolder: URL;
  /** The API with other options than those of a default start. */
  app(
    more?: Partial<AppOptions>,
  ): (path: string, init?: RequestInit & { address?: string }) => Promise<Response>;
  /** The same, for a server. */
  fetch(more?: Partial<AppOptions>): Fetch;
  insertTrades(product: string, trades: readonly FixtureTrade[]): Promise<void>;
  close(): Promise<void>;
}

export async function startFixtureServer(): Promise<FixtureServer> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-api-" });
  const port = freePort();
  const begin = () => startClickHouse({ home, port, logFile: `${home}/clickhouse.log` });
  let clickhouse = await begin();
  return {
    home,
    get clickhouse() {
      return clickhouse;
    },
    async restartClickHouse() {
      clickhouse = await begin();
    },
    async stop() {
      await clickhouse.stop();
      await Deno.remove(home, { recursive: true });
    },
  };
}

let databases = 0;

/** A database of its own on the server, with the known contents. */
export async function openFixture(server: FixtureServer): Promise<Fixture> {
  const name = `api_${++databases}`;
  const config = configOf({ ...server.clickhouse.env, CLICKHOUSE_DATABASE: name });
  await migrate(config, () => {});
  const clickhouse = openClickHouse(config);
  const pageFolder = new URL(`file://${server.home}/page_${name}/`);
  const opened: ReturnType<typeof openReadClient>[] = [];

  const insert = async (table: string, values: Record<string, unknown>[]) => {
    await clickhouse.insert({ table, values, format: "JSONEachRow" });
  };
  for (const [table, rows] of contents) await insert(table, rows);

  const fetch: Fixture["fetch"] = (more = {}) => {
    const reader = openReadClient(config, 10);
    opened.push(reader);
    const log = createLogger({}, { level: "error" });
    const health = { live: () => null, ready: createReadiness(clickhouse) };
    const options = { ...openAppOptions, clickhouse: reader, databaseName: name, pageFolder, health, log };
    return createApp({ ...options, ...more });
  };

  return {
    server,
    config,
    clickhouse,
    pageFolder,
    insertTrades: (product, trades) => insert("trades", tradeRows(product, trades)),
    fetch,
    app: (more) => asking(fetch(more)),
    async close() {
      await Promise.all(opened.map((reader) => reader.close()));
      await clickhouse.command({ query: `DROP DATABASE ${name} SYNC` });
      await clickhouse.close();
    },
  };
}

/** Asks an API by paths; `Host` is right unless it is said otherwise. */
function asking(fetch: Fetch): ReturnType<Fixture["app"]> {
  return (path, { address = "127.0.0.1", ...init } = {}) => {
    const headers = new Headers(init.headers);
    if (!headers.has("host")) headers.set("host", "127.0.0.1:8080");
    return fetch(new Request(`http://127.0.0.1:8080${path}`, { ...init, headers }), address);
  };
}
