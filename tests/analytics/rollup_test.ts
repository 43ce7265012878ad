/**
 * `deno task rollup` on a real ClickHouse: the depth of every second is that of the book, each anomaly is stored once, and
 * kill -9, a ClickHouse that is away and a second run change nothing of that.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import assert from "node:assert/strict";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process/process.ts";
import { migrate } from "../../lib/clickhouse/migrations.ts";
import { formatMicros, nowMicros, parseMicros } from "../../lib/core/time.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { configOf } from "../support/config.ts";
import { startClickHouseProxy } from "../support/clickhouse_proxy.ts";
import { root } from "../support/tape.ts";
import { until } from "../support/until.ts";

const second = 1e6;
const minute = 60 * second;

let home: string;
let server: Awaited<ReturnType<typeof startClickHouse>>;
const port = freePort();
const startServer = () => startClickHouse({ home, port, logFile: `${home}/clickhouse.log` });
Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  server = await startServer();
});
Deno.test.afterAll(async () => {
  await server.stop();
  await Deno.remove(home, { recursive: true });
});

interface Market {
  clickhouse: ClickHouseClient;
  env: Record<string, string>;
  insert(table: string, values: Record<string, unknown>[]): Promise<unknown>;
  /** Each row as a JSON text; decimals as texts, so that nothing is rounded. */
  rows(query: string): Promise<string[]>;
  /** Runs the task to its end. */
  rollup(...args: string[]): Promise<{ code: number; log: Record<string, unknown>[] }>;
  until(what: string, probe: () => Promise<boolean>): Promise<void>;
}

async function withMarket(
  name: string,
  body: (market: Market) => Promise<void>,
  migrated = true,
): Promise<void> {
  const env = { ...server.env, CLICKHOUSE_DATABASE: name, NO_COLOR: "1" };
  const config = configOf({ ...server.env, CLICKHOUSE_DATABASE: name });
  if (migrated) await migrate(config, () => {});
  const clickhouse = openClickHouse(config);
  try {
    await body({
      clickhouse,
      env,
      insert: (table, values) => clickhouse.insert({ table, values, format: "JSONEachRow" }),
      async rows(query) {
        const answer = await clickhouse.query({
          query,
          format: "JSONCompactEachRow",
          clickhouse_settings: { output_format_json_quote_decimals: 1 },
        });
        return (await answer.text()).split("\n").filter(Boolean);
      },
      async rollup(...args) {
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "-q", "-P=rollup", "rollup.ts", ...args],
          cwd: root,
          env,
        }).output();
        return { code, log: parseLog(new TextDecoder().decode(stderr)) };
      },
      until: (what, probe) => until(what, () => probe().catch(() => false)),
    });
  } finally {
    if (migrated) await clickhouse.command({ query: `DROP DATABASE ${name} SYNC` });
    await clickhouse.close();
  }
}

function parseLog(text: string): Record<string, unknown>[] {
  return text.split("\n").filter((line) => line !== "").map((line) =>
    line.startsWith("{") ? JSON.parse(line) : { message: line }
  );
}

/** xorshift32, 0 ≤ x < below. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A book of 40 levels that changes a few times a second, from a snapshot at `from` on. */
function bookChanges(
  product: string,
  connection: string,
  from: number,
  to: number,
): Record<string, unknown>[] {
  const random = createRandom(from % 1e9 + product.length);
  const row = (time: number, offset: number, position: number, is_snapshot: boolean) => {
    const side = random(2) === 0 ? "bid" : "ask";
    const step = 1 + random(20);
    return {
      product_id: product,
      time: formatMicros(time),
      side,
      price: side === "bid" ? `${1000 - step}.5` : `${1000 + step}.5`,
      // The best levels never go, so that a book is always there.
      size: !is_snapshot && step > 1 && random(4) === 0 ? "0" : `${1 + random(500)}.25`,
      is_snapshot,
      position,
      received_at: formatMicros(time),
      source: "simulator",
      connection,
      kafka_offset: offset,
    };
  };
  const rows = Array.from({ length: 40 }, (_, position) => row(from, 1, position, true));
  for (let time = from, offset = 2; time < to; offset++) {
    time += 50_000 + random(900_000);
    if (time < to) rows.push(row(time, offset, 0, false));
  }
  return rows;
}

