/**
 * `deno task dev`: the whole tape on this machine. Starts what isn't configured (Kafka, ClickHouse, and an exchange when
 * Coinbase can't be reached), then the real entrypoints under their real permission sets, and shows how they do.
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { startKafka } from "../embedded/kafka.ts";
import { createCrew, type Crew } from "../embedded/crew.ts";
import { freePort } from "../embedded/ports.ts";
import { startProcess } from "../embedded/process.ts";
import { retry, sleep } from "../lib/backoff.ts";
import { openBroker, prepareTopics, topicSettings } from "../lib/broker.ts";
import { parseDuration, runTask } from "../lib/cli.ts";
import {
  type Config,
  isSet,
  lookup,
  readConfig,
  simulatedNames,
  type Variable,
  variables,
} from "../lib/config.ts";
import { createLogger } from "../lib/log.ts";
import { migrate } from "../lib/migrations.ts";
import { FatalError } from "../lib/service.ts";
import { read, statusText } from "../lib/status.ts";
import { openWarehouse } from "../lib/warehouse.ts";

const program = new Command("deno task dev")
  .description(
    "Run the whole tape on this machine: exchange → producer → Kafka → consumer → ClickHouse → page.",
  )
  .option("--simulate", "a simulated exchange, even when Coinbase can be reached")
  .addOption(
    new Option("--replay <file>", "replay a recording (NDJSON) as the exchange").conflicts("simulate"),
  )
  .option("--speed <factor>", "times as fast as recorded, or max (with --replay)")
  .option("--once", "end the replay after the recording instead of looping (with --replay)")
  .addOption(
    new Option("--rate <number>", "trades and tickers a second of the simulated exchange").conflicts(
      "replay",
    ),
  )
  .addOption(new Option("--seed <text>", "another seed, another simulated market").conflicts("replay"))
  .addOption(
    new Option(
      "--history <duration>",
      "fetch the trades of so long first (default: 1h of the simulated market)",
    )
      .argParser(duration).conflicts("replay"),
  )
  .option("--for <duration>", "stop after this long: 30s, 5m, 2h", duration)
  .allowExcessArguments(false)
  .exitOverride();

const hourMs = 3_600_000;
const quiet = createLogger({}, { level: "error" });
const silent = createLogger({}, { write: () => {} });

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  if (options.replay === undefined && (options.speed !== undefined || options.once)) {
    program.error("error: --speed and --once need --replay FILE");
  }
  if (options.replay !== undefined) await assertReadable(options.replay);
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  const config = readConfig(Object.keys(variables) as Variable[]);
  const crew = createCrew(stopOnSignal(), `${config.TAPEHOUSE_HOME}/logs`);
  const { signal } = crew.stop;
  let page = Promise.resolve();
  let history = Promise.resolve();
  try {
    const market = await chooseMarket(options, config);
    announce(market);
    page = bundlePage();
    const [servers] = await Promise.all([startServers(config, crew), page]);
    const env = environment(config, market, servers);
    await emptySimulation(market, env, config, crew);
    await prepare(env, crew);
    Object.assign(env, await startExchange(market, crew));
    const metrics = await startServices(env, crew);
    console.log(`everything is up after ${seconds()}; Ctrl-C stops it`);
    printUrls(env, metrics, crew);
    if (options.for !== undefined) setTimeout(() => crew.stop.abort(), options.for);
    firstCandle(env, signal).then(() => {
      if (!signal.aborted) say(`first candle in ClickHouse after ${seconds()}`);
    }).catch(() => {});
    const historyMs = options.history ?? (isUsualSimulation(market, options) ? hourMs : 0);
    history = fetchHistory(env, historyMs, crew);
    await Promise.all([watch(metrics, crew), history]);
    console.log("stopping");
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    // Whatever went wrong, nothing of ours is left running.
    crew.stop.abort();
    await Promise.allSettled([page, history]);
    await crew.dismiss();
  }
});

type Options = ReturnType<typeof program.opts>;
type AllConfig = Config<Variable>;
type Environment = Record<string, string>;

/** Which exchange the tape is taken from. */
interface Market {
  kind: "live" | "configured" | "simulator" | "replay";
  /** Arguments of `deno task exchange`; none when the exchange is somewhere else. */
  arguments: string[];
  why: string;
}

