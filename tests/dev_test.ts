/**
 * `deno task dev` and the entrypoints as a person meets them: what they print, how they end.
 *
 * @module
 */

import assert from "node:assert/strict";
import { sleep } from "../lib/backoff.ts";
import { freePort } from "../embedded/ports.ts";
import { installKafka, kafkaVersion } from "../embedded/kafka.ts";
import { hangMs, root } from "./tape.ts";

/** Shared with all tests; without Java or Maven this says so. */
const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
Deno.test.beforeAll(() => installKafka(jars));

interface Run {
  pid: number;
  /** Everything printed so far. */
  text(): string;
  /** Resolves when a line matches; fails when the process ends or hangs before. */
  line(pattern: RegExp): Promise<string>;
  kill(signal: Deno.Signal): void;
  code: Promise<number>;
}

function run(args: string[], env: Record<string, string>): Run {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", ...args],
    cwd: root,
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let text = "";
  let changed = Promise.withResolvers<void>();
  const read = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
      changed.resolve();
      changed = Promise.withResolvers();
    }
  };
  const code = Promise.all([child.status, read(child.stdout), read(child.stderr)]).then(([status]) =>
    status.code
  );
  return {
    pid: child.pid,
    text: () => text,
    kill: (signal) => child.kill(signal),
    code,
    async line(pattern) {
      const timeout = Promise.withResolvers<void>();
      const timer = setTimeout(timeout.resolve, hangMs);
      try {
        while (true) {
          const found = text.split("\n").find((line) => pattern.test(line));
          if (found !== undefined) return found;
          const ended = await Promise.race([
            changed.promise,
            code.then(() => "ended"),
            timeout.promise.then(() => "hangs"),
          ]);
          if (ended) assert.fail(`no line ${pattern}, the process ${ended}:\n${text}`);
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Runs `body` with a TAPEHOUSE_HOME and ports of its own, Kafka's jars shared. */
async function withHome(body: (env: Record<string, string>) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-dev-" });
  try {
    await Deno.mkdir(`${home}/kafka`);
    await Deno.symlink(jars, `${home}/kafka/lib-${kafkaVersion}`);
    await body({
      TAPEHOUSE_HOME: home,
      EMBEDDED_KAFKA_PORT: String(freePort()),
      EMBEDDED_CLICKHOUSE_PORT: String(freePort()),
    });
    assert.deepEqual(processesOf(home), [], "left running");
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

/** Processes whose command line or environment names the folder. */
function processesOf(home: string): string[] {
  if (Deno.build.os !== "linux") return [];
  return [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name)).flatMap(({ name }) => {
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const text = command + Deno.readTextFileSync(`/proc/${name}/environ`);
      return text.includes(home) ? [`${name} ${command.replaceAll("\0", " ")}`] : [];
    } catch {
      // It ended in the meantime.
      return [];
    }
  });
}

const ask = async (env: Record<string, string>, query: string) => {
  const url = `http://127.0.0.1:${env.EMBEDDED_CLICKHOUSE_PORT}/?database=market_sim`;
  return (await (await fetch(url, { method: "POST", body: query })).text()).trim();
};

Deno.test("dev --simulate: a loud banner, candles in market_sim, a killed consumer comes back, Ctrl-C ends with 0", () =>
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
    await dev.line(/^60 min of history were fetched in [\d.]+ s$/);
    assert.equal(await ask(env, "SELECT DISTINCT source FROM trades ORDER BY 1"), "backfill\nsimulator");
    assert.ok(Number(await ask(env, "SELECT dateDiff('minute', min(time), max(time)) FROM trades")) >= 59);

    const consumer = processesOf(env.TAPEHOUSE_HOME ?? "").find((line) => line.includes("-P=consumer"));
    Deno.kill(Number(consumer?.split(" ")[0]), "SIGKILL");
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

Deno.test("dev goes on where it was: the simulated market keeps its trades, each once, without a hole of its own making", () =>
  withHome(async (env) => {
    const first = run(["-A", "tasks/dev.ts", "--simulate", "--for", "8s"], env);
    assert.equal(await first.code, 0, first.text());
    const second = run(["-A", "tasks/dev.ts", "--simulate"], env);
    await second.line(/^first candle/);
    await second.line(/frames\/s/);
    const counts = await ask(
      env,
      "SELECT count() = uniqExact(product_id, trade_id), uniqExactIf(connection, source = 'simulator') FROM trades",
    );
    assert.equal(counts, "1\t2");
    second.kill("SIGTERM");
    assert.equal(await second.code, 0, second.text());
  }));

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

Deno.test("wrong arguments and variables: one line that says what is allowed, exit code 2", async () => {
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
  const missing = run(["-A", "tasks/dev.ts", "--replay", "/nowhere.ndjson"], {});
  assert.equal(await missing.code, 1);
  assert.equal(missing.text(), "--replay /nowhere.ndjson: no such file\n");
});

Deno.test("the producer and the consumer stop within seconds when their servers were never there", async () => {
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
