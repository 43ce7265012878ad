/**
 * `WS /api/stream`: the tape as it grows, for browsers and programs. docs/stream.md describes the protocol.
 *
 * The way of a message: tap (Kafka) → market (checked, each once) → hub (numbered, made text once) → clients. Candles and
 * books are computed on the way, for those that are followed.
 *
 * ```ts
 * const stream = openStream({ config, warehouse, log, registry });
 * // in the handler of /api/stream, after access was checked:
 * return stream.upgrade(request);
 * // on SIGTERM, before the server is shut down (clients are closed with 1001):
 * await stream.close();
 * ```
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Counter, Gauge, type Registry } from "prom-client";
import { sleep } from "../backoff.ts";
import { brokerVariables, openBroker } from "../broker.ts";
import type { Config, Variable } from "../config.ts";
import type { Logger } from "../log.ts";
import { formatMicros, nowMicros } from "../time.ts";
import { type ClientLimits, clientLimits, createClients } from "./clients.ts";
import { createHub, type RingLimits } from "./hub.ts";
import { createLiveBook } from "./live_book.ts";
import { createLiveCandles } from "./live_candles.ts";
import { firstLine, lingerMs, type LiveChannel, type Outgoing } from "./live.ts";
import { createMarket } from "./market.ts";
import { type Topic, topicKey } from "./protocol.ts";
import { loadAnomalies, loadLastMatch, loadProducts, loadTicker } from "./seeds.ts";
import { runTap, type TapMessage } from "./tap.ts";

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
  warehouse: ClickHouseClient;
  log: Logger;
  registry: Registry;
  /** Clients are told that the market isn't real. @default {false} */
  simulated?: boolean;
  /** Open sockets; one more is answered with 503. @default {1000} */
  maxClients?: number;
  /** @default {clientLimits} */
  limits?: Partial<ClientLimits>;
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
   * @returns the answer to hand back; 426 when it isn't a WebSocket, 503 when there are too many clients
   */
  upgrade(request: Request): Response;
  status(): StreamStatus;
  /** Closes every client with 1001, leaves and deletes the consumer group. */
  close(): Promise<void>;
}

/** A minute, at most 100 000 messages or 64 Mi characters. */
export const ringLimits: RingLimits = { messages: 100_000, length: 64 * 1024 * 1024, ms: lingerMs };
/** Deno pings a silent client, and closes it when no pong comes in this time. */
const idleTimeoutSeconds = 30;
/** How long clients may take to answer that the server stops. */
const goodbyeMs = 1000;
const productsAgainMs = 1000;
const anomaliesMs = 1000;
/** How far back each look for anomalies goes: rows become visible late, and ClickHouse's clock may be another. */
const anomaliesBackMicros = 10e6;

