/**
 * `deno task bench produce`: how fast frames get from a WebSocket into Kafka by producer.ts, beside what bounds it: kafkajs
 * with nothing before it, and the WebSocket with nothing behind it. Then what becomes of frames that are offered at a rate,
 * up to more than it can carry.
 *
 * @module
 */

import { buckets, parseMetrics, quantile, total } from "../lib/ops/prometheus.ts";
import { retry, sleep } from "../lib/core/retry.ts";
import { openBroker } from "../lib/kafka/client.ts";
import { prepareTopics } from "../lib/kafka/topics.ts";
import { topicSettings } from "../lib/kafka/topic_plan.ts";
import { createLogger } from "../lib/process/log.ts";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { installJars } from "../tests/support/dev_run.ts";
import { root, type Servers, startServers, type Tape, withTape } from "../tests/support/tape.ts";
import { cpuSeconds, peakMemory } from "./process_usage.ts";
import type { MarketOptions } from "./market.ts";
import { type Measured, median, ratio, type Row, spread } from "./results.ts";

/** What is measured. */
export interface ProduceOptions extends Omit<MarketOptions, "matchesOnly"> {
  /** How often each way has its turn. */
  rounds: number;
  /** Frames a second that are offered. */
  rates: readonly number[];
}

/** What a turn came to. */
interface Turn {
  perSecond: number;
  /** CPU µs a message, of the process that sends. */
  cpu: number;
}

/** Nothing takes so long unless it hangs. */
const hangMs = 300_000;

/** Measures the ways in turn, then the rates. */
export async function benchProduce(options: ProduceOptions): Promise<Measured> {
  await installJars();
  const market: MarketOptions = { ...options, matchesOnly: false };
  const servers = await startServers();
  const flood = await startFlood(market);
  try {
    const ways: Record<string, () => Promise<Turn>> = {
      "producer.ts, flooded": () => inTape(servers, market, (tape) => floodProducer(tape, flood.url, market)),
      "kafkajs alone": () => inTape(servers, market, (tape) => kafkajsAlone(tape, market)),
      "WebSocket alone": () => socketAlone(flood.url, market),
    };
    const turns: Record<string, Turn[]> = {};
    for (let round = 1; round <= options.rounds; round++) {
      for (const [name, measure] of Object.entries(ways)) {
        const turn = await measure();
        (turns[name] ??= []).push(turn);
        console.log(`round ${round}, ${name}: ${Math.round(turn.perSecond)} messages/s`);
      }
    }
    const offered: Row[] = [];
    for (const rate of options.rates) {
      const row = await inTape(servers, market, (tape) => offerFrames(tape, flood.url, rate, market));
      console.log(Object.entries(row).map(([name, value]) => `${name} ${value}`).join(", "));
      offered.push(row);
    }
    return { versions: { "Apache Kafka": kafkaVersion }, tables: { ways: wayRows(turns), offered } };
  } finally {
    await flood.stop();
    await servers.stop();
  }
}

function wayRows(turns: Record<string, Turn[]>): Row[] {
  const [own = []] = Object.values(turns);
  return Object.entries(turns).map(([way, theirs]) => {
    const rates = theirs.map(({ perSecond }) => perSecond);
    const ratios = rates.map((rate, round) => (own[round]?.perSecond ?? NaN) / rate);
    return {
      way,
      "messages/s": Math.round(median(rates)),
      "slowest–fastest": spread(rates.map(Math.round)),
      "producer.ts ÷ it": ratio(median(ratios)),
      "of single rounds": spread(ratios.map(ratio)),
      // What the WebSocket alone costs isn't looked at.
      "CPU µs a message": Number.isNaN(theirs[0]?.cpu)
        ? "–"
        : Number(median(theirs.map(({ cpu }) => cpu)).toFixed(1)),
    };
  });
}

/** The exchange's process; it listens once its frames are made. */
async function startFlood(market: MarketOptions): Promise<{ url: string; stop(): Promise<unknown> }> {
  const child = script("flood_server", [JSON.stringify(market)], {});
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value: url = "" } = await reader.read();
  if (url === "") throw new Error("the flood server didn't start");
  return {
    url: url.trim(),
    stop() {
      child.kill("SIGKILL");
      return child.status;
    },
  };
}

