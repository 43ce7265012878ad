/**
 * A simulated market that is produced, stored and served: what the page is opened over, in tests and for pictures.
 *
 * @module
 */

import { freePort } from "../../embedded/process/ports.ts";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { simulatedDatabase } from "./databases.ts";
import { root, type Servers, type Service, type Tape, withTape } from "./tape.ts";
import { exchangeEnv } from "./exchange.ts";

/** Which market. */
export interface LiveMarketOptions {
  products: string[];
  /** Trades and tickers a second. */
  rate: number;
  /** As `deno task dev` does it: in the database of simulated data, so that the page says what it shows. @default true */
  simulated?: boolean;
  /** More variables of the services. */
  env?: Record<string, string>;
}

/** The market, while it runs. */
export interface LiveMarket {
  exchange: Exchange;
  tape: Tape;
  /** Such as `http://127.0.0.1:8080/`. */
  url: string;
  api: Service;
  /** api.ts once more, on the same port. */
  startApi(): Promise<Service>;
  /** A list of the API, such as `ohlc?product_id=BTC-USD`. */
  list<Row>(path: string): Promise<Row[]>;
}

/** Bundles the page of web/ into web/dist. */
export async function bundlePage(): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=web", "tasks/web.ts"],
    cwd: root,
    stdin: "null",
  }).output();
  if (!success) throw new Error(`the page can't be bundled: ${new TextDecoder().decode(stderr).trim()}`);
}

/**
 * Runs a task of the tape to its end, under its permission set.
 *
 * @throws {Error} with its last line when it fails
 */
export async function runTool(tape: Tape, permissions: string, ...command: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `-P=${permissions}`, ...command],
    cwd: root,
    env: { ...tape.env, METRICS_PORT: String(freePort()) },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (success) return;
  throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
}

/** `deno task rollup`, for depth and anomalies. */
export function rollUp(tape: Tape): Promise<void> {
  return runTool(tape, "rollup", "rollup.ts");
}

/** Runs `body` while the market goes on: exchange → producer → Kafka → consumer → ClickHouse → api.ts. */
export async function withLiveMarket(
  servers: Servers,
  { products, rate, simulated = true, env: more = {} }: LiveMarketOptions,
  body: (market: LiveMarket) => Promise<void>,
): Promise<void> {
  const exchange = await startExchange({ source: createSimulation({ products, rate }), restPerSecond: 1000 });
  const port = freePort();
  const url = `http://127.0.0.1:${port}/`;
  const env = {
    ...exchangeEnv(exchange),
    COINBASE_REST_PER_SECOND: "500",
    COINBASE_PRODUCTS: products.join(),
    FEED_SOURCE: "simulator",
    API_PORT: String(port),
    API_RATE_PER_SECOND: "0",
    ...(simulated && { CLICKHOUSE_DATABASE: simulatedDatabase }),
    ...more,
  };
  try {
    await withTape(servers, env, async (tape) => {
      const startApi = () => tape.start("api");
      const [api] = await Promise.all([startApi(), tape.start("consumer")]);
      await tape.start("producer");
      await tape.until(
        "trades of every product",
        async () =>
          await tape.value("SELECT uniqExact(product_id) FROM trades WHERE source = 'simulator'") ===
            String(products.length),
      );
      await body({
        exchange,
        tape,
        url,
        api,
        startApi,
        async list(path) {
          const answer = await fetch(`${url}api/${path}`);
          if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
          return (await answer.json()).data;
        },
      });
    });
  } finally {
    await exchange.stop();
  }
}
