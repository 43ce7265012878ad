/**
 * `deno task bench api`: how long `/api/ohlc` takes for 1,000 candles at a fixed rate of requests, while trades go on
 * coming in.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../../embedded/clickhouse.ts";
import { freePort } from "../../embedded/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process.ts";
import { sleep } from "../backoff.ts";
import { readConfig } from "../config.ts";
import { migrate } from "../migrations.ts";
import { openWarehouse, warehouseVariables } from "../warehouse.ts";

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

/** Prints p50, p99 and the slowest, with the same and with random products, intervals and ranges. */
export async function benchApi(load: Load): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const clickhouse = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  const stop = new AbortController();
  let api: RunningProcess | undefined;
  try {
    const config = {
      ...readConfig(warehouseVariables, () => undefined),
      CLICKHOUSE_URL: clickhouse.url,
      CLICKHOUSE_DATABASE: "bench",
    };
    await migrate(config, () => {});
    const warehouse = openWarehouse(config);
    await seed(warehouse);
    const [apiPort, metricsPort] = [freePort(), freePort()];
    api = await startProcess({
      name: "api",
      command: Deno.execPath(),
      args: ["run", "--quiet", "-P=api", "api.ts"],
      env: {
        CLICKHOUSE_URL: clickhouse.url,
        CLICKHOUSE_DATABASE: "bench",
        API_PORT: String(apiPort),
        METRICS_PORT: String(metricsPort),
        API_RATE_PER_SECOND: "0",
        API_TRUST_PROXY: "true",
        LOG_LEVEL: "warn",
      },
      logFile: `${home}/api.log`,
      ready: async () => (await fetch(`http://127.0.0.1:${apiPort}/healthz`)).ok,
    });
    const live = keepTrading(warehouse, stop.signal);
    // It is awaited at the end.
    live.catch(() => {});
    const url = `http://127.0.0.1:${apiPort}/api/ohlc`;
    console.log(
      `/api/ohlc, 1,000 candles, ${load.perSecond} requests/s for ${load.seconds} s each; ${products.length} products with ` +
        `${days} days of trades, 4 inserts/s meanwhile; ${navigator.hardwareConcurrency} cores, load before ${
          Deno.loadavg()[0]?.toFixed(1)
        }`,
    );
    console.log(
      `the first request: ${await firstAnswer(`${url}?product_id=BTC-USD&interval=1m&limit=1000`)} ms`,
    );
    // What a fresh process compiles isn't counted below.
    await run("", { ...load, seconds: 2 }, () => `${url}?product_id=BTC-USD&interval=1m&limit=1000`);
    console.log("|                                              | p50 ms | p99 ms | max ms |");
    console.log("| -------------------------------------------- | ------ | ------ | ------ |");
    await run("the same: newest 1m candles", load, () => `${url}?product_id=BTC-USD&interval=1m&limit=1000`);
    await run(
      "random product, interval and range, at first",
      { ...load, seconds: 5 },
      () => `${url}?${randomQuery()}`,
    );
    await run("random product, interval and range", load, () => `${url}?${randomQuery()}`);
    await run(
      "the same, compressed for another machine",
      load,
      () => `${url}?${randomQuery()}`,
      { "x-forwarded-for": "192.0.2.1" },
    );
    stop.abort();
    await live;
    await warehouse.close();
  } finally {
    stop.abort();
    await api?.stop();
    await clickhouse.stop();
    await Deno.remove(home, { recursive: true });
  }
}

async function seed(warehouse: ClickHouseClient): Promise<void> {
  for (const product of products) {
    await warehouse.command({
      query:
        `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, received_at, source, batch)
        SELECT {product:String}, number + 1,
          toDateTime64(now(), 6, 'UTC') - toIntervalSecond({count:UInt32} * {step:UInt32} - number * {step:UInt32}) AS at,
          60000 + intHash64(number) % 100000 / 100, intHash64(number + 1) % 1000000 / 1000000 + 0.000001,
          if(intHash64(number) % 2 = 0, 'buy', 'sell'), at, 'simulator', 'bench'
        FROM numbers({count:UInt32})`,
      query_params: { product, count: days * 86_400 / tradeSeconds, step: tradeSeconds },
      clickhouse_settings: { max_partitions_per_insert_block: "0" },
    });
  }
}

/** A few trades of each product four times a second, as the consumer writes them. */
async function keepTrading(warehouse: ClickHouseClient, signal: AbortSignal): Promise<void> {
  for (let batch = 0; !signal.aborted; batch++) {
    await warehouse.command({
      query:
        `INSERT INTO trades (product_id, trade_id, time, price, size, taker_side, received_at, source, batch)
        SELECT arrayJoin({products:Array(String)}), {first:UInt64} + number, now64(6), 60000 + rand() % 10000 / 100, 0.5,
          'buy', now64(6), 'simulator', 'live' FROM numbers(5)`,
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

/** Requests are sent when they are due, whether or not those before are answered, and timed from then. */
async function run(
  what: string,
  { perSecond, seconds }: Load,
  url: () => string,
  headers: Record<string, string> = {},
): Promise<void> {
  const times: number[] = [];
  const started = performance.now();
  const requests: Promise<void>[] = [];
  for (let sent = 0; sent < perSecond * seconds; sent++) {
    const due = started + sent * 1000 / perSecond;
    const wait = due - performance.now();
    if (wait > 0) await sleep(wait);
    const request = ask(url(), due);
    // Told of below; until then it must not end the process, which would leave the servers behind.
    request.catch(() => {});
    requests.push(request);
  }
  await Promise.all(requests);
  if (what === "") return;
  const sorted = times.toSorted((left, right) => left - right);
  const at = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1);
  console.log(
    `| ${what.padEnd(44)} | ${at(0.5).padStart(6)} | ${at(0.99).padStart(6)} | ${at(1).padStart(6)} |`,
  );

  async function ask(address: string, due: number): Promise<void> {
    const response = await fetch(address, { headers });
    const body = await response.bytes();
    times.push(performance.now() - due);
    if (!response.ok) {
      throw new Error(`${address}: ${response.status} ${new TextDecoder().decode(body).slice(0, 300)}`);
    }
  }
}
