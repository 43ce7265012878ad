/**
 * `WS /api/stream`: the tape as it grows, for browsers and programs. docs/stream.md describes the protocol.
 *
 * The way of a message: live reader (Kafka) → dispatcher (checked, each once) → hub (numbered, made text once) → clients.
 * Candles and books are computed on the way, for those that are followed.
 *
 * ```ts
 * const stream = openStream({ config, clickhouse, log, registry });
 * // in the handler of /api/stream, after access was checked:
 * return stream.upgrade(request, client);
 * // on SIGTERM, before the server is shut down (clients are closed with 1001):
 * await stream.close();
 * ```
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Counter, type Registry } from "prom-client";
import { createFairQueue } from "../core/fair_queue.ts";
import { sleep } from "../core/retry.ts";
import { spokenProtocol } from "../http/subprotocol.ts";
import { brokerVariables, openBroker } from "../kafka/client.ts";
import type { Config, Variable } from "../process/config.ts";
import { gauge } from "../process/gauge.ts";
import type { Logger } from "../process/log.ts";
import { type ClientLimits, clientLimits, Clients } from "./clients.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Hub, type RingLimits, ringLimits } from "./hub.ts";
import { LiveAnomalies } from "./live_anomalies.ts";
import { LiveBook } from "./live_book.ts";
import { LiveCandles } from "./live_candles.ts";
import { type LiveMessage, runLiveReader } from "./live_reader.ts";
import type { ReadSnapshot } from "./snapshots.ts";
import { type SeriesLimits, seriesLimits, TopicCatalog } from "./topic_catalog.ts";

/** What `openStream` reads. */
export const streamVariables = [
  ...brokerVariables,
  "KAFKA_TOPIC",
  "KAFKA_LEVEL2_TOPIC",
  "KAFKA_GROUP",
] as const satisfies readonly Variable[];

/** What the stream needs. */
export interface StreamOptions {
  config: Config<(typeof streamVariables)[number]>;
  /** Only read from. */
  clickhouse: ClickHouseClient;
  log: Logger;
  registry: Registry;
  /** Clients are told that the market isn't real. @default {false} */
  simulated?: boolean;
  /** Open sockets; one more is answered with 503. @default {1000} */
  maxClients?: number;
  /** Open sockets of one client; one more is answered with 429. @default {32} */
  maxClientSockets?: number;
  /** @default {seriesLimits} */
  series?: Partial<SeriesLimits>;
  /** @default {clientLimits} */
  limits?: Partial<ClientLimits>;
  /** A client that is silent is pinged, and closed when no pong comes within so many seconds. @default {30} */
  pongSeconds?: number;
  /** What is remembered for clients that come back. @default {ringLimits} */
  ring?: Partial<RingLimits>;
}

/** What can be said of the stream at a moment. */
export interface StreamStatus {
  /** Names the numbering of this process. */
  stream: string;
  /** The newest message's number. */
  seq: number;
  clients: number;
  kafka: { ok: boolean; reason?: string };
}

/** A running stream. */
export interface Stream {
  /**
   * Makes a client of a WebSocket request. Whether it may is the caller's business.
   *
   * @param client what its limits are counted by, such as an address
   * @returns the answer to hand back; 426 when it isn't a WebSocket, 429 when the client has too many, 503 when all have
   */
  upgrade(request: Request, client: string): Response;
  status(): StreamStatus;
  /** Closes every client with 1001, leaves and deletes the consumer group. */
  close(): Promise<void>;
}

/** What topics start with is read from ClickHouse so many at once, and of one client. */
const snapshotPlaces = { places: 2, placesOfClient: 1 };
/** So many wait at most: for each topic one, so nobody is refused before the limits of clients do it. */
const snapshotWaiting = { waiting: 10_000, waitingOfClient: 10_000, maxWaitMs: 60_000 };
/** How long clients may take to answer that the server stops. */
const goodbyeMs = 1000;
const sweepMs = 1000;

/** Opens the stream. It doesn't wait for Kafka: clients are told when the broker can't be used. */
export function openStream(options: StreamOptions): Stream {
  return new TapeStream(options);
}

