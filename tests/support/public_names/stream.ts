/**
 * The names of the stream: what clients may say, as its schemas have it, and what they hear, as a real one says it.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { Partitioners } from "kafkajs";
import { formatMicros, isoMicros, nowMicros } from "../../../lib/core/time.ts";
import { toKafkaRecord } from "../../../lib/feed/kafka_record.ts";
import { tickerDecimals } from "../../../lib/feed/messages.ts";
import { openBroker } from "../../../lib/kafka/client.ts";
import { channels, requestSchema } from "../../../lib/stream/client_messages.ts";
import { connect, makeTopics, quiet, type TestClient, withStream } from "../stream_client.ts";
import { type Servers, type Tape, withTape } from "../tape.ts";
import { fieldsOfValue, fieldsOfZod } from "./json_fields.ts";

/** The channels, and `type.field` of requests. */
export function requestNames(): string[] {
  const fields = requestSchema.options.flatMap((option) =>
    fieldsOfZod(option).filter((field) => field !== "type")
      .map((field) => `${option.shape.type.value}.${field}`)
  );
  return [...channels.map((channel) => `channel ${channel}`), ...fields];
}

/** `type` and `type.field` of messages, each message of the stream heard with all that it can have. */
export async function messageNames(servers: Servers): Promise<string[]> {
  const heard: object[] = [];
  await withTape(servers, {}, async (tape) => {
    await makeTopics(tape);
    await withStream(tape, { clickhouse: withoutTickers(tape) }, async (stream, url) => {
      const feed = await openFeed(tape);
      await feed.say(match(10));
      await tape.until("a trade to be read", () => Promise.resolve(stream.status().seq > 0));
      const client = await connect(url);
      await hearAll(client, feed, tape);
      heard.push(...client.messages);
      await client.close();
      await feed.close();
    });
    // Whoever has nothing unread is too slow here.
    await withStream(tape, { limits: { clientBytes: -1 } }, async (_stream, url) => {
      const client = await connect(url);
      client.say({ type: "ping", time: 0 });
      await client.closed;
      heard.push(...client.messages);
    });
  });
  const names = heard.flatMap((message) => {
    const { type, ...fields } = message as { type: string };
    return [type, ...fieldsOfValue(fields).map((field) => `${type}.${field}`)];
  });
  return [...new Set(names)].sort();
}

/** Makes the stream say each of its messages. */
async function hearAll(client: TestClient, feed: Feed, tape: Tape): Promise<void> {
  const until = (wanted: string, field = "seq") =>
    client.until(`${wanted} with ${field}`, (message) => message.type === wanted && field in message);
  client.say({ type: "subscribe", product_ids: [product], channels });
  client.say({ type: "ping", time: 0 });
  client.say({ type: "what is this" });
  await until("subscriptions");
  await until("last_match");
  await until("candles_snapshot");
  await until("book_invalid", "reason");
  await until("pong", "time");
  await until("error", "channel");
  await feed.say(match(12), match(11), ticker(), heartbeat(), snapshot());
  await until("match", "backfilled");
  await until("candles");
  await until("ticker");
  await until("heartbeat");
  await until("book_snapshot");
  await feed.say(l2update());
  await until("book");
  await feed.sayEvent();
  await until("feed_event");
  await until("book_invalid", "time");
  await storeAnomaly(tape);
  await until("anomaly");
}

const product = "BTC-USD";
const connection = "c-1";

/** A client of ClickHouse that can't read the newest ticker: what a topic starts with is missing then. */
function withoutTickers({ clickhouse }: Tape): ClickHouseClient {
  return new Proxy(clickhouse, {
    get(target, name) {
      if (name !== "query") return Reflect.get(target, name);
      return (params: Parameters<ClickHouseClient["query"]>[0]) =>
        params.query.includes("FROM tickers") ? Promise.reject(new Error("away")) : target.query(params);
    },
  });
}

interface Feed {
  /** Frames of the exchange, into their topics. */
  say(...frames: { type: string }[]): Promise<void>;
  /** The end of the connection. */
  sayEvent(): Promise<void>;
  close(): Promise<void>;
}

async function openFeed({ config }: Tape): Promise<Feed> {
  const producer = openBroker(config, "test", quiet).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const route = { topic: config.KAFKA_TOPIC, level2Topic: config.KAFKA_LEVEL2_TOPIC, source: "feed" };
  const stamps = () => ({ receivedAt: nowMicros(), connection, productId: product });
  const send = async (event: Parameters<typeof toKafkaRecord>[0]) => {
    const { topic, message } = toKafkaRecord(event, route);
    await producer.send({ topic, messages: [message] });
  };
  return {
    async say(...frames) {
      for (const frame of frames) {
        await send({ kind: "frame", type: frame.type, data: JSON.stringify(frame), ...stamps() });
      }
    },
    sayEvent: () =>
      send({
        kind: "event",
        event: "disconnected",
        channel: "level2",
        reason: "1006",
        details: {},
        ...stamps(),
      }),
    close: () => producer.disconnect(),
  };
}

const now = () => ({ product_id: product, time: isoMicros(nowMicros()), sequence: nowMicros() });
const order = crypto.randomUUID();

const match = (trade_id: number) => ({
  type: "match",
  trade_id,
  ...now(),
  price: "64000.12",
  size: "0.5",
  side: "buy",
  maker_order_id: order,
  taker_order_id: order,
});

function ticker() {
  const values = Object.fromEntries(tickerDecimals.map((name) => [name, "1"]));
  return { type: "ticker", ...now(), side: "buy", trade_id: 12, ...values };
}

const heartbeat = () => ({ type: "heartbeat", ...now(), last_trade_id: 12 });
const snapshot = () => ({ type: "snapshot", ...now(), bids: [["1", "1"]], asks: [["2", "1"]] });
const l2update = () => ({ type: "l2update", ...now(), changes: [["buy", "1", "2"]] });

async function storeAnomaly({ clickhouse }: Tape): Promise<void> {
  const at = formatMicros(nowMicros());
  const times = { time: at, end_time: at, detected_at: at, updated_at: at };
  const values = [{ product_id: product, kind: "silence", severity: "info", ...times }];
  await clickhouse.insert({ table: "anomalies_state", values, format: "JSONEachRow" });
}
