/**
 * One client asks for all that it can, in every way that it can: inserts, the stream and a second client go on. What is
 * measured is progress and counts; only a hang takes as long as the bounds.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../../lib/core/retry.ts";
import { type LiveMarket, withLiveMarket } from "../support/live_market.ts";
import { readMetric } from "../support/read_metric.ts";
import { connect, type TestClient } from "../support/stream_client.ts";
import { type Servers, startServers } from "../support/tape.ts";

const products = ["BTC-USD", "ETH-USD"];
/** Addresses that a trusted proxy would have seen. */
const greedy = "203.0.113.66";
const modest = "198.51.100.7";
/** What one client may have, as in api.ts and docs/stream.md. */
const queriesOfClient = 3;
const waitingOfClient = 16;
const socketsOfClient = 32;
const newSeriesAMinute = 200;

let servers: Servers;
let market: LiveMarket;
const over = Promise.withResolvers<void>();
let running: Promise<void>;

Deno.test.beforeAll(async () => {
  servers = await startServers();
  const up = Promise.withResolvers<LiveMarket>();
  const env = { API_RATE_PER_SECOND: "50", API_TRUST_PROXY: "1" };
  running = withLiveMarket(servers, { products, rate: 100, simulated: false, env }, async (live) => {
    up.resolve(live);
    await over.promise;
  });
  market = await Promise.race([up.promise, running as Promise<never>]);
});
Deno.test.afterAll(async () => {
  over.resolve();
  await running;
  await servers.stop();
});

