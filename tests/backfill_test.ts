/** Holes of the tape, from the feed that loses trades to the table that has them all; with real servers and processes. */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { ClickHouseClient } from "@clickhouse/client";
import { fileURLToPath } from "node:url";
import { startClickHouse } from "../embedded/clickhouse.ts";
import { kafkaVersion, type RunningKafka, startKafka } from "../embedded/kafka.ts";
import { freePort } from "../embedded/ports.ts";
import { type RunningProcess, startProcess } from "../embedded/process.ts";
import { type Exchange, startExchange } from "../lib/coinbase/exchange/server.ts";
import { createSimulation } from "../lib/coinbase/exchange/simulation.ts";
import type { Source } from "../lib/coinbase/exchange/source.ts";
import { migrate } from "../lib/migrations.ts";
import { formatMicros, nowMicros } from "../lib/time.ts";
import { openWarehouse } from "../lib/warehouse.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const products = ["BTC-USD", "ETH-USD"];

let home: string;
let kafka: RunningKafka;
let kafkaPort: number;
let clickhouse: RunningProcess & { url: string };

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "backfill-" });
  kafkaPort = freePort();
  [kafka, clickhouse] = await Promise.all([
    startKafka({ home, port: kafkaPort, jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` }),
    startClickHouse({ home, port: freePort(), logFile: `${home}/logs/clickhouse.log` }),
  ]);
});

Deno.test.afterAll(async () => {
  await Promise.all([kafka.stop(), clickhouse.stop()]);
  await Deno.remove(home, { recursive: true });
});

interface Pipeline {
  exchange: Exchange;
  source: Source;
  /** Starts an entrypoint and waits until it is healthy. */
  start(
    entry: "producer" | "consumer" | "backfill",
    args?: string[],
    env?: Record<string, string>,
  ): Promise<Service>;
  /** Runs backfill.ts to its end. */
  backfill(args?: string[], env?: Record<string, string>): Promise<{ code: number; lines: Line[] }>;
  rows<T>(query: string): Promise<T[]>;
  /** Asks until the first row's first column is as wanted. */
  until(query: string, wanted: (value: unknown) => boolean): Promise<void>;
}

interface Service extends RunningProcess {
  metric(name: string): Promise<number>;
  health(): Promise<string>;
}

type Line = { level: string; message: string; [field: string]: unknown };

let pipelines = 0;

/** A topic, a database, a group and an exchange of its own; whatever was started is stopped. */
async function withPipeline(use: (pipeline: Pipeline) => Promise<void>) {
  const name = `backfill_${++pipelines}`;
  const source = createSimulation({ products, rate: 200 });
  const exchange = await startExchange({ source, restPerSecond: 2000 });
  const config = {
    CLICKHOUSE_URL: clickhouse.url,
    CLICKHOUSE_USER: "default",
    CLICKHOUSE_PASSWORD: "",
    CLICKHOUSE_DATABASE: name,
  };
  await migrate(config, () => {});
  const warehouse: ClickHouseClient = openWarehouse(config);
  const started: RunningProcess[] = [];
  const common = {
    ...config,
    COINBASE_WS_URL: exchange.wsUrl,
    COINBASE_REST_URL: exchange.restUrl,
    COINBASE_REST_PER_SECOND: "1000",
    COINBASE_PRODUCTS: products.join(","),
    COINBASE_CHANNELS: "matches,heartbeat",
    FEED_SOURCE: "simulator",
    FEED_SILENCE_SECONDS: "2",
    KAFKA_BROKERS: kafka.brokers,
    KAFKA_TOPIC: `${name}_data`,
    KAFKA_LEVEL2_TOPIC: `${name}_level2`,
    KAFKA_GROUP: name,
    BACKFILL_INTERVAL_SECONDS: "1",
    BACKFILL_AGAIN_SECONDS: "1",
  };
  const command = (entry: string, args: string[]) => ["run", "-q", `-P=${entry}`, `${entry}.ts`, ...args];

  const pipeline: Pipeline = {
    exchange,
    source,
    async start(entry, args = [], env = {}) {
      const port = freePort();
      const process = await startProcess({
        name: entry,
        command: Deno.execPath(),
        args: command(entry, args),
        cwd: root,
        env: { ...common, METRICS_PORT: String(port), ...env },
        logFile: `${home}/logs/${name}-${entry}.log`,
        ready: async () => (await (await fetch(`http://127.0.0.1:${port}/healthz`)).text()) !== "starting\n",
      });
      started.push(process);
      return {
        ...process,
        async metric(metric) {
          const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
          const lines = text.split("\n").filter((line) => line.startsWith(metric));
          return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
        },
        health: async () => await (await fetch(`http://127.0.0.1:${port}/healthz`)).text(),
      };
    },
    async backfill(args = [], env = {}) {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: command("backfill", args),
        cwd: root,
        env: { ...common, ...env },
        stdin: "null",
        stdout: "null",
      }).output();
      const text = new TextDecoder().decode(stderr);
      await Deno.writeTextFile(`${home}/logs/${name}-backfill.log`, text, { append: true, create: true });
      return {
        code,
        lines: text.trim().split("\n").map((line) => line.startsWith("{") ? JSON.parse(line) : line),
      };
    },
    async rows<T>(query: string) {
      const answer = await warehouse.query({
        query,
        format: "JSONEachRow",
        clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
      });
      return await answer.json<T>();
    },
    async until(query, wanted) {
      const deadline = performance.now() + 90_000;
      for (;;) {
        const [row] = await pipeline.rows<Record<string, unknown>>(query);
        const value = Object.values(row ?? {})[0];
        if (wanted(value)) return;
        ok(performance.now() < deadline, `${query} still gives ${value}`);
        await new Promise((done) => setTimeout(done, 100));
      }
    },
  };
  try {
    await use(pipeline);
  } catch (error) {
    for await (const { name: file } of Deno.readDir(`${home}/logs`)) {
      if (!file.startsWith(`${name}-`)) continue;
      console.error(`${file}:\n${(await Deno.readTextFile(`${home}/logs/${file}`)).slice(-6000)}`);
    }
    throw error;
  } finally {
    await Promise.all(started.map((process) => process.stop()));
    await exchange.stop();
    await warehouse.close();
  }
}

