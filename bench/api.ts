/**
 * `deno task bench api`: how long `/api/ohlc` takes for 1,000 candles at a fixed rate of requests, while trades go on
 * coming in.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../embedded/clickhouse/start.ts";
import { freePort } from "../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../embedded/process/process.ts";
import { sleep } from "../lib/core/retry.ts";
import { readConfig } from "../lib/process/config.ts";
import { migrate } from "../lib/clickhouse/migrations.ts";
import { clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";
import { engineVersion, type Measured, percentiles, type Row } from "./results.ts";

const products = ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"];
const days = 30;
/** Between two trades of a product. */
const tradeSeconds = 20;
const intervals: [name: string, seconds: number][] = [["1m", 60], ["5m", 300], ["15m", 900], ["1h", 3600]];

/** How hard the API is asked. */
export interface Load {
  perSecond: number;
  seconds: number;
}

/** p50, p99 and the slowest, with the same and with random products, intervals and ranges. */
export async function benchApi(load: Load): Promise<Measured> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const server = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const stop = new AbortController();
  let api: RunningProcess | undefined;
  try {
    const config = {
      ...readConfig(clickhouseVariables, () => undefined),
      ...server.env,
      CLICKHOUSE_DATABASE: "bench",
    };
    await migrate(config, () => {});
    const clickhouse = openClickHouse(config);
    await seed(clickhouse);
    const [apiPort, metricsPort] = [freePort(), freePort()];
    api = await startProcess({
      name: "api",
      command: Deno.execPath(),
      args: ["run", "--quiet", "-P=api", "api.ts"],
      env: {
        ...server.env,
        CLICKHOUSE_DATABASE: "bench",
        API_PORT: String(apiPort),
        METRICS_PORT: String(metricsPort),
        API_RATE_PER_SECOND: "0",
        API_TRUST_PROXY: "1",
        LOG_LEVEL: "warn",
      },
      logFile: `${home}/api.log`,
      ready: async () => (await fetch(`http://127.0.0.1:${apiPort}/healthz`)).ok,
    });
    const live = keepTrading(clickhouse, stop.signal);
    // It is awaited at the end.
    live.catch(() => {});
    const rows = await runCases(load, `http://127.0.0.1:${apiPort}/api/ohlc`);
    stop.abort();
    await live;
    const versions = { ClickHouse: await engineVersion(clickhouse) };
    await clickhouse.close();
    return { versions, tables: { ohlc: rows } };
  } finally {
    stop.abort();
    await api?.stop();
    await server.stop();
    await Deno.remove(home, { recursive: true });
  }
}

async function runCases(load: Load, url: string): Promise<Row[]> {
  const newest = () => `${url}?product_id=BTC-USD&interval=1m&limit=1000`;
  const any = () => `${url}?${randomQuery()}`;
  console.log(
    `/api/ohlc, 1,000 candles, ${load.perSecond} requests/s for ${load.seconds} s each; ` +
      `${products.length} products with ${days} days of trades, 4 inserts/s meanwhile`,
  );
  console.log(`the first request: ${await firstAnswer(newest())} ms`);
  // What a fresh process compiles isn't counted below.
  await timesOf({ ...load, seconds: 2 }, newest);
  const row = async (
    what: string,
    { seconds }: { seconds: number },
    address: () => string,
    network?: string,
  ) => {
    const { times, refused } = await timesOf({ ...load, seconds }, address, network);
    return { "milliseconds of": what, ...percentiles(times), refused };
  };
  return [
    await row("the newest 1m candles", load, newest),
    await row("any product, interval and range, at first", { seconds: 5 }, any),
    await row("any product, interval and range", load, any),
    await row("the same, compressed as for another machine", load, any, "192.0.2"),
  ];
}

async function seed(clickhouse: ClickHouseClient): Promise<void> {
  for (const product of products) {
    await clickhouse.command({
      query:
        `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, received_at, source, batch)
        SELECT {product:String}, number + 1,
          toDateTime64(now('UTC'), 6, 'UTC') - toIntervalSecond({count:UInt32} * {step:UInt32} - number * {step:UInt32}) AS at,
          60000 + intHash64(number) % 100000 / 100, intHash64(number + 1) % 1000000 / 1000000 + 0.000001,
          if(intHash64(number) % 2 = 0, 'buy', 'sell'), at, 'simulator', 'bench'
        FROM numbers({count:UInt32})`,
      query_params: { product, count: days * 86_400 / tradeSeconds, step: tradeSeconds },
      clickhouse_settings: { max_partitions_per_insert_block: "0" },
    });
  }
}

/** A few trades of each product four times a second, as the consumer writes them. */
async function keepTrading(clickhouse: ClickHouseClient, signal: AbortSignal): Promise<void> {
  for (let batch = 0; !signal.aborted; batch++) {
    await clickhouse.command({
      query:
        `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, received_at, source, batch)
        SELECT arrayJoin({products:Array(String)}), {first:UInt64} + number, now64(6, 'UTC'), 60000 + rand() % 10000 / 100, 0.5,
          'buy', now64(6, 'UTC'), 'simulator', 'live' FROM numbers(5)`,
      query_params: { products, first: days * 86_400 / tradeSeconds + 1 + batch * 5 },
    });
    await sleep(250, signal);
  }
}

async function firstAnswer(url: string): Promise<number> {
  const begun = performance.now();
  await (await fetch(url)).bytes();
  return Math.round(performance.now() - begun);
}

function randomQuery(): URLSearchParams {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
  const [interval, seconds] = pick(intervals);
  // So that 1,000 candles lie behind it.
  const oldest = Date.now() - days * 86_400_000;
  const newest = Math.max(oldest, Date.now() - 1000 * seconds * 1000);
  const from = new Date(oldest + Math.random() * (newest - oldest)).toISOString();
  return new URLSearchParams({ product_id: pick(products), interval, from, limit: "1000" });
}

/** Requests are sent when they are due, whether or not those before are answered, and timed from then. @returns ms of those that were answered */
async function timesOf(
  { perSecond, seconds }: Load,
  url: () => string,
  network = "127.0.0",
): Promise<{ times: number[]; refused: number }> {
  const started = performance.now();
  const requests: Promise<number | "refused">[] = [];
  for (let sent = 0; sent < perSecond * seconds; sent++) {
    const due = started + sent * 1000 / perSecond;
    const wait = due - performance.now();
    if (wait > 0) await sleep(wait);
    // Many clients: one by itself has only so many queries at once.
    const request = ask(url(), due, `${network}.${1 + sent % 250}`);
    // Told of below; until then it must not end the process, which would leave the servers behind.
    request.catch(() => {});
    requests.push(request);
  }
  const answers = await Promise.all(requests);
  const times = answers.filter((answer) => answer !== "refused");
  return { times, refused: answers.length - times.length };
}

/** @returns ms since it was due; refused where the API says that too many queries wait */
async function ask(address: string, due: number, client: string): Promise<number | "refused"> {
  const response = await fetch(address, { headers: { "x-forwarded-for": client } });
  const body = await response.bytes();
  if (response.status === 429) return "refused";
  if (!response.ok) {
    throw new Error(`${address}: ${response.status} ${new TextDecoder().decode(body).slice(0, 300)}`);
  }
  return performance.now() - due;
}