/** Asks as a client whose address the proxy appended; what stands before is that client's own word. */
async function ask(
  client: string,
  path: string,
  init: RequestInit = {},
): Promise<{ status: number; headers: Headers; text: string }> {
  const answer = await fetch(new URL(path, market.url), {
    ...init,
    headers: { ...init.headers, "x-forwarded-for": client },
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

/** A socket of the stream. */
function listen(client: string): Promise<TestClient> {
  const address = new URL("api/stream", market.url);
  address.protocol = "ws:";
  return connect(address, { headers: { "x-forwarded-for": client } });
}

/** A figure of the API. */
const metric = (name: string) => readMetric(market.api.metricsUrl, name);

const storedTrades = async () => Number(await market.tape.value("SELECT count() FROM trades"));

/**
 * Runs `flood` again and again, side by side, until everybody else has made progress: 300 trades are stored, a second
 * client's socket has heard as many, and ten rounds of its requests were answered.
 */
async function goesOn(flood: (signal: AbortSignal) => Promise<void>, sideBySide: number): Promise<void> {
  const stop = new AbortController();
  const listener = await listen(modest);
  const floods = Promise.all(Array.from({ length: sideBySide }, async () => {
    while (!stop.signal.aborted) await flood(stop.signal);
  }));
  // What fails in a flood is told at the end.
  floods.catch(() => {});
  try {
    listener.say({
      type: "subscribe",
      product_ids: products,
      channels: ["matches", { name: "candles", interval: "5m" }],
    });
    const before = await storedTrades();
    for (let round = 0; round < 10; round++) {
      for (
        const path of [
          "api/trades?product_id=BTC-USD&limit=10",
          "api/ohlc?product_id=ETH-USD&interval=1m",
          "api/book?product_id=BTC-USD",
          "api/status",
          "healthz",
        ]
      ) {
        await market.tape.until(`an answer of ${path}`, async () => {
          const { status, text } = await ask(modest, path);
          // On a machine that does much else a query may be over its time. Nobody else is a reason to be refused.
          assert.ok(status === 200 || status === 422, `${path}: ${status} ${text}`);
          return status === 200;
        });
      }
    }
    await market.tape.until("300 trades more", async () => await storedTrades() > before + 300);
    const heard = (type: string) => listener.messages.filter((message) => message.type === type).length;
    await market.tape.until("300 trades to be heard", () => Promise.resolve(heard("match") > 300));
    await market.tape.until(
      "candles",
      () => Promise.resolve(heard("candles_snapshot") === 2 && heard("candles") > 10),
    );
  } finally {
    stop.abort();
    await floods;
    await listener.close();
  }
}

/** The view of anomalies takes half a minute from now on, and is as before at the end. */
async function withSlowView(body: () => Promise<void>): Promise<void> {
  const { clickhouse } = market.tape;
  const view = await market.tape.value(
    "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'anomalies'",
  );
  await clickhouse.command({
    query: `CREATE OR REPLACE VIEW anomalies AS SELECT 'BTC-USD' AS product_id, 'silence' AS kind,
      'info' AS severity, now64(6, 'UTC') AS time, time AS end_time, 1. AS value, 1. AS threshold, 1. AS score,
      '' AS explanation, time AS detected_at, time AS updated_at
      FROM numbers(300) WHERE sleepEachRow(0.1) = 0 SETTINGS max_block_size = 1`,
  });
  try {
    await body();
  } finally {
    await clickhouse.command({ query: view.replace(/^CREATE VIEW/, "CREATE OR REPLACE VIEW") });
  }
}

/** How many of the slow queries run in ClickHouse. */
const slowQueries = async () =>
  Number(
    await market.tape.value(
      `SELECT count() FROM system.processes
       WHERE Settings['log_comment'] LIKE 'tapehouse api%' AND query LIKE '%FROM anomalies AS v%'`,
    ),
  );

Deno.test("flood: slow queries of one client leave places for the others, who are never told that ClickHouse is away", async () => {
  await withSlowView(async () => {
    const statuses = new Map<number, number>();
    let most = 0;
    await goesOn(async (signal) => {
      const answer = await ask(greedy, "api/anomalies", { signal }).catch(() => undefined);
      most = Math.max(most, await slowQueries());
      if (answer === undefined) return;
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      if (answer.status === 429) {
        assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
        await sleep(50);
      }
    }, 40);
    assert.ok(most >= 1 && most <= queriesOfClient, `${most} ran at once`);
    assert.ok((statuses.get(429) ?? 0) > 0, "nobody was refused");
    // 422: over the time that a query may run.
    assert.deepEqual([...statuses.keys()].filter((status) => ![429, 422].includes(status)), []);
    await market.tape.until("its queries to be ended", async () => await slowQueries() === 0);
  });
});

Deno.test("flood: who asks for slow queries and leaves has no more of them than who stays", async () => {
  await withSlowView(async () => {
    let most = 0;
    await goesOn(async (signal) => {
      const gone = AbortSignal.any([signal, AbortSignal.timeout(100)]);
      await ask(greedy, "api/anomalies", { signal: gone }).catch(() => {});
      most = Math.max(most, await slowQueries());
    }, 10);
    assert.ok(most >= 1 && most <= queriesOfClient, `${most} ran at once`);
    await market.tape.until("its queries to be ended", async () => await slowQueries() === 0);
  });
});

Deno.test("flood: health checks, files and names that aren't there cost nobody anything", async () => {
  const statuses = new Set<number>();
  await goesOn(async () => {
    const paths = ["healthz", "", "docs", `nothing-${Math.random()}.js`];
    for (const path of paths) statuses.add((await ask(greedy, path)).status);
  }, 20);
  assert.ok(statuses.has(429), "nobody was refused");
  assert.deepEqual([...statuses].filter((status) => ![200, 404, 429].includes(status)), []);
});

Deno.test("flood: a client that names itself anew at each request is still one client", async () => {
  let [answered, refused] = [0, 0];
  const started = performance.now();
  await goesOn(async () => {
    const made = `10.${answered % 250}.0.1, 2001:db8:77:1:${refused.toString(16).slice(-4)}::${
      answered.toString(16).slice(-4)
    }`;
    const { status } = await ask(made, "api/gaps");
    if (status === 429) refused++;
    else answered++;
  }, 20);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(refused > 0, "nobody was refused");
  assert.ok(answered <= 100 + 50 * seconds, `${answered} answered in ${seconds} s`);
});

Deno.test("flood: sockets of one client have a number, and the others find room", async () => {
  const open: TestClient[] = [];
  try {
    const opened = await Promise.allSettled(Array.from({ length: 80 }, () => listen(greedy)));
    for (const result of opened) if (result.status === "fulfilled") open.push(result.value);
    assert.equal(open.length, socketsOfClient);
    // Who follows nothing would be sent away.
    for (const each of open) each.say({ type: "subscribe", channels: ["feed_events"] });
    await goesOn(async (signal) => {
      await assert.rejects(listen(greedy), /429/);
      await sleep(100, signal);
    }, 1);
    assert.ok(
      await metric('tapehouse_stream_refused_total{reason="client_sockets"}') >= 80 - socketsOfClient,
    );
  } finally {
    await Promise.all(open.map((each) => each.close()));
  }
});

Deno.test("flood: series that one client follows and leaves again and again are bounded, and the others' go on", async () => {
  const intervals = (from: number) =>
    Array.from(
      { length: 100 },
      (_, index) => ({ name: "candles", interval: `${from + index}s`, product_ids: products }),
    );
  const refusals: string[] = [];
  const before = await metric("tapehouse_stream_series");
  let [from, most] = [1, 0];
  let minutes = performance.now() / 60_000;
  await goesOn(async (signal) => {
    const client = await listen(greedy);
    const gone = client.closed.then(() => true);
    for (let left = false; !left && !signal.aborted;) {
      from = from % 5000 + 100;
      client.say({ type: "subscribe", channels: intervals(from) });
      client.say({ type: "unsubscribe", channels: ["candles"] });
      left = await Promise.race([gone, sleep(100).then(() => false)]);
      most = Math.max(most, await metric("tapehouse_stream_series"));
    }
    refusals.push(
      ...client.messages.filter(({ type }) => type === "error").map(({ reason }) => String(reason)),
    );
    await client.close();
  }, 3);
  minutes = performance.now() / 60_000 - minutes;
  const created = newSeriesAMinute * (1 + minutes);
  assert.ok(most - before <= created + 2, `${most} series, at most ${created} are new`);
  assert.ok(
    refusals.some((reason) => /too many new candles and books/.test(reason)),
    refusals.slice(0, 3).join(),
  );
});

Deno.test("flood: a hung reader of exports leaves places for others", async () => {
  const readers = [];
  const path = "api/trades?product_id=BTC-USD&format=csv&limit=1000000";
  for (let i = 0; i < 6; i++) {
    const answer = await fetch(new URL(path, market.url), { headers: { "x-forwarded-for": greedy } });
    assert.ok([200, 429].includes(answer.status), String(answer.status));
    readers.push(answer);
  }
  const other = await ask(modest, path);
  assert.equal(other.status, 200);
  assert.match(other.text, /^"trade_id"/);
  for (const { body } of readers) await body?.cancel();
});

Deno.test("flood: waiting is counted, and so is who was refused and why", async () => {
  const waits = 'tapehouse_api_query_wait_seconds_count{lane="interactive"}';
  const lined = 'tapehouse_api_refused_total{reason="interactive_client_queue"}';
  const rated = 'tapehouse_api_refused_total{reason="rate"}';
  const before = { waits: await metric(waits), lined: await metric(lined), rated: await metric(rated) };
  await withSlowView(async () => {
    // One that has asked nothing yet, so that its rate isn't the reason.
    const gone = new AbortController();
    const asked = Array.from(
      { length: 40 },
      () =>
        ask("203.0.113.67", "api/anomalies", { signal: gone.signal })
          .then(({ status }) => status, () => undefined),
    );
    await market.tape.until(
      "its queries to run and to wait",
      async () =>
        await metric('tapehouse_api_queries_running{lane="interactive"}') === queriesOfClient &&
        await metric('tapehouse_api_queries_waiting{lane="interactive"}') === waitingOfClient,
    );
    gone.abort();
    const refused = (await Promise.all(asked)).filter((status) => status === 429).length;
    assert.equal(refused, 40 - queriesOfClient - waitingOfClient);
    assert.equal(await metric(lined) - before.lined, refused);
    assert.ok(await metric(waits) - before.waits >= queriesOfClient);
  });
  const answers = await Promise.all(Array.from({ length: 300 }, () => ask("203.0.113.68", "healthz")));
  const tooFast = answers.filter(({ status }) => status === 429).length;
  assert.ok(tooFast > 0, "nobody was refused");
  assert.equal(await metric(rated) - before.rated, tooFast);
  for (const lane of ["shared", "export"]) {
    for (const state of ["running", "waiting"]) {
      assert.equal(await metric(`tapehouse_api_queries_${state}{lane="${lane}"}`), 0, `${lane} ${state}`);
    }
  }
  for (const name of ["tapehouse_stream_series", "tapehouse_stream_snapshots_waiting"]) {
    assert.ok(await metric(name) >= 0, name);
  }
});
