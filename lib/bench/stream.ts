/**
 * How many messages a second the stream delivers to many clients, and how late: a real Kafka, the stream in a process of
 * its own, a producer that offers matches at a fixed rate, and WebSocket clients that all follow them. Producer, clients,
 * broker and stream share this machine, so the figures are those of the machine and not of the stream alone.
 *
 * @module
 */

import { Partitioners } from "kafkajs";
import { Registry } from "prom-client";
import { type RunningKafka, startKafka } from "../../embedded/kafka.ts";
import { freePort } from "../../embedded/ports.ts";
import { openBroker } from "../broker.ts";
import { type Config, readConfig, type Variable, variables } from "../config.ts";
import { createLogger } from "../log.ts";
import { openStream } from "../stream/stream.ts";
import { isoMicros, nowMicros, parseMicros } from "../time.ts";
import { openWarehouse } from "../warehouse.ts";

/** What is measured. */
export interface StreamLoad {
  clients: number;
  /** Messages a second that are offered to Kafka; every client follows all of them. */
  rate: number;
  seconds: number;
  /** JSON arrays every 50 ms, or a frame a message. */
  batch: boolean;
}

/** What came out. Delays are from the producer's stamp (`received_at`) to the client's callback. */
export interface StreamFigures extends StreamLoad {
  offered: number;
  /** Messages that all clients together heard, and what they would have heard without loss. */
  delivered: number;
  expected: number;
  deliveredPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Clients that were sent away as slow. */
  dropped: number;
  /** Resident memory of the stream's process, MB: before the first message and after the last. */
  rssStartMb: number;
  rssEndMb: number;
}

const product = "BTC-USD";
const quiet = createLogger({}, { write: () => {} });

/**
 * Runs one load after the other.
 *
 * @param options.jars the folder of Kafka's jars, filled when it isn't there
 * @param options.onFigures told the figures of each load
 */
export async function benchStream(
  loads: readonly StreamLoad[],
  options: { jars: string; onFigures: (figures: StreamFigures) => void },
): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  let kafka: RunningKafka | undefined;
  try {
    kafka = await startKafka({ home, port: freePort(), jars: options.jars });
    for (const load of loads) options.onFigures(await measure(load, kafka.brokers));
  } finally {
    await kafka?.stop();
    await Deno.remove(home, { recursive: true });
  }
}

async function measure(load: StreamLoad, brokers: string): Promise<StreamFigures> {
  const name = `bench${nowMicros()}`;
  const env = {
    KAFKA_BROKERS: brokers,
    KAFKA_TOPIC: `${name}_market`,
    KAFKA_LEVEL2_TOPIC: `${name}_level2`,
    KAFKA_GROUP: name,
  };
  const config = configOf(env);
  const kafka = openBroker(config, "bench", quiet);
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    waitForLeaders: true,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].map((topic) => ({ topic, numPartitions: 1 })),
  });
  await admin.disconnect();

  const port = freePort();
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", import.meta.filename ?? "", "serve", String(port)],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const status = async () =>
    await (await fetch(`http://127.0.0.1:${port}/status`)).json() as {
      clients: number;
      rss: number;
      kafka: { ok: boolean };
    };
  const sockets: WebSocket[] = [];
  try {
    await poll(async () => (await status().catch(() => undefined))?.kafka.ok === true);
    let dropped = 0;
    const seen: Seen = { delivered: 0, delays: [], last: "", count: 0, receivedAt: 0 };
    /** What a client hears before the load: from then on it misses nothing. */
    let started = 0;
    for (let opened = 0; opened < load.clients; opened += 50) {
      await Promise.all(
        Array.from({ length: Math.min(50, load.clients - opened) }, async () => {
          const socket = new WebSocket(`ws://127.0.0.1:${port}/api/stream`);
          sockets.push(socket);
          socket.onclose = () => dropped++;
          socket.onerror = () => {};
          await new Promise((resolve, reject) => {
            socket.onopen = () =>
              socket.send(JSON.stringify({
                type: "subscribe",
                product_ids: [product],
                channels: ["matches"],
                batch: load.batch,
              }));
            socket.onmessage = ({ data }) => {
              if (String(data).includes('"type":"subscriptions"')) resolve(undefined);
              if (!/"type":"(last_)?match"/.test(String(data))) return;
              started++;
              socket.onmessage = ({ data }) => hear(seen, String(data));
            };
            socket.addEventListener("error", () => reject(new Error("a client could not connect")));
          });
        }),
      );
    }
    await produce(config, { rate: 1, seconds: 1 }, 0);
    await poll(() => Promise.resolve(started === load.clients));
    const rssStart = (await status()).rss;
    const offered = await produce(config, load, 1);
    const begun = performance.now() - load.seconds * 1000;
    let before = -1;
    // Until nothing more comes.
    await poll(() => {
      const still = seen.delivered === before;
      before = seen.delivered;
      return Promise.resolve(still);
    }, 1000);
    const elapsed = (performance.now() - begun - 1000) / 1000;
    seen.delays.sort((left, right) => left - right);
    const quantile = (part: number) => Math.round(seen.delays[Math.floor(seen.delays.length * part)] ?? NaN);
    return {
      ...load,
      offered,
      delivered: seen.delivered,
      expected: offered * load.clients,
      deliveredPerSecond: Math.round(seen.delivered / elapsed),
      p50Ms: quantile(0.5),
      p99Ms: quantile(0.99),
      dropped,
      rssStartMb: Math.round(rssStart / 1e6),
      rssEndMb: Math.round((await status()).rss / 1e6),
    };
  } finally {
    for (const socket of sockets) {
      socket.onclose = null;
      socket.close();
    }
    server.kill("SIGTERM");
    await server.status;
  }
}