/** Topics of its own, made before. */
async function inTape<T>(
  servers: Servers,
  { products }: MarketOptions,
  body: (tape: Tape) => Promise<T>,
): Promise<T> {
  let result!: T;
  await withTape(servers, { COINBASE_PRODUCTS: products.join() }, async (tape) => {
    const log = createLogger({}, { level: "error" });
    const kafka = openBroker(tape.config, "bench", log);
    await prepareTopics(kafka, topicSettings(tape.config), AbortSignal.timeout(60_000), log);
    result = await body(tape);
  });
  return result;
}

async function floodProducer(tape: Tape, url: string, market: MarketOptions): Promise<Turn> {
  const producer = await tape.start("producer", producerEnv(url));
  const perSecond = await untilProduced(tape, market.messages);
  return { perSecond, cpu: 1e6 * cpuSeconds(producer.pid) / market.messages };
}

const producerEnv = (url: string) => ({ COINBASE_WS_URL: url, FEED_PRODUCTS_PER_CONNECTION: "100" });

async function kafkajsAlone(tape: Tape, market: MarketOptions): Promise<Turn> {
  const child = script("kafkajs_alone", [JSON.stringify(market)], tape.env);
  let before = 0;
  const perSecond = await untilProduced(tape, market.messages, () => before = cpuSeconds(child.pid));
  const cpu = 1e6 * (cpuSeconds(child.pid) - before) / market.messages;
  await child.stdout.cancel();
  await child.status;
  return { perSecond, cpu };
}

async function socketAlone(url: string, market: MarketOptions): Promise<Turn> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `${root}bench/produce/socket_alone.ts`, url, `${market.messages}`],
    stdin: "null",
    stderr: "inherit",
  }).output();
  return { perSecond: Number(new TextDecoder().decode(stdout)), cpu: NaN };
}

/** Messages a second between the first that is in the topics and the last. */
async function untilProduced(tape: Tape, wanted: number, onFirst: () => void = () => {}): Promise<number> {
  const count = await openCount(tape);
  let first: { messages: number; at: number } | undefined;
  try {
    for (const deadline = performance.now() + hangMs; performance.now() < deadline; await sleep(20)) {
      const messages = await count.messages();
      const at = performance.now();
      if (messages === 0) continue;
      if (first === undefined) {
        first = { messages, at };
        onFirst();
      }
      if (messages >= wanted && at > first.at) return (messages - first.messages) / (at - first.at) * 1000;
    }
    throw new Error(`only ${await count.messages()} of ${wanted} messages are in the topics`);
  } finally {
    await count.close();
  }
}

/** How many messages the tape's topics hold. */
async function openCount({ config }: Tape): Promise<{ messages(): Promise<number>; close(): Promise<void> }> {
  const admin = openBroker(config, "count", createLogger({}, { level: "error" })).admin();
  await admin.connect();
  return {
    async messages() {
      const topics = [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC];
      // A topic that was just made has no leader yet.
      const offsets = await retry(() => Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic))), {
        signal: AbortSignal.timeout(hangMs),
        onError() {},
      });
      return offsets.flat().reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0);
    },
    close: () => admin.disconnect(),
  };
}

/** What producer.ts makes of a rate that is offered until all frames are sent. */
async function offerFrames(tape: Tape, url: string, rate: number, { messages }: MarketOptions): Promise<Row> {
  const producer = await tape.start("producer", producerEnv(`${url}${rate}`));
  const count = await openCount(tape);
  const seconds = messages / rate;
  const read = async () => parseMetrics(await (await fetch(`${producer.metricsUrl}/metrics`)).text());
  const produceMs = (metrics: Awaited<ReturnType<typeof read>>, share: number) =>
    Math.round(1000 * (quantile(share, new Map(), buckets(metrics, "tapehouse_produce_seconds")) ?? NaN));
  try {
    while (await count.messages() === 0) await sleep(10);
    const startedAt = performance.now();
    const before = await count.messages();
    // The last tenth of the time is left out: what is offered must still be offered.
    await sleep(seconds * 900);
    const [after, metrics] = [await count.messages(), await read()];
    const elapsed = (performance.now() - startedAt) / 1000;
    return {
      "offered/s": rate,
      "produced/s": Math.round((after - before) / elapsed),
      "waiting messages": total(metrics, "tapehouse_unproduced_messages"),
      "produce p50, ms": produceMs(metrics, 0.5),
      "produce p99, ms": produceMs(metrics, 0.99),
      cores: Number((cpuSeconds(producer.pid) / elapsed).toFixed(2)),
      "memory at most, MB": peakMemory(producer.pid),
    };
  } finally {
    await count.close();
  }
}

function script(name: string, args: string[], env: Record<string, string>): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `${root}bench/produce/${name}.ts`, ...args],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}