class TapeStream implements Stream {
  readonly #options: StreamOptions;
  readonly #stopped = new AbortController();
  readonly #snapshots = createFairQueue({ ...snapshotPlaces, ...snapshotWaiting });
  readonly #metrics: ReturnType<typeof createMetrics>;
  readonly #hub: Hub;
  readonly #dispatcher: Dispatcher;
  readonly #candles: LiveCandles;
  readonly #book: LiveBook;
  readonly #anomalies: LiveAnomalies;
  readonly #catalog: TopicCatalog;
  readonly #clients: Clients;
  readonly #reading: Promise<void>;
  readonly #sweeping: ReturnType<typeof setInterval>;
  /** Each settles when its socket is closed. */
  readonly #sockets = new Set<Promise<void>>();
  /** Why nothing comes from Kafka; empty while it does. */
  #kafkaReason = "not connected yet";
  /** Since when all is read, in ms of the monotonic clock; Infinity before the first fetch was answered, and in a rest. */
  #readingSince = Infinity;

  constructor(options: StreamOptions) {
    const { clickhouse, log } = options;
    const { signal } = this.#stopped;
    this.#options = options;
    this.#metrics = createMetrics([options.registry], {
      clients: () => this.#clients.size,
      unreadBytes: () => this.#clients.unreadBytes,
      series: () => this.#catalog.size,
      snapshotsWaiting: () => this.#snapshots.waiting,
    });
    const hub = new Hub({ ...ringLimits, ...options.ring });
    const readSnapshot: ReadSnapshot = (...read) => this.#readSnapshot(...read);
    const dispatcher = new Dispatcher(hub, () => ({ candles: this.#candles, book: this.#book }));
    const recent = (product: string) => dispatcher.recent(product);
    const clock = (product: string) => dispatcher.clock(product);
    this.#hub = hub;
    this.#dispatcher = dispatcher;
    this.#candles = new LiveCandles({ hub, clickhouse, log, readSnapshot, recent, clock });
    this.#book = new LiveBook({ hub, clickhouse, log, readSnapshot });
    this.#catalog = this.#createCatalog(readSnapshot);
    this.#clients = this.#createClients();
    this.#reading = this.#read();
    const products = () => this.#catalog.products();
    this.#anomalies = new LiveAnomalies({ hub, clickhouse, log, readSnapshot, products, signal });
    this.#sweeping = setInterval(() => this.#catalog.sweep(), sweepMs);
  }

  upgrade(request: Request, client: string): Response {
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return new Response("Expected a WebSocket: connect with ws:// or wss://\n", {
        status: 426,
        headers: { upgrade: "websocket" },
      });
    }
    return this.#socketRefusal(client) ?? this.#openSocket(request, client);
  }

  status(): StreamStatus {
    const reason = this.#kafkaReason;
    return {
      stream: this.#hub.stream,
      seq: this.#hub.seq,
      clients: this.#clients.size,
      kafka: reason === "" ? { ok: true } : { ok: false, reason },
    };
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    clearInterval(this.#sweeping);
    this.#clients.closeAll(1001, "the server stops");
    this.#candles.stop();
    this.#book.stop();
    // A server that is shut down at once would close them in its own words.
    const heard = new AbortController();
    await Promise.race([Promise.all(this.#sockets), sleep(goodbyeMs, heard.signal)]);
    heard.abort();
    await Promise.all([this.#reading, this.#anomalies.ended]);
  }

  #createCatalog(readSnapshot: ReadSnapshot): TopicCatalog {
    const { clickhouse, series } = this.#options;
    return new TopicCatalog({
      clickhouse,
      readSnapshot,
      memory: this.#dispatcher,
      readingSince: () => this.#readingSince,
      candles: this.#candles,
      book: this.#book,
      anomaliesSince: () => this.#anomalies.since,
      limits: { ...seriesLimits, ...series },
      signal: this.#stopped.signal,
      onRefused: (reason) => this.#metrics.refused.inc({ reason }),
    });
  }

  #createClients(): Clients {
    const { simulated = false, limits } = this.#options;
    return new Clients({
      hub: this.#hub,
      topics: this.#catalog,
      simulated,
      limits: { ...clientLimits, ...limits },
      onDropped: (reason) => this.#metrics.dropped.inc({ reason }),
      onSent: (messages) => this.#metrics.sent.inc(messages),
    });
  }

  /** Reads the topics until the stream stops. */
  #read(): Promise<void> {
    const { config, log } = this.#options;
    return runLiveReader({
      kafka: openBroker(config, "stream", log),
      groupPrefix: `${config.KAFKA_GROUP}_stream_`,
      topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC],
      signal: this.#stopped.signal,
      log,
      onMessages: (messages) => this.#handle(messages),
      audience: this.#clients,
      mayRest: () => this.#hub.isForgotten && this.#catalog.size === 0,
      onRest: () => this.#forget(),
      onWake: () => this.#readingSince = performance.now(),
      onGap: (gap) => this.#handleGap(gap),
      onState: (reason) => this.#noteKafka(reason),
    });
  }

  #handle(messages: readonly LiveMessage[]): void {
    for (const message of messages) {
      if (message.topic === this.#options.config.KAFKA_LEVEL2_TOPIC) this.#book.handle(message);
      else this.#dispatcher.handle(message);
    }
  }

  #handleGap({ topic, first, last }: { topic: string; first: number; last: number }): void {
    const reason = `${last - first + 1} messages of ${topic} were missed`;
    if (topic === this.#options.config.KAFKA_LEVEL2_TOPIC) this.#book.restart(reason);
    else this.#candles.restart();
    this.#clients.tellAll("Messages lost", reason);
  }

  /** Nobody is there: what is known of the live messages is not going to be gone on with. */
  #forget(): void {
    this.#readingSince = Infinity;
    this.#dispatcher.forget();
    this.#book.restart("nobody follows it");
  }

  #noteKafka(reason: string): void {
    if (reason === "") this.#readingSince = Math.min(this.#readingSince, performance.now());
    else if (this.#kafkaReason === "") this.#clients.tellAll("No live data", reason);
    this.#kafkaReason = reason;
  }

  async #readSnapshot<T>(client: string, load: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.#snapshots.take(client, signal);
    try {
      return await load();
    } finally {
      release();
    }
  }

  /** The answer to one socket too many. */
  #socketRefusal(client: string): Response | undefined {
    const { maxClients = 1000, maxClientSockets = 32 } = this.#options;
    const { aborted } = this.#stopped.signal;
    const headers = { "retry-after": "5" };
    if (aborted || this.#clients.size >= maxClients) {
      const reason = aborted ? "The stream stops" : `The stream has its ${maxClients} clients`;
      this.#metrics.refused.inc({ reason: "sockets" });
      return new Response(`${reason}: try again later\n`, { status: 503, headers });
    }
    if (this.#clients.sizeOf(client) >= maxClientSockets) {
      this.#metrics.refused.inc({ reason: "client_sockets" });
      const text = `This client has its ${maxClientSockets} sockets: close one first\n`;
      return new Response(text, { status: 429, headers });
    }
    return undefined;
  }

  #openSocket(request: Request, name: string): Response {
    const protocol = spokenProtocol(request.headers.get("sec-websocket-protocol"));
    const { socket, response } = Deno.upgradeWebSocket(request, {
      idleTimeout: this.#options.pongSeconds ?? 30,
      ...(protocol !== undefined && { protocol }),
    });
    const client = this.#clients.add({
      get bufferedAmount() {
        return socket.bufferedAmount;
      },
      send(text) {
        if (socket.readyState === WebSocket.OPEN) socket.send(text);
      },
      close(code, reason) {
        if (socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
      },
    }, name);
    const closed = Promise.withResolvers<void>();
    this.#sockets.add(closed.promise);
    socket.onmessage = ({ data }) => client.receive(data);
    socket.onclose = () => {
      client.ended();
      this.#sockets.delete(closed.promise);
      closed.resolve();
    };
    // A client that breaks off is no news; onclose follows.
    socket.onerror = () => client.ended();
    return response;
  }
}