/** The best prices at each second while a connection's book is known, up to `end`; rows as JSON, times in µs. */
function bestOfSeconds(
  changes: readonly Record<string, unknown>[],
  product: string,
  connection: string,
  end: number,
): string[] {
  const own = changes.filter((row) => row.product_id === product && row.connection === connection)
    .map((row) =>
      ({ ...row, at: parseMicros(`${String(row.time).replace(" ", "T")}Z`) }) as {
        at: number;
        side: string;
        price: string;
        size: string;
      }
    );
  const [from, to] = [own[0]?.at ?? 0, own.at(-1)?.at ?? 0];
  const book = { bid: new Map<number, string>(), ask: new Map<number, string>() };
  const found: string[] = [];
  let next = 0;
  for (let at = Math.ceil(from / second) * second; at <= to && at < end; at += second) {
    for (; own[next] !== undefined && own[next]!.at <= at; next++) {
      const { side, price, size } = own[next]!;
      if (size === "0") book[side as "bid" | "ask"].delete(Number(price));
      else book[side as "bid" | "ask"].set(Number(price), size);
    }
    const [bid, ask] = [Math.max(...book.bid.keys()), Math.min(...book.ask.keys())];
    const texts = [product, String(at), String(bid), book.bid.get(bid), String(ask), book.ask.get(ask)];
    found.push(JSON.stringify(texts));
  }
  return found;
}

const depth = "SELECT * FROM book_depth_1s ORDER BY product_id, time";
/** Rows that don't go on; their scores change with the clock. */
const stored =
  "SELECT * EXCEPT updated_at FROM anomalies_state FINAL WHERE end_time IS NOT NULL ORDER BY ALL";
const wholeMinute = (micros: number) => Math.floor(micros / minute) * minute;

