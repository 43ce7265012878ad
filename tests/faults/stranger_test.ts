/**
 * An exchange of a stranger beside `deno task dev`: it drops, repeats, delays and spoils frames, while producer, consumer,
 * backfill, ClickHouse and Kafka are killed at any spacing. Short by default; STRANGER_LONG=1 has 20 kills in 120 s.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { keptPassword } from "../../embedded/clickhouse/password.ts";
import { installJars, pidOf, run, withHome } from "../support/dev_run.ts";
import { until } from "../support/until.ts";
import { openStrangerExchange } from "../support/stranger_exchange.ts";
import type { MinuteCandle } from "../support/stranger_exchange/market.ts";
import { exchangeEnv } from "../support/exchange.ts";

const isLong = Deno.env.get("STRANGER_LONG") === "1";
const [kills, seconds] = isLong ? [20, 120] : [8, 40];
const products = ["BTC-USD", "ETH-USD", "SOL-USD"];
/** What may be killed, by words of its command line. */
const victims = ["-P=producer", "-P=consumer", "-P=backfill", "clickhouse/server.ts", "kafka.Kafka"];

Deno.test.beforeAll(installJars);

/** When to kill, in ms from the beginning: three within a second, and the others anywhere. */
function moments(random: () => number): number[] {
  const burst = random() * (seconds - 2) * 1000;
  const others = Array.from({ length: kills - 3 }, () => random() * seconds * 1000);
  return [burst, burst + 300, burst + 700, ...others].toSorted((a, b) => a - b);
}

/** 1.50 → 1.5, as ClickHouse writes decimals. */
const plain = (decimal: string) => decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;

Deno.test("dev: beside a stranger's exchange that drops, repeats, delays and spoils frames, and kills at any spacing, the tape is whole, and Ctrl-C ends it with 0", () =>
  withHome(async (home) => {
    const exchange = openStrangerExchange({
      seed: 7,
      products,
      tradesPerSecond: 15,
      manners: { drop: 0.03, repeat: 0.03, delay: 0.03, spoil: 0.02 },
    });
    const env = {
      ...home,
      ...exchangeEnv(exchange),
      COINBASE_PRODUCTS: products.join(","),
      BACKFILL_INTERVAL_SECONDS: "1",
      API_PORT: String(freePort()),
    };
    const folder = home.TAPEHOUSE_HOME ?? "";
    const ask = async (query: string) => {
      const response = await fetch(`http://127.0.0.1:${home.EMBEDDED_CLICKHOUSE_PORT}/?database=market`, {
        method: "POST",
        headers: { "x-clickhouse-key": await keptPassword(folder) },
        body: query,
      });
      const text = (await response.text()).trim();
      if (!response.ok) throw new Error(text);
      return text;
    };
    const rows = async <T>(query: string): Promise<T[]> => {
      const text = await ask(
        `${query} FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0`,
      );
      return text === "" ? [] : text.split("\n").map((line) => JSON.parse(line));
    };
    try {
      const dev = run(["-A", "tasks/dev.ts"], env);
      let isEnded = false;
      dev.code.then(() => isEnded = true);
      await dev.line(/^everything is up/);
      await until("heartbeats of all products are stored", async () => {
        assert.ok(!isEnded, dev.text());
        const found = await ask("SELECT uniqExact(product_id) FROM heartbeats").catch(() => "");
        return found === String(products.length);
      });
      exchange.open();

      const begun = performance.now();
      const killed: string[] = [];
      for (const at of moments(Math.random)) {
        await sleep(Math.max(0, begun + at - performance.now()));
        // Who is down for the moment can't be killed: then it is somebody else's turn.
        const order = victims.toSorted(() => Math.random() - 0.5);
        const victim = order.find((words) => {
          const pid = pidOf(folder, words);
          if (pid !== undefined) Deno.kill(pid, "SIGKILL");
          return pid !== undefined;
        });
        if (victim !== undefined) killed.push(`${victim.replace("-P=", "")} ${Math.round(at / 100) / 10} s`);
        assert.ok(!isEnded, dev.text());
      }
      await sleep(Math.max(0, begun + seconds * 1000 - performance.now()));
      exchange.close();
      const closed = performance.now();

      const made = exchange.ids();
      let found: Record<string, number | string>[] = [];
      await until(`whole after the kills of ${killed.join(", ")}`, async () => {
        assert.ok(!isEnded, dev.text());
        try {
          found = await rows(
            "SELECT product_id, min(trade_id) AS first, max(trade_id) AS last, uniqExact(trade_id) AS trades FROM trades GROUP BY product_id",
          );
        } catch {
          return false;
        }
        return found.length === products.length && found.every(({ product_id, last, first, trades }) => {
          const ids = made.get(String(product_id));
          return ids !== undefined && last === ids.last && first === ids.first &&
            trades === ids.last - ids.first + 1;
        });
      });
      const took = (performance.now() - closed) / 1000;
      const total = [...made.values()].reduce((sum, { first, last }) => sum + last - first + 1, 0);
      console.log(
        `${total} trades, ${JSON.stringify(exchange.done)}, ${killed.length} kills (${killed.join(", ")}): ` +
          `whole ${took.toFixed(1)} s after the last`,
      );
      assert.equal(killed.length, kills);
      for (const [manner, times] of Object.entries(exchange.done)) {
        assert.ok(times > 0, `never happened: ${manner}`);
      }

      // Once each: nothing that comes later doubles it.
      await sleep(3000);
      const counts = await rows<{ rows: number }>("SELECT count() AS rows FROM trades");
      assert.deepEqual(counts, [{ rows: total }]);
      const candles = await rows<MinuteCandle & { product_id: string; unix: number }>(
        `SELECT product_id, toUnixTimestamp(time) AS unix, toString(open) AS open, toString(high) AS high,
           toString(low) AS low, toString(close) AS close, toString(volume) AS volume, toUInt64(trades) AS trades
         FROM (SELECT * FROM candles_1m)`,
      );
      const stored = new Map(
        candles.map(({ product_id, unix, ...candle }) => [`${product_id} ${unix}`, candle]),
      );
      const own = new Map(
        [...exchange.minutes()].map(([key, { trades, ...prices }]) => [key, {
          ...Object.fromEntries(Object.entries(prices).map(([name, value]) => [name, plain(value)])),
          trades,
        }]),
      );
      assert.deepEqual(
        [...stored].toSorted(([a], [b]) => a < b ? -1 : 1),
        [...own].toSorted(([a], [b]) => a < b ? -1 : 1),
      );
      assert.equal(await ask("SELECT count() FROM trade_gaps"), "0");
      assert.ok(Number(await ask("SELECT count() FROM rejected")) > 0, "spoiled frames are kept");

      assert.ok(!isEnded, dev.text());
      dev.kill("SIGINT");
      assert.equal(await dev.code, 0, dev.text());
    } finally {
      await exchange.stop();
    }
  }));
