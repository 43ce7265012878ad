/**
 * What the services say of themselves while something is away: /livez, /readyz, and gauges that stay true.
 *
 * @module
 */

import assert from "node:assert/strict";
import { freePort } from "../../embedded/process/ports.ts";
import { sleep } from "../../lib/core/retry.ts";
import { parseMetrics, total } from "../../lib/ops/prometheus.ts";
import { withMarket } from "../support/stoppable_market.ts";
import { root, type Servers, type Service, startServers, withTape } from "../support/tape.ts";
import { hangMs } from "../support/until.ts";

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

async function ask(service: Service, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${service.metricsUrl}${path}`);
  return { status: response.status, text: await response.text() };
}

/** A service's figures at one moment. */
async function figures(service: Service) {
  const samples = parseMetrics((await ask(service, "/metrics")).text);
  return {
    /** NaN where there is none. */
    sum: (name: string) => samples.some((sample) => sample.name === name) ? total(samples, name) : NaN,
    values: (name: string) => samples.filter((sample) => sample.name === name).map(({ value }) => value),
    most: (name: string) =>
      Math.max(...samples.filter((sample) => sample.name === name).map(({ value }) => value)),
    labels: (name: string) => samples.find((sample) => sample.name === name)?.labels ?? {},
  };
}

const isReady = (service: Service) => async () => (await ask(service, "/readyz")).status === 200;
const isLate = async (service: Service, seconds: number) =>
  (await figures(service)).most("tapehouse_oldest_unwritten_seconds") > seconds;

Deno.test("health: while ClickHouse is away under load, lag and age rise all the while, the consumer lives and isn't ready", () =>
  withMarket(servers, { rate: 400 }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(200);
    await tape.until("the consumer to be ready", isReady(consumer));
    await tape.until("the producer to be ready", isReady(producer));
    await tape.until(
      "the retention to be known",
      async () => (await figures(consumer)).values("tapehouse_retention_left_seconds").length === 8,
    );
    const committedAt = async () => (await figures(consumer)).most("tapehouse_last_commit_timestamp_seconds");
    // Trades are stored a moment before the first commit.
    await tape.until("a commit", async () => await committedAt() > Date.now() / 1000 - 60);

    await servers.clickhouse.stop();
    try {
      await tape.until("the consumer to have noticed", async () => !await isReady(consumer)());
      const lags: number[] = [];
      const ages: number[] = [];
      const stoppedAt = performance.now();
      while (performance.now() - stoppedAt < 15_000) {
        const found = await figures(consumer);
        lags.push(found.sum("tapehouse_lag_messages"));
        ages.push(found.most("tapehouse_oldest_unwritten_seconds"));
        assert.deepEqual(await ask(consumer, "/livez"), { status: 200, text: "ok\n" });
        const { status, text } = await ask(consumer, "/readyz");
        assert.equal(status, 503);
        assert.match(text, /^ClickHouse: .+\n$/m);
        assert.equal((await ask(consumer, "/healthz")).status, 503);
        await sleep(500);
      }
      const seen = `lags ${lags.join()}; ages ${ages.map((age) => age.toFixed(1)).join()}`;
      // Polled every five seconds: the lag stands still in between, the age never does.
      assert.ok(new Set(lags).size >= 3 && lags.at(-1)! > lags[0]! + 1000, seen);
      assert.ok(lags.every((lag, index) => index === 0 || lag >= lags[index - 1]!), seen);
      assert.ok(ages.every((age, index) => index === 0 || age > ages[index - 1]!), seen);
      assert.ok(ages.at(-1)! >= 14, seen);
      const during = await figures(consumer);
      assert.ok(during.most("tapehouse_inflight_seconds") >= 14);
      const left = Math.min(...during.values("tapehouse_retention_left_seconds"));
      const day = 168 * 3600;
      assert.ok(left <= day - 14 && left > day - 300, String(left));
      assert.ok(await committedAt() <= Date.now() / 1000 - 14);
      // The producer has nothing to do with it.
      assert.equal((await ask(producer, "/readyz")).status, 200);
    } finally {
      await servers.startClickHouse();
    }
    await tape.until("the consumer to be ready again", isReady(consumer));
    await tape.until("nothing old to wait", async () => !await isLate(consumer, 5));
    await market.prove();
    await tape.until("no lag", async () => (await figures(consumer)).sum("tapehouse_lag_messages") === 0);
    assert.equal((await figures(consumer)).most("tapehouse_oldest_unwritten_seconds"), 0);
  }));

Deno.test("health: while Kafka is away, within seconds the producer isn't ready and says for how long messages wait; both live", () =>
  withMarket(servers, { rate: 400 }, async (market) => {
    const { tape } = market;
    const consumer = await tape.start("consumer");
    const producer = await tape.start("producer");
    await market.moreTrades(200);
    await tape.until("both to be ready", async () => await isReady(consumer)() && await isReady(producer)());

    servers.kafka.kill();
    await servers.kafka.exited;
    try {
      await tape.until("the producer to say so", async () => !await isReady(producer)());
      await tape.until("the consumer to say so", async () => !await isReady(consumer)());
      let oldest = 0;
      let pending = 0;
      for (let look = 0; look < 10; look++) {
        assert.match(
          (await ask(producer, "/readyz")).text,
          /^Kafka: \d+ messages wait for its confirmation, the oldest for \d+ s/,
        );
        for (const service of [producer, consumer]) {
          assert.deepEqual(await ask(service, "/livez"), { status: 200, text: "ok\n" }, service.name);
        }
        const found = await figures(producer);
        assert.ok(found.sum("tapehouse_publisher_oldest_pending_seconds") > oldest);
        assert.ok(found.sum("tapehouse_publisher_pending_messages") >= pending);
        oldest = found.sum("tapehouse_publisher_oldest_pending_seconds");
        pending = found.sum("tapehouse_publisher_pending_messages");
        await sleep(500);
      }
      assert.match((await ask(consumer, "/readyz")).text, /^Kafka: /m);
      assert.ok(pending > 0 && oldest > 5);
      assert.ok((await figures(producer)).sum("tapehouse_kafka_errors_total") > 0);
      await tape.until(
        "a look at the broker to have failed",
        async () => (await figures(consumer)).sum("tapehouse_lag_poll_errors_total") > 0,
      );
    } finally {
      await servers.startKafka();
    }
    await tape.until(
      "both to be ready again",
      async () => await isReady(consumer)() && await isReady(producer)(),
    );
    await market.prove();
    assert.equal((await figures(producer)).sum("tapehouse_publisher_pending_messages"), 0);
    assert.ok((await figures(consumer)).sum("tapehouse_rebalances_total") >= 1);
  }));

Deno.test("health: a blocked event loop is one that /livez doesn't answer, and /metrics tells of afterwards", async () => {
  const script = `
    import { createRegistry, serveMetrics } from "./lib/process/metrics_server.ts";
    const health = { live: () => null, ready: () => null };
    const server = serveMetrics({ registry: createRegistry(), health, hostname: "127.0.0.1", port: 0 });
    console.log(server.addr.port);
    for await (const chunk of Deno.stdin.readable) {
      const until = performance.now() + Number(new TextDecoder().decode(chunk));
      while (performance.now() < until);
    }
    Deno.exit(0);`;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", script],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = process.stdin.getWriter();
  const output = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    const url = `http://127.0.0.1:${Number((await output.read()).value)}`;
    const livez = async (ms: number) =>
      await (await fetch(`${url}/livez`, { signal: AbortSignal.timeout(ms) })).text();
    assert.equal(await livez(hangMs), "ok\n");
    const blocked = performance.now();
    await input.write(new TextEncoder().encode("3000"));
    await assert.rejects(async () => {
      // Until the command has arrived it still answers.
      while (performance.now() < blocked + 2000) await livez(1000);
    }, { name: "TimeoutError" });
    assert.equal(await livez(hangMs), "ok\n");
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const delay = Number(/^tapehouse_event_loop_delay_seconds (\S+)$/m.exec(metrics)?.[1]);
    assert.ok(delay > 1, `${delay} s`);
    assert.match(metrics, /^tapehouse_build_info\{version="[\d.]+",commit="\w+",deno="[\d.]+"\} 1$/m);
    assert.ok(Number(/^process_cpu_seconds_total (\S+)$/m.exec(metrics)?.[1]) > 0);
  } finally {
    await input.close();
    await output.cancel();
    await process.status;
  }
});