Deno.test("rollup: book_depth_1s is the book of every second, also after kill -9 in the middle and after a second run", async () => {
  await withMarket("depth", async (market) => {
    const end = wholeMinute(nowMicros()) - 5 * minute;
    const begin = end - 20 * minute;
    // Nothing is known between the two connections of A.
    const changes = [
      ...bookChanges("A-USD", "a-1", begin + 30.25 * second, begin + 8 * minute + 10 * second),
      ...bookChanges("A-USD", "a-2", begin + 12 * minute + 20 * second, end + 10 * second),
      ...bookChanges("B-USD", "a-1", begin, begin + 6 * minute + 30 * second),
    ];
    await market.insert("book_changes", changes);

    // The sixth minute is stored, and its answer never comes: then it is killed.
    const proxy = startClickHouseProxy(() => server.url);
    proxy.onInsert = (table) => {
      assert.equal(table, "book_depth_1s_state");
      return proxy.counts.pass === 5 ? "hold answer" : "pass";
    };
    const killed = new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-P=rollup", "rollup.ts"],
      cwd: root,
      env: { ...market.env, CLICKHOUSE_URL: proxy.url },
      stdout: "null",
      stderr: "null",
    }).spawn();
    const minutes = "SELECT count(), uniqExact(toStartOfMinute(time)) FROM book_depth_1s_state";
    await market.until("six minutes", async () => /, 6\]$/.test((await market.rows(minutes))[0] ?? ""));
    killed.kill("SIGKILL");
    assert.equal((await killed.status).signal, "SIGKILL");
    await proxy.stop();
    const again = await market.rollup();
    assert.deepEqual([again.code, again.log.at(-1)?.message], [0, "stopped"]);
    // The best prices of each second, from the changes themselves …
    const best = await market.rows(
      `SELECT product_id, toUnixTimestamp64Micro(time), best_bid, best_bid_size, best_ask, best_ask_size
       FROM book_depth_1s ORDER BY product_id, time`,
    );
    assert.deepEqual(
      best.map((row) => JSON.stringify(JSON.parse(row).map(String))),
      [
        ...bestOfSeconds(changes, "A-USD", "a-1", end),
        ...bestOfSeconds(changes, "A-USD", "a-2", end),
        ...bestOfSeconds(changes, "B-USD", "a-1", begin + 6 * minute),
      ],
    );
    // … and all columns, as the view says.
    const expected: string[] = [];
    for (const product of ["A-USD", "B-USD"]) {
      expected.push(
        ...await market.rows(
          `SELECT * FROM book_depth_1s_between(product = '${product}', from = '${formatMicros(begin)}',
             to = '${formatMicros(product === "A-USD" ? end : begin + 6 * minute)}')`,
        ),
      );
    }
    assert.deepEqual(await market.rows(depth), expected);

    // Second by second, over the ends of what is known.
    const firstOf = (micros: number) => Math.ceil(micros / second) * second;
    const moments = [
      ...[-1, 0, 1, 2, 3].map((i) => firstOf(begin + 30.25 * second) + i * second),
      ...Array.from({ length: 20 }, (_, i) => begin + 5 * minute + (i - 10) * second),
      ...[-2, -1, 0, 1].map((i) => firstOf(begin + 8 * minute + 10 * second) + i * second),
      end - second,
    ];
    for (const moment of moments) {
      const text = formatMicros(moment);
      assert.deepEqual(
        await market.rows(`SELECT * FROM book_depth_1s WHERE product_id = 'A-USD' AND time = '${text}'`),
        await market.rows(`SELECT * FROM book_depth_at(product = 'A-USD', at = '${text}')`),
        text,
      );
    }

    // Nothing is due: the unfinished minute is left alone.
    const third = await market.rollup();
    const ended = third.log.find(({ message }) => message === "rollup ended");
    assert.deepEqual([third.code, ended?.depth_minutes], [0, 0]);

    // Fill a part again after it was lost.
    const [from, to] = [begin + 2 * minute, begin + 4 * minute].map((at) =>
      new Date(at / 1000).toISOString()
    );
    await market.clickhouse.command({
      query: `ALTER TABLE book_depth_1s_state DELETE WHERE time >= '${formatMicros(begin + 2 * minute)}'
        AND time < '${formatMicros(begin + 4 * minute)}' SETTINGS mutations_sync = 2`,
    });
    assert.equal((await market.rows(depth)).length, expected.length - 4 * 60);
    const fourth = await market.rollup("--from", from ?? "", "--to", to ?? "");
    assert.equal(fourth.log.find(({ message }) => message === "rollup ended")?.depth_minutes, 4);
    assert.deepEqual(await market.rows(depth), expected);

    // What is filled out of turn leaves nothing behind it that no later run would fill.
    await market.clickhouse.command({
      query: `ALTER TABLE book_depth_1s_state DELETE WHERE time >= '${formatMicros(begin + 2 * minute)}'
        SETTINGS mutations_sync = 2`,
    });
    const late = [begin + 5 * minute, begin + 6 * minute].map((at) => new Date(at / 1000).toISOString());
    assert.equal((await market.rollup("--from", late[0] ?? "", "--to", late[1] ?? "")).code, 0);
    assert.equal((await market.rollup()).code, 0);
    assert.deepEqual(await market.rows(depth), expected);
  });
});