async function chooseMarket(options: Options, config: AllConfig): Promise<Market> {
  const { replay, speed, once, rate, seed } = options;
  const argumentsOf = (flags: Record<string, string | undefined>) =>
    Object.entries(flags).flatMap(([flag, value]) => value === undefined ? [] : [`--${flag}`, value]);
  const simulation = argumentsOf({ rate, seed, products: config.COINBASE_PRODUCTS.join(",") });
  if (replay !== undefined) {
    const flags = [...argumentsOf({ replay, speed }), ...(once ? ["--once"] : [])];
    return { kind: "replay", arguments: flags, why: `--replay ${replay}` };
  }
  if (options.simulate) return { kind: "simulator", arguments: simulation, why: "--simulate" };
  if (isSet("COINBASE_WS_URL")) {
    return { kind: "configured", arguments: [], why: `COINBASE_WS_URL=${config.COINBASE_WS_URL}` };
  }
  if (await reachable(config.COINBASE_WS_URL)) {
    return { kind: "live", arguments: [], why: "Coinbase answers" };
  }
  return { kind: "simulator", arguments: simulation, why: "Coinbase can't be reached from here" };
}

/** True when a WebSocket opens within three seconds. */
async function reachable(url: string): Promise<boolean> {
  const socket = new WebSocket(url);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), 3000);
  socket.onopen = () => resolve(true);
  socket.onerror = () => resolve(false);
  const answer = await promise;
  clearTimeout(timer);
  socket.onerror = null;
  if (socket.readyState <= WebSocket.OPEN) socket.close();
  return answer;
}

function isSimulated(market: Market): boolean {
  return market.kind === "simulator" || market.kind === "replay";
}

function announce(market: Market): void {
  if (!isSimulated(market)) return console.log(`exchange: ${market.why}`);
  const bar = "*".repeat(78);
  const what = market.kind === "replay" ? "A REPLAYED RECORDING" : "A SIMULATED EXCHANGE";
  console.log(
    `${bar}\n***  ${what}: these are not today's prices of Coinbase.\n***  ${market.why}.` +
      `\n***  Everything goes to the database market_sim, never to market.\n${bar}`,
  );
}

/** Where Kafka and ClickHouse are, and which of them are ours. */
interface Servers {
  kafka: string;
  clickhouse: string;
}

/** Starts the servers that the person didn't configure, both at once. */
async function startServers(config: AllConfig, crew: Crew): Promise<Servers> {
  const { TAPEHOUSE_HOME: home, EMBEDDED_KAFKA_PORT, EMBEDDED_CLICKHOUSE_PORT } = config;
  const { signal } = crew.stop;
  const [clickhouse, kafka] = await Promise.allSettled([
    isSet("CLICKHOUSE_URL") ? config.CLICKHOUSE_URL : crew.start(() =>
      startClickHouse({
        home,
        port: EMBEDDED_CLICKHOUSE_PORT,
        logFile: `${crew.logs}/clickhouse.log`,
        signal,
      })
    ).then(({ url }) => url),
    isSet("KAFKA_BROKERS")
      ? config.KAFKA_BROKERS.join(",")
      : crew.start(() => startKafka({ home, port: EMBEDDED_KAFKA_PORT, log: console.log, signal }))
        .then(({ brokers }) => brokers),
  ]);
  // Both have settled: what did come up is stopped in order.
  if (clickhouse.status === "rejected") throw clickhouse.reason;
  if (kafka.status === "rejected") throw kafka.reason;
  return { clickhouse: clickhouse.value, kafka: kafka.value };
}

/** The page, as api.ts serves it; the tape runs without it too. */
async function bundlePage(): Promise<void> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-P=web", "tasks/web.ts"],
    stdin: "null",
  });
  const { success, stderr } = await command.output();
  if (!success) console.log(`no page: ${new TextDecoder().decode(stderr).trim()}`);
}

/** What the entrypoints are told. */
function environment(config: AllConfig, market: Market, servers: Servers): Environment {
  const env: Environment = {
    KAFKA_BROKERS: servers.kafka,
    CLICKHOUSE_URL: servers.clickhouse,
    // A port that somebody chose is not exchanged for another.
    API_PORT: String(isSet("API_PORT") ? config.API_PORT : freePort(config.API_PORT)),
  };
  return isSimulated(market) ? { ...env, FEED_SOURCE: market.kind, ...simulatedNames(config) } : env;
}

/**
 * Simulated data is disposable, and two markets in one database would be nonsense: a replay begins with its first trade
 * each time, and another seed or rate is another market. Only the simulated market that goes on is kept.
 */
