/**
 * A small database with known contents in an embedded ClickHouse, and the API over it.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { freePort } from "../embedded/ports.ts";
import { type AppOptions, createApp } from "../lib/api/app.ts";
import { openDatabase } from "../lib/api/database.ts";
import { readConfig, type Variable, variables } from "../lib/config.ts";
import { createLogger } from "../lib/log.ts";
import { migrate } from "../lib/migrations.ts";
import { formatMicros, parseMicros } from "../lib/time.ts";
import { openWarehouse } from "../lib/warehouse.ts";

/** A trade of the fixture: ids 1 to 240 of BTC-USD, every 30 s from 10:00; 51 to 60 aren't stored. */
export interface FixtureTrade {
  trade_id: number;
  /** µs */
  time: number;
  price: string;
  size: string;
  taker_side: "buy" | "sell";
}

export const start = parseMicros("2026-07-07T10:00:00Z");

/** All of them, those that are missing too. */
export const allTrades: FixtureTrade[] = Array.from({ length: 240 }, (_, index) => ({
  trade_id: index + 1,
  time: start + index * 30_000_000,
  price: (1000 + index % 7).toString().replace(/(\d)$/, ".$1").replace(/\.0$/, ""),
  size: "0.25",
  taker_side: index % 3 === 0 ? "buy" : "sell",
}));

export const isMissing = ({ trade_id }: FixtureTrade) => trade_id > 50 && trade_id <= 60;

export interface Fixture {
  clickhouse: Awaited<ReturnType<typeof startClickHouse>>;
  config: ReturnType<typeof readConfig<Variable>>;
  warehouse: ClickHouseClient;
  home: string;
  /** The API with other options than those of a default start. */
  app(
    more?: Partial<AppOptions>,
  ): (path: string, init?: RequestInit & { address?: string }) => Promise<Response>;
  insertTrades(product: string, trades: readonly FixtureTrade[]): Promise<void>;
  restartClickHouse(): Promise<void>;
  close(): Promise<void>;
}

export async function startFixture(): Promise<Fixture> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-api-" });
  const port = freePort();
  const begin = () => startClickHouse({ home, port, logFile: `${home}/clickhouse.log` });
  let clickhouse = await begin();
  const config = {
    ...readConfig(Object.keys(variables) as Variable[], () => undefined),
    CLICKHOUSE_URL: clickhouse.url,
    CLICKHOUSE_DATABASE: "api",
  };
  await migrate(config, () => {});
  const warehouse = openWarehouse(config);
  const databases: ReturnType<typeof openDatabase>[] = [];

  const insert = (table: string, values: Record<string, unknown>[]) =>
    warehouse.insert({ table, values, format: "JSONEachRow" });
  const insertTrades: Fixture["insertTrades"] = async (product, trades) => {
    await insert(
      "trades",
      trades.map((trade) => ({
        ...trade,
        product_id: product,
        time: formatMicros(trade.time),
        received_at: formatMicros(trade.time + 20_000),
        ingested_at: formatMicros(trade.time + 120_000),
        source: "feed",
        connection: "c1",
        batch: `b${trade.trade_id}`,
      })),
    );
  };

  await insertTrades("BTC-USD", allTrades.filter((trade) => !isMissing(trade)));
  await insertTrades("ETH-USD", [
    { trade_id: 1, time: start + 123_456, price: "2000.000000000000000001", size: "3", taker_side: "buy" },
  ]);
  const received = {
    received_at: "2026-07-07 10:00:01.5",
    source: "feed",
    connection: "c1",
    kafka_partition: 0,
  };
  await insert("products_state", [{
    product_id: "BTC-USD",
    base_currency: "BTC",
    quote_currency: "USD",
    base_increment: "0.00000001",
    quote_increment: "0.01",
    min_market_funds: "1",
    status: "online",
    status_message: "",
    display_name: "BTC/USD",
    ...received,
  }]);
  await insert(
    "tickers",
    [0, 500_000].map((after, index) => ({
      product_id: "BTC-USD",
      sequence: 7 + index,
      time: formatMicros(start + after),
      price: "110.5",
      best_bid: "110",
      best_bid_size: "2",
      best_ask: "111",
      best_ask_size: "0.5",
      taker_side: "sell",
      trade_id: index + 1,
      last_size: "0.25",
      open_24h: "100",
      high_24h: "120",
      low_24h: "90",
      volume_24h: "1234.5",
      kafka_offset: index,
      ...received,
    })),
  );
  await insert(
    "book_changes",
    ([["bid", "110", "2"], ["bid", "109", "4"], ["ask", "111", "0.5"], ["ask", "112", "6"]] as const).map(
      ([side, price, size], position) => ({
        product_id: "BTC-USD",
        time: "2026-07-07 10:00:00",
        side,
        price,
        size,
        is_snapshot: true,
        position,
        kafka_offset: 1,
        ...received,
      }),
    ),
  );

  return {
    get clickhouse() {
      return clickhouse;
    },
    config,
    warehouse,
    home,
    insertTrades,
    app(more = {}) {
      const database = openDatabase(config, 10);
      databases.push(database);
      const fetch = createApp({
        database,
        databaseName: "api",
        simulated: false,
        host: "127.0.0.1",
        allowedHosts: [],
        tokens: [],
        corsOrigins: [],
        ratePerSecond: 0,
        trustProxy: false,
        pageFolder: new URL(`file://${home}/page/`),
        log: createLogger({}, { level: "error" }),
        ...more,
      });
      return (path, { address = "127.0.0.1", ...init } = {}) => {
        const headers = new Headers(init.headers);
        if (!headers.has("host")) headers.set("host", "127.0.0.1:8080");
        return fetch(new Request(`http://127.0.0.1:8080${path}`, { ...init, headers }), address);
      };
    },
    async restartClickHouse() {
      clickhouse = await begin();
    },
    async close() {
      await Promise.all(databases.map((database) => database.close()));
      await warehouse.close();
      await clickhouse.stop();
      await Deno.remove(home, { recursive: true });
    },
  };
}