Deno.test("rollup: an anomaly is stored once, follows what comes late, and is withdrawn when it is none any more", async () => {
  await withMarket("stored", async (market) => {
    const now = wholeMinute(nowMicros());
    const begin = now - 120 * minute;
    const at = (minutes: number, seconds = 0) => begin + minutes * minute + seconds * second;
    const trade = (id: number, time: number, received = time, source = "feed") => ({
      product_id: "A-USD",
      trade_id: id,
      time: formatMicros(time),
      price: "100",
      size: "1",
      taker_side: "buy",
      received_at: formatMicros(received),
      source,
    });
    const beats = (from: number, to: number) =>
      Array.from({ length: Math.round((to - from) / second) }, (_, i) => ({
        product_id: "A-USD",
        time: formatMicros(from + i * second),
        last_trade_id: Math.min(720, Math.floor((from + i * second - begin) / (10 * second)) + 1),
        received_at: formatMicros(from + i * second),
        source: "feed",
      }));
    // A trade every ten seconds. Trades 100 to 139 are missing, and 400 to 449, in which the price rises by 5.8 %.
    const ids = Array.from({ length: 720 }, (_, i) => i + 1);
    const lost = (id: number) => id >= 100 && id < 140 || id >= 400 && id < 450;
    const priced = (id: number, received?: number, source?: string) => {
      const index = Math.floor((id - 1) / 6);
      const noise = 1 + ((index * index * 3 + index) % 11 - 5) * 0.0006;
      const price = (100 + Math.max(0, Math.min(50, id - 399)) * 0.116) * noise;
      return { ...trade(id, at(0, (id - 1) * 10), received, source), price: price.toFixed(6) };
    };
    await market.insert("trades", ids.filter((id) => !lost(id)).map((id) => priced(id)));
    // Silent for 90 seconds, and then never again while this test runs.
    await market.insert("heartbeats", [...beats(at(0), at(50)), ...beats(at(51, 30), now + 20 * minute)]);

    const brief = async () => (await market.rows(
      `SELECT kind, dateDiff('second', toDateTime64('${formatMicros(begin)}', 6, 'UTC'), time),
        end_time IS NULL, severity FROM anomalies ORDER BY time, kind`,
    ));
    const first = await market.rollup();
    assert.equal(first.code, 0, JSON.stringify(first.log.at(-1)));
    assert.deepEqual(await brief(), [
      `["tape_gap", 980, 1, "critical"]`,
      `["silence", 2999, 0, "critical"]`,
      `["tape_gap", 3980, 1, "critical"]`,
      `["price_jump", 4440, 0, "info"]`,
    ]);
    const before = await market.rows(stored);
    const detected = await market.rows("SELECT kind, time, detected_at FROM anomalies ORDER BY ALL");
    for (const _ of [2, 3]) {
      assert.equal((await market.rollup()).code, 0);
      assert.deepEqual(await market.rows(stored), before);
      assert.equal((await brief()).length, 4);
    }

    // Both gaps are filled, the second with the prices in between: no jump there was.
    const came = nowMicros();
    await market.insert("trades", ids.filter(lost).map((id) => priced(id, came, "backfill")));
    assert.equal((await market.rollup()).code, 0);
    assert.deepEqual(await brief(), [
      `["tape_gap", 980, 0, "critical"]`,
      `["silence", 2999, 0, "critical"]`,
      `["tape_gap", 3980, 0, "critical"]`,
    ]);
    assert.deepEqual(
      await market.rows("SELECT DISTINCT end_time FROM anomalies WHERE kind = 'tape_gap'"),
      [`["${formatMicros(came)}"]`],
    );
    const left = new Set(await market.rows("SELECT kind, time, detected_at FROM anomalies ORDER BY ALL"));
    assert.deepEqual(
      detected.filter((row) => /gap|silence/.test(row)).sort(),
      [...left].sort(),
      "when it was found first",
    );
    assert.deepEqual(
      await market.rows("SELECT kind FROM anomalies_state FINAL WHERE is_withdrawn ORDER BY ALL"),
      [`["price_jump"]`],
    );

    // From anew, all of it: the same, once.
    const settled = await market.rows(stored);
    assert.equal((await market.rollup("--from", new Date(begin / 1000).toISOString())).code, 0);
    assert.deepEqual(await market.rows(stored), settled);
  });
});