/** Opens the stream. It doesn't wait for Kafka: clients are told when the broker can't be used. */
export function openStream(options: StreamOptions): Stream {
  const { config, warehouse, log, registry, maxClients = 1000 } = options;
  const stopped = new AbortController();
  const { signal } = stopped;
  const sent = new Counter({
    name: "tapehouse_stream_sent_total",
    help: "Messages handed to clients' sockets.",
    registers: [registry],
  });
  const dropped = new Counter({
    name: "tapehouse_stream_dropped_clients_total",
    help: "Clients that were sent away, by reason: slow, idle, rate.",
    labelNames: ["reason"],
    registers: [registry],
  });

  const hub = createHub({ ...ringLimits, ...options.ring });
  const market = createMarket(hub, () => live);
  const live = {
    candles: createLiveCandles({ hub, warehouse, log, recent: market.recent, clock: market.clock }),
    book: createLiveBook({ hub, warehouse, log }),
  };
  const channelOf = ({ channel }: Topic): LiveChannel | undefined =>
    channel === "candles" ? live.candles : channel === "book" ? live.book : undefined;

  const clients = createClients({
    hub,
    simulated: options.simulated ?? false,
    limits: { ...clientLimits, ...options.limits },
    refusal,
    opening,
    aliveSince,
    onDropped: (reason) => dropped.inc({ reason }),
    onSent: (messages) => sent.inc(messages),
  });
  new Gauge({
    name: "tapehouse_stream_clients",
    help: "Open sockets of the stream.",
    registers: [registry],
    collect() {
      this.set(clients.size);
    },
  });

  function aliveSince(topic: Topic): number {
    return topic.channel === "anomalies" ? anomaliesSince : channelOf(topic)?.aliveSince(topic) ?? 0;
  }

  let known = new Set<string>();
  let knownAt = -Infinity;
  let loading: Promise<void> | undefined;

  /** Unknown is what neither ClickHouse nor the tap has spoken of. While ClickHouse can't be asked, nothing is refused. */
  async function refusal(product: string): Promise<string | undefined> {
    const isKnown = () => known.has(product) || market.knows(product);
    if (isKnown()) return undefined;
    if (performance.now() - knownAt > productsAgainMs) {
      loading ??= loadProducts(warehouse).then((found) => {
        known = found;
      }, () => {
        known = new Set();
      }).finally(() => {
        knownAt = performance.now();
        loading = undefined;
      });
      await loading;
    }
    return isKnown() || known.size === 0 ? undefined : `${product} is not a valid product`;
  }

  function opening(topic: Topic, tell: (reason: string) => void): Outgoing[] | Promise<() => Outgoing[]> {
    const channel = channelOf(topic);
    if (channel) return channel.prepare(topic, tell).then(() => () => channel.snapshot(topic));
    const { productId } = topic;
    if (topic.channel === "ticker") return newest("ticker", () => market.lastTicker(productId), loadTicker);
    if (topic.channel === "matches") {
      return newest("last_match", () => market.lastMatch(productId), loadLastMatch);
    }
    return [];

    /** From memory; before the tap's first message of the product from ClickHouse. */
    function newest(
      type: string,
      remembered: () => object | undefined,
      load: (warehouse: ClickHouseClient, product: string) => Promise<object | undefined>,
    ): Outgoing[] | Promise<() => Outgoing[]> {
      const say = (fields: object | undefined) => fields === undefined ? [] : [{ type, fields }];
      const fields = remembered();
      if (fields !== undefined) return say(fields);
      return load(warehouse, productId).catch((error) => {
        tell(
          `the newest ${topic.channel} of ${productId} can't be read from ClickHouse: ${firstLine(error)}`,
        );
        return undefined;
      }).then((loaded) => () => say(remembered() ?? loaded));
    }
  }

  let kafkaReason = "not connected yet";
  function noteKafka(reason: string): void {
    if (reason !== "" && kafkaReason === "") clients.tellAll("No live data", reason);
    kafkaReason = reason;
  }

  const kafka = openBroker(config, "stream", log);
  const tap = runTap({
    kafka,
    groupPrefix: `${config.KAFKA_GROUP}_stream_`,
    topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC],
    signal,
    log,
    onMessages(messages: readonly TapMessage[]) {
      for (const message of messages) {
        if (message.topic === config.KAFKA_LEVEL2_TOPIC) live.book.take(message);
        else market.take(message);
      }
    },
    onHole({ topic, first, last }) {
      const reason = `${last - first + 1} messages of ${topic} were missed`;
      if (topic === config.KAFKA_LEVEL2_TOPIC) live.book.restart(reason);
      else live.candles.restart();
      clients.tellAll("Messages lost", reason);
    },
    onState: noteKafka,
  });
  let anomaliesSince = Infinity;
  const watching = watchAnomalies();
  const sweeping = setInterval(() => {
    live.candles.sweep();
    live.book.sweep();
  }, 1000);

  /** Anomalies are computed in ClickHouse: one query a second, and only while somebody follows them, or did a minute ago. */
  async function watchAnomalies(): Promise<void> {
    let followedAt = -Infinity;
    let told = "";
    let from = "";
    /** What was sent of the time that is asked for again. */
    let sentRows = new Set<string>();
    while (!signal.aborted) {
      await sleep(anomaliesMs, signal);
      const keys = [...anomalyKeys()];
      if (keys.some((key) => hub.count(key) > 0)) followedAt = performance.now();
      if (signal.aborted || performance.now() - followedAt > lingerMs) {
        anomaliesSince = Infinity;
        continue;
      }
      const now = formatMicros(nowMicros() - anomaliesBackMicros);
      if (anomaliesSince === Infinity) from = now;
      try {
        const found = await loadAnomalies(warehouse, from, signal);
        if (anomaliesSince === Infinity) anomaliesSince = hub.seq;
        told = "";
        const ids = new Set<string>();
        for (const row of found) {
          const id = JSON.stringify(row);
          ids.add(id);
          if (sentRows.has(id)) continue;
          hub.publish([`anomalies ${row.product_id}`, "anomalies "], "anomaly", anomalyFields(row));
        }
        sentRows = ids;
        // Rows of one moment may become visible one after the other.
        from = now;
      } catch (error) {
        const reason = firstLine(error);
        if (signal.aborted || reason === told) continue;
        told = reason;
        log.warn("anomalies can't be read", { error: reason });
        hub.publish(keys, "error", {
          message: "No anomalies",
          reason: `anomalies wait for ClickHouse: ${reason}`,
        });
      }
    }
  }

  function* anomalyKeys(): Iterable<string> {
    yield topicKey({ channel: "anomalies", productId: "" });
    for (const products of [known, market.products()]) {
      for (const productId of products) yield topicKey({ channel: "anomalies", productId });
    }
  }

  /** Each settles when its socket is closed. */
  const sockets = new Set<Promise<void>>();

  async function close(): Promise<void> {
    stopped.abort();
    clearInterval(sweeping);
    clients.closeAll(1001, "the server stops");
    live.candles.stop();
    live.book.stop();
    // A server that is shut down at once would close them in its own words.
    const heard = new AbortController();
    await Promise.race([Promise.all(sockets), sleep(goodbyeMs, heard.signal)]);
    heard.abort();
    await Promise.all([tap, watching]);
  }

  return {
    upgrade(request) {
      if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
        return new Response("Expected a WebSocket: connect with ws:// or wss://\n", {
          status: 426,
          headers: { upgrade: "websocket" },
        });
      }
      if (signal.aborted || clients.size >= maxClients) {
        const reason = signal.aborted ? "The stream stops" : `The stream has its ${maxClients} clients`;
        return new Response(`${reason}: try again later\n`, { status: 503, headers: { "retry-after": "5" } });
      }
      const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: idleTimeoutSeconds });
      const client = clients.add({
        get bufferedAmount() {
          return socket.bufferedAmount;
        },
        send(text) {
          if (socket.readyState === WebSocket.OPEN) socket.send(text);
        },
        close(code, reason) {
          if (socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
        },
      });
      const closed = Promise.withResolvers<void>();
      sockets.add(closed.promise);
      socket.onmessage = ({ data }) => client.receive(data);
      socket.onclose = () => {
        client.ended();
        sockets.delete(closed.promise);
        closed.resolve();
      };
      // A client that breaks off is no news; onclose follows.
      socket.onerror = () => client.ended();
      return response;
    },
    status: () => ({
      stream: hub.stream,
      seq: hub.seq,
      clients: clients.size,
      kafka: kafkaReason === "" ? { ok: true } : { ok: false, reason: kafkaReason },
    }),
    close,
  };
}

/** The view's columns; times in ISO 8601. */
function anomalyFields(row: Record<string, unknown>): object {
  const times = ["time", "end_time", "detected_at", "updated_at"].filter((name) =>
    typeof row[name] === "string"
  )
    .map((name) => [name, `${String(row[name]).replace(" ", "T")}Z`]);
  return { ...row, ...Object.fromEntries(times) };
}
