/**
 * The environment variables of tapehouse: names, defaults and what is allowed. `.env.example` lists the same.
 * A `.env` file in the working directory is read too, where it may be; a variable of the process wins over it.
 *
 * @module
 */

import { parseEnv } from "node:util";
import { z } from "zod";
import { isLoopback } from "../http/access.ts";
import { netrcPath, parseNetrc } from "./netrc.ts";
import { ConfigError } from "../core/errors.ts";

const count = (least: number, most: number) => {
  const expected = `expected a whole number from ${least} to ${most}`;
  return z.string().regex(/^\d{1,15}$/, expected).transform(Number)
    .refine((value) => value >= least && value <= most, expected);
};
const port = count(1, 65535);
const url = (...schemes: string[]) =>
  z.string().refine(
    (value) => URL.canParse(value) && schemes.includes(new URL(value).protocol.slice(0, -1)),
    `expected a URL that starts with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`,
  );
/** A URL stands in logs and on screens; who may connect stands in variables of its own. */
const hasNoCredentials = (text: string) => {
  const { username, password, searchParams } = new URL(text);
  return username === "" && password === "" && !searchParams.has("user") && !searchParams.has("password");
};
/** ClickHouse database, Kafka topic and group names are pasted into statements and paths: keep them plain. */
const plainName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, "expected letters, digits, _, . or -");
const identifier = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected letters, digits or _");
const list = (item: RegExp, expected: string) =>
  z.string().transform((value) => [...new Set(value.split(",").map((part) => part.trim()).filter(Boolean))])
    .refine((items) => items.length > 0 && items.every((part) => item.test(part)), expected);

/** Anything between commas; may be empty. */
const words = z.string().transform((value) => value.split(",").map((part) => part.trim()).filter(Boolean));
const isOrigin = (text: string) => URL.canParse(text) && new URL(text).origin === text;

/** Every channel that needs no key; `level2_batch` is acknowledged as `level2_50`. */
const channels = [
  "ticker",
  "ticker_batch",
  "matches",
  "heartbeat",
  "status",
  "level2_batch",
] as const;