async function emptySimulation(
  market: Market,
  env: Environment,
  config: AllConfig,
  crew: Crew,
): Promise<void> {
  if (!isSimulated(market)) return;
  const identityFile = `${config.TAPEHOUSE_HOME}/simulated-market`;
  const identity = [market.kind, ...market.arguments].join(" ");
  const before = await Deno.readTextFile(identityFile).catch(() => undefined);
  if (market.kind === "simulator" && before === identity) return;
  await Deno.mkdir(config.TAPEHOUSE_HOME, { recursive: true });
  await Deno.remove(identityFile).catch(() => {});

  const settings = settingsOf(env);
  const warehouse = openWarehouse({ ...settings, CLICKHOUSE_DATABASE: "default" });
  await warehouse.command({ query: `DROP DATABASE IF EXISTS ${settings.CLICKHOUSE_DATABASE} SYNC` });
  await warehouse.close();
  const admin = openBroker(settings, "dev", silent).admin();
  await admin.connect();
  const topics = [settings.KAFKA_TOPIC, settings.KAFKA_LEVEL2_TOPIC];
  const existing = (await admin.listTopics()).filter((topic) => topics.includes(topic));
  if (existing.length > 0) await admin.deleteTopics({ topics: existing });
  let explained = false;
  const explainWait = () => {
    if (!explained) {
      console.log("waiting for Kafka to forget the consumer of a run that was killed (10 s at most)");
    }
    explained = true;
  };
  // A consumer that was killed is a member until its session ends; until then the group can't be deleted.
  await retry(async () => {
    const { groups } = await admin.listGroups();
    if (!groups.some(({ groupId }) => groupId === settings.KAFKA_GROUP)) return;
    await admin.deleteGroups([settings.KAFKA_GROUP]);
  }, { signal: crew.stop.signal, initialMs: 1000, maximumMs: 2000, onError: () => explainWait() });
  await admin.disconnect();
  await Deno.writeTextFile(identityFile, identity);
  if (before !== undefined) console.log("market_sim was emptied: it held another run of a simulated market");
}

/** Brings database and topics into the shape that the entrypoints expect. */
async function prepare(env: Environment, crew: Crew): Promise<void> {
  const config = settingsOf(env);
  const applied = await migrate(config, () => {});
  await prepareTopics(openBroker(config, "dev", quiet), topicSettings(config), crew.stop.signal, quiet);
  console.log(`database ${config.CLICKHOUSE_DATABASE}: ${applied} migrations applied; topics are there`);
}

/** The configuration as the entrypoints will read it: ours first, then the person's. */
function settingsOf(env: Environment): AllConfig {
  const names = Object.keys(variables) as Variable[];
  return readConfig(names, lookup(env));
}

/** Starts the exchange when it is ours, and says where it is. */
async function startExchange(market: Market, crew: Crew): Promise<Environment> {
  if (!isSimulated(market)) return {};
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  await crew.start(() =>
    startProcess({
      name: "exchange",
      command: Deno.execPath(),
      args: [
        "run",
        "--quiet",
        "-P=exchange",
        "tasks/exchange.ts",
        "--port",
        String(port),
        ...market.arguments,
      ],
      logFile: `${crew.logs}/exchange.log`,
      ready: () => answersOk(`${url}/time`),
      signal: crew.stop.signal,
    })
  );
  // Nobody but us asks this exchange.
  return {
    COINBASE_WS_URL: `ws://127.0.0.1:${port}`,
    COINBASE_REST_URL: url,
    COINBASE_REST_PER_SECOND: "100",
  };
}

/** Starts the entrypoints, each under its own permission set, and says where their metrics are. */
async function startServices(env: Environment, crew: Crew): Promise<Record<string, string>> {
  const metrics: Record<string, string> = {};
  const services = [
    { name: "consumer", usualPort: 9102, run: ["consumer.ts"] },
    { name: "backfill", usualPort: 9103, run: ["backfill.ts", "--watch"] },
    { name: "rollup", usualPort: 9105, run: ["tasks/rollup.ts", "--watch"] },
    { name: "api", usualPort: 9104, run: ["api.ts"] },
    { name: "producer", usualPort: 9101, run: ["producer.ts"] },
  ];
  for (const { name, usualPort, run } of services) {
    const port = freePort(usualPort);
    metrics[name] = `http://127.0.0.1:${port}`;
    await crew.start(() =>
      startProcess({
        name,
        command: Deno.execPath(),
        args: ["run", "--quiet", `-P=${name}`, ...run],
        env: { ...env, METRICS_HOST: "127.0.0.1", METRICS_PORT: String(port) },
        logFile: `${crew.logs}/${name}.log`,
        ready: () => answersOk(`${metrics[name]}/metrics`),
        signal: crew.stop.signal,
      })
    );
  }
  return metrics;
}

/** A newcomer's chart shall not be empty; at another rate an hour may be millions of trades. */
function isUsualSimulation(market: Market, { rate }: Options): boolean {
  return market.kind === "simulator" && rate === undefined;
}

/**
 * The trades of the last `milliseconds`, from REST, newest first: they grow on to what the feed brings, without a hole. What
 * is stored already isn't asked for.
 */
