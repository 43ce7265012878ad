/**
 * Gaps of the tape, from the feed that loses trades to the table that has them all; with real servers and processes.
 *
 * @module
 */

import "../support/clean_environment.ts";
import { readMetric } from "../support/read_metric.ts";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { ClickHouseClient } from "@clickhouse/client";
import { fileURLToPath } from "node:url";
import { type RunningClickHouse, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process/process.ts";
import { type Exchange, startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import type { Source } from "../../exchange/source.ts";
import { formatMicros, nowMicros } from "../../lib/core/time.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { takeDatabase } from "../support/databases.ts";
import { untilRead } from "../support/tape.ts";
import { rows } from "../../lib/clickhouse/rows.ts";
import { until as eventually } from "../support/until.ts";
import { exchangeEnv } from "../support/exchange.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const products = ["BTC-USD", "ETH-USD"];

let home: string;
let kafka: RunningKafka;
let kafkaPort: number;
let clickhouseServer: RunningClickHouse;

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "backfill-" });
  kafkaPort = freePort();
  [kafka, clickhouseServer] = await Promise.all([
    startKafka({ home, port: kafkaPort, jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` }),
    startClickHouse({ home, port: freePort(), logFile: `${home}/logs/clickhouse.log` }),
  ]);
});

Deno.test.afterAll(async () => {
  await Promise.all([kafka.stop(), clickhouseServer.stop()]);
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
  insert(table: string, rows: Record<string, unknown>[]): Promise<void>;
  /** Waits until the consumer has stored all that is in the topics. */
  untilRead(): Promise<void>;
  /** Asks until the first row's first column is as wanted. */
  until(query: string, wanted: (value: unknown) => boolean): Promise<void>;
}

interface Service extends RunningProcess {
  /** A figure: the sum over all labels, or with labels that one. */
  metric(name: string): Promise<number>;
  /** What it and its predecessors have logged that matches. */
  lines(message: RegExp): Promise<Line[]>;
  health(): Promise<string>;
}

type Line = { level: string; message: string; [field: string]: unknown };

let pipelines = 0;

/** A topic, a database, a group and an exchange of its own; whatever was started is stopped. */
async function withPipeline(use: (pipeline: Pipeline) => Promise<void>) {
  const name = `backfill_${++pipelines}`;
  const source = createSimulation({ products, rate: 200 });
  const exchange = await startExchange({ source, restPerSecond: 2000 });
  const database = await takeDatabase(clickhouseServer.env);
  const config = { ...clickhouseServer.env, CLICKHOUSE_DATABASE: database.name };
  const clickhouse: ClickHouseClient = openClickHouse(config);
  const started: RunningProcess[] = [];
  const common = {
    ...config,
    ...exchangeEnv(exchange),
    COINBASE_REST_PER_SECOND: "1000",
    COINBASE_PRODUCTS: products.join(","),
    COINBASE_CHANNELS: "matches,heartbeat",
    FEED_SOURCE: "simulator",
    FEED_SILENCE_SECONDS: "2",
    KAFKA_BROKERS: kafka.brokers,
    KAFKA_TOPIC: `${name}_data`,
    KAFKA_LEVEL2_TOPIC: `${name}_level2`,
    KAFKA_GROUP: name,
    KAFKA_SESSION_MS: "4000",
    BACKFILL_INTERVAL_SECONDS: "1",
    BACKFILL_AGAIN_SECONDS: "1",
  };
  const env: Record<string, string> = common;
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
        metric: (metric) => readMetric(`http://127.0.0.1:${port}`, metric),
        async lines(message) {
          const lines = (await Deno.readTextFile(`${home}/logs/${name}-${entry}.log`)).split("\n");
          return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Line)
            .filter((line) => message.test(line.message));
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
    rows: (query) => rows(clickhouse, query),
    async insert(table, values) {
      await clickhouse.insert({ table, values, format: "JSONEachRow" });
    },
    untilRead: () => untilRead(configOf(env), name),
    async until(query, wanted) {
      let value: unknown;
      await eventually(query, async () => {
        const [row] = await pipeline.rows<Record<string, unknown>>(query);
        value = Object.values(row ?? {})[0];
        return wanted(value);
      }, () => `it still gives ${value}`);
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
    await clickhouse.close();
    await database.giveBack();
  }
}

const trades = "SELECT count() FROM trades";
const gaps = "SELECT count() FROM trade_gaps";
const positive = (value: unknown) => Number(value) > 0;
const none = (value: unknown) => value === 0;
const above = (least: number) => (value: unknown) => Number(value) > least;

/** Lets the exchange make `count` trades that the feed never sends, and waits until the tape shows the gap. */
async function makeGap(
  { exchange, until }: Pipeline,
  count: number,
): Promise<{ product: string; id: number }[]> {
  const made = await swallow(exchange, count);
  for (const { product, id } of made) {
    const gap = `product_id = '${product}' AND ${id} BETWEEN first_missing AND last_missing`;
    const filled = `SELECT count() FROM trades WHERE product_id = '${product}' AND trade_id = ${id}`;
    // Somebody may be quick and fill it.
    await until(`SELECT (SELECT count() FROM trade_gaps WHERE ${gap}) + (${filled}) AS seen`, positive);
  }
  return made;
}

/** Waits until these trades are stored. */
async function untilStored({ until }: Pipeline, made: { product: string; id: number }[]) {
  ok(made.length > 0);
  const list = made.map(({ product, id }) => `('${product}', ${id})`).join();
  await until(
    `SELECT count() FROM trades WHERE (product_id, trade_id) IN (${list})`,
    (count) => count === made.length,
  );
}

/** Waits until later trades than these are stored. */
async function untilBehind({ until }: Pipeline, made: { product: string; id: number }[]) {
  for (const { product, id } of made) {
    await until(`SELECT max(trade_id) FROM trades WHERE product_id = '${product}'`, above(id));
  }
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

/**
 * Once all that was produced is read and no gap is left: every trade between the first and the last is stored once, as the
 * exchange made it; nothing was rejected.
 */
async function assertComplete({ rows, source, until, untilRead }: Pipeline) {
  // Not before: a heartbeat that is stored a moment before the trades of its batch looks like a gap.
  await untilRead();
  await until(gaps, none);
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

Deno.test("backfill: the gaps of swallowed trades, dropped connections and silence fill by themselves", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, exchange } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    const missing = await makeGap(pipeline, 30);
    exchange.faults.inject({ drop: true });
    exchange.faults.inject({ silenceSeconds: 5 });
    await until("SELECT count() FROM feed_events WHERE event = 'silent'", positive);
    await until("SELECT count() FROM feed_events WHERE event = 'subscribed'", above(3));
    await until(
      "SELECT uniqExact(product_id) FROM trade_fills WHERE trades > 50",
      (value) => value === products.length,
    );
    await until(gaps, none);
    // Stopped, so that what is compared stands still.
    await producer.stop();
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

Deno.test("backfill: one run fills what is missing and ends when it is stored", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, backfill } = pipeline;
    await Promise.all([start("producer"), start("consumer")]);
    await until(trades, positive);
    const missing = await makeGap(pipeline, 12);
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

Deno.test("backfill: whatever REST answers that isn't right holds a gap up, is told, and proves nothing", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    const answers = [
      ...[[429, "429"], [500, "500"], ["hang", "error"], ["wrong page", "error"], ["html", "error"]],
      ...[["error object", "error"], ["cut off", "error"], ["redirect", "301"], ["empty", "ok"]],
      ...[["reversed", "ok"], ["renamed field", "ok"], ["other product", "ok"]],
    ] as [string | number, string][];
    for (const [answer, outcome] of answers) {
      const name = `tapehouse_rest_requests_total{outcome="${outcome}"}`;
      const before = await watch.metric(name);
      // Two of them may be the probes of the two products, which read one row.
      exchange.faults.inject({ rest: { answer, requests: answer === "hang" ? 1 : 3 } });
      await untilStored(pipeline, await makeGap(pipeline, 3));
      ok(await watch.metric(name) > before, `no ${answer}`);
    }
    for (
      const message of [
        /trades.*: 301 moved to \/v2\/products\/.*: set COINBASE_REST_URL/,
        /trades.*: row 1: expected the newest first, got trade \d+ behind \d+/,
        /trades.*: row 0: price: invalid input: expected string, received undefined, got \{.*"px":"/,
        /USD: REST lists a trade of .* under the id \d+, and the stored one is of .* another product's/,
      ]
    ) {
      ok((await watch.lines(message)).length > 0, `${message} isn't told`);
    }
    ok(await watch.metric("tapehouse_rest_invalid_rows_total") > 0);
    await producer.stop();
    await assertComplete(pipeline);
    deepEqual(await rows("SELECT * FROM trade_gap_asks"), [], "something was held for a proof");
    deepEqual(await rows("SELECT * FROM trade_gaps_given_up"), []);
    await eventually("no trouble", async () => (await watch.health()) === "ok\n");
  }));

Deno.test("backfill: a changed format of REST is an alarm of one line, and nothing is given up", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows } = pipeline;
    await Promise.all([start("producer"), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    exchange.faults.inject({ rest: { answer: "renamed field", requests: 1_000_000 } });
    // Its newest trade is asked for, gap or no gap.
    const watch = await start("backfill", ["--watch"]);
    await eventually("the alarm", async () => (await watch.health()).startsWith("REST: GET"));
    match(await watch.health(), /^REST: GET http:.*\?limit=.*: row 0: price: invalid input: expected string/);
    const made = await swallow(exchange, 20);
    await eventually(
      "the gap to be asked for",
      async () => await watch.metric("tapehouse_rest_invalid_rows_total") > 10,
    );
    await until(gaps, positive);
    equal(await watch.metric("tapehouse_backfill_trades_total"), 0);
    equal((await watch.lines(/price: invalid input/)).filter(({ level }) => level === "error").length, 1);
    for (const table of ["trade_gaps_given_up", "trade_gap_asks"]) {
      deepEqual(await rows(`SELECT * FROM ${table}`), []);
    }
    exchange.faults.inject({ rest: { answer: 429, requests: 1 } });
    await untilStored(pipeline, made);
    await eventually("the end of the alarm", async () => (await watch.health()) === "ok\n");
  }));

Deno.test("backfill: REST that is behind proves nothing, and a product that it refuses stops no other", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows } = pipeline;
    const [producer] = await Promise.all([start("producer"), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    exchange.faults.inject({ restLagTrades: 100_000 });
    const watch = await start("backfill", ["--watch"]);
    await eventually("the lag", async () => await watch.metric("tapehouse_rest_lag_trades") > 50_000);
    const behind = await makeGap(pipeline, 5);
    await eventually(
      "an answer that says nothing",
      async () => (await watch.lines(/^REST doesn't say whether it has these trades$/)).length > 1,
    );
    deepEqual(await rows("SELECT * FROM trade_gap_asks"), []);
    exchange.faults.inject({ restLagTrades: 0 });
    await untilStored(pipeline, behind);

    exchange.faults.inject({ rest: { answer: 404, requests: 1_000_000, product: "ETH-USD" } });
    const made = await makeGap(pipeline, 60);
    deepEqual(new Set(made.map(({ product }) => product)), new Set(products));
    const ofBitcoin = ({ product }: { product: string }) => product === "BTC-USD";
    await untilStored(pipeline, made.filter(ofBitcoin));
    await eventually(
      "the refusal",
      async () => await watch.metric("tapehouse_backfill_blocked_products") === 1,
    );
    match((await watch.lines(/ETH-USD.*404/))[0]?.message ?? "", /^GET http:.*ETH-USD.*: 404 NotFound$/);
    equal(await watch.health(), "ok\n", "one product's matter");
    // The service goes on: what is missing of the other product now is filled, too.
    await untilStored(pipeline, (await makeGap(pipeline, 20)).filter(ofBitcoin));
    deepEqual(
      await rows(
        "SELECT * FROM trades WHERE source = 'backfill' AND product_id = 'ETH-USD' AND trade_id >= " +
          made.find((trade) => !ofBitcoin(trade))?.id,
      ),
      [],
    );
    exchange.faults.inject({ rest: { answer: 429, requests: 1 } });
    await producer.stop();
    await assertComplete(pipeline);
    deepEqual(await rows("SELECT * FROM trade_gap_asks"), []);
  }));

Deno.test("backfill: a gap that is too large is reported and waits until somebody asks", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, backfill, insert } = pipeline;
    const small = { BACKFILL_MAX_GAP: "5" };
    // On a machine that stands still for a moment a new connection's last trade would cut a gap in two.
    const patient = { FEED_SILENCE_SECONDS: "3600" };
    const [producer] = await Promise.all([start("producer", [], patient), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    const beat = (last_trade_id: number, time = new Date()) => ({
      product_id: "BTC-USD",
      sequence: 1,
      last_trade_id,
      time,
    });
    exchange.faults.inject({ raw: JSON.stringify({ type: "heartbeat", ...beat(0) }) });
    const made = await swallow(exchange, 100);
    await untilBehind(pipeline, made);
    await untilBehind(pipeline, await swallow(exchange, 1));
    await producer.stop();
    await until("SELECT count() FROM heartbeats WHERE last_trade_id = 0", positive);
    const sizes = "SELECT arraySort(groupArray(missing)) FROM trade_gaps";
    await until(
      sizes,
      (value) => Array.isArray(value) && value.length === 3 && value[0] === 1 && value[1] > 5,
    );

    const watch = await start("backfill", ["--watch"], small);
    await until(gaps, (count) => count === 2);
    const tooLarge = () => watch.metric('tapehouse_backfill_gaps{state="too_large"}');
    await eventually("the figures", async () => await tooLarge() === 2);
    equal(await watch.metric('tapehouse_backfill_missing_trades{state="too_large"}'), 100);
    // One odd heartbeat makes a gap without an end, until the next one.
    const time = (seconds: number) => formatMicros(nowMicros() + seconds * 1e6);
    const received = { received_at: time(0) };
    await insert("heartbeats", [{ ...beat(Number.MAX_SAFE_INTEGER), ...received, time: time(1) }]);
    await eventually("the gap without an end", async () => await tooLarge() === 3);
    await insert("heartbeats", [{ ...beat(7), ...received, time: time(2) }]);
    await eventually("its end", async () => await tooLarge() === 2);
    const reports = await watch.lines(/^a gap is too large to be filled unasked/);
    deepEqual(reports.map(({ product }) => product).sort(), ["BTC-USD", "BTC-USD", "ETH-USD"]);
    deepEqual(reports.map(({ requests }) => Number(requests) > 1e9).sort(), [false, false, true]);
    equal(await watch.metric("tapehouse_backfill_trades_total"), 1, "unasked, only the small one");

    for (const [product, others] of [["BTC-USD", " So are 1 more."], ["ETH-USD", ""]]) {
      const once = await backfill([], small);
      equal(once.code, 1);
      const refusal = once.lines.at(-1)?.message ?? "";
      match(
        refusal,
        new RegExp(
          `^The gap of ${product} from .* BACKFILL_MAX_GAP=5 .* 1 requests, 1 s at least\\.${others} To`,
        ),
      );
      const asked = await backfill(refusal.split(" To fill it: deno task backfill ")[1]?.split(" "), small);
      equal(asked.code, 0, JSON.stringify(asked.lines.at(-1)));
      const said = asked.lines.find(({ message }) => message === "history");
      ok(Number(said?.trades) > 5 && said?.requests === 1 && said?.seconds === 1, JSON.stringify(said));
    }
    await until(gaps, none);
    await assertComplete(pipeline);
  }));

Deno.test("backfill: ids that begin again are told as that, and nothing is fetched or given up", () =>
  withPipeline(async ({ start, rows, insert }) => {
    const now = nowMicros();
    // A year ago the product was at 1100; listed anew, it is at 200. Ids of before are missing, too.
    const trade = (id: number, time: number) => ({
      product_id: "BTC-USD",
      trade_id: id,
      time: formatMicros(time),
    });
    const between = (first: number, last: number) =>
      Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const before = (id: number) => now - 365 * 86400e6 + id * 1e6;
    const after = (id: number) => now - 3600e6 + id * 1e6;
    await insert(
      "trades",
      [
        ...between(1000, 1050).map((id) => trade(id, before(id))),
        ...between(1060, 1100).map((id) => trade(id, before(id))),
        ...between(1, 200).map((id) => trade(id, after(id))),
      ].map((row) => ({ ...row, price: "1", size: "1", taker_side: "buy", received_at: formatMicros(now) })),
    );
    let requests = 0;
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      requests++;
      const { searchParams } = new URL(request.url);
      const last = Math.min(200, Number(searchParams.get("after") ?? Infinity) - 1);
      const ids = between(Math.max(1, last + 1 - Number(searchParams.get("limit"))), last).reverse();
      const time = (id: number) => formatMicros(after(id)).replace(" ", "T") + "Z";
      return Response.json(
        ids.map((id) => ({ trade_id: id, side: "sell", size: "1", price: "1", time: time(id) })),
      );
    });
    try {
      const watch = await start("backfill", ["--watch"], {
        COINBASE_REST_URL: `http://127.0.0.1:${server.addr.port}`,
      });
      await eventually("the alarm", async () => (await watch.health()).includes("begun again"));
      match(
        await watch.health(),
        /^REST: BTC-USD: REST's newest id is 200, of .*, is stored: the product's ids have begun again\.\n$/,
      );
      await eventually("some looks", async () => (await watch.metric("tapehouse_rest_requests_total")) > 3);
      const told = await watch.lines(/have begun again/);
      equal(told.filter(({ level }) => level === "error").length, 1);
      ok(requests < 20, `${requests} requests`);
      equal(await watch.metric("tapehouse_backfill_trades_total"), 0);
      for (const table of ["trade_gaps_given_up", "trade_gap_asks"]) {
        deepEqual(await rows(`SELECT * FROM ${table}`), []);
      }
    } finally {
      await server.shutdown();
    }
  }));

Deno.test("backfill: a trade that REST proves not to have is given up, asked for again, and taken back when it is found", () =>
  withPipeline(async (pipeline) => {
    const { start, until, exchange, rows, backfill } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    const lost = (await swallow(exchange, 20))[5];
    ok(lost);
    exchange.faults.inject({ unserved: [lost.id, lost.id] });
    await until("SELECT max(proofs) FROM trade_gap_asks", above(1));
    await watch.stop();
    equal(
      await rows("SELECT * FROM trade_gaps_given_up").then((found) => found.length),
      0,
      "after two proofs",
    );
    // Another process goes on with the count.
    const next = await start("backfill", ["--watch"]);
    await until("SELECT count() FROM trade_gaps_given_up", positive);
    await producer.stop();
    deepEqual(
      await rows(
        "SELECT product_id, first_missing, last_missing, max(proofs) >= 4 AS enough FROM trade_gap_asks GROUP BY ALL",
      ),
      [{ product_id: lost.product, first_missing: lost.id, last_missing: lost.id, enough: 1 }],
    );
    // The last messages may still be on their way: until then the tail is a gap too.
    await until(
      `SELECT toString(groupArray((product_id, first_missing, last_missing, missing, given_up))) FROM trade_gaps`,
      (value) => value === `[('${lost.product}',${lost.id},${lost.id},1,1)]`,
    );
    const [given] = await rows<{ reason: string }>("SELECT * FROM trade_gaps_given_up");
    match(given?.reason ?? "", /^left out of 4 answers of http:.*; traded before 20\d\d-.* UTC$/);
    await until("SELECT count() FROM feed_events WHERE event = 'gap_given_up'", (value) => value === 1);
    await eventually(
      "the figures",
      async () =>
        await next.metric('tapehouse_backfill_missing_trades{state="given_up"}') === 1 &&
        await next.metric('tapehouse_backfill_gaps{state="open"}') === 0,
    );

    const once = await backfill();
    equal(once.code, 0, JSON.stringify(once.lines));
    await next.stop();
    deepEqual(await rows("SELECT count() AS records FROM trade_gaps_given_up"), [{ records: 1 }]);

    // Who asks for it is told at once that REST still doesn't have it, and later gets it.
    const [gap] = await rows<{ from: string; to: string }>(
      `SELECT formatDateTime(after_time, '%FT%T') AS from, formatDateTime(before_time + INTERVAL 1 SECOND, '%FT%T') AS to
       FROM trade_gaps`,
    );
    const args = ["--product", lost.product, "--from", gap?.from ?? "", "--to", gap?.to ?? ""];
    const proofs = async () =>
      (await rows<{ most: number }>("SELECT max(proofs) AS most FROM trade_gap_asks"))[0]?.most ?? 0;
    const before = await proofs();
    const without = await backfill(args);
    equal(without.code, 0, JSON.stringify(without.lines));
    equal(without.lines.find(({ message }) => message === "REST doesn't have some of the trades")?.trades, 1);
    equal(await proofs(), before + 1);
    exchange.faults.inject({ servesAll: true });
    const found = await backfill(args);
    equal(found.code, 0, JSON.stringify(found.lines));
    equal(found.lines.find(({ message }) => message === "REST has trades that were given up")?.trades, 1);
    await until(gaps, none);
    await assertComplete(pipeline);
    deepEqual(await rows("SELECT sum(given_up) AS given_up FROM completeness"), [{ given_up: 0 }]);
  }));

Deno.test("backfill: history is fetched from the first stored trade back to a time, over a kill -9", () =>
  withPipeline(async (pipeline) => {
    const { start, until, rows, source, backfill } = pipeline;
    const [producer] = await Promise.all([start("producer"), start("consumer")]);
    await until("SELECT uniqExact(product_id) FROM trades", (value) => value === products.length);
    await until(gaps, none);
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
    // History comes from the newest to the oldest: it leaves no gap, wherever it ends.
    await until(gaps, none);

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
    await assertComplete(pipeline);

    const again = await backfill(args);
    equal(again.code, 0);
    ok(again.lines.every(({ message }) => message !== "gap filled"), "it fetched what was stored");
  }));

Deno.test("backfill: a range that is history by itself ends at its times, and what it leaves open is said", () =>
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

Deno.test("backfill: the service outlives a killed broker and a killed ClickHouse", () =>
  withPipeline(async (pipeline) => {
    const { start, until } = pipeline;
    const [producer, , watch] = await Promise.all([
      start("producer"),
      start("consumer"),
      start("backfill", ["--watch"]),
    ]);
    await until(trades, positive);
    await makeGap(pipeline, 3);
    kafka.kill();
    await kafka.exited;
    kafka = await startKafka({ home, port: kafkaPort, jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` });
    clickhouseServer.kill();
    await clickhouseServer.exited;
    while (!(await watch.health()).startsWith("ClickHouse: ")) {
      await new Promise((done) => setTimeout(done, 100));
    }
    clickhouseServer = await startClickHouse({
      home,
      port: Number(new URL(clickhouseServer.url).port),
      logFile: `${home}/logs/clickhouse.log`,
    });
    await makeGap(pipeline, 3);
    await until(gaps, none);
    await producer.stop();
    await assertComplete(pipeline);
    equal(await watch.health(), "ok\n");
  }));

Deno.test("backfill: one run that gets nowhere says why and ends with 1, wrong arguments end with 2", () =>
  withPipeline(async (pipeline) => {
    const { start, until, backfill, exchange } = pipeline;
    const [producer] = await Promise.all([start("producer"), start("consumer")]);
    await until(trades, positive);
    await makeGap(pipeline, 2);
    const nowhere = `http://127.0.0.1:${freePort()}`;
    const away = await backfill(["--timeout", "5s"], { COINBASE_REST_URL: nowhere });
    equal(away.code, 1);
    match(away.lines.at(-1)?.message ?? "", /^Gaps are left: nothing has moved for 5 s\. REST: .*refused/);

    exchange.faults.inject({ rest: { answer: "hang", requests: 1000 } });
    const silent = await backfill(["--timeout", "5s"]);
    equal(silent.code, 1);
    match(silent.lines.at(-1)?.message ?? "", /^Gaps are left: .* REST: the exchange hasn't answered yet\.$/);

    exchange.faults.inject({ rest: { answer: 429, requests: 1000 } });
    const busy = await backfill(["--timeout", "5s"]);
    equal(busy.code, 1);
    match(
      busy.lines.at(-1)?.message ?? "",
      /^Gaps are left: .* REST: the exchange answered 429: too many requests\.$/,
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
    equal((await stopped.exited).code, 1, "it was stopped with a gap left");

    equal((await backfill(["--from", "2026-07-07"])).code, 2);
    equal((await backfill([], { BACKFILL_AGAIN_SECONDS: "soon" })).code, 2);

    const produced = await backfill(["--no-wait"]);
    equal(produced.code, 0);
    await producer.stop();
    await assertComplete(pipeline);
  }));