/** Name → schema with its default. */
export const variables = {
  COINBASE_WS_URL: url("ws", "wss").default("wss://ws-feed.exchange.coinbase.com"),
  COINBASE_REST_URL: url("http", "https").default("https://api.exchange.coinbase.com"),
  COINBASE_REST_PER_SECOND: count(1, 1000).prefault("8"),
  COINBASE_PRODUCTS: list(
    /^[A-Z0-9]+-[A-Z0-9]+$/,
    "expected product ids separated by commas, such as BTC-USD,ETH-USD",
  ).prefault("BTC-USD,ETH-USD"),
  COINBASE_CHANNELS: list(
    new RegExp(`^(${channels.join("|")})$`),
    `expected channels separated by commas, of ${channels.join(", ")}`,
  ).prefault("ticker,matches,heartbeat,level2_batch,status"),
  FEED_SOURCE: z.enum(["feed", "simulator", "replay"]).default("feed"),
  FEED_PRODUCTS_PER_CONNECTION: count(1, 1000).prefault("50"),
  FEED_SILENCE_SECONDS: count(1, 3600).prefault("10"),
  FEED_BUFFER_MB: count(1, 65536).prefault("256"),
  KAFKA_BROKERS: list(
    /^([^\s:@/[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/,
    "expected host:port, several separated by commas; an IPv6 address stands in brackets, such as [::1]:9092",
  ).prefault("127.0.0.1:9092"),
  KAFKA_SASL_MECHANISM: z.enum(["none", "plain", "scram-sha-256", "scram-sha-512"]).default("none"),
  KAFKA_USERNAME: z.string().default(""),
  KAFKA_PASSWORD: z.string().default(""),
  KAFKA_TLS: z.enum(["false", "true"]).default("false").transform((value) => value === "true"),
  KAFKA_CA_FILE: z.string().default(""),
  KAFKA_CERT_FILE: z.string().default(""),
  KAFKA_KEY_FILE: z.string().default(""),
  KAFKA_TOPIC: plainName.default("coinbase_market_data"),
  KAFKA_LEVEL2_TOPIC: plainName.default("coinbase_level2"),
  KAFKA_PARTITIONS: count(1, 1000).prefault("4"),
  KAFKA_REPLICATION: count(1, 9).prefault("1"),
  KAFKA_MIN_INSYNC_REPLICAS: count(0, 9).prefault("0"),
  KAFKA_RETENTION_HOURS: count(1, 87600).prefault("168"),
  KAFKA_MAX_MESSAGE_BYTES: count(65_536, 1_000_000_000).prefault("16777216"),
  KAFKA_MANAGE_TOPICS: z.enum(["false", "true"]).default("true").transform((value) => value === "true"),
  KAFKA_GROUP: plainName.default("clickhouse"),
  KAFKA_MEMBER: z.string().regex(/^[A-Za-z0-9_.-]*$/, "expected letters, digits, _, . or -").default(""),
  KAFKA_SESSION_MS: count(1000, 3_600_000).prefault("10000"),
  CLICKHOUSE_URL: url("http", "https").refine(
    (value) => !URL.canParse(value) || hasNoCredentials(value),
    "expected no user and no password in the URL: set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD",
  ).default("http://127.0.0.1:8123"),
  CLICKHOUSE_CA_FILE: z.string().default(""),
  CLICKHOUSE_CERT_FILE: z.string().default(""),
  CLICKHOUSE_KEY_FILE: z.string().default(""),
  CLICKHOUSE_USER: z.string().min(1, "expected a user name").default("default"),
  CLICKHOUSE_PASSWORD: z.string().default(""),
  CLICKHOUSE_DATABASE: identifier.default("market"),
  CLICKHOUSE_CLUSTER: identifier.default(""),
  CLICKHOUSE_BOOK_DAYS: count(0, 36_500).prefault("30"),
  CLICKHOUSE_ORDER_ID_DAYS: count(0, 36_500).prefault("30"),
  CLICKHOUSE_STORAGE_POLICY: identifier.default(""),
  CLICKHOUSE_COLD_AFTER_DAYS: count(0, 36_500).prefault("0"),
  CONSUMER_BATCH_ROWS: count(1, 1_000_000).prefault("100000"),
  CONSUMER_FLUSH_MS: count(10, 60_000).prefault("250"),
  S3_ENDPOINT: z.string().refine(
    (value) => value === "" || /^https?:$/.test(URL.parse(value)?.protocol ?? ""),
    "expected a URL that starts with http:// or https://",
  ).default(""),
  S3_REGION: z.string().regex(/^[a-z0-9-]+$/, "expected a region such as eu-central-1").default("us-east-1"),
  S3_BUCKET: z.string().regex(/^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$/, "expected the name of a bucket")
    .default(""),
  S3_PREFIX: z.string().regex(
    /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/,
    "expected a path such as tapehouse or a/b",
  )
    .default("tapehouse"),
  S3_ACCESS_KEY: z.string().default(""),
  S3_SECRET_KEY: z.string().default(""),
  BACKFILL_INTERVAL_SECONDS: count(1, 3600).prefault("5"),
  BACKFILL_AGAIN_SECONDS: count(1, 86_400).prefault("15"),
  BACKFILL_MAX_GAP: count(1, 1_000_000_000).prefault("1000000"),
  ROLLUP_INTERVAL_SECONDS: count(1, 3600).prefault("60"),
  API_HOST: z.string().min(1, "expected an address to listen on").default("127.0.0.1"),
  API_PORT: port.prefault("8080"),
  API_TOKENS: words.prefault(""),
  API_ALLOWED_HOSTS: words.prefault(""),
  API_CORS_ORIGINS: words.refine(
    (origins) => origins.every((origin) => origin === "*" || isOrigin(origin)),
    "expected origins separated by commas, such as https://example.com, or *",
  ).prefault(""),
  API_RATE_PER_SECOND: count(0, 100_000).prefault("50"),
  API_TRUST_PROXY: z.string().default("0"),
  API_QUERY_SECONDS: count(1, 10).prefault("10"),
  API_QUERIES: count(2, 1000).prefault("6"),
  API_CLIENT_SOCKETS: count(1, 10_000).prefault("32"),
  METRICS_HOST: z.string().min(1, "expected an address to listen on").default("127.0.0.1"),
  METRICS_PORT: port.optional(),
  LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
  TAPEHOUSE_HOME: z.string().min(1, "expected a folder").default(".tapehouse"),
  EMBEDDED_CLICKHOUSE_PORT: port.prefault("8123"),
  EMBEDDED_KAFKA_PORT: port.prefault("9092"),
};

/** The name of a variable that tapehouse knows. */
export type Variable = keyof typeof variables;

/** What `readConfig` returns for the variables in `K`. */
export type Config<K extends Variable> = { [V in K]: z.output<(typeof variables)[V]> };

/** What simulated data is kept apart by: a database, topics and a consumer group of its own. */
export function simulatedNames(
  config: Config<"KAFKA_TOPIC" | "KAFKA_LEVEL2_TOPIC" | "KAFKA_GROUP">,
): Record<string, string> {
  return {
    CLICKHOUSE_DATABASE: "market_sim",
    KAFKA_TOPIC: `${config.KAFKA_TOPIC}_sim`,
    KAFKA_LEVEL2_TOPIC: `${config.KAFKA_LEVEL2_TOPIC}_sim`,
    KAFKA_GROUP: `${config.KAFKA_GROUP}_sim`,
  };
}

/**
 * Reads and validates the named variables.
 *
 * @param names which ones; the caller needs the permission to read just these
 * @param from where a variable's text comes from
 * @throws {ConfigError} naming every wrong variable
 */
export function readConfig<K extends Variable>(names: readonly K[], from = lookup()): Config<K> {
  const config: Partial<Record<Variable, unknown>> = {};
  const problems: string[] = [];
  for (const name of names) {
    // An empty value means "not set", as in `KAFKA_USERNAME=` of a copied .env.example.
    const text = from(name) || undefined;
    const result = variables[name].safeParse(text);
    if (result.success) config[name] = result.data;
    else problems.push(`${shown(name, text)}: ${result.error.issues[0]?.message.replace(/^I/, "i")}`);
  }
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return config as Config<K>;
}

/** `NAME=value` for a message, without what nobody else may read: secrets, and who may connect in an address. */
function shown(name: Variable, text: string | undefined): string {
  if (/PASSWORD|SECRET|TOKEN|ACCESS_KEY/.test(name)) return name;
  const masked = text?.replace(/^(\w+:\/\/)?.*@/s, "$1***@")
    .replace(/([?&](?:user|password|token|key|secret)=)[^&]*/gi, "$1***");
  return `${name}=${masked}`;
}

/** True when the variable is set to something, in the environment or in `.env`: the person chose it. */
export function isSet(name: Variable): boolean {
  return Boolean(given({})(name));
}

/**
 * Looks a variable up in `first`, then in the process's environment, then in `.env`. Without a CLICKHOUSE_PASSWORD, user
 * and password for the address of the embedded ClickHouse are those that it left in TAPEHOUSE_HOME.
 */
export function lookup(first: Record<string, string> = {}): (name: Variable) => string | undefined {
  const from = given(first);
  return (name) => {
    if (name !== "CLICKHOUSE_USER" && name !== "CLICKHOUSE_PASSWORD") return from(name);
    const embedded = from("CLICKHOUSE_PASSWORD") ? undefined : embeddedAccess(from);
    return from(name) || (name === "CLICKHOUSE_USER" ? embedded?.user : embedded?.password);
  };
}

function given(first: Record<string, string>): (name: Variable) => string | undefined {
  const file = readDotEnv();
  return (name) => first[name] ?? Deno.env.get(name) ?? file[name];
}

/** How the embedded ClickHouse is reached, when CLICKHOUSE_URL is its address. Others don't get its password. */
function embeddedAccess(from: (name: Variable) => string | undefined) {
  const text = open(netrcPath(from("TAPEHOUSE_HOME") || variables.TAPEHOUSE_HOME.parse(undefined)));
  const access = text instanceof Error ? undefined : parseNetrc(text);
  const url = URL.parse(from("CLICKHOUSE_URL") || variables.CLICKHOUSE_URL.parse(undefined));
  const isIts = access !== undefined && url?.protocol === "http:" && isLoopback(url.hostname) &&
    url.port === new URL(access.url).port;
  return isIts ? access : undefined;
}

/** What `.env` says; nothing where it can't be read. */
function readDotEnv(): Record<string, string | undefined> {
  const text = open(".env");
  return text instanceof Error ? {} : parseEnv(text);
}

/** Why there is nothing from `.env`, for the log; undefined where it is read, or there is none. */
export function whyDotEnvIsNotRead(): string | undefined {
  const text = open(".env");
  return text instanceof Error && !(text instanceof Deno.errors.NotFound) ? text.message : undefined;
}

/**
 * The text of a file, or why there is none. Whatever keeps us from reading `.env` is no reason not to start: a service
 * manager sets the variables and starts us in a folder that is none of ours, the file belongs to somebody else, or a
 * container has a folder in its place.
 */
function open(path: string): string | Error {
  try {
    // Asked first: on a terminal Deno would otherwise ask the person.
    if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
      return new Error("no permission to read it in this working directory");
    }
    return Deno.readTextFileSync(path);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