Deno.test("health: the API without ClickHouse lives and isn't ready; however many ask, ClickHouse is asked once in two seconds", () =>
  withTape(servers, {}, async (tape) => {
    let asked = 0;
    let isAway = false;
    const clickhouse = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const url = new URL(request.url);
      const body = await request.text();
      const query = `${url.searchParams.get("query") ?? ""}${body}`;
      if (query.startsWith("SELECT 1 ")) asked++;
      if (isAway) {
        return new Response("Code: 241. DB::Exception: away. (MEMORY_LIMIT_EXCEEDED)\n", { status: 500 });
      }
      const target = new URL(url.pathname + url.search, servers.clickhouse.url);
      const answer = await fetch(target, {
        method: request.method,
        headers: request.headers,
        body: body || null,
      });
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    });
    const env = { CLICKHOUSE_URL: `http://127.0.0.1:${clickhouse.addr.port}` };
    const port = freePort();
    try {
      // All of the askers have one address here.
      const api = await tape.start("api", { ...env, API_PORT: String(port), API_RATE_PER_SECOND: "0" });
      const onApi = { ...api, metricsUrl: `http://127.0.0.1:${port}` };
      await tape.until("the API to be ready", isReady(api));
      const before = asked;
      assert.ok(before > 0, "its questions are counted");
      const startedAt = performance.now();
      const answers = await Promise.all(
        Array.from({ length: 300 }, (_, n) => ask(n % 2 ? api : onApi, "/readyz")),
      );
      assert.deepEqual([...new Set(answers.map(({ status, text }) => `${status} ${text}`))], ["200 ok\n"]);
      const periods = Math.ceil((performance.now() - startedAt) / 2000) + 1;
      assert.ok(asked - before <= periods, `${asked - before} questions in ${periods} times two seconds`);

      isAway = true;
      for (const service of [api, onApi]) {
        await tape.until("the API to say so", async () => !await isReady(service)());
        const { status, text } = await ask(service, "/readyz");
        assert.equal(status, 503);
        assert.match(text, /^ClickHouse: [^\n]+\n$/);
        // Nor where ClickHouse is: everybody may ask the API's port.
        assert.doesNotMatch(text, /127\.0\.0\.1/);
        assert.deepEqual(await ask(service, "/livez"), { status: 200, text: "ok\n" });
      }
      isAway = false;
      await tape.until("the API to be ready again", isReady(api));
    } finally {
      await clickhouse.shutdown();
    }
  }));