Deno.test("rollup: the service fills what comes, outlives ClickHouse, and stops on SIGTERM with exit code 0", async () => {
  await withMarket("service", async (market) => {
    const metricsPort = freePort();
    const logFile = `${home}/rollup.log`;
    const begin = wholeMinute(nowMicros()) - 20 * minute;
    await market.insert("book_changes", bookChanges("A-USD", "a-1", begin, begin + 3 * minute + second));
    const service: RunningProcess = await startProcess({
      name: "rollup",
      command: Deno.execPath(),
      args: ["run", "-q", "-P=rollup", "rollup.ts", "--watch"],
      cwd: root,
      env: { ...market.env, METRICS_PORT: String(metricsPort), ROLLUP_INTERVAL_SECONDS: "1" },
      logFile,
      ready: async () => (await get("/metrics")).status === 200,
    });
    async function get(path: string): Promise<{ status: number; text: string }> {
      const response = await fetch(`http://127.0.0.1:${metricsPort}${path}`);
      return { status: response.status, text: await response.text() };
    }
    try {
      await market.until("three minutes", async () => (await market.rows(depth)).length === 180);
      assert.deepEqual(await get("/healthz"), { status: 200, text: "ok\n" });
      await server.stop();
      await market.until("it says so", async () => (await get("/healthz")).status === 503);
      assert.match((await get("/healthz")).text, /^ClickHouse: /);
      assert.deepEqual(await get("/livez"), { status: 200, text: "ok\n" });
      const lag = async () =>
        Number(/^tapehouse_rollup_lag_seconds (\S+)$/m.exec((await get("/metrics")).text)?.[1]);
      const before = await lag();
      assert.ok(before > 0);
      await market.until("the lag to rise while ClickHouse is away", async () => await lag() > before + 2);
      server = await startServer();
      await market.insert("book_changes", bookChanges("B-USD", "a-1", begin, begin + 2 * minute + second));
      await market.until(
        "two minutes of another book",
        async () => (await market.rows(depth)).length === 300,
      );
      await market.until("health", async () => (await get("/healthz")).status === 200);
      const counted = /^tapehouse_rollup_depth_minutes_total 5$/m;
      await market.until("the round's metrics", async () => counted.test((await get("/metrics")).text));
    } finally {
      await service.stop();
    }
    assert.equal((await service.exited).code, 0);
    const log = parseLog(await Deno.readTextFile(logFile));
    assert.equal(log.at(-1)?.message, "stopped");
    assert.ok(log.every(({ level }) => typeof level === "string"), "each line is JSON");
  });
});

Deno.test("rollup: wrong arguments and variables and a database without tables are said in one line", async () => {
  await withMarket("wrong", async ({ rollup }) => {
    for (
      const [args, expected] of [
        [["--to", "2026-07-07"], /^error: --to needs --from TIME$/],
        [["--from", "2026-02-30"], /Expected a date or a time such as 2026-07-01/],
        [
          ["--from", "2026-07-07", "--to", "2026-07-07"],
          /^error: --from must be in the past, and before --to$/,
        ],
        [["--from", "2199-01-01"], /^error: --from must be in the past, and before --to$/],
        [["--watch", "--from", "2026-07-07"], /cannot be used with/],
      ] as [string[], RegExp][]
    ) {
      const { code, log } = await rollup(...args);
      assert.equal(code, 2, args.join(" "));
      assert.equal(log.length, 1, JSON.stringify(log));
      assert.match(String(log[0]?.message), expected);
    }
    const { code, log } = await rollup();
    assert.equal(code, 1);
    assert.match(
      String(log.at(-1)?.message),
      /^Database wrong lacks tables\/001_trades, .*: run `deno task migrate` first\.$/,
    );
    assert.equal(log.at(-1)?.stack, undefined);
  }, false);
});