const trades = "SELECT count() FROM trades";
const holes = "SELECT count() FROM trade_gaps";
const positive = (value: unknown) => Number(value) > 0;
const none = (value: unknown) => value === 0;
const above = (least: number) => (value: unknown) => Number(value) > least;

/** Lets the exchange make `count` trades that the feed never sends, and waits until the tape shows the hole. */
async function makeHole(
  { exchange, until }: Pipeline,
  count: number,
): Promise<{ product: string; id: number }[]> {
  const made = await swallow(exchange, count);
  for (const { product, id } of made) {
    const hole = `product_id = '${product}' AND ${id} BETWEEN first_missing AND last_missing`;
    const filled = `SELECT count() FROM trades WHERE product_id = '${product}' AND trade_id = ${id}`;
    // Somebody may be quick and fill it.
    await until(`SELECT (SELECT count() FROM trade_gaps WHERE ${hole}) + (${filled}) AS seen`, positive);
  }
  return made;
}

/** Lets the exchange make `count` trades that the feed never sends; resolves when they are made. */
async function swallow(exchange: Exchange, count: number): Promise<{ product: string; id: number }[]> {
  const before = new Set(withheld(exchange).map(({ product, id }) => `${product} ${id}`));
  exchange.faults.inject({ swallowTrades: count });
  for (;;) {
    const made = withheld(exchange).filter(({ product, id }) => !before.has(`${product} ${id}`));
    if (made.length === count) return made;
    await new Promise((done) => setTimeout(done, 10));
  }
}

function withheld(exchange: Exchange): { product: string; id: number }[] {
  const { trades } = exchange.ledger.report();
  return Object.entries(trades).flatMap(([product, { withheld }]) => withheld.map((id) => ({ product, id })));
}

