/**
 * ClickHouse, as the consumer and the tasks use it.
 *
 * @module
 */

import { type ClickHouseClient, ClickHouseError, createClient } from "@clickhouse/client";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";
import { type Certificates, readCertificates, tlsRefusal } from "../process/certificates.ts";
import { type Config, type Variable } from "../process/config.ts";
import { ConfigError, FatalError } from "../core/errors.ts";
import { rows, tuples } from "./rows.ts";

/** What `openClickHouse` reads. */
export const clickhouseVariables = [
  "CLICKHOUSE_URL",
  "CLICKHOUSE_USER",
  "CLICKHOUSE_PASSWORD",
  "CLICKHOUSE_DATABASE",
  "CLICKHOUSE_CA_FILE",
  "CLICKHOUSE_CERT_FILE",
  "CLICKHOUSE_KEY_FILE",
] as const satisfies readonly Variable[];

/** The part of the configuration that says where ClickHouse is. */
export type ClickHouseConfig =
  & Config<"CLICKHOUSE_URL" | "CLICKHOUSE_USER" | "CLICKHOUSE_PASSWORD" | "CLICKHOUSE_DATABASE">
  & Partial<Config<CertificateVariable>>;

type CertificateVariable = "CLICKHOUSE_CA_FILE" | "CLICKHOUSE_CERT_FILE" | "CLICKHOUSE_KEY_FILE";

/**
 * For a read that decides what is written: all that was confirmed before is in it, whichever replica answers. ClickHouse
 * Cloud and inserts with a quorum (`insert_quorum`, `insert_quorum_parallel = 0`) keep to it; a single server always does,
 * and replicas without a quorum can't.
 */
export const consistentRead = { select_sequential_consistency: "1" } as const;

/**
 * A client for the configured server and database. Nothing is sent before its first statement.
 *
 * @param timeoutMs the longest that a statement may take
 * @param connections so many statements run at once, the others wait
 * @throws {ConfigError} when a certificate can't be used
 */
export function openClickHouse(
  config: ClickHouseConfig,
  timeoutMs = 60_000,
  connections = 10,
): ClickHouseClient {
  return createClient({
    url: config.CLICKHOUSE_URL,
    username: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    database: config.CLICKHOUSE_DATABASE,
    application: "tapehouse",
    request_timeout: timeoutMs,
    max_open_connections: connections,
    ...tlsOptions(config),
    // Deno doesn't tell of a reused connection that the server closes in the middle of a request: an insert into a server
    // that dies would wait for the timeout. A connection for each statement costs a fraction of a millisecond.
    keep_alive: { enabled: false },
    // The caller logs what fails, once, in its own words.
    log: { level: 127 },
  });
}

const tlsNames = {
  ca: "CLICKHOUSE_CA_FILE",
  cert: "CLICKHOUSE_CERT_FILE",
  key: "CLICKHOUSE_KEY_FILE",
  address: "CLICKHOUSE_URL",
} as const;

/** True when the database or one of its tables isn't there. */
export function isMissingTable(error: unknown): boolean {
  return error instanceof ClickHouseError &&
    ["UNKNOWN_TABLE", "UNKNOWN_DATABASE"].includes(error.type ?? "");
}

/** UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED. */
const loginErrors = ["192", "193", "194", "516"];

/** Turns what trying again at the start can't cure into one line for a person; whatever else stays as it is. */
export function explainClickHouseError(error: unknown): unknown {
  if (error instanceof ClickHouseError && loginErrors.includes(error.code)) {
    return new ConfigError("ClickHouse refused the login: check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD");
  }
  const refusal = error instanceof Error ? tlsRefusal(error, tlsNames) : undefined;
  if (refusal === undefined) return error;
  const text = `ClickHouse at CLICKHOUSE_URL: ${refusal.text}`;
  return refusal.configuration ? new ConfigError(text) : new FatalError(text);
}

/** With a certificate of our own and no password, the certificate says who we are; with one, it only opens the connection. */
function tlsOptions(config: ClickHouseConfig): Partial<Parameters<typeof createClient>[0]> {
  const { address: _, ...files } = tlsNames;
  const first = Object.values(files).find((name) => config[name]);
  if (!config.CLICKHOUSE_URL.startsWith("https:")) {
    if (first === undefined) return {};
    throw new ConfigError(`${first}=${config[first]} needs a CLICKHOUSE_URL that starts with https://`);
  }
  const certificates = readCertificates(tlsNames, config);
  const isLogin = certificates.cert !== undefined && config.CLICKHOUSE_PASSWORD === "";
  return {
    http_agent: new TlsAgent(certificates),
    ...(isLogin
      ? {
        set_basic_auth_header: false,
        http_headers: {
          "X-ClickHouse-User": config.CLICKHOUSE_USER,
          "X-ClickHouse-SSL-Certificate-Auth": "on",
        },
      }
      : {}),
  };
}

/** Node's agent lists the system's authorities for itself, for which Deno wants a permission; a connection doesn't. */
class TlsAgent extends https.Agent {
  readonly #certificates: Certificates;

  constructor(certificates: Certificates) {
    super({ keepAlive: false });
    this.#certificates = certificates;
  }

  override createConnection({ host, port }: { host?: string; port?: number }): tls.TLSSocket {
    const name = (host ?? "").replace(/^\[(.*)\]$/, "$1");
    const servername = net.isIP(name) ? {} : { servername: name };
    return tls.connect({ host: name, port: Number(port), ...servername, ...this.#certificates });
  }
}

/**
 * How many inserts of that name are executed now: whoever sent one may have given up on it, or be dead, and what it is
 * going to store can't be seen yet.
 *
 * @param prefix what their tokens begin with
 */
export async function countRunningInserts(clickhouse: ClickHouseClient, prefix: string): Promise<number> {
  const [[running] = []] = await tuples<[running: number]>(
    clickhouse,
    `SELECT count() FROM system.processes
     WHERE current_database = currentDatabase() AND startsWith(query_id, {prefix:String})`,
    { prefix },
  );
  // Whoever asks is going to write: no answer isn't none.
  if (running === undefined) throw new Error("ClickHouse doesn't say which inserts it executes");
  return running;
}

/** Which server answers, and when it was started: seconds since the epoch by its own clock, give or take one. */
export async function readStartTime(clickhouse: ClickHouseClient): Promise<{ host: string; at: number }> {
  const [row] = await rows<{ host: string; at: number }>(
    clickhouse,
    "SELECT hostName() AS host, toUnixTimestamp(now('UTC')) - uptime() AS at",
  );
  return { host: row?.host ?? "", at: Number(row?.at) };
}

/** True when the tables are kept on several servers, or on storage that several share. */
export async function isReplicated(clickhouse: ClickHouseClient): Promise<boolean> {
  const [table] = await rows<{ engine: string }>(
    clickhouse,
    "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'trades'",
  );
  return /^(Replicated|Shared|Distributed)/.test(table?.engine ?? "");
}
