/**
 * `deno task dev` and the entrypoints as a person meets them: what they print, how they end.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import { ask, installJars, pidOf, run, withHome } from "../support/dev_run.ts";
import { hangMs, until } from "../support/until.ts";
import { exchangeEnv } from "../support/exchange.ts";

Deno.test.beforeAll(installJars);

Deno.test("dev: --simulate has a loud banner and candles in market_sim, a killed consumer comes back, Ctrl-C ends with 0", () =>
  withHome(async (env) => {
    const dev = run(["-A", "tasks/dev.ts", "--simulate"], env);
    await dev.line(/\*{3}.*A SIMULATED EXCHANGE/);
    await dev.line(/^first candle in ClickHouse after [\d.]+ s$/);
    await dev.line(
      /frames\/s [\d,]+ · rows\/s [\d,]+ · lag \d+ · freshness p50 \d+ ms, p99 \d+ ms · rejected 0/,
    );
    assert.ok(Number(await ask(env, "SELECT count() FROM candles_1s")) > 0);
    assert.match(await ask(env, "SELECT count() FROM market.trades"), /UNKNOWN_DATABASE|UNKNOWN_TABLE/);
    // Behind the feed's trades an hour of history.
    await dev.line(/^60 min of history are stored after [\d.]+ s$/);
    assert.equal(await ask(env, "SELECT DISTINCT source FROM trades ORDER BY 1"), "backfill\nsimulator");
    assert.ok(Number(await ask(env, "SELECT dateDiff('minute', min(time), max(time)) FROM trades")) >= 59);

    Deno.kill(pidOf(env.TAPEHOUSE_HOME!, "-P=consumer")!, "SIGKILL");
    await dev.line(/^consumer ended \(SIGKILL\); starting it again$/);
    const before = Number(await ask(env, "SELECT count() FROM trades"));
    const hangsAt = performance.now() + hangMs;
    while (Number(await ask(env, "SELECT count() FROM trades")) <= before) {
      assert.ok(performance.now() < hangsAt, dev.text());
      await sleep(100);
    }

    const asked = performance.now();
    dev.kill("SIGINT");
    assert.equal(await dev.code, 0, dev.text());
    console.log(`Ctrl-C ended dev in ${((performance.now() - asked) / 1000).toFixed(1)} s`);
  }));

Deno.test("dev: it goes on where it was, and the simulated market keeps its trades, each once; another market empties market_sim", () =>
  withHome(async (env) => {
    const live = async () =>
      Number(await ask(env, "SELECT uniqExactIf(connection, source = 'simulator') FROM trades"));
    const runDev = (...args: string[]) => run(["-A", "tasks/dev.ts", "--simulate", ...args], env);
    const first = runDev();
    await first.line(/^first candle/);
    await until("trades of the first run's feed", async () => await live() >= 1);
    first.kill("SIGTERM");
    assert.equal(await first.code, 0, first.text());
    const second = runDev();
    await second.line(/^everything is up/);
    await until("trades of the second run's feed", async () => await live() >= 2);
    assert.equal(await ask(env, "SELECT count() = uniqExact(product_id, trade_id) FROM trades"), "1");
    second.kill("SIGTERM");
    assert.equal(await second.code, 0, second.text());
    assert.doesNotMatch(second.text(), /was emptied/);

    const seeded = runDev("--seed", "another", "--rate", "30");
    await seeded.line(/^market_sim was emptied: it held another run of a simulated market$/);
    await seeded.line(/^no history is fetched with --rate; --history 1h fetches some$/);
    await seeded.line(/^first candle/);
    // Trades are a function of seed and rate.
    const market = createSimulation({ seed: "another", rate: 30, products: ["BTC-USD", "ETH-USD"] });
    const rows = await ask(env, "SELECT product_id, trade_id, price, size FROM trades ORDER BY trade_id");
    for (const [product = "", id, price, size] of rows.split("\n").map((row) => row.split("\t"))) {
      const made = market.trade(product, Number(id));
      assert.deepEqual([Number(price), Number(size)], [Number(made.price), Number(made.size)]);
    }
    assert.equal(await ask(env, "SELECT DISTINCT source FROM trades"), "simulator");
    seeded.kill("SIGTERM");
    assert.equal(await seeded.code, 0, seeded.text());

    // Of twenty hours: at its own speed nobody would see its second trade.
    const file = `${env.TAPEHOUSE_HOME}/recording.ndjson`;
    await Deno.writeTextFile(file, Array.from({ length: 20 }, (_, hour) => matchAt(hour)).join("\n"));
    const replay = run(
      ["-A", "tasks/dev.ts", "--replay", file, "--speed", "max", "--once"],
      { ...env, COINBASE_PRODUCTS: "BTC-USD" },
    );
    await replay.line(/\*{3}.*A REPLAYED RECORDING/);
    await replay.line(/^market_sim was emptied/);
    await replay.line(/^first candle/);
    const stored = () => ask(env, "SELECT count(), max(trade_id), any(source) FROM trades");
    await until("the recording's last trade", async () => Number((await stored()).split("\t")[1]) >= 20);
    assert.equal(await stored(), "20\t20\treplay");
    replay.kill("SIGTERM");
    assert.equal(await replay.code, 0, replay.text());
  }));

/** A match of a recording, one an hour. */
function matchAt(hour: number): string {
  const time = new Date(Date.UTC(2026, 6, 7, hour)).toISOString();
  const match = { type: "match", product_id: "BTC-USD", trade_id: hour + 1, sequence: hour + 1, side: "buy" };
  return JSON.stringify({ ...match, size: "0.5", price: "100.5", time });
}