/** Every trade between the first and the last is stored once, as the exchange made it; nothing was rejected. */
async function assertComplete({ rows, source }: Pipeline) {
  const counts = await rows<{ product_id: string; rows: number; ids: number; first: number; last: number }>(
    `SELECT product_id, count() AS rows, uniqExact(trade_id) AS ids, min(trade_id) AS first, max(trade_id) AS last
     FROM trades GROUP BY product_id ORDER BY product_id`,
  );
  deepEqual(counts.map(({ product_id }) => product_id), products);
  for (const { product_id, rows: stored, ids, first, last } of counts) {
    deepEqual([stored, ids], [last - first + 1, last - first + 1], product_id);
  }
  const hours = await rows<{ ratio: number; status: string }>("SELECT ratio, status FROM completeness");
  ok(hours.length >= products.length);
  ok(hours.every(({ ratio, status }) => ratio === 1 && status !== "incomplete"), JSON.stringify(hours));
  deepEqual(await rows("SELECT count() AS rejected FROM rejected"), [{ rejected: 0 }]);

  const filled = await rows<{ product_id: string; trade_id: number; [column: string]: unknown }>(
    `SELECT product_id, trade_id, toString(time) AS time, price, size, taker_side FROM trades
     WHERE source = 'backfill' ORDER BY cityHash64(trade_id) LIMIT 500`,
  );
  ok(filled.length > 0, "nothing was filled");
  for (const { product_id, trade_id, ...stored } of filled) {
    const made = source.trade(product_id, trade_id);
    deepEqual({ ...stored, price: Number(stored.price), size: Number(stored.size) }, {
      time: made.time.replace("T", " ").replace("Z", ""),
      price: Number(made.price),
      size: Number(made.size),
      taker_side: made.side === "sell" ? "buy" : "sell",
    });
  }
}

Deno.test("swallowed trades, dropped connections and silence: the holes fill by themselves", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, exchange } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    const missing = await makeHole(pipeline, 30);
    exchange.faults.inject({ drop: true });
    exchange.faults.inject({ silenceSeconds: 5 });
    await until("SELECT count() FROM feed_events WHERE event = 'silent'", positive);
    await until("SELECT count() FROM feed_events WHERE event = 'subscribed'", above(3));
    await until(
      "SELECT uniqExact(product_id) FROM trade_fills WHERE trades > 50",
      (value) => value === products.length,
    );
    await until(holes, none);
    // Stopped, so that what is compared stands still.
    await producer.stop();
    await until(holes, none);
    await assertComplete(pipeline);

    const sources = await rows<{ source: string }>(
      `SELECT DISTINCT source FROM trades WHERE (product_id, trade_id) IN (${
        missing.map(({ product, id }) => `('${product}', ${id})`)
      })`,
    );
    deepEqual(sources, [{ source: "backfill" }]);
    ok(await watch.metric("tapehouse_backfill_trades_total") >= 130);
    equal(await watch.metric("tapehouse_backfill_given_up_trades_total"), 0);
    equal(await watch.health(), "ok\n");
    const [event] = await rows<{ least: number }>(
      `SELECT sum(JSONExtractUInt(details, 'last_missing') - JSONExtractUInt(details, 'first_missing') + 1) AS least
       FROM feed_events WHERE event = 'gap_filled' AND source = 'backfill'`,
    );
    ok((event?.least ?? 0) >= 130, JSON.stringify(event));
  }));

Deno.test("one run fills what is missing and ends when it is stored", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, backfill } = pipeline;
    await Promise.all([start("producer"), start("consumer")]);
    await until(trades, positive);
    const missing = await makeHole(pipeline, 12);
    const { code, lines } = await backfill();
    equal(code, 0, JSON.stringify(lines.at(-1)));
    const [stored] = await rows<{ stored: number }>(
      `SELECT count() AS stored FROM trades WHERE source = 'backfill' AND (product_id, trade_id) IN (${
        missing.map(({ product, id }) => `('${product}', ${id})`)
      })`,
    );
    equal(stored?.stored, 12);
    const last = lines.filter(({ message }) => /^fill (begins|ended)$/.test(message)).at(-1);
    deepEqual([last?.fetched, last?.stored], [last?.total, last?.total]);
  }));