function createMetrics(
  registers: Registry[],
  now: Record<"clients" | "unreadBytes" | "series" | "snapshotsWaiting", () => number>,
) {
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const sent = counter("tapehouse_stream_sent_total", "Messages handed to clients' sockets.");
  const dropped = counter(
    "tapehouse_stream_dropped_clients_total",
    "Clients that were sent away, by reason: slow, idle, rate.",
    ["reason"],
  );
  const refused = counter(
    "tapehouse_stream_refused_total",
    "What clients asked for and didn't get, by reason: sockets, client_sockets, series (all that are computed), " +
      "series_rate (new ones of a client).",
    ["reason"],
  );
  gauge(registers, "tapehouse_stream_clients", { help: "Open sockets of the stream.", value: now.clients });
  gauge(registers, "tapehouse_stream_unread_bytes", {
    help: "Bytes handed to the stream's sockets that their clients haven't read.",
    value: now.unreadBytes,
  });
  gauge(registers, "tapehouse_stream_series", {
    help: "Candles and books that are computed, each interval and depth by itself.",
    value: now.series,
  });
  gauge(registers, "tapehouse_stream_snapshots_waiting", {
    help: "Starting states that wait to be read from ClickHouse.",
    value: now.snapshotsWaiting,
  });
  return { sent, dropped, refused };
}