async function fetchHistory(env: Environment, milliseconds: number, crew: Crew): Promise<void> {
  if (milliseconds === 0) return;
  const since = performance.now();
  const from = new Date(Date.now() - milliseconds).toISOString();
  const products = settingsOf(env).COINBASE_PRODUCTS;
  const ended = await Promise.all(products.map((product) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "-P=backfill",
        "backfill.ts",
        "--product",
        product,
        "--from",
        from,
        "--no-wait",
      ],
      env: { ...env, LOG_LEVEL: "warn" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: crew.stop.signal,
    }).output()
  ));
  const log = ended.map(({ stderr }) => new TextDecoder().decode(stderr)).join("");
  await Deno.writeTextFile(`${crew.logs}/history.log`, log);
  if (crew.stop.signal.aborted) return;
  const missed = products.filter((_, index) => ended[index]?.code !== 0);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  say(
    missed.length === 0
      ? `${milliseconds / 60_000} min of history were fetched in ${seconds} s`
      : `the history of ${missed.join(", ")} isn't complete: ${crew.logs}/history.log says why`,
  );
}

async function answersOk(url: string): Promise<boolean> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.ok;
}

/** Ctrl-C once stops in order, twice at once. */
function stopOnSignal(): AbortController {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => stop.signal.aborted ? Deno.exit(130) : stop.abort());
  }
  return stop;
}

/** A line of its own, also where the status line stands. */
function say(text: string): void {
  console.log(Deno.stdout.isTerminal() ? `\r\x1b[K${text}` : text);
}

async function assertReadable(file: string): Promise<void> {
  const info = await Deno.stat(file).catch((error) => {
    throw new FatalError(
      `--replay ${file}: ${error instanceof Deno.errors.NotFound ? "no such file" : error.message}`,
    );
  });
  if (!info.isFile) throw new FatalError(`--replay ${file}: not a file`);
}

/** Shows the state once a second on a terminal, every five seconds as plain lines elsewhere. */
async function watch(metrics: Record<string, string>, crew: Crew): Promise<void> {
  const terminal = Deno.stdout.isTerminal();
  const everyMs = terminal ? 1000 : 5000;
  let before = await read(metrics);
  while (!crew.stop.signal.aborted) {
    await Promise.race([sleep(everyMs, crew.stop.signal), crew.failed]);
    const now = await read(metrics);
    if (crew.stop.signal.aborted) break;
    if (before !== undefined && now !== undefined) {
      const line = statusText(before, now);
      if (terminal) await Deno.stdout.write(new TextEncoder().encode(`\r\x1b[K${line}`));
      else console.log(line);
    }
    before = now ?? before;
  }
  if (terminal) console.log();
}

/** Resolves when the first candle can be read. */
async function firstCandle(env: Environment, signal: AbortSignal): Promise<void> {
  const warehouse = openWarehouse(settingsOf(env));
  while (!signal.aborted) {
    const answer = await warehouse.query({
      query: "SELECT 1 FROM candles_1s LIMIT 1",
      format: "JSONEachRow",
    });
    if ((await answer.json()).length > 0) break;
    await sleep(200, signal);
  }
  await warehouse.close();
}

function printUrls(env: Environment, metrics: Record<string, string>, crew: Crew): void {
  const {
    CLICKHOUSE_URL,
    CLICKHOUSE_DATABASE,
    KAFKA_BROKERS,
    KAFKA_TOPIC,
    KAFKA_LEVEL2_TOPIC,
    COINBASE_WS_URL,
    API_PORT,
  } = settingsOf(env);
  const page = `http://127.0.0.1:${API_PORT}`;
  const query = "SELECT * FROM candles_1m ORDER BY time DESC LIMIT 5 FORMAT PrettyCompact";
  console.log(`
  page        ${page}/
  API         ${page}/docs
  exchange    ${COINBASE_WS_URL}
  Kafka       ${KAFKA_BROKERS.join(",")}  topics ${KAFKA_TOPIC}, ${KAFKA_LEVEL2_TOPIC}
  ClickHouse  ${CLICKHOUSE_URL}  database ${CLICKHOUSE_DATABASE}
  metrics     ${metrics.producer}/metrics (producer)  ${metrics.consumer}/metrics (consumer)
              ${metrics.backfill}/metrics (backfill)  ${metrics.api}/metrics (api)
              ${metrics.rollup}/metrics (rollup)
  logs        ${crew.logs}

  curl '${CLICKHOUSE_URL}/?database=${CLICKHOUSE_DATABASE}' -d '${query}'
  deno task doctor${CLICKHOUSE_DATABASE === "market_sim" ? " --simulated" : ""}
`);
}

function duration(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    throw new InvalidArgumentError("Expected a duration such as 30s, 5m or 2h.");
  }
  return milliseconds;
}