Deno.test("429, 500, wrong pages and no answer at all hold a hole up, and no more", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    for (
      const [answer, outcome] of [[429, "429"], [500, "500"], ["wrong page", "error"], [
        "hang",
        "error",
      ]] as const
    ) {
      const name = `tapehouse_rest_requests_total{outcome="${outcome}"}`;
      const before = await watch.metric(name);
      exchange.faults.inject({ rest: { answer, requests: answer === "hang" ? 1 : 3 } });
      await makeHole(pipeline, 3);
      await until(holes, none);
      ok(await watch.metric(name) > before, `no ${answer}`);
    }
    await producer.stop();
    await until(holes, none);
    await assertComplete(pipeline);
    deepEqual(await rows("SELECT * FROM trade_gaps_given_up"), []);
  }));

Deno.test("a trade that REST never serves is recorded once and not asked for again", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows, backfill } = pipeline;
    const [, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    const lost = (await swallow(exchange, 20))[5];
    ok(lost);
    exchange.faults.inject({ unserved: [lost.id, lost.id] });
    const expected = [{
      product_id: lost.product,
      first_missing: lost.id,
      last_missing: lost.id,
      missing: 1,
    }];
    await until("SELECT count() FROM trade_gaps_given_up", positive);
    await until(holes, (value) => value === 1);
    deepEqual(
      await rows("SELECT product_id, first_missing, last_missing, missing FROM trade_gaps"),
      expected,
      "the other trades of the hole are there",
    );
    const [given] = await rows<{ reason: string }>("SELECT * FROM trade_gaps_given_up");
    match(given?.reason ?? "", /^left out of 4 answers of http:.*; traded before 20\d\d-.* UTC$/);
    await until("SELECT count() FROM feed_events WHERE event = 'gap_given_up'", (value) => value === 1);

    // A hole that is made now costs its requests and no other.
    const before = await watch.metric("tapehouse_rest_requests_total");
    const filledBefore = await watch.metric("tapehouse_backfill_trades_total");
    await makeHole(pipeline, 1);
    await until(holes, (value) => value === 1);
    equal(await watch.metric("tapehouse_backfill_trades_total") - filledBefore, 1);
    equal(await watch.metric("tapehouse_rest_requests_total") - before, 1);
    await watch.stop();

    const { code, lines } = await backfill();
    equal(code, 0, JSON.stringify(lines));
    deepEqual(await rows("SELECT count() AS records FROM trade_gaps_given_up"), [{ records: 1 }]);
  }));

Deno.test("history is fetched from the first stored trade back to a time, over a kill -9", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, source, backfill } = pipeline;
    const [producer] = await Promise.all([start("producer"), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    await until(holes, none);
    const from = nowMicros() - 1800 * 1e6;
    const args = ["--product", "BTC-USD", "--from", formatMicros(from).replace(" ", "T").slice(0, 19)];
    const first = source.lastTradeBefore("BTC-USD", Math.floor(from / 1e6) * 1e6) + 1;
    // Slow enough to be killed in the middle.
    const killed = await start("backfill", args, { COINBASE_REST_PER_SECOND: "20" });
    await until("SELECT count() FROM trades WHERE source = 'backfill'", above(5000));
    killed.kill();
    await killed.exited;
    const [left] = await rows<{ first: number }>(
      "SELECT min(trade_id) AS first FROM trades WHERE product_id = 'BTC-USD'",
    );
    ok((left?.first ?? 0) > first, "it was over before the kill");
    // History comes from the newest to the oldest: it leaves no hole, wherever it ends.
    await until(holes, none);

    const { code, lines } = await backfill(args);
    equal(code, 0, JSON.stringify(lines.at(-1)));
    const steps = lines.filter(({ message }) => /^fill (begins|ended)$/.test(message)) as unknown as Record<
      string,
      number
    >[];
    ok((steps[0]?.stored ?? 0) > 5000, "it began anew");
    deepEqual([steps.at(-1)?.stored, steps.at(-1)?.fetched], [steps.at(-1)?.total, steps.at(-1)?.total]);
    deepEqual(await rows("SELECT min(trade_id) AS first FROM trades WHERE product_id = 'BTC-USD'"), [{
      first,
    }]);
    await producer.stop();
    await until(holes, none);
    await assertComplete(pipeline);

    const again = await backfill(args);
    equal(again.code, 0);
    ok(again.lines.every(({ message }) => message !== "hole filled"), "it fetched what was stored");
  }));