Deno.test("dev: an exchange of one's own (COINBASE_WS_URL) fills the database market, with the history that was asked for", async () => {
  const exchange = await startExchange({ source: createSimulation({ rate: 5 }), restPerSecond: 100 });
  try {
    await withHome(async (env) => {
      const dev = run(["-A", "tasks/dev.ts", "--history", "2h"], {
        ...env,
        ...exchangeEnv(exchange),
        COINBASE_REST_PER_SECOND: "100",
      });
      await dev.line(new RegExp(`^exchange: COINBASE_WS_URL=${exchange.wsUrl}`));
      await dev.line(/topics coinbase_market_data, coinbase_level2$/);
      await dev.line(/^first candle/);
      await dev.line(/^120 min of history are stored after [\d.]+ s$/);
      const inMarket = (query: string) => ask(env, query, "market");
      assert.equal(await inMarket("SELECT DISTINCT source FROM trades ORDER BY 1"), "backfill\nfeed");
      assert.ok(Number(await inMarket("SELECT dateDiff('minute', min(time), max(time)) FROM trades")) >= 119);
      assert.equal(await inMarket("SELECT count() FROM system.databases WHERE name = 'market_sim'"), "0");
      assert.doesNotMatch(dev.text(), /SIMULATED/);
      dev.kill("SIGTERM");
      assert.equal(await dev.code, 0, dev.text());
    });
  } finally {
    await exchange.stop();
  }
});

Deno.test("dev: a port in use is named with its holder and the variable to set; exit code 1, nothing left", () =>
  withHome(async (env) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const port = (listener.addr as Deno.NetAddr).port;
    const dev = run(["-A", "tasks/dev.ts", "--simulate"], { ...env, EMBEDDED_KAFKA_PORT: String(port) });
    assert.equal(await dev.code, 1, dev.text());
    listener.close();
    const expected = new RegExp(
      `Port ${port} for Kafka is held by .*\\(pid ${Deno.pid}\\).*EMBEDDED_KAFKA_PORT`,
    );
    assert.match(dev.text(), expected);
    assert.doesNotMatch(dev.text(), /^\s+at /m);
  }));

Deno.test("dev: wrong arguments and variables are one line that says what is allowed; exit code 2", async () => {
  const cases: [string[], Record<string, string>, RegExp][] = [
    [["-A", "tasks/dev.ts", "--for", "soon"], {}, /Expected a duration such as 30s, 5m or 2h/],
    [["-A", "tasks/dev.ts", "--nonsense"], {}, /unknown option '--nonsense'/],
    [["-A", "tasks/dev.ts", "--once"], {}, /--speed and --once need --replay FILE/],
    [["-A", "tasks/dev.ts"], { COINBASE_PRODUCTS: "btc" }, /^COINBASE_PRODUCTS=btc: expected product ids/m],
    [
      ["-P=producer", "producer.ts"],
      { COINBASE_WS_URL: "x" },
      /COINBASE_WS_URL=x: expected a URL that starts with ws/,
    ],
    [
      ["-P=consumer", "consumer.ts"],
      { CONSUMER_FLUSH_MS: "1" },
      /CONSUMER_FLUSH_MS=1: expected a whole number from 10/,
    ],
    [
      ["-P=migrate", "tasks/migrate.ts"],
      { CLICKHOUSE_DATABASE: "a b" },
      /CLICKHOUSE_DATABASE=a b: expected letters/,
    ],
    [
      ["-P=topics", "tasks/topics.ts"],
      { KAFKA_PARTITIONS: "0" },
      /KAFKA_PARTITIONS=0: expected a whole number/,
    ],
  ];
  for (const [args, env, expected] of cases) {
    const wrong = run(args, env);
    assert.equal(await wrong.code, 2, `${args}: ${wrong.text()}`);
    assert.match(wrong.text(), expected);
    assert.equal(wrong.text().trim().split("\n").length, 1, wrong.text());
  }
  const slow = run(["-P=consumer", "consumer.ts"], {
    CONSUMER_FLUSH_MS: "6000",
    METRICS_PORT: String(freePort()),
  });
  await slow.line(/CONSUMER_FLUSH_MS=6000: expected at most half of KAFKA_SESSION_MS \(10000\)/);
  assert.equal(await slow.code, 2, slow.text());
  const missing = run(["-A", "tasks/dev.ts", "--replay", "/nowhere.ndjson"], {});
  assert.equal(await missing.code, 1);
  assert.equal(missing.text(), "--replay /nowhere.ndjson: no such file\n");
});

Deno.test("services: the producer and the consumer stop within seconds when their servers were never there", async () => {
  const env = {
    KAFKA_BROKERS: "127.0.0.1:1",
    CLICKHOUSE_URL: "http://127.0.0.1:1",
    METRICS_PORT: String(freePort()),
  };
  for (const name of ["producer", "consumer"]) {
    const service = run([`-P=${name}`, `${name}.ts`], env);
    await service.line(/trying again/);
    service.kill("SIGTERM");
    assert.equal(await service.code, 0, service.text());
    assert.match(service.text(), /"message":"stopped"/);
  }
});