interface Seen {
  delivered: number;
  /** ms, of the first message of each frame. */
  delays: number[];
  /** The last frame: all clients in batch mode hear the same, so it is taken apart once. */
  last: string;
  count: number;
  receivedAt: number;
}

function hear(seen: Seen, text: string): void {
  if (text !== seen.last) {
    seen.last = text;
    seen.count = text.split('"type":"match"').length - 1;
    const at = text.indexOf('"received_at":"') + 15;
    seen.receivedAt = seen.count === 0 ? 0 : parseMicros(text.slice(at, text.indexOf('"', at)));
  }
  if (seen.count === 0) return;
  seen.delivered += seen.count;
  seen.delays.push((nowMicros() - seen.receivedAt) / 1000);
}

/** Offers matches at the rate, in batches of 10 ms, with ids after `last`; returns how many. */
async function produce(
  config: Config<Variable>,
  { rate, seconds }: Pick<StreamLoad, "rate" | "seconds">,
  last: number,
): Promise<number> {
  const producer = openBroker(config, "bench-producer", quiet).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const begun = performance.now();
  let sent = 0;
  while (sent < rate * seconds) {
    const due = Math.min(rate * seconds, Math.floor((performance.now() - begun) / 1000 * rate));
    const now = nowMicros();
    const messages = Array.from({ length: due - sent }, (_, i) => ({
      key: product,
      value: JSON.stringify({
        type: "match",
        trade_id: last + sent + i + 1,
        maker_order_id: "ac928c66-ca53-498f-9c13-a110027a60e8",
        taker_order_id: "132fb6ae-456b-4654-b4e0-d681ac05cea1",
        side: "sell",
        size: "0.00512345",
        price: "64000.12",
        product_id: product,
        sequence: 50_000_000 + sent + i,
        time: isoMicros(now),
      }),
      headers: { received_at: String(now), source: "feed", connection: "bench-1" },
    }));
    sent = due;
    if (messages.length > 0) await producer.send({ topic: config.KAFKA_TOPIC, messages });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await producer.disconnect();
  return sent;
}

async function poll(done: () => Promise<boolean>, everyMs = 100): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!await done()) {
    if (performance.now() > deadline) throw new Error("the stream doesn't get ready");
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

function configOf(env: Record<string, string>): Config<Variable> {
  return readConfig(Object.keys(variables) as Variable[], (variable) => env[variable]);
}

/** The stream's own process. Without ClickHouse: products that nobody knows are refused by nobody then. */
async function serve(port: number): Promise<void> {
  const config = configOf({ ...Deno.env.toObject(), CLICKHOUSE_URL: "http://127.0.0.1:1" });
  const warehouse = openWarehouse(config);
  const stream = openStream({
    config,
    warehouse,
    log: createLogger({ service: "bench" }, { level: "error" }),
    registry: new Registry(),
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen() {} },
    (request) =>
      new URL(request.url).pathname === "/status"
        ? Response.json({ ...stream.status(), rss: Deno.memoryUsage().rss })
        : stream.upgrade(request),
  );
  await new Promise<void>((resolve) => Deno.addSignalListener("SIGTERM", resolve));
  await stream.close();
  await warehouse.close();
  await Promise.race([server.shutdown(), new Promise((resolve) => setTimeout(resolve, 2000))]);
  Deno.exit(0);
}

/** What `deno task bench stream` measures. */
export const streamLoads: readonly StreamLoad[] = [
  { clients: 20, rate: 2000, seconds: 10, batch: false },
  { clients: 20, rate: 2000, seconds: 10, batch: true },
  { clients: 500, rate: 1000, seconds: 10, batch: true },
  { clients: 500, rate: 1000, seconds: 10, batch: false },
];

if (import.meta.main && Deno.args[0] === "serve") await serve(Number(Deno.args[1]));