Deno.test("a range that is history by itself ends at its times, and what it leaves open is said", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, source, backfill } = pipeline;
    await Promise.all([start("producer"), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    const { code, lines } = await backfill([
      ...["--product", "ETH-USD", "--from", "2026-07-07T22:00", "--to", "2026-07-07T22:01"],
    ]);
    equal(code, 0, JSON.stringify(lines.at(-1)));
    const before = (time: string) => source.lastTradeBefore("ETH-USD", Date.parse(time) * 1000);
    const first = before("2026-07-07T22:00Z") + 1;
    const last = before("2026-07-07T22:01Z");
    deepEqual(
      await rows(
        "SELECT min(trade_id) AS first, max(trade_id) AS last, count() AS trades FROM trades WHERE source = 'backfill'",
      ),
      [{ first, last, trades: last - first + 1 }],
    );
    equal(
      lines.filter(({ message }) => message.startsWith("the range doesn't touch what is stored")).length,
      1,
    );
  }));

Deno.test("the service outlives a killed broker and a killed ClickHouse", () =>
  withPipeline(async (pipeline) => {
    const { start, until } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    await makeHole(pipeline, 3);
    kafka.kill();
    await kafka.exited;
    kafka = await startKafka({ home, port: kafkaPort, jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` });
    clickhouse.kill();
    await clickhouse.exited;
    while (!(await watch.health()).startsWith("ClickHouse: ")) {
      await new Promise((done) => setTimeout(done, 100));
    }
    clickhouse = await startClickHouse({
      home,
      port: Number(new URL(clickhouse.url).port),
      logFile: `${home}/logs/clickhouse.log`,
    });
    await makeHole(pipeline, 3);
    await until(holes, none);
    await producer.stop();
    await until(holes, none);
    await assertComplete(pipeline);
    equal(await watch.health(), "ok\n");
  }));

Deno.test("one run that gets nowhere says why and ends with 1, wrong arguments end with 2", () =>
  withPipeline(async (pipeline) => {
    const { start, until, backfill, exchange } = pipeline;
    const [producer] = await Promise.all([start("producer"), start("consumer")]);
    await until(trades, positive);
    await makeHole(pipeline, 2);
    const nowhere = `http://127.0.0.1:${freePort()}`;
    const away = await backfill(["--timeout", "2s"], { COINBASE_REST_URL: nowhere });
    equal(away.code, 1);
    match(away.lines.at(-1)?.message ?? "", /^Holes are left: nothing has moved for 2 s\. REST: .*refused/);

    exchange.faults.inject({ rest: { answer: 429, requests: 1000 } });
    const busy = await backfill(["--timeout", "2s"]);
    equal(busy.code, 1);
    match(
      busy.lines.at(-1)?.message ?? "",
      /^Holes are left: .* REST: the exchange answered 429: too many requests\.$/,
    );

    exchange.faults.inject({ rest: { answer: 429, requests: 1 } });
    const unknown = await backfill(["--product", "XXX-USD", "--from", "2026-07-07"]);
    equal(unknown.code, 1);
    match(
      unknown.lines.at(-1)?.message ?? "",
      /^GET http:.*\/products\/XXX-USD\/trades\?limit=1: 404 NotFound$/,
    );

    const stopped = await start("backfill", [], { COINBASE_REST_URL: nowhere });
    await stopped.stop();
    equal((await stopped.exited).code, 1, "it was stopped with a hole left");

    equal((await backfill(["--from", "2026-07-07"])).code, 2);
    equal((await backfill([], { BACKFILL_AGAIN_SECONDS: "soon" })).code, 2);

    const produced = await backfill(["--no-wait"]);
    equal(produced.code, 0);
    await producer.stop();
    await until(holes, none);
    await assertComplete(pipeline);
  }));
