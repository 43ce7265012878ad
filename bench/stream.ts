/**
 * How many messages a second the stream delivers to many clients, and how late: a real Kafka, the stream in a process of
 * its own, a producer that offers matches at a fixed rate, and WebSocket clients that all follow them. Producer, clients,
 * broker and stream share this machine, so the figures are those of the machine and not of the stream alone.
 *
 * @module
 */

import { Partitioners } from "kafkajs";
import { Registry } from "prom-client";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { type RunningKafka, startKafka } from "../embedded/kafka/start.ts";
import { freePort } from "../embedded/process/ports.ts";
import { openBroker } from "../lib/kafka/client.ts";
import { type Config, readConfig, type Variable, variables } from "../lib/process/config.ts";
import { createLogger } from "../lib/process/log.ts";
import { openStream } from "../lib/stream/live_stream.ts";
import { isoMicros, nowMicros, parseMicros } from "../lib/core/time.ts";
import { openClickHouse } from "../lib/clickhouse/client.ts";
import { type Measured, quantile, type Row } from "./results.ts";

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

/** Runs one load after the other. */
export async function benchStream(loads: readonly StreamLoad[]): Promise<Measured> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const rows: Row[] = [];
  let kafka: RunningKafka | undefined;
  try {
    kafka = await startKafka({ home, port: freePort(), jars: `.tapehouse/kafka/lib-${kafkaVersion}` });
    for (const load of loads) {
      console.log(
        `${load.clients} clients, ${load.rate} messages a second${load.batch ? ", in batches" : ""}`,
      );
      rows.push(rowOf(await measure(load, kafka.brokers)));
    }
  } finally {
    await kafka?.stop();
    await Deno.remove(home, { recursive: true });
  }
  return { versions: { "Apache Kafka": kafkaVersion }, tables: { stream: rows } };
}

function rowOf(figures: StreamFigures): Row {
  return {
    clients: figures.clients,
    "messages a second": figures.rate,
    batch: figures.batch ? "yes" : "no",
    delivered: `${Math.floor(100 * figures.delivered / figures.expected)} %`,
    "a second": figures.deliveredPerSecond,
    "p50, ms": figures.p50Ms,
    "p99, ms": figures.p99Ms,
    "sent away": figures.dropped,
    "memory of the stream": `${figures.rssStartMb} → ${figures.rssEndMb} MB`,
  };
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
  await createTopics(config);
  const server = startServer(env);
  const audience: Audience = {
    sockets: [],
    dropped: 0,
    started: 0,
    seen: { delivered: 0, delays: [], last: "", count: 0, receivedAt: 0 },
  };
  try {
    await poll(async () => (await server.status().catch(() => undefined))?.kafka.ok === true);
    for (let opened = 0; opened < load.clients; opened += 50) {
      const together = Math.min(50, load.clients - opened);
      await Promise.all(Array.from({ length: together }, () => connect(audience, server.port, load.batch)));
    }
    await produce(config, { rate: 1, seconds: 1 }, 0);
    await poll(() => Promise.resolve(audience.started === load.clients));
    const rssStart = (await server.status()).rss;
    const offered = await produce(config, load, 1);
    const begun = performance.now() - load.seconds * 1000;
    await waitForSilence(audience.seen);
    const elapsed = (performance.now() - begun - 1000) / 1000;
    return {
      ...load,
      offered,
      delivered: audience.seen.delivered,
      expected: offered * load.clients,
      deliveredPerSecond: Math.round(audience.seen.delivered / elapsed),
      p50Ms: Math.round(quantile(audience.seen.delays, 0.5)),
      p99Ms: Math.round(quantile(audience.seen.delays, 0.99)),
      dropped: audience.dropped,
      rssStartMb: Math.round(rssStart / 1e6),
      rssEndMb: Math.round((await server.status()).rss / 1e6),
    };
  } finally {
    for (const socket of audience.sockets) {
      socket.onclose = null;
      socket.close();
    }
    await server.stop();
  }
}

async function createTopics(config: Config<Variable>): Promise<void> {
  const admin = openBroker(config, "bench", quiet).admin();
  await admin.connect();
  await admin.createTopics({
    waitForLeaders: true,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC].map((topic) => ({ topic, numPartitions: 1 })),
  });
  await admin.disconnect();
}

/** The stream in a process of its own: this file, told to `serve`. */
interface StreamServer {
  port: number;
  /** `rss` is the process's memory in bytes. */
  status(): Promise<{ clients: number; rss: number; kafka: { ok: boolean } }>;
  stop(): Promise<void>;
}

function startServer(env: Record<string, string>): StreamServer {
  const port = freePort();
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", import.meta.filename ?? "", "serve", String(port)],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  return {
    port,
    status: async () => await (await fetch(`http://127.0.0.1:${port}/status`)).json(),
    async stop() {
      server.kill("SIGTERM");
      await server.status;
    },
  };
}

/** All clients together. */
interface Audience {
  sockets: WebSocket[];
  /** Clients that were sent away. */
  dropped: number;
  /** Clients that heard a match before the load: from then on they miss nothing. */
  started: number;
  seen: Seen;
}

/** Adds a client, and waits until it is subscribed. What it hears after its first match is counted. */
async function connect(audience: Audience, port: number, batch: boolean): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/api/stream`);
  audience.sockets.push(socket);
  socket.onclose = () => audience.dropped++;
  socket.onerror = () => {};
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () =>
      socket.send(JSON.stringify({
        type: "subscribe",
        product_ids: [product],
        channels: ["matches"],
        batch,
      }));
    socket.onmessage = ({ data }) => {
      if (String(data).includes('"type":"subscriptions"')) resolve();
      if (!/"type":"(last_)?match"/.test(String(data))) return;
      audience.started++;
      socket.onmessage = ({ data }) => hear(audience.seen, String(data));
    };
    socket.addEventListener("error", () => reject(new Error("a client could not connect")));
  });
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

/** Until nothing more comes for a second. */
async function waitForSilence(seen: Seen): Promise<void> {
  let before = -1;
  await poll(() => {
    const still = seen.delivered === before;
    before = seen.delivered;
    return Promise.resolve(still);
  }, 1000);
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
  const clickhouse = openClickHouse(config);
  const stream = openStream({
    config,
    clickhouse,
    log: createLogger({ service: "bench" }, { level: "error" }),
    registry: new Registry(),
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen() {} },
    (request) =>
      new URL(request.url).pathname === "/status"
        ? Response.json({ ...stream.status(), rss: Deno.memoryUsage().rss })
        : stream.upgrade(request, crypto.randomUUID()),
  );
  await new Promise<void>((resolve) => Deno.addSignalListener("SIGTERM", resolve));
  await stream.close();
  await clickhouse.close();
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
